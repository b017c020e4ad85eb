"""`python -m edge_agent.trust_worker`: answers one question about trust and ends. The only file that imports tuf.

All rules about metadata are python-tuf's. What is done here: metadata come from one retained message instead of HTTP;
they are verified in a scratch folder and kept only when all of them are good (a newer root that verified is kept in
any case: nobody shall be able to undo the replacement of a stolen key by breaking the rest of the message); and time
never runs backwards. The floor under this gateway's clock is the latest time at which metadata were found valid. So a
clock that is set back does not revive what has expired, and one that once ran far ahead cannot lock us out: at such a
time nothing was valid, so the floor did not move. A second floor is the time at which the hub says that it signed the
timestamp, for gateways without a clock that is kept. Whoever steals that key could put it into the far future, so it
holds only as long as the root names the same keys for the timestamp.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

import msgspec

from edge_agent import storage
from edge_agent.trust_files import locked, raise_floor, raise_signed_floor, read_floor, signed_floor, write_atomic
from edge_agent.trust_messages import (
    MAX_QUESTION_BYTES,
    MAX_TEXT_CHARS,
    Answer,
    AnyQuestion,
    BundleQuestion,
    CommandQuestion,
    Question,
    WantQuestion,
)
from models.bundle.metadata import decode_metadata
from models.contract.messages import (
    MAX_METADATA_INFLATED_BYTES,
    CommandBody,
    Envelope,
    WantBody,
    WantedBundle,
    decode,
    decode_command,
)
from models.errors import ContractError


def _skip_http() -> None:
    """python-tuf imports its HTTP client whether it is used or not; ours is not, and it costs a third of the start."""
    name = "tuf.ngclient.urllib3_fetcher"
    placeholder = ModuleType(name)
    placeholder.Urllib3Fetcher = type("Urllib3Fetcher", (), {})  # type: ignore[attr-defined]
    sys.modules.setdefault(name, placeholder)


if not TYPE_CHECKING:
    _skip_http()

from securesystemslib.signer import Signature  # noqa: E402 - after the placeholder
from tuf.api import exceptions  # noqa: E402
from tuf.api.metadata import Metadata, Root, TargetFile, Targets, Timestamp  # noqa: E402
from tuf.ngclient.config import UpdaterConfig  # noqa: E402
from tuf.ngclient.fetcher import FetcherInterface  # noqa: E402
from tuf.ngclient.updater import Updater  # noqa: E402

DIRECTOR = "director"
RESERVED_SLOT = "wants"
_BASE_URL = "retained:/"
_ROOTS = "root_history"
_ROOT_NAME = re.compile(r"[1-9][0-9]{0,8}\.root\.json")
_MAX_ROOTS = 1024
_MAX_DELEGATIONS = 2
SIGNED_TIME = "signed_s"
_KEPT = ("timestamp.json", "snapshot.json", "targets.json")


class Refused(Exception):  # noqa: N818 - it is an answer, not a fault
    """Something must not be trusted."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


# --------------------------------------------------------------------------------------------------- metadata


class RetainedFetcher(FetcherInterface):
    """Serves python-tuf from the files of one metadata message."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self._files = files

    def _fetch(self, url: str) -> Iterator[bytes]:
        # Not a generator: what is raised inside one escapes python-tuf's wrapping.
        name = url.removeprefix(_BASE_URL)
        if name not in self._files:
            raise exceptions.DownloadHTTPError(f"the message has no {name}", 404)
        return iter((self._files[name],))


class TimedUpdater(Updater):
    """An updater that takes the time from us instead of from the clock."""

    def __init__(
        self,
        folder: Path,
        fetcher: FetcherInterface,
        root: bytes,
        now: datetime,
        *,
        url: str = _BASE_URL,
        max_delegations: int = _MAX_DELEGATIONS,
    ) -> None:
        bounds = UpdaterConfig(
            max_root_rotations=_MAX_ROOTS,
            max_delegations=max_delegations,
            root_max_length=MAX_METADATA_INFLATED_BYTES,
            snapshot_max_length=MAX_METADATA_INFLATED_BYTES,
            targets_max_length=MAX_METADATA_INFLATED_BYTES,
        )
        super().__init__(str(folder), url, fetcher=fetcher, config=bounds, bootstrap=root)
        if not isinstance(getattr(self._trusted_set, "reference_time", None), datetime):
            raise RuntimeError(  # noqa: TRY004 - not a wrong argument, a wrong release
                "this python-tuf keeps its reference time elsewhere: expiry could not be checked"
            )
        self._trusted_set.reference_time = now


class Trust:
    """The verified metadata of one question."""

    def __init__(self, question: Question, scratch: Path) -> None:
        self._folder = Path(question.folder)
        self._scratch = scratch
        keyids = _timestamp_keys(self._folder)
        self.now_s = max(question.now_s, read_floor(self._folder), signed_floor(self._folder, keyids))
        self._updater = self._refresh(question.metadata)
        self.targets = Metadata[Targets].from_file(str(scratch / "targets.json")).signed
        timestamp = Metadata[Timestamp].from_file(str(scratch / "timestamp.json")).signed
        self.valid_until_s = timestamp.expires.timestamp()
        said_s = _signed_s(timestamp)
        if said_s is not None:
            self.now_s = max(self.now_s, raise_signed_floor(self._folder, said_s, _timestamp_keys(self._folder)))
        raise_floor(self._folder, self.now_s)

    def target(self, path: str) -> TargetFile | None:
        """What the repository says about a target, None when it does not know it."""
        return self._updater.get_targetinfo(path)

    def _refresh(self, message: bytes) -> TimedUpdater:
        try:
            files = decode_metadata(message, "metadata")
        except ContractError as error:
            raise Refused("metadata_format", str(error)) from error
        try:
            root = (self._folder / "root.json").read_bytes()
        except FileNotFoundError as error:
            text = f"{self._folder / 'root.json'}: missing; it comes with this gateway's enrolment"
            raise Refused("root_missing", text) from error
        kept = self._folder / "metadata"
        if kept.exists():
            shutil.copytree(kept, self._scratch, dirs_exist_ok=True)
        now = datetime.fromtimestamp(self.now_s, UTC)
        _check_chain(files, root, kept / _ROOTS)
        try:
            updater = TimedUpdater(self._scratch, RetainedFetcher(files), root, now)
            updater.refresh()
        except (exceptions.RepositoryError, exceptions.DownloadError) as error:
            raise Refused(_metadata_reason(error), f"metadata: {error}") from error
        finally:
            self._keep(sorted(p for p in self._scratch.glob(f"{_ROOTS}/*") if _ROOT_NAME.fullmatch(p.name)))
        self._keep([self._scratch / name for name in _KEPT])
        return updater

    def _keep(self, paths: list[Path]) -> None:
        """Copy from the scratch folder what differs from what is kept, in python-tuf's own order: any prefix of these
        copies is a state that it can go on from.
        """
        for path in paths:
            to = self._folder / "metadata" / path.relative_to(self._scratch)
            data = path.read_bytes()
            if not to.exists() or to.read_bytes() != data:
                write_atomic(to, data)


def _newest_root(folder: Path) -> Path:
    roots = [p for p in (folder / "metadata" / _ROOTS).glob("*") if _ROOT_NAME.fullmatch(p.name)]
    return max(roots, key=lambda p: int(p.name.split(".", maxsplit=1)[0]), default=folder / "root.json")


def _timestamp_keys(folder: Path) -> list[str]:
    """The keys that the newest root we have names for timestamps; none when there is no such root."""
    try:
        return sorted(Metadata[Root].from_file(str(_newest_root(folder))).signed.roles[Timestamp.type].keyids)
    except (exceptions.StorageError, exceptions.RepositoryError):
        return []


def _signed_s(timestamp: Timestamp) -> float | None:
    """When the timestamp, verified by now, says that it was signed. It never says later than it expires."""
    said = timestamp.unrecognized_fields.get(SIGNED_TIME)
    if not isinstance(said, int) or isinstance(said, bool) or not 0 <= said < timestamp.expires.timestamp():
        return None
    return float(said)


def _check_chain(files: dict[str, bytes], root: bytes, kept: Path) -> None:
    """A hub sends its newest roots only; tell a gateway that slept through more than those apart from a forgery.

    Nothing is decided here but the reason: without the next root, none of what the newer ones say is believed.
    """
    sent = [int(name.split(".", maxsplit=1)[0]) for name in files if _ROOT_NAME.fullmatch(name)]
    try:
        trusted = Metadata[Root].from_bytes(root).signed.version
    except exceptions.RepositoryError as error:
        raise Refused("root_missing", f"root.json of this gateway: not a root: {error}") from error
    while (kept / f"{trusted + 1}.root.json").exists():
        trusted += 1
    if sent and min(sent) > trusted + 1:
        text = f"metadata: this gateway trusts root {trusted}, expected the next one, got {min(sent)} and newer"
        raise Refused("metadata_root_gap", text)


def _metadata_reason(error: exceptions.RepositoryError | exceptions.DownloadError) -> str:
    match error:
        case exceptions.ExpiredMetadataError():
            return "metadata_expired"
        case exceptions.BadVersionNumberError():
            return "metadata_rollback"
        case (
            exceptions.UnsignedMetadataError()
            | exceptions.LengthOrHashMismatchError()
            | exceptions.DownloadLengthMismatchError()
        ):
            return "metadata_signature"
        case _:
            return "metadata_format"


# ------------------------------------------------------------------------------------------ wants and commands


def verify_envelope(trust: Trust, envelope: bytes, what: str) -> bytes:
    """The bytes in an envelope that the director has signed. Raises: Refused."""
    try:
        opened = decode(Envelope, envelope, what)
    except ContractError as error:
        raise Refused(f"{what}_format", str(error)) from error
    signed = bytes(opened.signed)
    signatures = {s.keyid: Signature(s.keyid, s.sig) for s in opened.signatures}
    try:
        trust.targets.verify_delegate(DIRECTOR, signed, signatures)
    except (exceptions.UnsignedMetadataError, ValueError) as error:
        raise Refused(f"{what}_signature", f"{what}: not signed by this fleet's director: {error}") from error
    return signed


B = TypeVar("B", WantBody, CommandBody)


def _decode_want(signed: bytes, where: str) -> WantBody:
    return decode(WantBody, signed, where)


def _decode_signed(decoder: Callable[[bytes, str], B], signed: bytes, what: str) -> B:
    try:
        return decoder(signed, what)
    except ContractError as error:
        raise Refused(f"{what}_format", str(error)) from error


def check_want(body: WantBody, gateway: str, last_seq: int, now_s: float, valid_until_s: float) -> None:
    """Whether a want that is authentic is also meant for us, now. Raises: Refused.

    It may not claim to be issued after the metadata that vouch for it expire: its time becomes a floor for our clock,
    and a stolen director key shall not be able to put that into a future in which nothing is valid.
    """
    if body.issued_s > valid_until_s:
        text = f"want: issued at {_utc(body.issued_s)}, when its metadata, valid until {_utc(valid_until_s)}, are over"
        raise Refused("want_format", text)
    _check_addressee(body, gateway, now_s, "want")
    if body.seq < last_seq:
        raise Refused("want_replayed", f"want: seq {body.seq} is older than {last_seq}, which was accepted before")


def _check_addressee(body: WantBody | CommandBody, gateway: str, now_s: float, what: str) -> None:
    if body.gateway != gateway:
        raise Refused(f"{what}_foreign", f"{what}: for gateway {body.gateway}, this is {gateway}")
    if body.expires_s <= now_s:
        raise Refused(f"{what}_expired", f"{what}: expired at {_utc(body.expires_s)}, it is {_utc(now_s)}")


def _utc(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# ----------------------------------------------------------------------------------------------------- bundles


def find_target(trust: Trust, wanted: WantedBundle) -> TargetFile:
    """The repository's word on a wanted bundle, when both mean the same. Raises: Refused.

    The slot stands in the path, which the targets role has signed: a director cannot send one slot's model to another.
    """
    where = f"target {wanted.target}"
    slot = wanted.target.partition("/")[0]
    if slot != wanted.slot or slot == RESERVED_SLOT:
        raise Refused("target_unknown", f"{where}: not for the slot {wanted.slot}")
    target = trust.target(wanted.target)
    if target is None:
        raise Refused("target_unknown", f"{where}: the repository does not know it")
    digest = target.hashes.get("sha256")
    if digest != wanted.sha256:
        raise Refused("target_digest", f"{where}: the want has SHA-256 {wanted.sha256}, the repository {digest}")
    if target.length != wanted.length:
        raise Refused("target_length", f"{where}: the want has {wanted.length} bytes, the repository {target.length}")
    return target


def install(target: TargetFile, part: Path, destination: Path) -> None:
    """Check the file itself, then make it `destination`: synced before the rename, and the folder after it.

    A file that is too short is left to be resumed; one that can never become right is deleted. Raises: Refused.
    """
    try:
        handle = os.open(part, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise Refused("target_length", f"{part.name}: expected {target.length} bytes, got no file: {error}") from error
    with os.fdopen(handle, "r+b") as file:
        length = os.fstat(handle).st_size
        if length != target.length:
            if length > target.length:
                storage.remove([part])
            raise Refused("target_length", f"{part.name}: expected {target.length} bytes, got {length}")
        try:
            target.verify_length_and_hashes(file)
        except exceptions.LengthOrHashMismatchError as error:
            storage.remove([part])
            raise Refused("target_digest", f"{part.name}: {error}") from error
    storage.make_folder(destination.parent)
    storage.move_durably(part, destination)


# -------------------------------------------------------------------------------------------------------- main


def answer(question: AnyQuestion) -> Answer:
    """The answer to a question; files change only as the module says. Raises: OSError, RuntimeError."""
    with locked(Path(question.folder)), tempfile.TemporaryDirectory() as scratch:
        try:
            return _answer(question, Trust(question, Path(scratch)))
        except Refused as refused:
            return Answer(reason=refused.reason, text=str(refused)[:MAX_TEXT_CHARS])


def _answer(question: AnyQuestion, trust: Trust) -> Answer:
    match question:
        case WantQuestion():
            signed = verify_envelope(trust, question.envelope, "want")
            body = _decode_signed(_decode_want, signed, "want")
            check_want(body, question.gateway, question.last_seq, trust.now_s, trust.valid_until_s)
            return Answer(signed=signed)
        case CommandQuestion():
            signed = verify_envelope(trust, question.envelope, "command")
            command = _decode_signed(decode_command, signed, "command")
            _check_addressee(command, question.gateway, trust.now_s, "command")
            return Answer(signed=signed)
        case BundleQuestion():
            target = find_target(trust, question.wanted)
            install(target, Path(question.part), Path(question.destination))
            return Answer()


def main() -> None:
    """Read the question, write the answer. Anything unforeseen ends the process with a traceback on stderr."""
    data = sys.stdin.buffer.read(MAX_QUESTION_BYTES + 1)
    if len(data) > MAX_QUESTION_BYTES:
        sys.exit(f"expected a question of at most {MAX_QUESTION_BYTES} bytes")
    question: AnyQuestion = msgspec.json.decode(data, type=AnyQuestion)
    sys.stdout.buffer.write(msgspec.json.encode(answer(question)))


if __name__ == "__main__":
    main()

"""The rehearsal of what one does when an online key is lost or stolen, in a copy: the repository is not touched.

A gateway that trusts the old root stands by; it is python-tuf's own client, fed from the message that gateways get.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Snapshot, Targets, Timestamp
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from cloud_hub.errors import HubError
from cloud_hub.trust.ceremony import propose_root, sign_root
from cloud_hub.trust.documents import DIRECTOR, Expiry, director_of, expires_at, role_file
from cloud_hub.trust.keys import FileSigners, Passphrase, create_repository, load_signer
from cloud_hub.trust.repository import Repository
from models.bundle.metadata import decode_metadata, encode_metadata
from models.contract.messages import MAX_METADATA_INFLATED_BYTES, Envelope, ReportCommand, decode

_URL = "drill:/"
FAR = 1_000_000
"""How far ahead a thief's versions are."""


class DrillError(HubError):
    """The rehearsal did not go as it must."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the rehearsal, and what came of it."""

    did: str
    outcome: str


class _Files(FetcherInterface):
    def __init__(self, message: bytes) -> None:
        self._files = decode_metadata(message, "drill")

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.removeprefix(_URL)
        if name not in self._files:
            raise DownloadHTTPError(f"the message has no {name}", 404)
        return iter((self._files[name],))


class Gateway:
    """A gateway that was enrolled with this root."""

    def __init__(self, folder: Path, root: bytes, now_s: float) -> None:
        self._folder = folder
        self._root = root
        self._now = datetime.fromtimestamp(now_s, UTC)
        folder.mkdir()

    def take(self, message: bytes) -> Updater:
        """Verify a message. Raises: RepositoryError, DownloadError."""
        bounds = UpdaterConfig(targets_max_length=MAX_METADATA_INFLATED_BYTES)
        updater = Updater(str(self._folder), _URL, fetcher=_Files(message), config=bounds, bootstrap=self._root)
        updater._trusted_set.reference_time = self._now  # noqa: SLF001 - python-tuf has no other way to tell the time
        updater.refresh()
        return updater

    def version(self, role: str) -> int:
        """Of a role as it is trusted."""
        return int(Metadata[Any].from_file(str(self._folder / role_file(role))).signed.version)

    def targets(self) -> Metadata[Targets]:
        """The targets that it trusts."""
        return Metadata[Targets].from_file(str(self._folder / "targets.json"))


def rehearse(
    repository: Path,
    keys: Path,
    root_signers: Sequence[CryptoSigner],
    roles: Sequence[str],
    now_s: float,
    *,
    expiry: Expiry | None = None,
    passphrase: Passphrase | None = None,
    say: Callable[[Step], None] = lambda _step: None,
) -> list[Step]:
    """Replace the keys of these online roles in a copy, with the root keys given, or in a made-up repository without.

    Raises: DrillError: a step did not come out as it must. KeysError: the root keys do not suffice.
    """
    steps: list[Step] = []

    def done(did: str, outcome: str) -> None:
        steps.append(Step(did, outcome))
        say(steps[-1])

    expiry = expiry or Expiry()
    with tempfile.TemporaryDirectory(prefix="millwright-drill-") as scratch:
        copied, secret = Path(scratch, "repository"), Path(scratch, "keys")
        if root_signers:
            shutil.copytree(repository, copied)
            shutil.copytree(keys, secret)
            done("copied the repository and its online keys", "what follows happens in the copy")
        else:
            made = create_repository(copied, secret, Path(scratch, "safe"), now_s, expiry=expiry)
            root_signers = [load_signer(path) for path in made.root_keys]
            done("made a repository of its own", "no root key was given: this rehearses the steps, not your keys")
        signers = FileSigners(secret, passphrase)
        hub = Repository(copied, signers, expiry)
        root = hub.root()
        gateway = Gateway(Path(scratch, "gateway"), root.to_bytes(), now_s)
        before = hub.metadata_bundle()
        gateway.take(before)
        done(f"enrolled a gateway with root {root.signed.version}", "it takes the metadata of today")
        stolen = {role: signers[role] for role in roles}
        for role in roles:
            (secret / f"{role}.pem").unlink()
        done(f"lost the keys of {', '.join(roles)}; a thief has them", "the hub cannot sign for them any more")
        fooled = Gateway(Path(scratch, "fooled"), root.to_bytes(), now_s)
        fooled.take(before)
        fell = _falls(fooled, forge(before, stolen, now_s))
        done("the thief forged metadata", "another gateway took them" if fell else "these keys alone fool no gateway")

        fresh = {role: [signers.stage(role).public_key] for role in roles}
        in_root = {role: made for role, made in fresh.items() if role != DIRECTOR}
        proposal = propose_root(hub, now_s, expiry.root_days, in_root)
        sign_root(proposal, root.signed, root_signers)
        if in_root:
            signed, _ = hub.adopt(proposal, None, now_s)
            done(f"signed root {proposal.signed.version} with new keys", f"the hub signed anew: {', '.join(signed)}")
        if DIRECTOR in fresh:
            signed = hub.change_director(fresh[DIRECTOR][0], now_s)
            done("named a new director in targets", f"the hub signed anew: {', '.join(signed)}")
        after = hub.metadata_bundle()
        for one, name in ((gateway, "the gateway"), (fooled, "the other gateway")):
            if not _takes(one, after):
                raise DrillError(f"drill: {name} does not take the new metadata")
            done(
                f"gave {name} the new metadata",
                f"it went from root {root.signed.version} to {hub.root().signed.version}",
            )
            for what, message in (("old", before), ("new", after)):
                forged = forge(message, stolen, now_s)
                if _falls(one, forged):
                    raise DrillError(f"drill: {name} took metadata forged from the {what} with the stolen keys")
            done(f"gave {name} what the thief forges now", "it refused, from old metadata and from new")
            _director_follows(hub, one, stolen.get(DIRECTOR), now_s)
            done(f"held the director's signature against the targets of {name}", "it follows the director of now, only")
    return steps


def _takes(gateway: Gateway, message: bytes) -> bool:
    try:
        gateway.take(message)
    except (RepositoryError, DownloadError):
        return False
    return True


def _falls(gateway: Gateway, forged: bytes) -> bool:
    """Whether the gateway trusts a forgery now. Passing over one that nothing vouches for is no harm."""
    _takes(gateway, forged)
    return any(gateway.version(role) >= FAR for role in (Targets.type, Snapshot.type, Timestamp.type))


def forge(message: bytes, stolen: Mapping[str, CryptoSigner], now_s: float) -> bytes:
    """The message as a thief would change it who holds the keys of these roles: a far newer version of each, valid for
    ten years, and what the outer one says about the inner one fits.
    """
    files = decode_metadata(message, "drill")
    inner: tuple[str, MetaFile] | None = None
    for role in (Targets.type, Snapshot.type, Timestamp.type):
        if role not in stolen:
            inner = None
            continue
        name = next(name for name in files if name == role_file(role) or name.endswith(f".{role_file(role)}"))
        metadata: Metadata[Any] = Metadata.from_bytes(files.pop(name))
        signed = metadata.signed
        signed.version += FAR
        signed.expires = expires_at(now_s, 3650)
        if isinstance(signed, Snapshot) and inner is not None:
            signed.meta[inner[0]] = inner[1]
        if isinstance(signed, Timestamp) and inner is not None:
            signed.snapshot_meta = inner[1]
        metadata.sign(stolen[role])
        data = metadata.to_bytes()
        files[role_file(role, None if role == Timestamp.type else signed.version)] = data
        inner = (role_file(role), MetaFile.from_data(signed.version, data, ["sha256"]))
    return encode_metadata(files)


def _director_follows(hub: Repository, gateway: Gateway, stolen: CryptoSigner | None, now_s: float) -> None:
    """The gateway knows the director of now, and no other."""
    body = ReportCommand(gateway="drill", id="drill", expires_s=int(now_s) + 60)
    envelope = decode(Envelope, hub.sign_command(body), "drill")
    named = director_of(gateway.targets()).keyids
    if envelope.signatures[0].keyid not in named:
        raise DrillError("drill: the gateway would refuse what the director signs")
    if stolen is not None and stolen.public_key.keyid in named:
        raise DrillError("drill: the gateway would still follow the stolen director key")

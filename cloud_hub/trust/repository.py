"""The TUF repository: which bundles exist, signed so that gateways can tell, whoever relays it.

Layout of the folder, with consistent snapshots as in the TUF specification: `N.root.json`, `N.targets.json`,
`N.snapshot.json`, `timestamp.json`, and `root.json`, a copy of the newest root to hand to gateways. A change writes the
new versions first and `timestamp.json` last: that rename is the moment at which it counts, and what a crash leaves
behind before it is overwritten by the next change.

The role `director` is delegated by `targets` for the paths `wants/*`. Its key signs wants and commands, which travel
outside the metadata, so the role has no metadata file of its own: nothing that a stolen director key signs can name
a new target, it can only choose among those that `targets` has signed.

The message to the gateways carries the newest roots, oldest dropped first, as far as half of its bounds: a gateway that
slept through some of them walks from root to root. One that slept through more needs a newer root by hand.

A repository that comes from a backup may be older than what gateways have seen, and they take nothing older. Whoever
restores one leaves a note (`note_restored`): then all is signed anew, with versions that leap over as many as there can
have been since the backup. What is signed elsewhere waits for people (`concerns`).
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
from securesystemslib.signer import CryptoSigner, Key
from tuf.api.metadata import (
    Metadata,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from cloud_hub.errors import GateError, KeysError, NotFoundError
from cloud_hub.trust.documents import (
    DAY_S,
    DIRECTOR,
    Expiry,
    S,
    check_next,
    check_signed,
    director_of,
    expires_at,
    is_signed,
    meta_of,
    name_director,
    parse,
    role_file,
    target_of,
)
from cloud_hub.trust.files import locked, write_atomic
from cloud_hub.trust.signers import Signers
from models.bundle.manifest import Manifest
from models.bundle.metadata import encode_metadata
from models.contract.messages import (
    MAX_ENVELOPE_BYTES,
    MAX_METADATA_BYTES,
    MAX_METADATA_INFLATED_BYTES,
    CommandBody,
    Envelope,
    Signature,
    WantBody,
    decode,
    decode_command,
    encode,
)
from models.errors import MessageError

logger = logging.getLogger(__name__)

ONLINE_ROLES = (Timestamp.type, Snapshot.type, Targets.type, DIRECTOR)
SIGNED_TIME = "signed_s"
"""A field of ours in the timestamp: when it was signed, seconds since 1970. It is never earlier, say gateways."""
MAX_ROOTS = 64
_RESTORED = "restored.note"
_LEAP_MIN = 1000
# What only people can renew is worth a warning in the last quarter of its life, and not earlier than these days.
_CONCERN, _CONCERN_DAYS = 0.25, 60.0


class Restored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The note. `leap`: versions to leave out; `roles`: those that are still as they came from the backup."""

    leap: int = 0
    roles: tuple[str, ...] = ()


def note_restored(folder: Path, backup_s: float, now_s: float) -> None:
    """Leave the note in a repository that was put back from a backup. Nobody signs more often than once a second."""
    leap = _LEAP_MIN + max(0, int(now_s - backup_s))
    note = Restored(leap, (Timestamp.type, Snapshot.type, Targets.type))
    write_atomic(folder / _RESTORED, msgspec.json.encode(note))


class Repository:
    """A repository on disk. Every method reads the files anew, under the folder's lock when it changes them."""

    def __init__(self, folder: Path, signers: Signers, expiry: Expiry) -> None:
        self._folder = folder
        self._signers = signers
        self._expiry = expiry

    # ------------------------------------------------------------------------------------------- what gateways get

    def metadata_bundle(self) -> bytes:
        """All current metadata, with every root since the first, as one message. Raises: KeysError, GateError."""
        return self._bundle({})

    def hand_out(self, send: Callable[[bytes], None]) -> None:
        """Send `metadata_bundle` while no other process can change it, so that none can overtake us with a newer one
        and have it replaced by ours.
        """
        with locked(self._folder):
            send(self.metadata_bundle())

    def root(self) -> Metadata[Root]:
        """The newest root. Raises: KeysError."""
        return self._load(Root, self._root_names()[-1])

    def roles(self) -> dict[str, Metadata[Timestamp] | Metadata[Snapshot] | Metadata[Targets] | Metadata[Root]]:
        """What is current, by role. Raises: KeysError."""
        return {
            Root.type: self.root(),
            Targets.type: self.targets_metadata(),
            Snapshot.type: self._snapshot(),
            Timestamp.type: self._timestamp(),
        }

    def expires_s(self) -> dict[str, float]:
        """When what is current expires, by role, UTC seconds. Raises: KeysError."""
        return {role: metadata.signed.expires.timestamp() for role, metadata in self.roles().items()}

    def online(self, role: str) -> bool:
        """Whether this machine can sign for the role; the root's keys are never here."""
        return role != Root.type and self._signers.online(role)

    def roots_on_the_way(self) -> tuple[int, int]:
        """Oldest and newest version of the root in the message to the gateways."""
        names = self._travelling_roots({name: self._read(name) for name in self._root_names()})
        versions = [int(name.split(".", maxsplit=1)[0]) for name in names]
        return min(versions), max(versions)

    def concerns(self, now_s: float) -> list[str]:
        """What people must renew soon, as no key here can: the root, and targets when they are signed elsewhere."""
        found = []
        for role, metadata in self.roles().items():
            left_s = metadata.signed.expires.timestamp() - now_s
            if not self.online(role) and left_s < min(self._expiry.of(role) * _CONCERN, _CONCERN_DAYS) * DAY_S:
                say = f"expires in {left_s / DAY_S:.0f} days" if left_s > 0 else "has expired, no gateway can install"
                found.append(f"{role} {say}; renew it with `cloud-hub keys export {role}`, `sign` and `import`")
        if Targets.type in self._restored().roles and not self.online(Targets.type):
            found.append(
                "targets come from a backup: gateways that have seen newer ones install nothing; sign them anew with "
                "`cloud-hub keys export targets`, `sign` and `import`"
            )
        return found

    def sign_want(self, body: WantBody) -> bytes:
        """A want as it goes to the gateway. Raises: KeysError; MessageError: no gateway would read it."""
        signed = encode(body)
        decode(WantBody, signed, f"want for {body.gateway}")
        return self._envelope(signed)

    def sign_command(self, body: CommandBody) -> bytes:
        """A command as it goes to the gateway. Raises: KeysError; MessageError: no gateway would read it."""
        signed = encode(body)
        decode_command(signed, f"{type(body).__struct_config__.tag} for {body.gateway}")
        return self._envelope(signed)

    def targets(self) -> dict[str, TargetFile]:
        """The bundles that are signed for, by target path."""
        return dict(self.targets_metadata().signed.targets)

    # ------------------------------------------------------------------------------------------------- changes

    def create(self, director: Key, now_s: float) -> None:
        """Sign the first, empty targets, snapshot and timestamp. The root must be there."""
        targets, snapshot, timestamp = Metadata(Targets()), Metadata(Snapshot()), Metadata(Timestamp())
        name_director(targets.signed, director)
        for signed in (targets.signed, snapshot.signed, timestamp.signed):
            signed.version = 0  # signing makes it 1
        self._commit(now_s, timestamp, snapshot, targets)

    def add_bundle(self, manifest: Manifest, sha256: str, length: int, now_s: float) -> str:
        """Sign for a bundle; nothing changes when it is there already.

        Returns: its target path.
        Raises:  GateError: the slot's name is reserved, the path is taken by another file, or no room is left.
        """
        path, target = target_of(manifest, sha256, length)
        with locked(self._folder):
            targets = self.targets_metadata()
            known = targets.signed.targets.get(path)
            if known == target:
                return path
            if known is not None:
                raise GateError(f"target {path}: taken by {known.hashes}, {known.length} bytes; choose another version")
            self._needs_targets_key(f"--add FILE with {path}")
            targets.signed.targets[path] = target
            self._commit(now_s, self._timestamp(), self._snapshot(), targets)
        logger.info("signed for %s (%s, %d bytes)", path, sha256, length)
        return path

    def remove_bundle(self, path: str, now_s: float) -> None:
        """No longer sign for a bundle; gateways that run it go on, none can install it. Raises: NotFoundError."""
        with locked(self._folder):
            targets = self.targets_metadata()
            if targets.signed.targets.pop(path, None) is None:
                raise NotFoundError(f"target {path}: not in the repository")
            self._needs_targets_key(f"--remove {path}")
            self._commit(now_s, self._timestamp(), self._snapshot(), targets)
        logger.info("no longer signing for %s", path)

    def refresh(self, now_s: float) -> tuple[str, ...]:
        """Sign anew what is past half of its life, or not signed by the key that the root names for it (a change of
        keys that was cut short), or comes from a backup. What is signed elsewhere is left alone: see `concerns`.

        Returns: the roles that were signed; empty when nothing was due.
        """
        with locked(self._folder):
            timestamp, snapshot, targets = self._timestamp(), self._snapshot(), self.targets_metadata()
            restored = self._restored()
            due_targets = targets if self.online(Targets.type) and self._due(targets, now_s, restored) else None
            due_snapshot = snapshot if due_targets or self._due(snapshot, now_s, restored) else None
            if due_snapshot is None and not self._due(timestamp, now_s, restored):
                return ()
            signed = self._commit(now_s, timestamp, due_snapshot, due_targets)
        logger.info("signed anew: %s", ", ".join(signed))
        return signed

    def adopt(
        self, root: Metadata[Root] | None, targets: Metadata[Targets] | None, now_s: float
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Take a root, targets, or both that were signed elsewhere, and sign what follows from them.

        Nothing is written unless all of it verifies. Keys that were staged and are named now take their places.

        Returns: the roles that were signed here, and those whose keys changed.
        Raises:  KeysError: not the next version, not enough signatures, expired, or what follows cannot be signed here.
        """
        with locked(self._folder):
            before = self.root()
            if root is not None:
                check_next(root, before.signed.version, now_s)
                check_signed(before.signed, Root.type, root)
                check_signed(root.signed, Root.type, root)
            trusted = root or before
            files = {} if root is None else {role_file(Root.type, root.signed.version): root.to_bytes()}
            current = self.targets_metadata()
            if targets is not None:
                check_next(targets, current.signed.version, now_s)
                check_signed(trusted.signed, Targets.type, targets)
                director_of(targets)
            elif not is_signed(trusted.signed, current) and not self.online(Targets.type):
                raise KeysError("targets: not signed by the key that this root names; import both files at once")
            signed = self._commit(
                now_s, self._timestamp(), self._snapshot(),
                current if targets is None and not is_signed(trusted.signed, current) else None,
                root=trusted, files=files, ready=targets,
            )  # fmt: skip
            changed = self._promote(trusted, targets or self.targets_metadata())
        logger.info("adopted %s; signed: %s", ", ".join(files) or "targets", ", ".join(signed))
        return signed, changed

    def change_director(self, key: Key, now_s: float) -> tuple[str, ...]:
        """Let targets name another key for the director, here. Raises: KeysError: targets are signed elsewhere."""
        with locked(self._folder):
            self._needs_targets_key("--director FILE")
            targets = self.targets_metadata()
            name_director(targets.signed, key)
            signed = self._commit(now_s, self._timestamp(), self._snapshot(), targets)
            self._promote(self.root(), targets)
        return signed

    def _promote(self, root: Metadata[Root], targets: Metadata[Targets]) -> tuple[str, ...]:
        named = {role: root.signed.roles[role].keyids for role in (Timestamp.type, Snapshot.type, Targets.type)}
        named[DIRECTOR] = director_of(targets).keyids
        changed = []
        for role, keyids in named.items():
            staged = self._signers.staged(role)
            if staged is not None and staged.public_key.keyid in keyids:
                self._signers.promote(role)
                changed.append(role)
        return tuple(changed)

    def _needs_targets_key(self, option: str) -> None:
        if not self.online(Targets.type):
            raise KeysError(
                f"targets: their key is not on this machine; use `cloud-hub keys export targets {option}`, "
                "sign the file where the key is, then `cloud-hub keys import`"
            )

    def _due(
        self, metadata: Metadata[Timestamp] | Metadata[Snapshot] | Metadata[Targets], now_s: float, restored: Restored
    ) -> bool:
        signed = metadata.signed
        old = signed.expires.timestamp() - now_s < self._expiry.of(signed.type) * DAY_S / 2
        return old or signed.type in restored.roles or not is_signed(self.root().signed, metadata)

    def _restored(self) -> Restored:
        path = self._folder / _RESTORED
        try:
            return msgspec.json.decode(path.read_bytes(), type=Restored)
        except FileNotFoundError:
            return Restored()
        except (OSError, msgspec.DecodeError) as error:
            raise KeysError(f"{path}: {error}") from error

    def next_version(self, signed: Timestamp | Snapshot | Targets) -> int:
        """The version that a role gets when it is signed next."""
        note = self._restored()
        return signed.version + 1 + (note.leap if signed.type in note.roles else 0)

    def _commit(
        self,
        now_s: float,
        timestamp: Metadata[Timestamp],
        snapshot: Metadata[Snapshot] | None,
        targets: Metadata[Targets] | None,
        *,
        root: Metadata[Root] | None = None,
        files: dict[str, bytes] | None = None,
        ready: Metadata[Targets] | None = None,
    ) -> tuple[str, ...]:
        """Sign the given roles as their next versions, inner ones first, and write them; nothing when one fails.

        `root`, with its file in `files`, and `ready`, the targets, are signed already.
        """
        root = root or self.root()
        files = files or {}
        signed = []
        if ready is not None and snapshot is not None:
            data = ready.to_bytes()
            snapshot.signed.meta[role_file(Targets.type)] = meta_of(ready, data)
            files[role_file(Targets.type, ready.signed.version)] = data
        if targets is not None and snapshot is not None:
            data = self._sign(targets, root, now_s)
            snapshot.signed.meta[role_file(Targets.type)] = meta_of(targets, data)
            files[role_file(Targets.type, targets.signed.version)] = data
            signed.append(Targets.type)
        if snapshot is not None:
            data = self._sign(snapshot, root, now_s)
            timestamp.signed.snapshot_meta = meta_of(snapshot, data)
            files[role_file(Snapshot.type, snapshot.signed.version)] = data
            signed.append(Snapshot.type)
        files[role_file(Timestamp.type)] = self._sign(timestamp, root, now_s)
        self._bundle(files)
        for name, data in files.items():
            write_atomic(self._folder / name, data)
        if (note := self._restored()).roles:
            renewed = {Timestamp.type, *signed} | ({Targets.type} if ready is not None else set())
            left = Restored(note.leap, tuple(role for role in note.roles if role not in renewed))
            write_atomic(self._folder / _RESTORED, msgspec.json.encode(left))
        handed_out = self._folder / role_file(Root.type)
        if not handed_out.exists() or handed_out.read_bytes() != root.to_bytes():
            write_atomic(handed_out, root.to_bytes())
        return (*signed, Timestamp.type)

    def _sign(
        self, metadata: Metadata[Timestamp] | Metadata[Snapshot] | Metadata[Targets], root: Metadata[Root], now_s: float
    ) -> bytes:
        signed = metadata.signed
        signed.version = self.next_version(signed)
        signed.expires = expires_at(now_s, self._expiry.of(signed.type))
        if isinstance(signed, Timestamp):
            signed.unrecognized_fields[SIGNED_TIME] = int(now_s)
        metadata.sign(self._signer(signed.type, root.signed.roles[signed.type].keyids))
        if not is_signed(root.signed, metadata):
            raise KeysError(f"{signed.type}: the root does not name the key that the hub has for it")
        return metadata.to_bytes()

    def _signer(self, role: str, keyids: list[str]) -> CryptoSigner:
        """The one whose key is named; while keys are being replaced there are two."""
        staged = self._signers.staged(role)
        return staged if staged is not None and staged.public_key.keyid in keyids else self._signers[role]

    def _envelope(self, body: bytes) -> bytes:
        named = director_of(self.targets_metadata()).keyids
        signer = self._signer(DIRECTOR, named)
        if signer.public_key.keyid not in named:
            raise KeysError(f"{DIRECTOR}: the repository does not name the key that the hub has for it")
        signature = signer.sign(body)
        envelope = encode(Envelope(msgspec.Raw(body), [Signature(signature.keyid, signature.signature)]))
        if len(envelope) > MAX_ENVELOPE_BYTES:
            raise MessageError(f"envelope: expected at most {MAX_ENVELOPE_BYTES} bytes, got {len(envelope)}")
        return envelope

    # ------------------------------------------------------------------------------------------------- files

    def _bundle(self, changed: Mapping[str, bytes]) -> bytes:
        """The metadata message as it would be with these files, to know before a change whether it still fits."""
        roots = {name: self._read(name) for name in self._root_names()}
        roots |= {name: data for name, data in changed.items() if name.endswith(f".{role_file(Root.type)}")}
        files = {name: roots[name] for name in self._travelling_roots(roots)}
        timestamp = changed.get(role_file(Timestamp.type)) or self._read(role_file(Timestamp.type))
        files[role_file(Timestamp.type)] = timestamp
        name = role_file(Snapshot.type, parse(Timestamp, timestamp, "timestamp").signed.snapshot_meta.version)
        files[name] = changed.get(name) or self._read(name)
        meta = parse(Snapshot, files[name], name).signed.meta
        name = role_file(Targets.type, meta[role_file(Targets.type)].version)
        files[name] = changed.get(name) or self._read(name)
        try:
            return encode_metadata(files)
        except MessageError as error:
            raise GateError(f"the repository has no room for more: {error}; remove old bundles first") from error

    @staticmethod
    def _travelling_roots(roots: Mapping[str, bytes]) -> list[str]:
        """The newest roots, as many as take no more than half of the message. The newest two always."""
        names = sorted(roots, key=lambda name: int(name.split(".", maxsplit=1)[0]))[-MAX_ROOTS:]
        while len(names) > 2:
            data = b"".join(roots[name] for name in names)
            if 2 * len(data) <= MAX_METADATA_INFLATED_BYTES and 2 * len(zlib.compress(data, 9)) <= MAX_METADATA_BYTES:
                break
            names = names[1:]
        return names

    def _root_names(self) -> list[str]:
        names: list[str] = []
        while (self._folder / role_file(Root.type, len(names) + 1)).exists():
            names.append(role_file(Root.type, len(names) + 1))
        if not names:
            raise KeysError(f"{self._folder}: expected 1.root.json; `cloud-hub keys init` makes a repository")
        return names

    def _timestamp(self) -> Metadata[Timestamp]:
        return self._load(Timestamp, role_file(Timestamp.type))

    def _snapshot(self) -> Metadata[Snapshot]:
        return self._load(Snapshot, role_file(Snapshot.type, self._timestamp().signed.snapshot_meta.version))

    def targets_metadata(self) -> Metadata[Targets]:
        """The current targets. Raises: KeysError."""
        version = self._snapshot().signed.meta[role_file(Targets.type)].version
        return self._load(Targets, role_file(Targets.type, version))

    def _load(self, kind: type[S], name: str) -> Metadata[S]:
        return parse(kind, self._read(name), str(self._folder / name))

    def _read(self, name: str) -> bytes:
        try:
            return (self._folder / name).read_bytes()
        except OSError as error:
            raise KeysError(f"{self._folder / name}: the repository is not whole: {error}") from error

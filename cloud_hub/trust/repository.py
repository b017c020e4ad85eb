"""The TUF repository: which bundles exist, signed so that gateways can tell, whoever relays it.

Layout of the folder, with consistent snapshots as in the TUF specification: `N.root.json`, `N.targets.json`,
`N.snapshot.json`, `timestamp.json`, and `root.json`, a copy of the newest root to hand to gateways. A change writes the
new versions first and `timestamp.json` last: that rename is the moment at which it counts, and what a crash leaves
behind before it is overwritten by the next change.

The role `director` is delegated by `targets` for the paths `wants/*`. Its key signs wants and commands, which travel
outside the metadata, so the role has no metadata file of its own: nothing that a stolen director key signs can name
a new target, it can only choose among those that `targets` has signed.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec
from securesystemslib.signer import CryptoSigner, Key
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from cloud_hub.errors import GateError, KeysError, NotFoundError
from cloud_hub.trust.files import locked, write_atomic
from models.bundle.archive import SUFFIX
from models.bundle.manifest import Manifest
from models.bundle.metadata import encode_metadata
from models.contract.messages import (
    MAX_ENVELOPE_BYTES,
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

DIRECTOR = "director"
ONLINE_ROLES = (Timestamp.type, Snapshot.type, Targets.type, DIRECTOR)
RESERVED_SLOT = "wants"
_DAY_S = 86_400

S = TypeVar("S", Root, Timestamp, Snapshot, Targets)


@dataclass(frozen=True, slots=True)
class Expiry:
    """How long what is signed stays valid, in days. All but the root is signed anew at half of it by `refresh`."""

    timestamp_days: float = 7
    snapshot_days: float = 30
    targets_days: float = 365
    root_days: float = 3650

    def of(self, role: str) -> float:
        """Days for a role."""
        return float(getattr(self, f"{role}_days"))


class Signers(ABC):
    """Where signatures come from: files for now, a token or another machine for whoever needs it."""

    @abstractmethod
    def __getitem__(self, role: str) -> CryptoSigner:
        """The signer of a role. Raises: KeysError."""


def expires_at(now_s: float, days: float) -> datetime:
    """The moment `days` after `now_s`, in whole seconds as TUF wants it."""
    return datetime.fromtimestamp(int(now_s + days * _DAY_S), UTC)


def role_file(role: str, version: int | None = None) -> str:
    """The name of a role's file; `timestamp` alone has no version in it."""
    return f"{role}.json" if version is None else f"{version}.{role}.json"


def target_path(manifest: Manifest, sha256: str) -> str:
    """The TUF target path of a bundle: slot, version, and enough of the digest to tell rebuilds apart."""
    return f"{manifest.slot}/{manifest.version}-{sha256[:8]}{SUFFIX}"


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

    def root_expires_s(self) -> float:
        """When the root expires; only the offline keys can renew it."""
        return self._root().signed.expires.timestamp()

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
        return dict(self._targets().signed.targets)

    # ------------------------------------------------------------------------------------------------- changes

    def create(self, director: Key, now_s: float) -> None:
        """Sign the first, empty targets, snapshot and timestamp. The root must be there."""
        role = DelegatedRole(DIRECTOR, [director.keyid], 1, terminating=True, paths=[f"{RESERVED_SLOT}/*"])
        delegations = Delegations({director.keyid: director}, {DIRECTOR: role})
        targets, snapshot, timestamp = (
            Metadata(Targets(delegations=delegations)),
            Metadata(Snapshot()),
            Metadata(Timestamp()),
        )
        for signed in (targets.signed, snapshot.signed, timestamp.signed):
            signed.version = 0  # signing makes it 1
        self._commit(now_s, timestamp, snapshot, targets)

    def add_bundle(self, manifest: Manifest, sha256: str, length: int, now_s: float) -> str:
        """Sign for a bundle; nothing changes when it is there already.

        Returns: its target path.
        Raises:  GateError: the slot's name is reserved, the path is taken by another file, or no room is left.
        """
        if manifest.slot == RESERVED_SLOT:
            raise GateError(f"slot {manifest.slot!r}: this name is reserved; choose another slot")
        path = target_path(manifest, sha256)
        target = TargetFile(length, {"sha256": sha256}, path, {"custom": _facts(manifest)})
        with locked(self._folder):
            targets = self._targets()
            known = targets.signed.targets.get(path)
            if known == target:
                return path
            if known is not None:
                raise GateError(f"target {path}: taken by {known.hashes}, {known.length} bytes; choose another version")
            targets.signed.targets[path] = target
            self._commit(now_s, self._timestamp(), self._snapshot(), targets)
        logger.info("signed for %s (%s, %d bytes)", path, sha256, length)
        return path

    def remove_bundle(self, path: str, now_s: float) -> None:
        """No longer sign for a bundle; gateways that run it go on, none can install it. Raises: NotFoundError."""
        with locked(self._folder):
            targets = self._targets()
            if targets.signed.targets.pop(path, None) is None:
                raise NotFoundError(f"target {path}: not in the repository")
            self._commit(now_s, self._timestamp(), self._snapshot(), targets)
        logger.info("no longer signing for %s", path)

    def refresh(self, now_s: float) -> tuple[str, ...]:
        """Sign anew what is past half of its life.

        Returns: the roles that were signed; empty when nothing was due.
        """
        with locked(self._folder):
            timestamp, snapshot, targets = self._timestamp(), self._snapshot(), self._targets()
            due_targets = targets if self._due(targets.signed, now_s) else None
            due_snapshot = snapshot if due_targets or self._due(snapshot.signed, now_s) else None
            if due_snapshot is None and not self._due(timestamp.signed, now_s):
                return ()
            signed = self._commit(now_s, timestamp, due_snapshot, due_targets)
        logger.info("signed anew: %s", ", ".join(signed))
        return signed

    def _due(self, signed: Timestamp | Snapshot | Targets, now_s: float) -> bool:
        return signed.expires.timestamp() - now_s < self._expiry.of(signed.type) * _DAY_S / 2

    def _commit(
        self,
        now_s: float,
        timestamp: Metadata[Timestamp],
        snapshot: Metadata[Snapshot] | None,
        targets: Metadata[Targets] | None,
    ) -> tuple[str, ...]:
        """Sign the given roles as their next versions, inner ones first, and write them; nothing when one fails."""
        root = self._root()
        files: dict[str, bytes] = {}
        signed = []
        if targets is not None and snapshot is not None:
            data = self._sign(targets, root, now_s)
            snapshot.signed.meta[role_file(Targets.type)] = _meta(targets, data)
            files[role_file(Targets.type, targets.signed.version)] = data
            signed.append(Targets.type)
        if snapshot is not None:
            data = self._sign(snapshot, root, now_s)
            timestamp.signed.snapshot_meta = _meta(snapshot, data)
            files[role_file(Snapshot.type, snapshot.signed.version)] = data
            signed.append(Snapshot.type)
        files[role_file(Timestamp.type)] = self._sign(timestamp, root, now_s)
        self._bundle(files)
        for name, data in files.items():
            write_atomic(self._folder / name, data)
        return (*signed, Timestamp.type)

    def _sign(
        self, metadata: Metadata[Timestamp] | Metadata[Snapshot] | Metadata[Targets], root: Metadata[Root], now_s: float
    ) -> bytes:
        signed = metadata.signed
        signed.version += 1
        signed.expires = expires_at(now_s, self._expiry.of(signed.type))
        metadata.sign(self._signers[signed.type])
        try:
            root.signed.verify_delegate(signed.type, metadata.signed_bytes, metadata.signatures)
        except RepositoryError as error:
            raise KeysError(f"{signed.type}: the root does not name the key that the hub has for it") from error
        return metadata.to_bytes()

    def _envelope(self, body: bytes) -> bytes:
        signer = self._signers[DIRECTOR]
        delegations = self._targets().signed.delegations
        role = delegations.roles.get(DIRECTOR) if delegations is not None and delegations.roles is not None else None
        if role is None or signer.public_key.keyid not in role.keyids:
            raise KeysError(f"{DIRECTOR}: the repository does not name the key that the hub has for it")
        signature = signer.sign(body)
        envelope = encode(Envelope(msgspec.Raw(body), [Signature(signature.keyid, signature.signature)]))
        if len(envelope) > MAX_ENVELOPE_BYTES:
            raise MessageError(f"envelope: expected at most {MAX_ENVELOPE_BYTES} bytes, got {len(envelope)}")
        return envelope

    # ------------------------------------------------------------------------------------------------- files

    def _bundle(self, changed: Mapping[str, bytes]) -> bytes:
        """The metadata message as it would be with these files, to know before a change whether it still fits."""
        files = {name: self._read(name) for name in self._root_names()}
        timestamp = changed.get(role_file(Timestamp.type)) or self._read(role_file(Timestamp.type))
        files[role_file(Timestamp.type)] = timestamp
        name = role_file(Snapshot.type, _parse(Timestamp, timestamp, "timestamp").signed.snapshot_meta.version)
        files[name] = changed.get(name) or self._read(name)
        meta = _parse(Snapshot, files[name], name).signed.meta
        name = role_file(Targets.type, meta[role_file(Targets.type)].version)
        files[name] = changed.get(name) or self._read(name)
        try:
            return encode_metadata(files)
        except MessageError as error:
            raise GateError(f"the repository has no room for more: {error}; remove old bundles first") from error

    def _root_names(self) -> list[str]:
        names: list[str] = []
        while (self._folder / role_file(Root.type, len(names) + 1)).exists():
            names.append(role_file(Root.type, len(names) + 1))
        if not names:
            raise KeysError(f"{self._folder}: expected 1.root.json; `cloud-hub keys init` makes a repository")
        return names

    def _root(self) -> Metadata[Root]:
        return self._load(Root, self._root_names()[-1])

    def _timestamp(self) -> Metadata[Timestamp]:
        return self._load(Timestamp, role_file(Timestamp.type))

    def _snapshot(self) -> Metadata[Snapshot]:
        return self._load(Snapshot, role_file(Snapshot.type, self._timestamp().signed.snapshot_meta.version))

    def _targets(self) -> Metadata[Targets]:
        version = self._snapshot().signed.meta[role_file(Targets.type)].version
        return self._load(Targets, role_file(Targets.type, version))

    def _load(self, kind: type[S], name: str) -> Metadata[S]:
        return _parse(kind, self._read(name), str(self._folder / name))

    def _read(self, name: str) -> bytes:
        try:
            return (self._folder / name).read_bytes()
        except OSError as error:
            raise KeysError(f"{self._folder / name}: the repository is not whole: {error}") from error


def _parse(kind: type[S], data: bytes, where: str) -> Metadata[S]:
    try:
        metadata = Metadata[S].from_bytes(data)
    except RepositoryError as error:
        raise KeysError(f"{where}: not TUF metadata: {error}") from error
    if not isinstance(metadata.signed, kind):
        raise KeysError(f"{where}: expected {kind.type} metadata, got {metadata.signed.type}")
    return metadata


def _meta(metadata: Metadata[Snapshot] | Metadata[Targets], data: bytes) -> MetaFile:
    return MetaFile.from_data(metadata.signed.version, data, ["sha256"])


def _facts(manifest: Manifest) -> dict[str, int | str]:
    """What a gateway or a rollout may want to know before it fetches. TUF's canonical JSON has no floats."""
    return {
        "slot": manifest.slot,
        "version": manifest.version,
        "family": manifest.family,
        "format": manifest.schema,
        "features": manifest.features.version,
        "axes": len(manifest.input.axes),
        "window": manifest.input.window,
        "hop": manifest.input.hop,
        "rate_mhz": round(manifest.input.rate_hz * 1000),
    }

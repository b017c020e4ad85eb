"""TUF documents as this hub writes and checks them: names, life, entries of bundles, signatures held against a root."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from securesystemslib.signer import Key
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

from cloud_hub.errors import GateError, KeysError
from models.bundle.archive import SUFFIX
from models.bundle.manifest import Manifest

DIRECTOR = "director"
RESERVED_SLOT = "wants"
DAY_S = 86_400

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


def expires_at(now_s: float, days: float) -> datetime:
    """The moment `days` after `now_s`, in whole seconds as TUF wants it."""
    return datetime.fromtimestamp(int(now_s + days * DAY_S), UTC)


def role_file(role: str, version: int | None = None) -> str:
    """The name of a role's file; `timestamp` alone has no version in it."""
    return f"{role}.json" if version is None else f"{version}.{role}.json"


def target_path(manifest: Manifest, sha256: str) -> str:
    """The TUF target path of a bundle: slot, version, and enough of the digest to tell rebuilds apart."""
    return f"{manifest.slot}/{manifest.version}-{sha256[:8]}{SUFFIX}"


def target_of(manifest: Manifest, sha256: str, length: int) -> tuple[str, TargetFile]:
    """A bundle's target path and entry. Raises: GateError: the slot's name is reserved."""
    if manifest.slot == RESERVED_SLOT:
        raise GateError(f"slot {manifest.slot!r}: this name is reserved; choose another slot")
    path = target_path(manifest, sha256)
    return path, TargetFile(length, {"sha256": sha256}, path, {"custom": _facts(manifest)})


def name_director(targets: Targets, key: Key) -> None:
    """Make this key, and no other, the director's."""
    role = DelegatedRole(DIRECTOR, [key.keyid], 1, terminating=True, paths=[f"{RESERVED_SLOT}/*"])
    targets.delegations = Delegations({key.keyid: key}, {DIRECTOR: role})


def director_of(targets: Metadata[Targets]) -> DelegatedRole:
    """The delegation to the director. Raises: KeysError: there is none."""
    delegations = targets.signed.delegations
    role = delegations.roles.get(DIRECTOR) if delegations is not None and delegations.roles is not None else None
    if role is None:
        raise KeysError(f"targets {targets.signed.version}: expected a delegation to {DIRECTOR!r}, there is none")
    return role


def is_signed(root: Root, metadata: Metadata[Timestamp] | Metadata[Snapshot] | Metadata[Targets]) -> bool:
    """Whether enough of the keys that this root names have signed."""
    result = root.get_verification_result(metadata.signed.type, metadata.signed_bytes, metadata.signatures)
    return bool(result)


def check_signed(by: Root, role: str, metadata: Metadata[Root] | Metadata[Targets]) -> None:
    """Raise KeysError unless enough of the keys that this root names have signed."""
    try:
        by.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except RepositoryError as error:
        raise KeysError(f"{role} {metadata.signed.version}, held against root {by.version}: {error}") from error


def check_next(metadata: Metadata[Root] | Metadata[Targets], current: int, now_s: float) -> None:
    """Raise KeysError unless this is the next version, and still valid. Targets may leap ahead, roots never: gateways
    walk from each to the next.
    """
    signed = metadata.signed
    leaps = isinstance(signed, Targets) and signed.version > current + 1
    if signed.version != current + 1 and not leaps:
        raise KeysError(f"{signed.type}: expected version {current + 1}, got {signed.version}; export it anew")
    if signed.expires.timestamp() <= now_s:
        raise KeysError(f"{signed.type} {signed.version}: expired at {signed.expires.isoformat()}")


def parse(kind: type[S], data: bytes, where: str) -> Metadata[S]:
    """TUF metadata of one kind. Raises: KeysError: something else."""
    try:
        metadata = Metadata[S].from_bytes(data)
    except RepositoryError as error:
        raise KeysError(f"{where}: not TUF metadata: {error}") from error
    if not isinstance(metadata.signed, kind):
        raise KeysError(f"{where}: expected {kind.type} metadata, got {metadata.signed.type}")
    return metadata


def meta_of(metadata: Metadata[Snapshot] | Metadata[Targets], data: bytes) -> MetaFile:
    """What an outer role says about this file."""
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

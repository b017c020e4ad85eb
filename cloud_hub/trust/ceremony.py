"""Changing keys, and signing where no hub is: propose, sign, adopt.

A proposal is TUF metadata without enough signatures, in a file. `propose_*` makes it beside the repository, `sign_file`
adds one signature and needs nothing but the file and a key, `Repository.adopt` takes it once enough have signed. What
was proposed against a version that is no longer the newest is refused then; it is made anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.signer import CryptoSigner, Key, SSlibKey
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import TOP_LEVEL_ROLE_NAMES, Metadata, Root, TargetFile, Targets

from cloud_hub.errors import KeysError
from cloud_hub.trust.documents import check_signed, expires_at, name_director
from cloud_hub.trust.files import write_atomic
from cloud_hub.trust.keys import MAX_ROOT_KEYS
from cloud_hub.trust.repository import Repository

MAX_PROPOSAL_BYTES = 262_144
SigningKey = CryptoSigner
PublicKey = Key


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a file would have one sign, for people to read before they do. `signed_by`: key ids."""

    role: str
    version: int
    expires: str
    keys: Mapping[str, tuple[str, ...]]
    targets: tuple[str, ...]
    signed_by: tuple[str, ...]


def propose_root(
    repository: Repository,
    now_s: float,
    days: float,
    keys: Mapping[str, Sequence[Key]] | None = None,
    root_threshold: int | None = None,
) -> Metadata[Root]:
    """The next root, unsigned.

    Args:   keys: role to the keys that take the place of all it has; other roles stay. root_threshold: how many root
            keys must sign from then on, as before if None.
    Raises: KeysError: a role that the root does not know, or a threshold that its keys cannot meet.
    """
    root = repository.root()
    signed = root.signed
    signed.version += 1
    signed.expires = expires_at(now_s, days)
    for role, fresh in (keys or {}).items():
        if role not in TOP_LEVEL_ROLE_NAMES:
            raise KeysError(f"{role}: expected a role of the root: {', '.join(sorted(TOP_LEVEL_ROLE_NAMES))}")
        for keyid in list(signed.roles[role].keyids):
            signed.revoke_key(keyid, role)
        for key in fresh:
            signed.add_key(key, role)
    threshold = root_threshold or signed.roles[Root.type].threshold
    available = len(signed.roles[Root.type].keyids)
    if not 1 <= threshold <= available <= MAX_ROOT_KEYS:
        raise KeysError(f"root: expected 1 <= threshold <= keys <= {MAX_ROOT_KEYS}, got {threshold} of {available}")
    signed.roles[Root.type].threshold = threshold
    root.signatures.clear()
    return root


def propose_targets(
    repository: Repository,
    now_s: float,
    days: float,
    *,
    add: Mapping[str, TargetFile] | None = None,
    remove: Iterable[str] = (),
    director: Key | None = None,
) -> Metadata[Targets]:
    """The next targets, unsigned. Raises: KeysError: what is to be removed is not there."""
    targets = repository.targets_metadata()
    signed = targets.signed
    signed.version = repository.next_version(signed)
    signed.expires = expires_at(now_s, days)
    for path in remove:
        if signed.targets.pop(path, None) is None:
            raise KeysError(f"target {path}: not in the repository")
    signed.targets.update(add or {})
    if director is not None:
        name_director(signed, director)
    targets.signatures.clear()
    return targets


def write_proposal(path: Path, metadata: Metadata[Root] | Metadata[Targets]) -> None:
    """Write a proposal for others to sign."""
    write_atomic(path, metadata.to_bytes())


def read_proposal(path: Path) -> Metadata[Root] | Metadata[Targets]:
    """A proposal from a file. Raises: KeysError: not root or targets metadata."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_PROPOSAL_BYTES + 1)
        if len(data) > MAX_PROPOSAL_BYTES:
            raise KeysError(f"{path}: expected at most {MAX_PROPOSAL_BYTES} bytes")
        metadata: Metadata[Root] | Metadata[Targets] = Metadata.from_bytes(data)
    except (OSError, RepositoryError) as error:
        raise KeysError(f"{path}: expected root or targets metadata: {error}") from error
    if not isinstance(metadata.signed, Root | Targets):
        raise KeysError(f"{path}: expected root or targets metadata, got {metadata.signed.type}; it is signed online")
    return metadata


def describe(metadata: Metadata[Root] | Metadata[Targets]) -> Proposal:
    """What it says, in short."""
    signed = metadata.signed
    keys: dict[str, tuple[str, ...]] = {}
    targets: tuple[str, ...] = ()
    if isinstance(signed, Root):
        keys = {role: tuple(named.keyids) for role, named in sorted(signed.roles.items())}
    else:
        delegations = signed.delegations
        roles = delegations.roles if delegations is not None and delegations.roles is not None else {}
        keys = {role: tuple(named.keyids) for role, named in sorted(roles.items())}
        targets = tuple(f"{path} sha256 {t.hashes['sha256']}" for path, t in sorted(signed.targets.items()))
    return Proposal(
        signed.type, signed.version, signed.expires.isoformat(), keys, targets, tuple(sorted(metadata.signatures))
    )


def sign_file(path: Path, signer: CryptoSigner) -> Proposal:
    """Add one signature to a proposal. Nothing of the hub is needed. Raises: KeysError."""
    metadata = read_proposal(path)
    metadata.sign(signer, append=True)
    write_proposal(path, metadata)
    return describe(metadata)


def sign_root(metadata: Metadata[Root], current: Root, signers: Iterable[CryptoSigner]) -> None:
    """Sign a proposed root with these keys. Raises: KeysError: they are not enough, for the old root or the new one."""
    for signer in signers:
        metadata.sign(signer, append=True)
    check_signed(current, Root.type, metadata)
    check_signed(metadata.signed, Root.type, metadata)


def load_public_key(path: Path) -> Key:
    """An Ed25519 public key in PEM. Raises: KeysError."""
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise KeysError(f"{path}: expected a public key in PEM: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise KeysError(f"{path}: expected an Ed25519 public key, got {type(key).__name__}")
    return SSlibKey.from_crypto(key)


def adopt_files(repository: Repository, paths: Sequence[Path], now_s: float) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Adopt proposals that enough have signed: a root, targets, or both. Returns and raises as `Repository.adopt`."""
    root: Metadata[Root] | None = None
    targets: Metadata[Targets] | None = None
    for path in paths:
        metadata = read_proposal(path)
        if (root if metadata.signed.type == Root.type else targets) is not None:
            raise KeysError(f"{path}: expected at most one file of {metadata.signed.type}")
        if metadata.signed.type == Root.type:
            root = cast("Metadata[Root]", metadata)
        else:
            targets = cast("Metadata[Targets]", metadata)
    return repository.adopt(root, targets, now_s)

"""Ed25519 keys in PEM files (PKCS #8), mode 0600, and the first root of a new repository.

Who may sign what: *root* says which keys count (kept away from the hub), *targets* which bundles exist, *snapshot*
and *timestamp* that the view is whole and fresh, *director* which gateway shall run what, and commands.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import TOP_LEVEL_ROLE_NAMES, Key, Metadata, Role, Root

from cloud_hub.errors import KeysError
from cloud_hub.settings import Settings
from cloud_hub.trust.files import PRIVATE, locked, write_atomic
from cloud_hub.trust.repository import DIRECTOR, ONLINE_ROLES, Expiry, Repository, Signers, expires_at, role_file

MAX_ROOT_KEYS = 16


@dataclass(frozen=True, slots=True)
class Created:
    """What `create_repository` wrote. `root` goes to the gateways; `root_keys` go into a safe."""

    root: Path
    root_keys: tuple[Path, ...]
    online_keys: tuple[Path, ...]


def load_signer(path: Path) -> CryptoSigner:
    """The signer of one key file. Raises: KeysError: missing, unreadable or not an Ed25519 key."""
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeysError(f"{path}: expected an unencrypted PEM key: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeysError(f"{path}: expected an Ed25519 key, got {type(key).__name__}")
    return CryptoSigner(key)


class FileSigners(Signers):
    """Signers from the hub's key folder, loaded when first used: publishing a want needs the director's key alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loaded: dict[str, CryptoSigner] = {}

    def __getitem__(self, role: str) -> CryptoSigner:
        if role not in self._loaded:
            self._loaded[role] = load_signer(self._folder / f"{role}.pem")
        return self._loaded[role]


def hub_repository(settings: Settings) -> Repository:
    """The repository of the hub with these settings. Raises: KeysError: there is none."""
    expiry = Expiry(settings.timestamp_days, settings.snapshot_days, settings.targets_days)
    return open_repository(settings.repository_dir, settings.keys_dir, expiry)


def open_repository(folder: Path, keys: Path, expiry: Expiry | None = None) -> Repository:
    """The repository in `folder`, signing with the keys in `keys`. Raises: KeysError: there is none."""
    if not (folder / role_file("timestamp")).exists():
        raise KeysError(f"{folder}: no repository here; `cloud-hub keys init` makes one")
    return Repository(folder, FileSigners(keys), expiry or Expiry())


def create_repository(
    folder: Path,
    keys: Path,
    root_dir: Path,
    now_s: float,
    *,
    root_keys: int = 1,
    root_threshold: int = 1,
    expiry: Expiry | None = None,
) -> Created:
    """Make all keys and the first, empty repository.

    Args:   root_dir: for the root keys; elsewhere than the hub's own folders, best on removable media.
    Raises: KeysError: something is there already (nothing is ever overwritten), or the numbers do not fit.
    """
    expiry = expiry or Expiry()
    if not 1 <= root_threshold <= root_keys <= MAX_ROOT_KEYS:
        raise KeysError(
            f"root: expected 1 <= threshold <= keys <= {MAX_ROOT_KEYS}, got {root_threshold} of {root_keys}"
        )
    for online in (folder, keys):
        if root_dir.resolve().is_relative_to(online.resolve()):
            raise KeysError(f"{root_dir}: root keys do not belong beside the online keys, in {online}")
    root_paths = tuple(root_dir / f"root-{i}.pem" for i in range(1, root_keys + 1))
    online_paths = {role: keys / f"{role}.pem" for role in ONLINE_ROLES}
    with locked(folder):
        for path in (*root_paths, *online_paths.values(), *folder.glob("*.json")):
            if path.exists():
                raise KeysError(f"{path}: exists already and will not be overwritten")
        root_signers = [_generate(path) for path in root_paths]
        signers = {role: _generate(path) for role, path in online_paths.items()}
        root = _first_root(root_signers, root_threshold, signers, expires_at(now_s, expiry.root_days))
        write_atomic(folder / "1.root.json", root)
        write_atomic(folder / "root.json", root)
        Repository(folder, FileSigners(keys), expiry).create(signers[DIRECTOR].public_key, now_s)
    return Created(folder / "root.json", root_paths, tuple(online_paths.values()))


def _generate(path: Path) -> CryptoSigner:
    signer = CryptoSigner.generate_ed25519()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomic(path, signer.private_bytes, PRIVATE)
    return signer


def _first_root(
    root_signers: list[CryptoSigner], threshold: int, signers: dict[str, CryptoSigner], expires: datetime
) -> bytes:
    keys: dict[str, Key] = {s.public_key.keyid: s.public_key for s in (*root_signers, *signers.values())}
    roles = {
        role: Role([signers[role].public_key.keyid], 1) for role in sorted(TOP_LEVEL_ROLE_NAMES) if role != Root.type
    }
    roles[Root.type] = Role([s.public_key.keyid for s in root_signers], threshold)
    keys = {keyid: key for keyid, key in keys.items() if any(keyid in role.keyids for role in roles.values())}
    root = Metadata(Root(expires=expires, keys=keys, roles=roles, consistent_snapshot=True))
    for signer in root_signers:
        root.sign(signer, append=True)
    root.verify_delegate(Root.type, root)
    return root.to_bytes()

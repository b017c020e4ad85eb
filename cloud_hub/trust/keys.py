"""Ed25519 keys in PEM files (PKCS #8), mode 0600, and the first root of a new repository.

Who may sign what: *root* says which keys count (kept away from the hub), *targets* which bundles exist, *snapshot*
and *timestamp* that the view is whole and fresh, *director* which gateway shall run what, and commands.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import TOP_LEVEL_ROLE_NAMES, Key, Metadata, Role, Root, Targets

from cloud_hub.errors import KeysError
from cloud_hub.settings import Settings
from cloud_hub.trust.documents import DIRECTOR, Expiry, expires_at, role_file
from cloud_hub.trust.files import PRIVATE, locked, write_atomic
from cloud_hub.trust.repository import ONLINE_ROLES, Repository
from cloud_hub.trust.signers import Signers

MAX_ROOT_KEYS = 16
PASSPHRASE_ENV = "MILLWRIGHT_KEY_PASSPHRASE"  # noqa: S105 - a name
_ENCRYPTED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"

Passphrase = Callable[[Path], bytes | None]
"""Asked for the passphrase of a key file; None: there is none."""


@dataclass(frozen=True, slots=True)
class Created:
    """What `create_repository` wrote. `root` goes to the gateways, `root_keys` (and offline targets) to a safe."""

    root: Path
    root_keys: tuple[Path, ...]
    online_keys: tuple[Path, ...]


def load_signer(path: Path, passphrase: Passphrase | None = None) -> CryptoSigner:
    """The signer of one key file.

    Args:   passphrase: asked for the file's passphrase if it is encrypted.
    Raises: KeysError: missing, unreadable, encrypted with another passphrase or not an Ed25519 key.
    """
    try:
        data = path.read_bytes()
        secret = None
        if _ENCRYPTED in data:
            secret = passphrase(path) if passphrase is not None else None
            if secret is None:
                raise KeysError(f"{path}: is encrypted; give the passphrase in {PASSPHRASE_ENV} or in a file")
        key = load_pem_private_key(data, secret)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        expected = "another passphrase" if secret_expected(path) else "an unencrypted PEM key"
        raise KeysError(f"{path}: expected {expected}: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeysError(f"{path}: expected an Ed25519 key, got {type(key).__name__}")
    return CryptoSigner(key)


def secret_expected(path: Path) -> bool:
    """Whether a key file says that it is encrypted."""
    return path.is_file() and _ENCRYPTED in path.read_bytes()


def passphrase_from(file: Path | None) -> Passphrase:
    """Passphrases without a person: from the environment, else the first line of a file, else none."""

    def ask(path: Path) -> bytes | None:
        said = os.environ.get(PASSPHRASE_ENV)
        if said is None and file is not None:
            try:
                said = file.read_text(encoding="utf-8").split("\n", maxsplit=1)[0]
            except (OSError, UnicodeDecodeError) as error:
                raise KeysError(f"{file}: expected the passphrase of {path.name}: {error}") from error
        return said.encode() if said else None

    return ask


class FileSigners(Signers):
    """Signers from the hub's key folder, loaded when first used: publishing a want needs the director's key alone.

    `<role>.pem` signs; `<role>.next.pem` waits until the root, or targets, names its key.
    """

    def __init__(
        self, folder: Path, passphrase: Passphrase | None = None, loaded: Mapping[str, CryptoSigner] | None = None
    ) -> None:
        self._folder = folder
        self._passphrase = passphrase
        self._given = {self._path(role): signer for role, signer in (loaded or {}).items()}
        self._loaded: dict[Path, tuple[tuple[int, int], CryptoSigner]] = {}

    def _path(self, role: str) -> Path:
        return self._folder / f"{role}.pem"

    def _staged_path(self, role: str) -> Path:
        return self._folder / f"{role}.next.pem"

    def __getitem__(self, role: str) -> CryptoSigner:
        return self._load(self._path(role))

    def staged(self, role: str) -> CryptoSigner | None:
        """See `Signers`."""
        path = self._staged_path(role)
        return self._load(path) if path.exists() else None

    def stage(self, role: str) -> CryptoSigner:
        """Make a key that is to replace a role's; again, another one."""
        path = self._staged_path(role)
        path.unlink(missing_ok=True)
        return make_key(path, self._passphrase)

    def promote(self, role: str) -> None:
        """See `Signers`."""
        self._staged_path(role).replace(self._path(role))

    def online(self, role: str) -> bool:
        """See `Signers`."""
        return self._path(role).exists() or self._staged_path(role).exists()

    def _load(self, path: Path) -> CryptoSigner:
        if path in self._given and not path.exists():
            return self._given[path]
        # A running hub must see that somebody has replaced a key beside it.
        now = _identity(path)
        known = self._loaded.get(path)
        if known is None or known[0] != now:
            known = self._loaded[path] = (now, load_signer(path, self._passphrase))
        return known[1]


def _identity(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise KeysError(f"{path}: expected a key: {error.strerror}") from error
    return found.st_ino, found.st_mtime_ns


def hub_repository(settings: Settings) -> Repository:
    """The repository of the hub with these settings. Raises: KeysError: there is none."""
    expiry = Expiry(settings.timestamp_days, settings.snapshot_days, settings.targets_days)
    passphrase = passphrase_from(settings.keys_passphrase_file)
    return open_repository(settings.repository_dir, settings.keys_dir, expiry, passphrase)


def open_repository(
    folder: Path, keys: Path, expiry: Expiry | None = None, passphrase: Passphrase | None = None
) -> Repository:
    """The repository in `folder`, signing with the keys in `keys`. Raises: KeysError: there is none."""
    if not (folder / role_file("timestamp")).exists():
        raise KeysError(f"{folder}: no repository here; `cloud-hub keys init` makes one")
    return Repository(folder, FileSigners(keys, passphrase), expiry or Expiry())


def create_repository(
    folder: Path,
    keys: Path,
    root_dir: Path,
    now_s: float,
    *,
    root_keys: int = 1,
    root_threshold: int = 1,
    expiry: Expiry | None = None,
    offline_targets: bool = False,
    root_passphrase: Passphrase | None = None,
    passphrase: Passphrase | None = None,
) -> Created:
    """Make all keys and the first, empty repository.

    Args:   root_dir: for the root keys; elsewhere than the hub's own folders, best on removable media.
            offline_targets: the key of targets goes there too, and every bundle is signed for elsewhere.
            root_passphrase, passphrase: for the keys in `root_dir`, and for those that the hub signs with.
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
    paths = {role: keys / f"{role}.pem" for role in ONLINE_ROLES}
    if offline_targets:
        paths[Targets.type] = root_dir / f"{Targets.type}.pem"
    with locked(folder):
        for path in (*root_paths, *paths.values(), *folder.glob("*.json")):
            if path.exists():
                raise KeysError(f"{path}: exists already and will not be overwritten")
        root_signers = [make_key(path, root_passphrase) for path in root_paths]
        signers = {
            role: make_key(path, root_passphrase if path.parent == root_dir else passphrase)
            for role, path in paths.items()
        }
        root = _first_root(root_signers, root_threshold, signers, expires_at(now_s, expiry.root_days))
        write_atomic(folder / "1.root.json", root)
        write_atomic(folder / "root.json", root)
        Repository(folder, FileSigners(keys, passphrase, signers), expiry).create(signers[DIRECTOR].public_key, now_s)
    safe = (*root_paths, *(p for p in paths.values() if p.parent == root_dir))
    return Created(folder / "root.json", safe, tuple(p for p in paths.values() if p.parent != root_dir))


def make_key(path: Path, passphrase: Passphrase | None = None) -> CryptoSigner:
    """Make a key and write it, encrypted if there is a passphrase. Raises: KeysError: the file is there already."""
    if path.exists():
        raise KeysError(f"{path}: exists already and will not be overwritten")
    secret = passphrase(path) if passphrase is not None else None
    key = Ed25519PrivateKey.generate()
    data = key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(secret) if secret else NoEncryption()
    )
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomic(path, data, PRIVATE)
    return CryptoSigner(key)


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

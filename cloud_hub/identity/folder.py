"""The folder `identity/` in the hub's home, and the root key that is not in it.

root.crt issuing.crt services.crt    certificates
issuing.key services.key             keys, mode 0600
hub.pem                              key and certificate of the hub's own connections, mode 0600
api.pem                              key and certificate of the API's listener, mode 0600 (with `api_names`)
issuing-*.crt issuing-*.key          authorities that were replaced: they still sign their revocation lists
root-crl.pem                         the root's list of revoked authorities, then their certificates
crl.pem                              all current revocation lists, for the broker
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from cloud_hub.errors import KeysError
from cloud_hub.identity.authority import (
    Authority,
    fingerprint,
    key_pem,
    load_certificate,
    load_key,
    make_issuing,
    make_root,
    make_services,
    new_key,
    pem,
)
from cloud_hub.trust.files import PRIVATE, locked, write_atomic

ROOT_KEY = "ca-root.key"
ROOT_DAYS, ISSUING_DAYS, HUB_DAYS = 7300, 1825, 365
MIN_PASSPHRASE = 12


@dataclass(frozen=True, slots=True)
class IdentityFolder:
    """Paths and loading."""

    path: Path
    fleet: str

    @property
    def root(self) -> Path:
        """The root's certificate."""
        return self.path / "root.crt"

    @property
    def hub_pem(self) -> Path:
        """Key and certificate of the hub's connections."""
        return self.path / "hub.pem"

    @property
    def api_pem(self) -> Path:
        """Key and certificate of the API's listener, when the hub issues it."""
        return self.path / "api.pem"

    @property
    def services(self) -> Path:
        """The certificate that the broker's listener for the hub trusts."""
        return self.path / "services.crt"

    @property
    def crl(self) -> Path:
        """The current revocation list."""
        return self.path / "crl.pem"

    @property
    def root_crl(self) -> Path:
        """The root's list of revoked authorities."""
        return self.path / "root-crl.pem"

    @property
    def hub_name(self) -> str:
        """The common name of the hub's certificate."""
        return f"hub-{self.fleet}"

    def issuing_authority(self) -> Authority:
        """Raises: KeysError: there is none, or its files do not belong together."""
        return self._load("issuing", load_certificate(self.root) if self._exists() else None)

    def services_authority(self) -> Authority:
        """Raises: KeysError: there is none, or its files do not belong together."""
        return self._load("services", None)

    def issuing_authorities(self) -> list[Authority]:
        """The current one, then those before it, which still answer for what they issued. Raises: KeysError."""
        names = ["issuing", *(path.stem for path in self.replaced())]
        above = load_certificate(self.root) if self._exists() else None
        return [self._load(name, above) for name in names]

    def replaced(self) -> list[Path]:
        """The certificates of authorities that were replaced."""
        return sorted(self.path.glob("issuing-*.crt"))

    def root_authority(self, root_dir: Path, passphrase: bytes) -> Authority:
        """The root, with its key from where that is kept. Raises: KeysError."""
        certificate = load_certificate(self.root) if self._exists() else None
        assert certificate is not None  # noqa: S101 - _exists raises
        key = load_key(root_dir / ROOT_KEY, passphrase)
        if key.public_key() != certificate.public_key():
            raise KeysError(f"{root_dir / ROOT_KEY}: is the key of another root than {self.root}")
        return Authority(certificate, key)

    def _exists(self) -> bool:
        if not self.root.exists():
            raise KeysError(f"{self.path}: no certificate authority here; `cloud-hub identity init` makes one")
        return True

    def _load(self, name: str, above: x509.Certificate | None) -> Authority:
        self._exists()
        certificate, key = load_certificate(self.path / f"{name}.crt"), load_key(self.path / f"{name}.key")
        if certificate.public_key() != key.public_key():
            raise KeysError(f"{self.path / name}.key: belongs to another certificate than {name}.crt")
        return Authority(certificate, key, above)

    def create(self, root_dir: Path, passphrase: bytes, now_s: float) -> Path:
        """Make everything; nothing is ever overwritten. Returns: the root key's file.

        Raises: KeysError: something is there already, the root key would lie beside the others, or the passphrase is
                too short.
        """
        _check_passphrase(passphrase)
        if root_dir.resolve().is_relative_to(self.path.resolve()):
            raise KeysError(f"{root_dir}: the root key does not belong beside the issuing key, in {self.path}")
        root_key = root_dir / ROOT_KEY
        with locked(self.path):
            for path in (root_key, self.root):
                if path.exists():
                    raise KeysError(f"{path}: exists already and will not be overwritten")
            root = make_root(self.fleet, now_s, ROOT_DAYS)
            root_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomic(root_key, key_pem(root.key, passphrase), PRIVATE)
            self._write("issuing", make_issuing(root, self.fleet, now_s, ISSUING_DAYS))
            self._write("services", make_services(self.fleet, now_s, ROOT_DAYS))
            write_atomic(self.root, pem(root.certificate).encode())  # last: it says that all is there
        self.renew_hub(now_s)
        return root_key

    def reissue(self, root_dir: Path, passphrase: bytes, now_s: float) -> x509.Certificate:
        """A new issuing authority with a new key, below the same root. The one before goes on naming what it issued in
        its revocation list. Raises: KeysError.
        """
        root = self.root_authority(root_dir, passphrase)
        with locked(self.path):
            before = self.issuing_authority()
            self._write(f"issuing-{fingerprint(before.certificate)[:12]}", before)
            made = make_issuing(root, self.fleet, now_s, ISSUING_DAYS)
            self._write("issuing", made)
        return made.certificate

    def _write(self, name: str, authority: Authority) -> None:
        write_atomic(self.path / f"{name}.key", key_pem(authority.key), PRIVATE)
        write_atomic(self.path / f"{name}.crt", pem(authority.certificate).encode())

    def renew_hub(self, now_s: float) -> bool:
        """Issue the hub's own certificate anew when it is past two thirds of its life. Returns: whether it was."""
        if self.hub_pem.exists() and now_s < renewal_due_s(load_certificate(self.hub_pem)):
            return False
        key, authority = new_key(), self.services_authority()
        certificate = authority.issue_hub(key.public_key(), self.hub_name, self.fleet, now_s, HUB_DAYS)
        write_atomic(self.hub_pem, key_pem(key) + pem(certificate).encode(), PRIVATE)
        return True


def renewal_due_s(certificate: x509.Certificate) -> float:
    """When two thirds of a certificate's life are over, UTC seconds."""
    begin_s = certificate.not_valid_before_utc.timestamp()
    return begin_s + (certificate.not_valid_after_utc.timestamp() - begin_s) * 2 / 3


def _check_passphrase(passphrase: bytes) -> None:
    if len(passphrase) < MIN_PASSPHRASE:
        raise KeysError(f"passphrase: expected at least {MIN_PASSPHRASE} bytes, got {len(passphrase)}")

"""Certificate authorities and what they issue (RFC 5280), on P-256.

    root        self-signed; its key is encrypted and kept away from the hub; signs the issuing authority
    └── issuing     on the hub; gateways and brokers
    services    self-signed, on the hub; the hub's own connections

The hub's connections have a root of their own, because a broker tells certificates apart only by the root that it
trusts: its listener for the hub trusts `services` alone, so that no gateway's certificate opens it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cloud_hub.errors import KeysError
from models.contract.identity import REPLY_CONTEXT

DAY_S = 86_400
_BACKDATE_S = 3600  # gateways' clocks may be behind
_CLIENT, _SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH


@dataclass(frozen=True, slots=True)
class Revoked:
    """One line of a revocation list."""

    serial: int
    revoked_s: float


@dataclass(frozen=True, slots=True)
class Authority:
    """An authority that can sign. `above`: the certificate that signed its own, or None when it did so itself."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    above: x509.Certificate | None = None

    @property
    def chain_pem(self) -> str:
        """Its own certificate, then the root."""
        return "".join(map(pem, [self.certificate, *([self.above] if self.above is not None else [])]))

    def issue_gateway(
        self, public_key: ec.EllipticCurvePublicKey, gateway: str, fleet: str, now_s: float, days: float
    ) -> x509.Certificate:
        """A certificate for one gateway: its id is the common name, which brokers use as the user's name."""
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(f"urn:millwright:gateway:{fleet}:{gateway}")]
        return self._issue(public_key, gateway, names, _CLIENT, now_s, days)

    def issue_hub(
        self, public_key: ec.EllipticCurvePublicKey, name: str, fleet: str, now_s: float, days: float
    ) -> x509.Certificate:
        """A certificate for the hub's connections to the broker."""
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(f"urn:millwright:hub:{fleet}")]
        return self._issue(public_key, name, names, _CLIENT, now_s, days)

    def issue_server(
        self, public_key: ec.EllipticCurvePublicKey, hosts: Sequence[str], now_s: float, days: float
    ) -> x509.Certificate:
        """A certificate for a broker that is reached under these DNS names and addresses."""
        return self._issue(public_key, hosts[0][:64], [_host(host) for host in hosts], _SERVER, now_s, days)

    def _issue(
        self,
        public_key: ec.EllipticCurvePublicKey,
        name: str,
        others: list[x509.GeneralName],
        usage: x509.ObjectIdentifier,
        now_s: float,
        days: float,
    ) -> x509.Certificate:
        own = x509.SubjectKeyIdentifier.from_public_key(self.certificate.public_key())
        # What outlives its authority cannot be verified, and would be renewed too late.
        life_s = min(days * DAY_S, self.certificate.not_valid_after_utc.timestamp() - now_s)
        if life_s <= 0:
            raise KeysError(f"{self.certificate.subject.rfc4514_string()}: expired; `cloud-hub identity reissue`")
        builder = (
            _builder(_name(name), self.certificate.subject, public_key, now_s, life_s)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName(others), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own), critical=False)
        )
        return builder.sign(self.key, hashes.SHA256())

    def crl(self, revoked: Iterable[Revoked], number: int, now_s: float, days: float) -> bytes:
        """A revocation list in PEM. Brokers refuse everybody once the list that they have is over its date."""
        own = x509.SubjectKeyIdentifier.from_public_key(self.certificate.public_key())
        now = _moment(now_s)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(now)
            .next_update(now + timedelta(days=days))
            .add_extension(x509.CRLNumber(number), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own), critical=False)
        )
        for entry in revoked:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(entry.serial)
                .revocation_date(_moment(entry.revoked_s))
                .build()
            )
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def sign_reply(self, signed: bytes) -> str:
        """The signature under an answer, hexadecimal. Its context keeps it from being a certificate, or the reverse."""
        return self.key.sign(REPLY_CONTEXT + signed, ec.ECDSA(hashes.SHA256())).hex()


# ------------------------------------------------------------------------------------------------ making them


def make_root(fleet: str, now_s: float, days: float) -> Authority:
    """A root: self-signed, above one level of authorities."""
    return _self_signed(f"Millwright {fleet} root", now_s, days, path_length=1)


def make_services(fleet: str, now_s: float, days: float) -> Authority:
    """The authority of the hub's own connections: self-signed, above nothing but them."""
    return _self_signed(f"Millwright {fleet} services", now_s, days, path_length=0)


def make_issuing(root: Authority, fleet: str, now_s: float, days: float) -> Authority:
    """An authority below the root, above nothing but certificates."""
    key = new_key()
    end_s = min(now_s + days * DAY_S, root.certificate.not_valid_after_utc.timestamp())
    subject = _name(f"Millwright {fleet} issuing {_moment(now_s):%Y-%m-%d %H:%M:%S}")
    certificate = _sign_authority(
        subject, key.public_key(), root.certificate.subject, root.key, now_s, end_s - now_s, path_length=0
    )
    return Authority(certificate, key, root.certificate)


def _self_signed(name: str, now_s: float, days: float, *, path_length: int) -> Authority:
    key = new_key()
    subject = _name(name)
    certificate = _sign_authority(subject, key.public_key(), subject, key, now_s, days * DAY_S, path_length=path_length)
    return Authority(certificate, key)


def _sign_authority(
    subject: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now_s: float,
    life_s: float,
    *,
    path_length: int,
) -> x509.Certificate:
    builder = (
        _builder(subject, issuer, public_key, now_s, life_s)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    return builder.sign(key, hashes.SHA256())


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, now_s: float, life_s: float
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_moment(now_s - min(_BACKDATE_S, 0.1 * life_s)))
        .not_valid_after(_moment(now_s + life_s))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=signs, crl_sign=signs, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        try:
            return x509.DNSName(host)
        except ValueError as error:
            raise KeysError(f"host: expected a DNS name in ASCII or an IP address, got {host!r}") from error


def _moment(at_s: float) -> datetime:
    return datetime.fromtimestamp(int(at_s), UTC)


# ------------------------------------------------------------------------------------------------ files


def new_key() -> ec.EllipticCurvePrivateKey:
    """A fresh P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def pem(certificate: x509.Certificate) -> str:
    """As text."""
    return certificate.public_bytes(Encoding.PEM).decode()


def key_pem(key: ec.EllipticCurvePrivateKey, passphrase: bytes | None = None) -> bytes:
    """PKCS #8, encrypted when there is a passphrase."""
    how: KeySerializationEncryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how)


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of a certificate, hexadecimal."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def load_certificate(path: Path) -> x509.Certificate:
    """The first certificate in a file. Raises: KeysError."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise KeysError(f"{path}: expected a certificate in PEM: {error}") from error


def load_key(path: Path, passphrase: bytes | None = None) -> ec.EllipticCurvePrivateKey:
    """A P-256 key. Raises: KeysError: missing, another kind, or the passphrase does not open it."""
    try:
        key = load_pem_private_key(path.read_bytes(), passphrase)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeysError(f"{path}: the key cannot be read: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise KeysError(f"{path}: expected a P-256 key, got {type(key).__name__}")
    return key

"""What identity needs to remember, whoever keeps it: the store implements `IdentityStore`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class EnrolError(Exception):
    """A request is refused. `reason` is one of `models.contract.identity.Reason`; goes to the gateway, signed."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A single-use token. `public_key`: of its Ed25519 key, 32 bytes; `token_hash`: SHA-256 of that.

    `csr_sha256` and `used_s` are None until it is used.
    """

    token_hash: str
    public_key: bytes
    gateway: str
    created_s: float
    expires_s: float
    used_s: float | None = None
    csr_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class CertificateRecord:
    """One certificate of a gateway. `sha256`: of the certificate. `key_sha256`: of its public key. `chain`: PEM."""

    serial: str
    sha256: str
    key_sha256: str
    csr_sha256: str
    gateway: str
    issuer_sha256: str
    issued_s: float
    not_before_s: float
    not_after_s: float
    chain: str
    revoked_s: float | None = None
    revoked_why: str | None = None


class IdentityStore(Protocol):
    """Tokens and certificates."""

    def add_token(self, token: TokenRecord) -> None:
        """Remember a token; unused ones of the same gateway are void from now on."""

    def token(self, token_hash: str) -> TokenRecord | None:
        """A token, used or not."""

    def use_token(
        self, token_hash: str, csr_sha256: str, now_s: float, issue: Callable[[], CertificateRecord]
    ) -> CertificateRecord:
        """Spend a token and keep what `issue` makes; older certificates of the gateway are revoked as superseded.

        The same CSR again gives the same certificate. Raises: EnrolError: token_used, token_expired, token_unknown,
        csr_key (its key was used before), certificate_revoked.
        """

    def renew(
        self, current_sha256: str, csr_sha256: str, now_s: float, issue: Callable[[], CertificateRecord]
    ) -> CertificateRecord:
        """Keep what `issue` makes beside the current one. The same CSR again gives the same certificate.

        Raises: EnrolError: certificate_unknown, certificate_revoked, certificate_expired, csr_key.
        """

    def certificate(self, sha256: str) -> CertificateRecord | None:
        """A certificate by its digest."""

    def certificates(self, gateway: str | None = None) -> list[CertificateRecord]:
        """All certificates, or those of one gateway, newest first."""

    def revoke(self, gateway: str, now_s: float, why: str) -> list[CertificateRecord]:
        """Revoke every certificate of a gateway and void its tokens. Returns: those that were valid until now."""

    def revoked(self, issuer_sha256: str, now_s: float) -> list[CertificateRecord]:
        """What a revocation list must name: revoked, and not expired."""

"""Tokens and certificates in the database: implements `cloud_hub.identity.records.IdentityStore`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from cloud_hub.accounts.permissions import Principal
from cloud_hub.identity.records import CertificateRecord, EnrolError, TokenRecord
from cloud_hub.settings import Settings
from cloud_hub.store import audit
from cloud_hub.store import tables as t
from cloud_hub.store.database import Database, open_database

_TOKEN_FIELDS = tuple(TokenRecord.__slots__)
_CERTIFICATE_FIELDS = tuple(CertificateRecord.__slots__)


class SqlIdentities:
    """See `IdentityStore`. Give it the settings (it opens and migrates the database) or a database that is open.

    Whatever spends, checks and keeps does so in one transaction, so that a token is good once, however many ask.
    """

    def __init__(self, source: Settings | Database, by: Principal | None = None) -> None:
        """Args:   by: who stands in the audit log for tokens and revocations.
        Raises: SettingsError: the database cannot be used.
        """
        self._by = by
        self._database = source if isinstance(source, Database) else open_database(source)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def add_token(self, token: TokenRecord) -> None:
        """See `IdentityStore`."""
        with self._database.write() as session:
            _void_tokens(session, token.gateway, token.created_s)
            session.add(t.EnrolToken(**{name: getattr(token, name) for name in _TOKEN_FIELDS}))
            if self._by is not None:
                audit.record(
                    session, self._by, "enrolment.create", f"gateway:{token.gateway}",
                    before=None, after={"expires_s": token.expires_s}, now_s=token.created_s,
                )  # fmt: skip

    def token(self, token_hash: str) -> TokenRecord | None:
        """See `IdentityStore`."""
        with self._database.read() as session:
            row = session.get(t.EnrolToken, token_hash)
            return TokenRecord(*(getattr(row, name) for name in _TOKEN_FIELDS)) if row is not None else None

    def tokens(self) -> list[TokenRecord]:
        """All tokens, newest first."""
        query = select(t.EnrolToken).order_by(t.EnrolToken.created_s.desc(), t.EnrolToken.token_hash)
        with self._database.read() as session:
            return [TokenRecord(*(getattr(r, n) for n in _TOKEN_FIELDS)) for r in session.scalars(query)]

    def use_token(
        self, token_hash: str, csr_sha256: str, now_s: float, issue: Callable[[], CertificateRecord]
    ) -> CertificateRecord:
        """See `IdentityStore`."""
        with self._database.write() as session:
            token = session.get(t.EnrolToken, token_hash)
            if token is None:
                raise EnrolError("token_unknown", "token: this hub has issued no such token")
            if token.csr_sha256 == csr_sha256:
                return _again(session, csr_sha256)
            if token.used_s is not None:
                raise EnrolError("token_used", f"token for {token.gateway}: used already, at {token.used_s:.0f}")
            if now_s >= token.expires_s:
                raise EnrolError("token_expired", f"token for {token.gateway}: expired at {token.expires_s:.0f}")
            token.used_s, token.csr_sha256 = now_s, csr_sha256
            _revoke(session, token.gateway, now_s, "superseded")
            return _keep(session, issue())

    def renew(
        self, current_sha256: str, csr_sha256: str, now_s: float, issue: Callable[[], CertificateRecord]
    ) -> CertificateRecord:
        """See `IdentityStore`."""
        with self._database.write() as session:
            current = session.get(t.Certificate, current_sha256)
            if current is None:
                raise EnrolError("certificate_unknown", "certificate: this hub has not issued it")
            if current.revoked_s is not None:
                raise EnrolError("certificate_revoked", f"certificate of {current.gateway}: revoked")
            if now_s >= current.not_after_s:
                text = f"certificate of {current.gateway}: expired at {current.not_after_s:.0f}; enrol anew"
                raise EnrolError("certificate_expired", text)
            if session.scalar(select(t.Certificate.sha256).where(t.Certificate.csr_sha256 == csr_sha256)) is not None:
                return _again(session, csr_sha256)
            return _keep(session, issue())

    def certificate(self, sha256: str) -> CertificateRecord | None:
        """See `IdentityStore`."""
        with self._database.read() as session:
            row = session.get(t.Certificate, sha256)
            return _record(row) if row is not None else None

    def certificates(self, gateway: str | None = None) -> list[CertificateRecord]:
        """See `IdentityStore`."""
        query = select(t.Certificate).order_by(t.Certificate.issued_s.desc(), t.Certificate.sha256)
        if gateway is not None:
            query = query.where(t.Certificate.gateway == gateway)
        with self._database.read() as session:
            return [_record(row) for row in session.scalars(query)]

    def revoke(self, gateway: str, now_s: float, why: str) -> list[CertificateRecord]:
        """See `IdentityStore`."""
        with self._database.write() as session:
            _void_tokens(session, gateway, now_s)
            rows = _revoke(session, gateway, now_s, why)
            if self._by is not None:
                audit.record(
                    session, self._by, "gateway.revoke", f"gateway:{gateway}", before=None,
                    after={"why": why, "serials": [row.serial for row in rows]}, now_s=now_s,
                )  # fmt: skip
            return [_record(row) for row in rows]

    def revoked(self, issuer_sha256: str, now_s: float) -> list[CertificateRecord]:
        """See `IdentityStore`."""
        query = (
            select(t.Certificate)
            .where(
                t.Certificate.revoked_s.is_not(None),
                t.Certificate.issuer_sha256 == issuer_sha256,
                t.Certificate.not_after_s > now_s,
            )
            .order_by(t.Certificate.revoked_s, t.Certificate.serial)
        )
        with self._database.read() as session:
            return [_record(row) for row in session.scalars(query)]


def _void_tokens(session: Session, gateway: str, now_s: float) -> None:
    session.execute(
        update(t.EnrolToken)
        .where(t.EnrolToken.gateway == gateway, t.EnrolToken.used_s.is_(None), t.EnrolToken.expires_s > now_s)
        .values(expires_s=now_s)
    )


def _revoke(session: Session, gateway: str, now_s: float, why: str) -> list[t.Certificate]:
    query = select(t.Certificate).where(
        t.Certificate.gateway == gateway, t.Certificate.revoked_s.is_(None), t.Certificate.not_after_s > now_s
    )
    rows = list(session.scalars(query))
    for row in rows:
        row.revoked_s, row.revoked_why = now_s, why
    return rows


def _again(session: Session, csr_sha256: str) -> CertificateRecord:
    """What was issued for this request before."""
    row = session.scalar(select(t.Certificate).where(t.Certificate.csr_sha256 == csr_sha256))
    if row is None:
        raise EnrolError("certificate_unknown", "certificate: the one issued for this request is gone")
    if row.revoked_s is not None:
        raise EnrolError("certificate_revoked", f"certificate of {row.gateway}: revoked since it was issued")
    return _record(row)


def _keep(session: Session, made: CertificateRecord) -> CertificateRecord:
    if session.scalar(select(t.Certificate.sha256).where(t.Certificate.key_sha256 == made.key_sha256)) is not None:
        raise EnrolError("csr_key", "CSR: expected a fresh key, got one that has a certificate already")
    session.add(t.Certificate(**{name: getattr(made, name) for name in _CERTIFICATE_FIELDS}))
    return made


def _record(row: t.Certificate) -> CertificateRecord:
    return CertificateRecord(*(getattr(row, name) for name in _CERTIFICATE_FIELDS))

"""Enrolment tokens and certificates."""

from __future__ import annotations

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from cloud_hub.store.tables.base import ID, SHA256, Base


class EnrolToken(Base):
    """A single-use token: the public half of its key, never the secret."""

    __tablename__ = "enrol_tokens"
    __table_args__ = (Index(None, "gateway"),)

    token_hash: Mapped[str] = mapped_column(SHA256, primary_key=True)
    public_key: Mapped[bytes]
    gateway: Mapped[str] = mapped_column(ID)
    created_s: Mapped[float]
    expires_s: Mapped[float]
    used_s: Mapped[float | None]
    csr_sha256: Mapped[str | None] = mapped_column(SHA256)


class Certificate(Base):
    """A certificate that was issued to a gateway. Its gateway may never have been seen."""

    __tablename__ = "certificates"
    __table_args__ = (Index(None, "gateway", "issued_s"), Index(None, "revoked_s"))

    sha256: Mapped[str] = mapped_column(SHA256, primary_key=True)
    serial: Mapped[str] = mapped_column(String(40), unique=True)
    key_sha256: Mapped[str] = mapped_column(SHA256, unique=True)
    csr_sha256: Mapped[str] = mapped_column(SHA256, unique=True)
    gateway: Mapped[str] = mapped_column(ID)
    issuer_sha256: Mapped[str] = mapped_column(SHA256)
    issued_s: Mapped[float]
    not_before_s: Mapped[float]
    not_after_s: Mapped[float]
    chain: Mapped[str]
    revoked_s: Mapped[float | None]
    revoked_why: Mapped[str | None]

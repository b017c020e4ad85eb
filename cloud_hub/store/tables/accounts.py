"""People, their sessions, API tokens, one-time links. Of every secret only the SHA-256, of passwords argon2 hashes."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from cloud_hub.store.tables.base import ID, SHA256, WORD, Base


class Account(Base):
    """A person. Never deleted, only disabled: the audit log names them. `issuer`, `subject`: of single sign-on."""

    __tablename__ = "accounts"
    __table_args__ = (UniqueConstraint("issuer", "subject"),)

    name: Mapped[str] = mapped_column(ID, primary_key=True)
    full_name: Mapped[str] = mapped_column(String(200))
    role: Mapped[str] = mapped_column(WORD)
    password_hash: Mapped[str | None] = mapped_column(String(255))
    created_s: Mapped[float]
    created_by: Mapped[str] = mapped_column(String(200))
    disabled_s: Mapped[float | None]
    last_login_s: Mapped[float | None]
    issuer: Mapped[str | None] = mapped_column(String(255))
    subject: Mapped[str | None] = mapped_column(String(255))
    revision: Mapped[int]


class LoginSession(Base):
    """A sign-in, until it is idle for too long, too old, or ended."""

    __tablename__ = "login_sessions"
    __table_args__ = (Index(None, "account"), Index(None, "expires_s"))

    token_hash: Mapped[str] = mapped_column(SHA256, primary_key=True)
    account: Mapped[str] = mapped_column(ID, ForeignKey(Account.name))
    method: Mapped[str] = mapped_column(WORD)
    address: Mapped[str] = mapped_column(String(64))
    created_s: Mapped[float]
    seen_s: Mapped[float]
    expires_s: Mapped[float]


class LoginDevice(Base):
    """A browser from which somebody has signed in before: see `cloud_hub.accounts.throttle`."""

    __tablename__ = "login_devices"
    __table_args__ = (Index(None, "account"), Index(None, "expires_s"))

    token_hash: Mapped[str] = mapped_column(SHA256, primary_key=True)
    account: Mapped[str] = mapped_column(ID, ForeignKey(Account.name), primary_key=True)
    expires_s: Mapped[float]


class ApiToken(Base):
    """A token for programs. `account`: what its owner may not do, it may not either."""

    __tablename__ = "api_tokens"
    __table_args__ = (UniqueConstraint("token_hash"), Index(None, "account"), Index(None, "created_s", "id"))

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    token_hash: Mapped[str] = mapped_column(SHA256)
    name: Mapped[str] = mapped_column(String(200))
    account: Mapped[str | None] = mapped_column(ID, ForeignKey(Account.name))
    scopes: Mapped[list[str]]
    created_s: Mapped[float]
    created_by: Mapped[str] = mapped_column(String(200))
    expires_s: Mapped[float]
    last_used_s: Mapped[float | None]
    revoked_s: Mapped[float | None]


class AccountLink(Base):
    """A one-time link: `account` sets a new password by it; without one it makes an administrator."""

    __tablename__ = "account_links"
    __table_args__ = (Index(None, "account"),)

    token_hash: Mapped[str] = mapped_column(SHA256, primary_key=True)
    kind: Mapped[str] = mapped_column(WORD)
    account: Mapped[str | None] = mapped_column(ID, ForeignKey(Account.name))
    created_s: Mapped[float]
    created_by: Mapped[str] = mapped_column(String(200))
    expires_s: Mapped[float]
    used_s: Mapped[float | None]


class IdempotencyKey(Base):
    """What a caller's POST was answered with, so that the same again changes nothing: `cloud_hub.api.idempotency`."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index(None, "created_s"),)

    who: Mapped[str] = mapped_column(String(220), primary_key=True)
    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    request_sha256: Mapped[str] = mapped_column(SHA256)
    created_s: Mapped[float]
    status: Mapped[int | None]
    media_type: Mapped[str | None] = mapped_column(String(200))
    body: Mapped[bytes | None]

"""Who is told of what happens, and what is on its way to them."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from cloud_hub.store.tables.base import BIG_ID, ID, WORD, Base


class Hook(Base):
    """A receiver: a webhook (`url`) or mail boxes (`addresses`). `kinds`, `machines`: what it wants, empty for all.

    The secrets sign what is sent, so they must be readable here; the API shows them once. `previous_secret` is valid
    until `previous_until_s`, so that a receiver can change over.
    """

    __tablename__ = "hooks"

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    channel: Mapped[str] = mapped_column(WORD)
    url: Mapped[str | None]
    addresses: Mapped[list[str]]
    kinds: Mapped[list[str]]
    machines: Mapped[list[str]]
    enabled: Mapped[bool]
    secret: Mapped[str | None] = mapped_column(String(100))
    previous_secret: Mapped[str | None] = mapped_column(String(100))
    previous_until_s: Mapped[float]
    revision: Mapped[int]
    created_s: Mapped[float]


class HookDelivery(Base):
    """One happening on its way to one hook. `lease_s`: until then somebody is trying. Old ones are cleared away."""

    __tablename__ = "hook_deliveries"
    __table_args__ = (
        UniqueConstraint("hook_id", "key"),
        Index(None, "state", "next_s"),
        Index(None, "hook_id", "id"),
        Index(None, "created_s"),
    )

    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    hook_id: Mapped[str] = mapped_column(ID, ForeignKey(Hook.id, ondelete="CASCADE"))
    key: Mapped[str] = mapped_column(String(200))
    kind: Mapped[str] = mapped_column(String(32))
    body: Mapped[bytes]
    created_s: Mapped[float]
    state: Mapped[str] = mapped_column(WORD)
    attempts: Mapped[int]
    next_s: Mapped[float]
    lease_s: Mapped[float]
    status: Mapped[int | None]
    error: Mapped[str | None]
    done_s: Mapped[float | None]


class HookCursor(Base):
    """How far a source of happenings has been read."""

    __tablename__ = "hook_cursors"

    source: Mapped[str] = mapped_column(String(32), primary_key=True)
    position: Mapped[int]


class HookGateway(Base):
    """What was last told of a gateway: whether it is there."""

    __tablename__ = "hook_gateways"

    gateway: Mapped[str] = mapped_column(ID, primary_key=True)
    online: Mapped[bool]

"""Bundles, wants, and how far gateways are with them."""

from __future__ import annotations

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column

from cloud_hub.store.tables.base import BIG_ID, ID, SHA256, WORD, Base
from cloud_hub.store.tables.fleet import Gateway


class Bundle(Base):
    """A published bundle. A version names one bundle of its slot, for ever."""

    __tablename__ = "bundles"
    __table_args__ = (UniqueConstraint("slot", "version"), Index(None, "created_s", "sha256"))

    sha256: Mapped[str] = mapped_column(SHA256, primary_key=True)
    slot: Mapped[str] = mapped_column(ID)
    version: Mapped[str] = mapped_column(ID)
    family: Mapped[str] = mapped_column(ID)
    target: Mapped[str]
    length: Mapped[int]
    created_s: Mapped[float]
    manifest_json: Mapped[str]


class Want(Base):
    """A want as it was issued. Its gateway may never have been seen."""

    __tablename__ = "wants"
    __table_args__ = (Index(None, "issued_s", "gateway", "seq"),)

    gateway: Mapped[str] = mapped_column(ID, primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    issued_s: Mapped[float]
    expires_s: Mapped[float]
    not_before_s: Mapped[int] = mapped_column(default=0, server_default="0")
    jitter_s: Mapped[int] = mapped_column(default=0, server_default="0")


class WantBundle(Base):
    """What a want asks one slot to run."""

    __tablename__ = "want_bundles"
    __table_args__ = (ForeignKeyConstraint(["gateway", "seq"], [Want.gateway, Want.seq]),)

    gateway: Mapped[str] = mapped_column(ID, primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    slot: Mapped[str] = mapped_column(ID, primary_key=True)
    sha256: Mapped[str] = mapped_column(SHA256, ForeignKey(Bundle.sha256), index=True)
    shadow_windows: Mapped[int] = mapped_column(default=0, server_default="0")
    hold: Mapped[bool] = mapped_column(default=False, server_default=false())


class Ack(Base):
    """A step of a gateway towards a want. `slot` is empty for the want as a whole, so that it can be in the key."""

    __tablename__ = "acks"
    __table_args__ = (
        UniqueConstraint("gateway_id", "seq", "slot", "phase", "time_s"),
        Index(None, "gateway_id", "id"),
        Index(None, "received_s"),
    )

    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    gateway_id: Mapped[str] = mapped_column(ID, ForeignKey(Gateway.id))
    seq: Mapped[int]
    slot: Mapped[str] = mapped_column(ID, default="")
    phase: Mapped[str] = mapped_column(WORD)
    time_s: Mapped[float]
    received_s: Mapped[float]
    sha256: Mapped[str | None] = mapped_column(SHA256)
    reason: Mapped[str | None]
    detail: Mapped[str | None]

"""What gateways report of themselves, and what people have said about them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from cloud_hub.store.tables.base import BIG_ID, BOOT, ID, SHA256, WORD, Base


class Gateway(Base):
    """A gateway as it last reported itself. `state_s` is None until its first state came. `retired_s`: taken out of the
    fleet, and not heard of since.
    """

    __tablename__ = "gateways"

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    first_seen_s: Mapped[float]
    last_seen_s: Mapped[float]
    online: Mapped[bool] = mapped_column(default=False)
    boot_id: Mapped[str | None] = mapped_column(BOOT)
    state_s: Mapped[float | None]
    agent_version: Mapped[str] = mapped_column(default="")
    runtime: Mapped[str] = mapped_column(default="")
    want_seq: Mapped[int] = mapped_column(default=0)
    rss_mb: Mapped[float] = mapped_column(default=0.0)
    outbox_bytes: Mapped[int] = mapped_column(default=0)
    counters: Mapped[dict[str, int]] = mapped_column(default=dict)
    retired_s: Mapped[float | None]


class GatewaySlot(Base):
    """One slot of a gateway as it last reported it."""

    __tablename__ = "gateway_slots"

    gateway_id: Mapped[str] = mapped_column(ID, ForeignKey(Gateway.id), primary_key=True)
    slot: Mapped[str] = mapped_column(ID, primary_key=True)
    phase: Mapped[str] = mapped_column(WORD)
    active_sha256: Mapped[str | None] = mapped_column(SHA256)
    active_version: Mapped[str | None]
    candidate_sha256: Mapped[str | None] = mapped_column(SHA256)
    error: Mapped[str | None]
    champion: Mapped[dict[str, Any] | None]
    candidate: Mapped[dict[str, Any] | None]


class GatewaySite(Base):
    """What people have said about a gateway: where it is, and labels to choose it by. It may never have been seen."""

    __tablename__ = "gateway_sites"

    gateway: Mapped[str] = mapped_column(ID, primary_key=True)
    time_zone: Mapped[str | None]
    labels: Mapped[dict[str, str]]


class Machine(Base):
    """A machine that some gateway has named."""

    __tablename__ = "machines"

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    first_seen_s: Mapped[float]


class Point(Base):
    """One point as its gateway last reported it. `current` is false when the gateway no longer lists it."""

    __tablename__ = "points"
    __table_args__ = (Index(None, "machine_id", "point"),)

    gateway_id: Mapped[str] = mapped_column(ID, ForeignKey(Gateway.id), primary_key=True)
    machine_id: Mapped[str] = mapped_column(ID, ForeignKey(Machine.id), primary_key=True)
    point: Mapped[str] = mapped_column(ID, primary_key=True)
    slot: Mapped[str | None] = mapped_column(ID)
    verdict: Mapped[str] = mapped_column(WORD, default="warming_up")
    score: Mapped[float | None]
    windows: Mapped[int] = mapped_column(default=0)
    warmup_left: Mapped[int] = mapped_column(default=0)
    last_window_s: Mapped[float | None]
    current: Mapped[bool] = mapped_column(default=True)


class Health(Base):
    """An agent's own health at one moment."""

    __tablename__ = "health"
    __table_args__ = (Index(None, "gateway_id", "time_s", "id"), Index(None, "time_s"))

    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    gateway_id: Mapped[str] = mapped_column(ID)
    boot_id: Mapped[str] = mapped_column(BOOT)
    time_s: Mapped[float]
    rss_mb: Mapped[float]
    cpu_s: Mapped[float]
    windows: Mapped[int]
    window_us: Mapped[float]
    outbox_bytes: Mapped[int]

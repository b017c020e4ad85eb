"""Alarms, the events that they were made from, and the evidence."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from cloud_hub.store.tables.base import BIG_ID, BOOT, ID, SHA256, WORD, Base
from cloud_hub.store.tables.fleet import Gateway, Machine


class Alarm(Base):
    """One episode. `*_key` order the events that it was made from: see `episodes`."""

    __tablename__ = "alarms"
    __table_args__ = (
        UniqueConstraint("gateway_id", "alarm"),
        Index(None, "raised_s", "id"),
        Index(None, "status", "raised_s", "id"),
        Index(None, "machine_id", "raised_s", "id"),
        Index(None, "machine_id", "status"),
        Index(None, "gateway_id", "raised_s", "id"),
    )

    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    gateway_id: Mapped[str] = mapped_column(ID, ForeignKey(Gateway.id))
    alarm: Mapped[str] = mapped_column(ID)
    machine_id: Mapped[str] = mapped_column(ID, ForeignKey(Machine.id))
    point: Mapped[str] = mapped_column(ID)
    slot: Mapped[str] = mapped_column(ID)
    bundle_sha256: Mapped[str] = mapped_column(SHA256)
    bundle_version: Mapped[str]
    verdict: Mapped[str] = mapped_column(WORD)
    status: Mapped[str] = mapped_column(WORD)
    raised_s: Mapped[float]
    cleared_s: Mapped[float | None]
    updated_s: Mapped[float]
    score: Mapped[float]
    peak: Mapped[float]
    summary: Mapped[str]
    diagnosis: Mapped[dict[str, Any] | None]
    newest_key: Mapped[str] = mapped_column(String(64))
    diagnosis_key: Mapped[str] = mapped_column(String(64))


class AlarmEvent(Base):
    """One event as it came. The key to its alarm is checked at commit: both are written in one transaction."""

    __tablename__ = "alarm_events"
    __table_args__ = (
        UniqueConstraint("gateway_id", "boot_id", "seq"),
        ForeignKeyConstraint(
            ["gateway_id", "alarm"], [Alarm.gateway_id, Alarm.alarm], deferrable=True, initially="DEFERRED"
        ),
        Index(None, "gateway_id", "alarm", "time_s"),
        Index(None, "received_s"),
    )

    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    gateway_id: Mapped[str] = mapped_column(ID)
    boot_id: Mapped[str] = mapped_column(BOOT)
    seq: Mapped[int]
    alarm: Mapped[str] = mapped_column(ID)
    kind: Mapped[str] = mapped_column(WORD)
    verdict: Mapped[str] = mapped_column(WORD)
    time_s: Mapped[float]
    received_s: Mapped[float]
    score: Mapped[float]
    peak: Mapped[float]
    diagnosis: Mapped[dict[str, Any] | None]


class AlarmEvidence(Base):
    """The raw window of an event, and what came out when the hub computed its score again."""

    __tablename__ = "alarm_evidence"
    __table_args__ = (Index(None, "rescored_s"),)

    event_id: Mapped[int] = mapped_column(BIG_ID, ForeignKey(AlarmEvent.id), primary_key=True, autoincrement=False)
    bundle_sha256: Mapped[str] = mapped_column(SHA256)
    rate_hz: Mapped[float]
    axes: Mapped[list[str]]
    units: Mapped[str]
    samples: Mapped[int]
    shift: Mapped[bytes]
    raw_score: Mapped[float]
    raw_limit: Mapped[float]
    window: Mapped[bytes]
    rescored_s: Mapped[float | None]
    rescored_raw: Mapped[float | None]
    rescore_error: Mapped[str | None]

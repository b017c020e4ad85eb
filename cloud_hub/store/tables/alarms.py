"""Alarms, the events that they were made from, the evidence, and what people have done about them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, String, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column

from cloud_hub.store.tables.base import BIG_ID, BOOT, ID, SHA256, WORD, Base
from cloud_hub.store.tables.fleet import Gateway, Machine


class Alarm(Base):
    """One episode. `*_key` order the events that it was made from: see `episodes`. Below them is what became of it in
    the hub: see `cloud_hub.alarms.states`. `open`: it stands in the operator's list, which `state` says as well; this
    way an index has that list in order. `revision` grows with every change of state and with all that people do.

    `changed_s`: last written, by the hub's clock. `announced_s`: when it first asked for somebody's attention; None for
    one that was shelved or out of service from beginning to end.
    """

    __tablename__ = "alarms"
    __table_args__ = (
        UniqueConstraint("gateway_id", "alarm"),
        Index(None, "raised_s", "id"),
        Index(None, "status", "raised_s", "id"),
        Index(None, "machine_id", "raised_s", "id"),
        Index(None, "machine_id", "status"),
        Index(None, "gateway_id", "raised_s", "id"),
        Index(None, "open", "raised_s", "id"),
        Index(None, "state", "raised_s", "id"),
        Index(None, "assignee", "raised_s", "id"),
        Index(None, "review", "raised_s", "id"),
        Index(None, "changed_s", "id"),
        Index(None, "peak", "id"),
        Index(None, "announced_s"),
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
    state: Mapped[str] = mapped_column(WORD, default="normal", server_default="normal")
    state_s: Mapped[float] = mapped_column(default=0.0, server_default="0")
    open: Mapped[bool] = mapped_column(default=False, server_default=false())
    revision: Mapped[int] = mapped_column(default=0, server_default="0")
    changed_s: Mapped[float] = mapped_column(default=0.0, server_default="0")
    announced_s: Mapped[float | None]
    shelved_until_s: Mapped[float | None]
    acknowledged_s: Mapped[float | None]
    acknowledged_by: Mapped[str | None] = mapped_column(String(200))
    assignee: Mapped[str | None] = mapped_column(String(200))
    review: Mapped[str | None] = mapped_column(WORD)
    review_fault: Mapped[str | None] = mapped_column(String(200))
    reviewed_s: Mapped[float | None]
    reviewed_by: Mapped[str | None] = mapped_column(String(200))


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


class AlarmAction(Base):
    """One thing that somebody, or the hub's clock, did about an alarm. Rows are only ever added."""

    __tablename__ = "alarm_actions"
    __table_args__ = (Index(None, "alarm_id", "id"),)

    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    alarm_id: Mapped[int] = mapped_column(BIG_ID, ForeignKey(Alarm.id))
    time_s: Mapped[float]
    who: Mapped[str] = mapped_column(String(200))
    action: Mapped[str] = mapped_column(WORD)
    before: Mapped[str] = mapped_column(WORD)
    after: Mapped[str] = mapped_column(WORD)
    text: Mapped[str | None]
    until_s: Mapped[float | None]


class AlarmSuppression(Base):
    """A place whose alarms do not ask for attention: `shelf` (one point in one slot of one gateway, with an end) or
    `out_of_service` (a machine, or one point of it, on every gateway). What is empty stands for all. It has ended when
    `ended_s` is set or `until_s` has passed.
    """

    __tablename__ = "alarm_suppressions"
    __table_args__ = (Index(None, "ended_s", "machine_id"),)

    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    kind: Mapped[str] = mapped_column(WORD)
    machine_id: Mapped[str] = mapped_column(ID, ForeignKey(Machine.id))
    gateway: Mapped[str] = mapped_column(ID, default="")
    point: Mapped[str] = mapped_column(ID, default="")
    slot: Mapped[str] = mapped_column(ID, default="")
    reason: Mapped[str]
    who: Mapped[str] = mapped_column(String(200))
    since_s: Mapped[float]
    until_s: Mapped[float | None]
    ended_s: Mapped[float | None]
    ended_by: Mapped[str | None] = mapped_column(String(200))

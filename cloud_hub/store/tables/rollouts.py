"""Rollouts, their members and their log."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from cloud_hub.store.tables.base import BIG_ID, ID, SHA256, WORD, Base
from cloud_hub.store.tables.registry import Bundle


class Rollout(Base):
    """A rollout: see `cloud_hub.rollout.state.Rollout`. `revision` grows with every change."""

    __tablename__ = "rollouts"
    __table_args__ = (Index(None, "created_s", "id"),)

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    slot: Mapped[str] = mapped_column(ID)
    sha256: Mapped[str] = mapped_column(SHA256, ForeignKey(Bundle.sha256))
    plan_json: Mapped[str]
    created_s: Mapped[float]
    created_by: Mapped[str]
    revision: Mapped[int]
    status: Mapped[str] = mapped_column(String(32), index=True)
    cohort: Mapped[int]
    resumes: Mapped[str | None] = mapped_column(String(32))
    cohort_ends_s: Mapped[float]
    ends_s: Mapped[float]
    paused_s: Mapped[float | None]
    cause: Mapped[str | None] = mapped_column(String(32))
    detail: Mapped[str | None]
    waits: Mapped[str]
    accepted: Mapped[list[str]]
    checks: Mapped[list[dict[str, Any]]]


class RolloutMember(Base):
    """A gateway in a rollout: see `cloud_hub.rollout.state.Member`."""

    __tablename__ = "rollout_members"
    __table_args__ = (Index(None, "gateway", "rollout_id"),)

    rollout_id: Mapped[str] = mapped_column(ID, ForeignKey(Rollout.id), primary_key=True)
    gateway: Mapped[str] = mapped_column(ID, primary_key=True)
    cohort: Mapped[int]
    stage: Mapped[str] = mapped_column(WORD)
    due: Mapped[str | None] = mapped_column(WORD)
    want_seq: Mapped[int]
    try_seq: Mapped[int]
    sent: Mapped[bool]
    since_s: Mapped[float]
    previous: Mapped[str | None] = mapped_column(SHA256)
    was_online: Mapped[bool]
    windows: Mapped[int]
    ready: Mapped[bool]
    baseline: Mapped[dict[str, Any] | None]
    origin: Mapped[dict[str, Any] | None]
    kind: Mapped[str | None] = mapped_column(WORD)
    detail: Mapped[str | None]
    forgiven: Mapped[bool]


class RolloutNote(Base):
    """An entry in the log of a rollout: what happened, when, by whose wish."""

    __tablename__ = "rollout_notes"
    __table_args__ = (Index(None, "rollout_id", "id"),)

    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    rollout_id: Mapped[str] = mapped_column(ID, ForeignKey(Rollout.id))
    time_s: Mapped[float]
    event: Mapped[str] = mapped_column(String(32))
    text: Mapped[str]
    by: Mapped[str]

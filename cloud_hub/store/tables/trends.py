"""Trends of points."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from cloud_hub.store.tables.base import BIG_ID, BOOT, ID, WORD, Base
from cloud_hub.store.tables.fleet import Gateway


class TrendBatch(Base):
    """Which trend batches have been stored; its key is what keeps them from being stored twice."""

    __tablename__ = "trend_batches"
    __table_args__ = (Index(None, "received_s"),)

    gateway_id: Mapped[str] = mapped_column(ID, ForeignKey(Gateway.id), primary_key=True)
    boot_id: Mapped[str] = mapped_column(BOOT, primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    received_s: Mapped[float]


class Trend(Base):
    """One point over one span of time."""

    __tablename__ = "trends"
    __table_args__ = (
        Index(None, "machine_id", "point", "time_s", "id"),
        Index(None, "machine_id", "time_s", "id"),
        Index(None, "time_s", "id"),
    )

    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    gateway_id: Mapped[str] = mapped_column(ID)
    machine_id: Mapped[str] = mapped_column(ID)
    point: Mapped[str] = mapped_column(ID)
    time_s: Mapped[float]
    span_s: Mapped[float]
    windows: Mapped[int]
    flagged: Mapped[int]
    score_mean: Mapped[float | None]
    score_max: Mapped[float | None]
    rms: Mapped[list[float]]
    verdict: Mapped[str] = mapped_column(WORD)


class TrendBucket(Base):
    """All rows of one point within a span of time, as their sums: so a row that comes late can still be added.

    `scored`: windows of the rows that had a score, the weight of `score_sum`. `rms_sum`: one per axis, weighted by
    `weight`, the windows of the rows that had as many axes.
    """

    __tablename__ = "trend_buckets"
    __table_args__ = (Index(None, "resolution_s", "time_s"),)

    machine_id: Mapped[str] = mapped_column(ID, primary_key=True)
    point: Mapped[str] = mapped_column(ID, primary_key=True)
    resolution_s: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    time_s: Mapped[float] = mapped_column(primary_key=True)
    gateway_id: Mapped[str] = mapped_column(ID, primary_key=True)
    rows: Mapped[int]
    windows: Mapped[int]
    flagged: Mapped[int]
    scored: Mapped[int]
    score_sum: Mapped[float]
    score_max: Mapped[float | None]
    weight: Mapped[int]
    rms_sum: Mapped[list[float]]
    verdict: Mapped[str] = mapped_column(WORD)


class TrendMark(Base):
    """How far a job has come: every row of `trends` up to `last_id` is in the buckets."""

    __tablename__ = "trend_marks"

    name: Mapped[str] = mapped_column(WORD, primary_key=True)
    last_id: Mapped[int]


class TrendKeep(Base):
    """How many days the trends of one point are kept, when it is not what the settings say for all. Resolution 0: rows
    as they came.
    """

    __tablename__ = "trend_keeps"

    machine_id: Mapped[str] = mapped_column(ID, primary_key=True)
    point: Mapped[str] = mapped_column(ID, primary_key=True)
    resolution_s: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    days: Mapped[float]

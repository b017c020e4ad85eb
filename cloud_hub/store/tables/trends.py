"""Trends of points."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from cloud_hub.store.tables.base import BIG_ID, BOOT, ID, WORD, Base
from cloud_hub.store.tables.fleet import Gateway


class TrendBatch(Base):
    """Which trend batches have been stored; its key is what keeps them from being stored twice."""

    __tablename__ = "trend_batches"

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

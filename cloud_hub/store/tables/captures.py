"""Raw windows that were asked for."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from cloud_hub.store.tables.base import ID, Base
from cloud_hub.store.tables.fleet import Gateway


class Capture(Base):
    """A capture on its way or complete, of the gateway that sent first. `stored_s` is set once its file stands."""

    __tablename__ = "captures"
    __table_args__ = (Index(None, "first_s", "id"),)

    id: Mapped[str] = mapped_column(ID, primary_key=True)
    gateway_id: Mapped[str] = mapped_column(ID, ForeignKey(Gateway.id))
    machine_id: Mapped[str] = mapped_column(ID)
    point: Mapped[str] = mapped_column(ID)
    rate_hz: Mapped[float]
    axes: Mapped[list[str]]
    units: Mapped[str]
    total: Mapped[int]
    received: Mapped[int] = mapped_column(default=0)
    samples: Mapped[int] = mapped_column(default=0)
    first_s: Mapped[float]
    stored_s: Mapped[float | None]


class CaptureChunk(Base):
    """A chunk of a capture. `data` is let go of once the capture's file stands; the row stays, against duplicates."""

    __tablename__ = "capture_chunks"

    capture_id: Mapped[str] = mapped_column(ID, ForeignKey(Capture.id), primary_key=True)
    index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    time_s: Mapped[float]
    gap: Mapped[bool]
    samples: Mapped[int]
    data: Mapped[bytes | None]

"""Captures in the database: chunks as they come, in any order and any number of times, until a file takes their place.

A capture belongs to the gateway that first sent a chunk of it, and what that chunk said about it (point, rate, axes,
units, number of chunks) holds for all: a chunk that differs is refused, not patched in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from cloud_hub.store import tables as t
from cloud_hub.store.database import Database, insert_new
from models.contract.messages import CaptureChunk

MAX_CAPTURE_BYTES = 2**30


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that was well formed but cannot be stored. `reason` is a short stable word for counters."""

    message: CaptureChunk
    reason: str
    text: str


@dataclass(slots=True)
class ChunkResult:
    """What became of the chunks of one capture."""

    receipted: list[CaptureChunk] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    stored: int = 0
    complete: bool = False


@dataclass(frozen=True, slots=True)
class StoredCapture:
    """What a capture's file is made from. `gaps`: indices of samples before which some were lost."""

    id: str
    gateway: str
    machine: str
    point: str
    rate_hz: float
    axes: tuple[str, ...]
    units: str
    time_s: float
    samples: int
    gaps: tuple[int, ...]


def store_chunks(session: Session, chunks: list[CaptureChunk], now_s: float) -> ChunkResult:
    """Store chunks of one capture."""
    result = ChunkResult()
    capture = session.get(t.Capture, chunks[0].capture)
    if capture is None:
        capture = _begin(chunks[0], now_s)
        session.add(capture)
        session.flush()
    rows: dict[int, dict[str, object]] = {}
    for chunk in chunks:
        problem = _problem(capture, chunk)
        if problem is not None:
            result.refused.append(Refused(chunk, *problem))
            continue
        result.receipted.append(chunk)
        rows.setdefault(chunk.index, _chunk_row(chunk))
    table = t.table_of(t.CaptureChunk)
    new = insert_new(session, table, rows.values(), key=["capture_id", "index"], returning=["samples"])
    result.stored = len(new)
    capture.received += len(new)
    capture.samples += sum(samples for (samples,) in new)
    result.complete = bool(new) and capture.received == capture.total
    return result


def _begin(chunk: CaptureChunk, now_s: float) -> t.Capture:
    return t.Capture(
        id=chunk.capture,
        gateway_id=chunk.gateway,
        machine_id=chunk.machine,
        point=chunk.point,
        rate_hz=chunk.rate_hz,
        axes=list(chunk.axes),
        units=chunk.units,
        total=chunk.total,
        received=0,
        samples=0,
        first_s=now_s,
    )


def _chunk_row(chunk: CaptureChunk) -> dict[str, object]:
    return {
        "capture_id": chunk.capture,
        "index": chunk.index,
        "time_s": chunk.time_s,
        "gap": chunk.gap,
        "samples": len(chunk.data) // (4 * len(chunk.axes)),
        "data": chunk.data,
    }


def _problem(capture: t.Capture, chunk: CaptureChunk) -> tuple[str, str] | None:
    if capture.gateway_id != chunk.gateway:
        return (
            "capture_owner",
            f"capture {chunk.capture}: belongs to {capture.gateway_id}, got a chunk of {chunk.gateway}",
        )
    said = {
        "machine": (capture.machine_id, chunk.machine),
        "point": (capture.point, chunk.point),
        "rate_hz": (capture.rate_hz, chunk.rate_hz),
        "axes": (capture.axes, chunk.axes),
        "units": (capture.units, chunk.units),
        "total": (capture.total, chunk.total),
    }
    for name, (expected, got) in said.items():
        if expected != got:
            return "capture_differs", f"capture {chunk.capture}, {name}: expected {expected!r} as before, got {got!r}"
    size = capture.samples * 4 * len(capture.axes) + len(chunk.data)
    if size > MAX_CAPTURE_BYTES:
        return "capture_size", f"capture {chunk.capture}: expected at most {MAX_CAPTURE_BYTES} bytes, got {size}"
    return None


def unfinished_captures(session: Session) -> list[str]:
    """Captures that are complete but have no file yet, for example because the hub was stopped in between."""
    query = select(t.Capture.id).where(t.Capture.received == t.Capture.total, t.Capture.stored_s.is_(None))
    return list(session.scalars(query.order_by(t.Capture.first_s)))


def load_capture(session: Session, capture_id: str) -> StoredCapture:
    """What is known about a complete capture."""
    row = session.get_one(t.Capture, capture_id)
    chunks = session.execute(
        select(t.CaptureChunk.samples, t.CaptureChunk.gap, t.CaptureChunk.time_s)
        .where(t.CaptureChunk.capture_id == capture_id)
        .order_by(t.CaptureChunk.index)
    ).all()
    gaps, position = [], 0
    for samples, gap, _ in chunks:
        if gap:
            gaps.append(position)
        position += samples
    return StoredCapture(
        id=row.id,
        gateway=row.gateway_id,
        machine=row.machine_id,
        point=row.point,
        rate_hz=row.rate_hz,
        axes=tuple(row.axes),
        units=row.units,
        time_s=chunks[0].time_s,
        samples=position,
        gaps=tuple(gaps),
    )


def capture_data(database: Database, capture_id: str) -> Iterator[bytes]:
    """The data of a capture's chunks, in order, one at a time: a capture need not fit in memory."""
    with database.read() as session:
        indices = session.scalars(
            select(t.CaptureChunk.index).where(t.CaptureChunk.capture_id == capture_id).order_by(t.CaptureChunk.index)
        ).all()
        for index in indices:
            data = session.scalar(
                select(t.CaptureChunk.data).where(
                    t.CaptureChunk.capture_id == capture_id, t.CaptureChunk.index == index
                )
            )
            assert data is not None  # noqa: S101 - data is let go of only after the file stands
            yield data


def finish_capture(session: Session, capture_id: str, now_s: float) -> None:
    """The file stands: let go of the data, keep what tells a late chunk from a new one."""
    session.execute(update(t.Capture).where(t.Capture.id == capture_id).values(stored_s=now_s))
    session.execute(update(t.CaptureChunk).where(t.CaptureChunk.capture_id == capture_id).values(data=None))

"""Captures as sources, uploads, data sets and their versions: rows written, and what a writer must know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from cloud_hub.data.stretches import Run
from cloud_hub.errors import ConflictError, NotFoundError, StaleError
from cloud_hub.store import tables as t
from cloud_hub.store.data_views import Role, SourceKind


@dataclass(frozen=True, slots=True)
class CaptureSpan:
    """Where and when a complete capture was taken, and its rows: `runs` without a gap in between."""

    id: str
    machine: str
    point: str
    rate_hz: float
    samples: int
    from_s: float
    to_s: float
    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class NewUpload:
    """A file that stands under its digest."""

    sha256: str
    name: str
    kind: str
    length: int
    rows: int
    seconds: float | None
    report: dict[str, Any]


@dataclass(frozen=True, slots=True)
class NewSource:
    """One file of a version that is to be. `train`, `test`: (start, end, seconds) each."""

    kind: SourceKind
    ref: str
    sha256: str
    name: str
    role: Role
    fault: str | None
    seconds: float | None
    train: tuple[tuple[float, float, float | None], ...]
    test: tuple[tuple[float, float, float | None], ...]


def capture_span(session: Session, capture: str) -> CaptureSpan:
    """A capture whose file stands. Raises: NotFoundError; ConflictError: chunks of it are still missing."""
    row = session.get(t.Capture, capture)
    if row is None:
        raise NotFoundError(f"capture {capture!r}: no chunk of it has come")
    if row.stored_s is None:
        raise ConflictError(f"capture {capture}: {row.received} of {row.total} chunks are here; wait for the rest")
    c = t.CaptureChunk
    chunks = session.execute(select(c.time_s, c.gap, c.samples).where(c.capture_id == capture).order_by(c.index)).all()
    runs: list[Run] = []
    at = 0
    for time_s, gap, samples in chunks:
        if runs and not gap:
            runs[-1] = Run(runs[-1].start, at + samples, runs[-1].time_s)
        else:
            runs.append(Run(at, at + samples, time_s))
        at += samples
    last = runs[-1]
    end_s = last.time_s + (last.stop - last.start) / row.rate_hz
    return CaptureSpan(row.id, row.machine_id, row.point, row.rate_hz, at, runs[0].time_s, end_s, tuple(runs))


def captures_over(session: Session, machine: str, point: str, from_s: float, to_s: float, most: int) -> list[str]:
    """Stored captures of a point that reach into a span of time, the oldest first, at most `most` + 1."""
    c, k = t.Capture, t.CaptureChunk
    begins = select(func.min(k.time_s)).where(k.capture_id == c.id).scalar_subquery()
    ends = select(func.max(k.time_s + k.samples / c.rate_hz)).where(k.capture_id == c.id).scalar_subquery()
    query = (
        select(c.id)
        .where(c.machine_id == machine, c.point == point, c.stored_s.is_not(None), begins < to_s, ends > from_s)
        .order_by(c.first_s, c.id)
        .limit(most + 1)
    )
    return list(session.scalars(query))


def upload_of(session: Session, sha256: str) -> t.Upload:
    """A file that somebody brought. Raises: NotFoundError."""
    row = session.get(t.Upload, sha256)
    if row is None:
        raise NotFoundError(f"upload {sha256[:80]!r}: there is none")
    return row


def uploads_bytes(session: Session) -> int:
    """What all uploads take."""
    return int(session.scalar(select(func.coalesce(func.sum(t.Upload.length), 0))) or 0)


def add_upload(session: Session, new: NewUpload, by: str, now_s: float) -> bool:
    """Remember a file. Returns: False when it was there already, under whatever name."""
    if session.get(t.Upload, new.sha256) is not None:
        return False
    session.add(
        t.Upload(
            sha256=new.sha256, name=new.name, kind=new.kind, length=new.length, rows=new.rows, seconds=new.seconds,
            report=new.report, added_s=now_s, added_by=by[:200],
        )
    )  # fmt: skip
    return True


def remove_upload(session: Session, sha256: str) -> t.Upload:
    """Forget a file. Raises: NotFoundError; ConflictError: a data set has it, for ever."""
    row = upload_of(session, sha256)
    user = session.scalar(select(t.DatasetSource.dataset).where(t.DatasetSource.sha256 == sha256).limit(1))
    if user is not None:
        raise ConflictError(f"upload {row.name}: data set {user} has it; versions are for ever, so is what they hold")
    session.delete(row)
    return row


def version_with(session: Session, dataset: str, sha256: str) -> int | None:
    """The version of a data set that has exactly these contents."""
    v = t.DatasetVersion
    return session.scalar(select(v.version).where(v.dataset == dataset, v.sha256 == sha256))


def add_version(
    session: Session,
    name: str,
    title: str,
    expected: int | None,
    sources: Sequence[NewSource],
    *,
    sha256: str,
    test_share: float,
    note: str,
    by: str,
    now_s: float,
) -> int:
    """Add a version. `expected`: the newest so far; None: the data set is to be new.

    Returns: its number.
    Raises:  NotFoundError, ConflictError (there is one of this name), StaleError (it has a newer version).
    """
    row = session.get(t.Dataset, name)
    if expected is None:
        if row is not None:
            raise ConflictError(f"data set {name}: there is one already, at version {row.version}; add a version to it")
        row = t.Dataset(name=name, title=title, version=0, created_s=now_s, changed_s=now_s)
        session.add(row)
    elif row is None:
        raise NotFoundError(f"data set {name!r}: there is none")
    elif row.version != expected:
        raise StaleError(f"data set {name}: expected version {expected}, it is at {row.version}: read it again")
    row.version, row.changed_s, row.title = row.version + 1, now_s, title or row.title
    session.flush()
    session.add(
        t.DatasetVersion(
            dataset=name, version=row.version, sha256=sha256, test_share=test_share, note=note, made_s=now_s,
            made_by=by[:200], inspection=None,
        )
    )  # fmt: skip
    session.flush()
    for number, one in enumerate(sources):
        session.add(
            t.DatasetSource(
                dataset=name, version=row.version, number=number, kind=one.kind, ref=one.ref, sha256=one.sha256,
                name=one.name, role=one.role, fault=one.fault, seconds=one.seconds, train=_parts(one.train),
                test=_parts(one.test),
            )
        )  # fmt: skip
    session.flush()
    return row.version


def keep_inspection(session: Session, dataset: str, version: int, inspection: dict[str, Any]) -> None:
    """Keep what an inspection of a version found."""
    v = t.DatasetVersion
    session.execute(update(v).where(v.dataset == dataset, v.version == version).values(inspection=inspection))


def _parts(parts: Sequence[tuple[float, float, float | None]]) -> list[dict[str, Any]]:
    return [{"start": start, "end": end, "seconds": seconds} for start, end, seconds in parts]

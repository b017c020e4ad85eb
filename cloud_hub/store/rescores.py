"""Which evidence is still to be scored again, and what came out."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from cloud_hub.store import tables as t
from models.contract.messages import Evidence


@dataclass(frozen=True, slots=True)
class PendingEvidence:
    """Evidence that the hub has not yet scored. `event`: the id of its row."""

    event: int
    bundle_sha256: str
    evidence: Evidence


def pending_evidence(session: Session, limit: int) -> list[PendingEvidence]:
    """The oldest evidence that is still to be scored."""
    query = select(t.AlarmEvidence).where(t.AlarmEvidence.rescored_s.is_(None))
    rows = session.scalars(query.order_by(t.AlarmEvidence.event_id).limit(limit))
    return [PendingEvidence(row.event_id, row.bundle_sha256, _evidence(row)) for row in rows]


def store_rescore(session: Session, event: int, now_s: float, raw: float | None, error: str | None) -> None:
    """Remember what came out: a raw score, or why there is none."""
    values = {"rescored_s": now_s, "rescored_raw": raw, "rescore_error": error}
    session.execute(update(t.AlarmEvidence).where(t.AlarmEvidence.event_id == event).values(**values))


def _evidence(row: t.AlarmEvidence) -> Evidence:
    return Evidence(
        rate_hz=row.rate_hz,
        axes=row.axes,
        units=row.units,
        samples=row.samples,
        window=row.window,
        shift=row.shift,
        raw_score=row.raw_score,
        raw_limit=row.raw_limit,
    )

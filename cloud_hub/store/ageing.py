"""Deletes what is over its days, oldest first, a bounded number of rows at a time. The audit log is never touched."""

from __future__ import annotations

from typing import Any, Protocol

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from cloud_hub.store import tables as t


class Expire(Protocol):
    """Deletes up to `limit` rows from before that time; how many there were."""

    def __call__(self, session: Session, before_s: float, limit: int) -> int:
        """See above."""


def expire_health(session: Session, before_s: float, limit: int) -> int:
    """Health by the gateway's time."""
    old = select(t.Health.id).where(t.Health.time_s < before_s).order_by(t.Health.time_s).limit(limit)
    return _gone(session.execute(delete(t.Health).where(t.Health.id.in_(old))))


def expire_acks(session: Session, before_s: float, limit: int) -> int:
    """Steps towards wants, by the time at which they came."""
    old = select(t.Ack.id).where(t.Ack.received_s < before_s).order_by(t.Ack.received_s).limit(limit)
    return _gone(session.execute(delete(t.Ack).where(t.Ack.id.in_(old))))


def expire_evidence(session: Session, before_s: float, limit: int) -> int:
    """Raw windows of events. By id: that is the order in which they came, and those that are gone cost nothing."""
    oldest = (
        select(t.AlarmEvidence.event_id, t.AlarmEvent.received_s)
        .join(t.AlarmEvent, t.AlarmEvent.id == t.AlarmEvidence.event_id)
        .order_by(t.AlarmEvidence.event_id)
        .limit(limit)
    )
    old = [event for event, received_s in session.execute(oldest) if received_s < before_s]
    return _gone(session.execute(delete(t.AlarmEvidence).where(t.AlarmEvidence.event_id.in_(old)))) if old else 0


def expire_events(session: Session, before_s: float, limit: int) -> int:
    """Events with their evidence; the alarms that they made stay."""
    query = select(t.AlarmEvent.id).where(t.AlarmEvent.received_s < before_s)
    old = session.scalars(query.order_by(t.AlarmEvent.received_s).limit(limit)).all()
    if old:
        session.execute(delete(t.AlarmEvidence).where(t.AlarmEvidence.event_id.in_(old)))
        session.execute(delete(t.AlarmEvent).where(t.AlarmEvent.id.in_(old)))
    return len(old)


def expire_seen(session: Session, before_s: float, limit: int) -> int:
    """By which a trend batch that comes again is known."""
    b = t.TrendBatch
    query = select(b.gateway_id, b.boot_id, b.seq).where(b.received_s < before_s).order_by(b.received_s).limit(limit)
    keys = session.execute(query).all()
    for gateway, boot, seq in keys:
        session.execute(delete(b).where(b.gateway_id == gateway, b.boot_id == boot, b.seq == seq))
    return len(keys)


def expire_captures(session: Session, before_s: float, limit: int) -> list[str]:
    """Captures whose file stands; their ids."""
    query = select(t.Capture.id).where(t.Capture.first_s < before_s, t.Capture.stored_s.is_not(None))
    ids = list(session.scalars(query.order_by(t.Capture.first_s, t.Capture.id).limit(limit)))
    session.execute(delete(t.CaptureChunk).where(t.CaptureChunk.capture_id.in_(ids)))
    session.execute(delete(t.Capture).where(t.Capture.id.in_(ids)))
    return ids


def _gone(result: Any) -> int:  # noqa: ANN401 - a cursor result
    return int(result.rowcount)

"""Reads about what happened: alarms with their evidence, trends, health, captures."""

from __future__ import annotations

import msgspec
import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from cloud_hub.errors import NotFoundError
from cloud_hub.store import tables as t
from cloud_hub.store import views as v
from cloud_hub.store.fleet_queries import health_view
from cloud_hub.store.paging import Order, Page, Paging, fetch_page
from models.signal.trend import outlook

MAX_EVENTS_SHOWN = 100
MAX_OUTLOOK_ROWS = 4000
_BY_RAISED = Order("alarms", (t.Alarm.raised_s, t.Alarm.id), (float, int), descending=True)
_BY_TIME = Order("trends", (t.Trend.time_s, t.Trend.id), (float, int), descending=True)
_BY_HEALTH = Order("health", (t.Health.time_s, t.Health.id), (float, int), descending=True)
_BY_CAPTURE = Order("captures", (t.Capture.first_s, t.Capture.id), (float, str), descending=True)


def list_alarms(
    session: Session,
    paging: Paging,
    *,
    machine: str | None = None,
    point: str | None = None,
    gateway: str | None = None,
    status: str | None = None,
    since_s: float | None = None,
) -> Page[v.AlarmView]:
    """Alarms, those raised last first. `since_s`: raised at or after that time."""
    query = select(t.Alarm)
    if machine is not None:
        query = query.where(t.Alarm.machine_id == machine)
    if point is not None:
        query = query.where(t.Alarm.point == point)
    if gateway is not None:
        query = query.where(t.Alarm.gateway_id == gateway)
    if status is not None:
        query = query.where(t.Alarm.status == status)
    if since_s is not None:
        query = query.where(t.Alarm.raised_s >= since_s)
    return fetch_page(session, query, _BY_RAISED, paging, alarm_view)


def get_alarm(session: Session, alarm_id: str) -> v.AlarmDetail:
    """One alarm with its newest events. Raises: NotFoundError."""
    row = find_alarm(session, alarm_id)
    of_alarm = (t.AlarmEvent.gateway_id == row.gateway_id, t.AlarmEvent.alarm == row.alarm)
    query = (
        select(t.AlarmEvent, *_EVIDENCE_COLUMNS)
        .outerjoin(t.AlarmEvidence, t.AlarmEvidence.event_id == t.AlarmEvent.id)
        .where(*of_alarm)
        .order_by(t.AlarmEvent.time_s.desc(), t.AlarmEvent.id.desc())
        .limit(MAX_EVENTS_SHOWN)
    )
    events = tuple(_event(record[0], record[1:]) for record in session.execute(query))
    count = session.scalar(select(func.count()).select_from(t.AlarmEvent).where(*of_alarm))
    return v.AlarmDetail(alarm_view(row), events, count or 0)


def get_evidence(session: Session, alarm_id: str, event: int | None = None) -> v.EvidenceWindow:
    """The raw window of an event of an alarm, by default of the one with the highest score. Raises: NotFoundError."""
    row = find_alarm(session, alarm_id)
    query = (
        select(t.AlarmEvent, t.AlarmEvidence)
        .join(t.AlarmEvidence, t.AlarmEvidence.event_id == t.AlarmEvent.id)
        .where(t.AlarmEvent.gateway_id == row.gateway_id, t.AlarmEvent.alarm == row.alarm)
        .order_by(t.AlarmEvent.score.desc(), t.AlarmEvent.id)
        .limit(1)
    )
    if event is not None:
        query = query.where(t.AlarmEvent.id == event)
    found = session.execute(query).first()
    if found is None:
        which = f"event {event}" if event is not None else "any event"
        raise NotFoundError(f"alarm {alarm_id}: no evidence came with {which} of it")
    of_event, evidence = found
    return v.EvidenceWindow(
        alarm=alarm_id,
        event=of_event.id,
        machine=row.machine_id,
        point=row.point,
        gateway=row.gateway_id,
        bundle_sha256=evidence.bundle_sha256,
        time_s=of_event.time_s,
        summary=_evidence(tuple(getattr(evidence, c.key) for c in _EVIDENCE_COLUMNS)),
        window=evidence.window,
    )


def list_trends(
    session: Session,
    paging: Paging,
    *,
    machine: str | None = None,
    point: str | None = None,
    gateway: str | None = None,
    since_s: float | None = None,
    until_s: float | None = None,
) -> Page[v.TrendView]:
    """Trends, newest first. `until_s` is exclusive."""
    query = select(t.Trend)
    if machine is not None:
        query = query.where(t.Trend.machine_id == machine)
    if point is not None:
        query = query.where(t.Trend.point == point)
    if gateway is not None:
        query = query.where(t.Trend.gateway_id == gateway)
    if since_s is not None:
        query = query.where(t.Trend.time_s >= since_s)
    if until_s is not None:
        query = query.where(t.Trend.time_s < until_s)
    return fetch_page(session, query, _BY_TIME, paging, _trend)


def get_outlook(
    session: Session,
    machine: str,
    point: str,
    *,
    limit: float = 1.0,
    coverage: float = 0.8,
    until_s: float | None = None,
) -> v.OutlookView:
    """Where a point's score is heading, from its newest trend rows, `MAX_OUTLOOK_ROWS` at most. `until_s`: exclusive.

    A row does not say which bundle's score it is: a change of bundle looks like a change of the machine.

    Raises: NotFoundError: no gateway reports this point.
    """
    known = select(t.Point.point).where(t.Point.machine_id == machine, t.Point.point == point).limit(1)
    if session.scalar(known) is None:
        raise NotFoundError(f"point {machine}/{point}: no gateway reports it")
    query = select(t.Trend.time_s, t.Trend.score_mean).where(t.Trend.machine_id == machine, t.Trend.point == point)
    if until_s is not None:
        query = query.where(t.Trend.time_s < until_s)
    query = query.order_by(t.Trend.time_s.desc(), t.Trend.id.desc()).limit(MAX_OUTLOOK_ROWS)
    rows = [(time_s, score) for time_s, score in session.execute(query) if score is not None]
    times, scores = (np.array([row[i] for row in rows], np.float64) for i in (0, 1))
    seen = outlook(times, scores, limit=limit, coverage=coverage)
    return v.OutlookView(
        machine=machine,
        point=point,
        state=seen.state,
        limit=limit,
        coverage=coverage,
        rows=len(rows),
        time_s=rows[0][0] if rows else None,
        level=seen.level,
        remaining_s=seen.remaining_s,
        low_s=seen.low_s,
        high_s=seen.high_s,
        since_s=seen.since_s,
        per_day=seen.per_day,
    )


def list_health(session: Session, paging: Paging, gateway: str) -> Page[v.HealthView]:
    """Health of one gateway's agent, newest first."""
    query = select(t.Health).where(t.Health.gateway_id == gateway)
    return fetch_page(session, query, _BY_HEALTH, paging, health_view)


def list_captures(
    session: Session,
    paging: Paging,
    *,
    machine: str | None = None,
    point: str | None = None,
    gateway: str | None = None,
) -> Page[v.CaptureView]:
    """Captures, those that began last first."""
    query = select(t.Capture)
    if machine is not None:
        query = query.where(t.Capture.machine_id == machine)
    if point is not None:
        query = query.where(t.Capture.point == point)
    if gateway is not None:
        query = query.where(t.Capture.gateway_id == gateway)
    return fetch_page(session, query, _BY_CAPTURE, paging, _capture)


def get_capture(session: Session, capture_id: str) -> v.CaptureView:
    """One capture. Raises: NotFoundError."""
    row = session.get(t.Capture, capture_id)
    if row is None:
        raise NotFoundError(f"capture {capture_id!r}: no chunk of it has come")
    return _capture(row)


def find_alarm(session: Session, alarm_id: str) -> t.Alarm:
    """The row of an alarm. Raises: NotFoundError."""
    gateway, _, alarm = alarm_id.partition(".")
    query = select(t.Alarm).where(t.Alarm.gateway_id == gateway, t.Alarm.alarm == alarm)
    row = session.scalar(query)
    if row is None:
        raise NotFoundError(f"alarm {alarm_id!r}: not known (an alarm's id is gateway.alarm)")
    return row


_EVIDENCE_COLUMNS = (  # all but the window
    t.AlarmEvidence.rate_hz,
    t.AlarmEvidence.axes,
    t.AlarmEvidence.units,
    t.AlarmEvidence.samples,
    t.AlarmEvidence.raw_score,
    t.AlarmEvidence.raw_limit,
    t.AlarmEvidence.rescored_raw,
    t.AlarmEvidence.rescore_error,
)


def _evidence(values: tuple[object, ...]) -> v.EvidenceSummary:
    names = (c.key for c in _EVIDENCE_COLUMNS)
    return msgspec.convert(dict(zip(names, values, strict=True)), v.EvidenceSummary)


def _event(row: t.AlarmEvent, evidence: tuple[object, ...]) -> v.AlarmEventView:
    return v.AlarmEventView(
        id=row.id,
        boot_id=row.boot_id,
        seq=row.seq,
        kind=row.kind,  # type: ignore[arg-type]  # checked before it was stored
        verdict=row.verdict,  # type: ignore[arg-type]  # the same
        time_s=row.time_s,
        received_s=row.received_s,
        score=row.score,
        peak=row.peak,
        evidence=_evidence(evidence) if evidence[0] is not None else None,
    )


def alarm_view(row: t.Alarm) -> v.AlarmView:
    """An alarm as it is shown."""
    return v.AlarmView(
        id=f"{row.gateway_id}.{row.alarm}",
        gateway=row.gateway_id,
        alarm=row.alarm,
        machine=row.machine_id,
        point=row.point,
        slot=row.slot,
        bundle_sha256=row.bundle_sha256,
        bundle_version=row.bundle_version,
        verdict=row.verdict,  # type: ignore[arg-type]  # checked before it was stored
        status=row.status,  # type: ignore[arg-type]  # the same
        raised_s=row.raised_s,
        cleared_s=row.cleared_s,
        updated_s=row.updated_s,
        score=row.score,
        peak=row.peak,
        summary=row.summary,
        diagnosis=msgspec.convert(row.diagnosis, v.DiagnosisView | None),
        state=row.state,  # type: ignore[arg-type]  # of the table of states
        state_s=row.state_s,
        revision=row.revision,
        changed_s=row.changed_s,
        announced_s=row.announced_s,
        shelved_until_s=row.shelved_until_s,
        acknowledged_s=row.acknowledged_s,
        acknowledged_by=row.acknowledged_by,
        assignee=row.assignee,
        review=row.review,  # type: ignore[arg-type]  # checked before it was stored
        review_fault=row.review_fault,
        reviewed_s=row.reviewed_s,
        reviewed_by=row.reviewed_by,
    )


def _trend(row: t.Trend) -> v.TrendView:
    return v.TrendView(
        gateway=row.gateway_id,
        machine=row.machine_id,
        point=row.point,
        time_s=row.time_s,
        span_s=row.span_s,
        windows=row.windows,
        flagged=row.flagged,
        score_mean=row.score_mean,
        score_max=row.score_max,
        rms=tuple(row.rms),
        verdict=row.verdict,  # type: ignore[arg-type]  # checked before it was stored
    )


def _capture(row: t.Capture) -> v.CaptureView:
    complete: v.CaptureStatus = "complete" if row.received == row.total else "receiving"
    return v.CaptureView(
        id=row.id,
        gateway=row.gateway_id,
        machine=row.machine_id,
        point=row.point,
        rate_hz=row.rate_hz,
        axes=tuple(row.axes),
        units=row.units,
        status="stored" if row.stored_s is not None else complete,
        chunks_total=row.total,
        chunks_received=row.received,
        samples=row.samples,
        first_s=row.first_s,
        stored_s=row.stored_s,
    )

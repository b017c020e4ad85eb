"""Reads about what became of alarms in the hub: the operator's list, an alarm's history, what is silenced, labels."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

import msgspec
from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import Session

from cloud_hub.alarms.states import OPEN, State
from cloud_hub.store import history_queries
from cloud_hub.store import tables as t
from cloud_hub.store import views as v
from cloud_hub.store.alarm_places import active
from cloud_hub.store.history_queries import alarm_view, find_alarm
from cloud_hub.store.paging import Order, Page, Paging, fetch_page, search_page
from cloud_hub.store.sorts import AlarmSort
from models.contract.messages import Diagnosis

_ORDERS = {
    "raised": Order("alarms", (t.Alarm.raised_s, t.Alarm.id), (float, int), descending=True),
    "changed": Order("alarms-changed", (t.Alarm.changed_s, t.Alarm.id), (float, int), descending=True),
    "peak": Order("alarms-peak", (t.Alarm.peak, t.Alarm.id), (float, int), descending=True),
}
TEXT_WINDOW = 5000
"""So many alarms are looked through for a text at once."""
_TEXTS = (t.Alarm.summary, t.Alarm.machine_id, t.Alarm.point, t.Alarm.alarm, t.Alarm.gateway_id)
_BY_ACTION = Order("alarm-actions", (t.AlarmAction.id,), (int,), descending=True)
_BY_SUPPRESSION = Order("suppressions", (t.AlarmSuppression.id,), (int,), descending=True)
_BY_REVIEW = Order("labels", (t.Alarm.raised_s, t.Alarm.id), (float, int), descending=True)
_OPEN = frozenset(state.value for state in OPEN)
_LABELS: dict[str, Literal["confirmed fault", "false alarm", "unsure"]] = {
    "true": "confirmed fault",
    "false": "false alarm",
    "unsure": "unsure",
}


@dataclass(frozen=True, slots=True)
class AlarmFilter:
    """Which alarms are asked for; None: any. `assignee` and `review`: "" for those that have none. `since_s`: raised at
    or after that time, `until_s`: before it. `text`: stands in the summary, or is part of a name; case does not matter.
    """

    states: Collection[v.AlarmState] | None = None
    machine: str | None = None
    point: str | None = None
    gateway: str | None = None
    slot: str | None = None
    status: v.AlarmStatus | None = None
    assignee: str | None = None
    review: str | None = None
    since_s: float | None = None
    until_s: float | None = None
    text: str | None = None


def search_alarms(
    session: Session, paging: Paging, wanted: AlarmFilter, sort: AlarmSort = "raised"
) -> Page[v.AlarmView]:
    """Alarms, the newest or the worst first. With a text a page may be short, and even empty, before the last one."""
    if wanted.text:
        query = filtered(select(t.Alarm), replace(wanted, text=None))
        return search_page(
            session, query, _ORDERS[sort], paging, alarm_view, columns=_TEXTS, text=wanted.text, window=TEXT_WINDOW
        )
    return fetch_page(session, filtered(select(t.Alarm), wanted), _ORDERS[sort], paging, alarm_view)


def filtered(query: Select[t.Alarm], wanted: AlarmFilter) -> Select[t.Alarm]:
    """A query over alarms, narrowed down to those that are wanted."""
    if wanted.states is not None:
        states = frozenset(wanted.states)
        # The operator's list has an index of its own that is in order: three states at once would have to be sorted.
        query = query.where(t.Alarm.open) if states == _OPEN else query.where(t.Alarm.state.in_(sorted(states)))
    equal = (
        (t.Alarm.machine_id, wanted.machine),
        (t.Alarm.point, wanted.point),
        (t.Alarm.gateway_id, wanted.gateway),
        (t.Alarm.slot, wanted.slot),
        (t.Alarm.status, wanted.status),
    )
    query = query.where(*(column == value for column, value in equal if value is not None))
    for column, value in ((t.Alarm.assignee, wanted.assignee), (t.Alarm.review, wanted.review)):
        if value is not None:
            query = query.where(column == value) if value else query.where(column.is_(None))
    if wanted.since_s is not None:
        query = query.where(t.Alarm.raised_s >= wanted.since_s)
    if wanted.until_s is not None:
        query = query.where(t.Alarm.raised_s < wanted.until_s)
    if wanted.text:
        query = query.where(or_(*(column.icontains(wanted.text, autoescape=True) for column in _TEXTS)))
    return query


def count_alarms(session: Session, *, machine: str | None = None, gateway: str | None = None) -> v.AlarmCounts:
    """How many there are in each state. What is over is not counted: it would take longer with each year."""
    query = select(t.Alarm.state, func.count()).where(t.Alarm.state.in_(_COUNTED)).group_by(t.Alarm.state)
    if machine is not None:
        query = query.where(t.Alarm.machine_id == machine)
    if gateway is not None:
        query = query.where(t.Alarm.gateway_id == gateway)
    counts = dict.fromkeys(_COUNTED, 0) | {row[0]: row[1] for row in session.execute(query)}
    return v.AlarmCounts(open=sum(counts[state] for state in _OPEN), **counts)


_COUNTED = [state.value for state in State if state is not State.NORMAL]


def list_actions(session: Session, paging: Paging, alarm_id: str) -> Page[v.AlarmActionView]:
    """What was done about an alarm, newest first. Raises: NotFoundError."""
    row = find_alarm(session, alarm_id)
    query = select(t.AlarmAction).where(t.AlarmAction.alarm_id == row.id)
    return fetch_page(session, query, _BY_ACTION, paging, _action)


def get_evidence(
    session: Session, alarm_id: str, event: int | None = None
) -> tuple[v.EvidenceWindow, Diagnosis | None]:
    """The raw window of an event, by default of the one with the highest score, and what its gateway said of it, or of
    the alarm where it said nothing of that event. Raises: NotFoundError.
    """
    evidence = history_queries.get_evidence(session, alarm_id, event)
    own = session.scalar(select(t.AlarmEvent.diagnosis).where(t.AlarmEvent.id == evidence.event))
    said = own if own is not None else find_alarm(session, alarm_id).diagnosis
    return evidence, msgspec.convert(said, Diagnosis | None)


def list_suppressions(
    session: Session, paging: Paging, now_s: float, *, machine: str | None = None
) -> Page[v.SuppressionView]:
    """What is shelved or out of service now, newest first."""
    query = select(t.AlarmSuppression).where(active(now_s))
    if machine is not None:
        query = query.where(t.AlarmSuppression.machine_id == machine)
    return fetch_page(session, query, _BY_SUPPRESSION, paging, _suppression)


def list_labels(
    session: Session, paging: Paging, *, machine: str | None = None, slot: str | None = None
) -> Page[v.LabelView]:
    """What people say that alarms were, the alarms raised last first."""
    query = select(t.Alarm).where(t.Alarm.review.is_not(None))
    if machine is not None:
        query = query.where(t.Alarm.machine_id == machine)
    if slot is not None:
        query = query.where(t.Alarm.slot == slot)
    return fetch_page(session, query, _BY_REVIEW, paging, _label)


def _action(row: t.AlarmAction) -> v.AlarmActionView:
    return v.AlarmActionView(
        id=row.id,
        time_s=row.time_s,
        who=row.who,
        action=row.action,
        before=row.before,  # type: ignore[arg-type]  # of the table of states
        after=row.after,  # type: ignore[arg-type]  # the same
        text=row.text,
        until_s=row.until_s,
    )


def _suppression(row: t.AlarmSuppression) -> v.SuppressionView:
    return v.SuppressionView(
        id=row.id,
        kind=row.kind,  # type: ignore[arg-type]  # only these two are ever written
        machine=row.machine_id,
        gateway=row.gateway or None,
        point=row.point or None,
        slot=row.slot or None,
        reason=row.reason,
        who=row.who,
        since_s=row.since_s,
        until_s=row.until_s,
    )


def _label(row: t.Alarm) -> v.LabelView:
    return v.LabelView(
        alarm=f"{row.gateway_id}.{row.alarm}",
        gateway=row.gateway_id,
        machine=row.machine_id,
        point=row.point,
        slot=row.slot,
        begin_s=row.raised_s,
        end_s=row.cleared_s,
        label=_LABELS[row.review or ""],
        fault=row.review_fault,
        by=row.reviewed_by or "",
        time_s=row.reviewed_s or 0.0,
    )

"""What people do about alarms, and what the hub's clock does: the same for the API, the pages and the command line.

Everything is one transaction with its entry in the audit log. `revision`: what the caller has seen; None: whatever it
is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloud_hub.accounts.permissions import Principal
from cloud_hub.alarms import actions as a
from cloud_hub.alarms.states import AlarmStateError, Event, Standing, State, step
from cloud_hub.errors import ConflictError, StaleError
from cloud_hub.store import alarm_places as places
from cloud_hub.store import alarm_standing as standing
from cloud_hub.store import tables as t
from cloud_hub.store.alarm_views import BulkOutcome, BulkRefusal
from cloud_hub.store.audit import record
from cloud_hub.store.database import Database, Session

MAX_BULK = 500


@dataclass(frozen=True, slots=True)
class Target:
    """An alarm, and the revision of it that the caller has seen."""

    alarm: str
    revision: int | None = None


@dataclass(frozen=True, slots=True)
class _Call:
    principal: Principal
    now_s: float
    request_id: str | None


def act(
    database: Database,
    principal: Principal,
    alarm: str,
    action: a.Action,
    *,
    now_s: float,
    revision: int | None = None,
    request_id: str | None = None,
) -> int:
    """Do something about one alarm.

    Returns: its revision afterwards.
    Raises:  NotFoundError; StaleError: it has another revision by now; AlarmStateError: it has no place in its state.
    """
    call = _Call(principal, now_s, request_id)
    with database.write() as session:
        row = standing.find_one(session, alarm)
        _check_revision(row, revision)
        _do(session, call, row, action)
        return row.revision


def act_on_many(
    database: Database,
    principal: Principal,
    targets: Sequence[Target],
    action: a.Action,
    *,
    now_s: float,
    request_id: str | None = None,
) -> BulkOutcome:
    """Do the same about many alarms, `MAX_BULK` at most; one that cannot be done does not stop the others.

    Raises: ActionError: too many, or none.
    """
    if not 0 < len(targets) <= MAX_BULK:
        raise a.ActionError(f"alarms: expected 1 to {MAX_BULK}, got {len(targets)}")
    call = _Call(principal, now_s, request_id)
    done, refused = [], []
    with database.write() as session:
        rows = standing.find(session, [_names(target.alarm) for target in targets])
        seen = {key: row.revision for key, row in rows.items()}  # shelving one may move another
        for target in {target.alarm: target for target in targets}.values():
            row = rows.get(_names(target.alarm))
            try:
                if row is None:
                    refused.append(BulkRefusal(target.alarm, f"alarm {target.alarm!r}: not known"))
                    continue
                _check_revision(row, target.revision, seen[_names(target.alarm)])
                _do(session, call, row, action)
            except (StaleError, AlarmStateError) as error:
                refused.append(BulkRefusal(target.alarm, str(error)))
            else:
                done.append(target.alarm)
    return BulkOutcome(tuple(done), tuple(refused))


def take_out_of_service(
    database: Database,
    principal: Principal,
    machine: str,
    point: str | None,
    reason: str,
    *,
    now_s: float,
    request_id: str | None = None,
) -> int:
    """No alarm of a machine, or of one point of it, asks for attention until it is restored.

    Returns: how many alarms this has silenced.
    Raises:  NotFoundError; ConflictError: it is out of service already; ActionError: no reason.
    """
    a.check_text(reason, "out of service, reason")
    with database.write() as session:
        places.check_place(session, machine, point)
        if places.out_of_service(session, machine, point, now_s):
            raise ConflictError(f"{_place(machine, point)} is out of service already")
        places.take_out(session, machine, point, reason, principal.name[: a.MAX_NAME], now_s)
        after = {"out_of_service": True, "reason": reason}
        _record_place(session, _Call(principal, now_s, request_id), "take_out", machine, point, None, after)
        return standing.realign(session, [machine], principal.name[: a.MAX_NAME], now_s, reason)


def restore_to_service(
    database: Database,
    principal: Principal,
    machine: str,
    point: str | None,
    *,
    now_s: float,
    request_id: str | None = None,
) -> int:
    """The opposite. What still lasts asks for attention again.

    Returns: how many alarms are back. Raises: NotFoundError; ConflictError: it is in service.
    """
    with database.write() as session:
        places.check_place(session, machine, point)
        rows = places.out_of_service(session, machine, point, now_s)
        if not rows:
            raise ConflictError(f"{_place(machine, point)} is in service")
        for row in rows:
            row.ended_s, row.ended_by = now_s, principal.name[: a.MAX_NAME]
        session.flush()
        before = {"out_of_service": True, "reason": rows[0].reason}
        _record_place(session, _Call(principal, now_s, request_id), "restore", machine, point, before, None)
        return standing.realign(session, [machine], principal.name[: a.MAX_NAME], now_s)


def tick(database: Database, now_s: float) -> int:
    """Let shelves expire, and bring every alarm to where its place is. Call it every few seconds.

    Returns: how many alarms have moved.
    """
    with database.read() as session:  # most of the time there is nothing to do, and then it must not take the lock
        if not places.shelves_over(session, now_s) and not standing.anything_to_do(session, now_s):
            return 0
    with database.write() as session:
        places.expire_shelves(session, standing.HUB, now_s)
        return standing.realign(session, None, standing.HUB, now_s)


def _do(session: Session, call: _Call, row: t.Alarm, action: a.Action) -> None:
    """One action; nothing is changed when it raises."""
    before = _audited(row)
    match action:
        case a.Acknowledge():
            _move(session, call, row, Event.ACKNOWLEDGED, text=action.text or None)
            row.acknowledged_s, row.acknowledged_by = call.now_s, _who(call)
        case a.Shelve():
            _shelve(session, call, row, action)
        case a.Unshelve():
            step(standing.standing_of(row), Event.UNSHELVED, call.now_s)
            places.end_shelf(session, row, _who(call), call.now_s)
            standing.realign(session, [row.machine_id], _who(call), call.now_s)
        case a.Comment():
            standing.say(session, row, "comment", action.text, _who(call), call.now_s)
        case a.Assign():
            row.assignee = action.assignee.strip() if action.assignee is not None else None
            standing.say(session, row, "assign", row.assignee, _who(call), call.now_s)
        case a.Judge():
            row.review, row.review_fault = action.review, action.fault
            row.reviewed_s, row.reviewed_by = call.now_s, _who(call)
            said = ": ".join(part for part in (action.review, action.fault, action.text) if part)
            standing.say(session, row, "review", said, _who(call), call.now_s)
    record(
        session,
        call.principal,
        f"alarm.{type(action).__name__.lower()}",
        f"alarm:{row.gateway_id}.{row.alarm}",
        before=before,
        after=_audited(row) | _told(action),
        now_s=call.now_s,
        request_id=call.request_id,
    )


def _move(
    session: Session, call: _Call, row: t.Alarm, event: Event, until_s: float | None = None, text: str | None = None
) -> Standing:
    was = standing.standing_of(row)
    now = step(was, event, call.now_s, until_s)
    standing.move(session, row, [(event, was, now)], _who(call), call.now_s, text)
    return now


def _shelve(session: Session, call: _Call, row: t.Alarm, action: a.Shelve) -> None:
    """The shelf is for the place; this alarm and whatever else lasts there go onto it."""
    until_s = call.now_s + action.duration_s
    step(standing.standing_of(row), Event.SHELVED, call.now_s, until_s)
    places.shelve(session, row, until_s, action.reason, _who(call), call.now_s)
    standing.realign(session, [row.machine_id], _who(call), call.now_s, action.reason)


def _check_revision(row: t.Alarm, wanted: int | None, found: int | None = None) -> None:
    has = found if found is not None else row.revision
    if wanted is not None and wanted != has:
        raise StaleError(
            f"alarm {row.gateway_id}.{row.alarm}: revision {wanted} was expected, it has {has} by now "
            f"(state {State(row.state).value}); look at it again"
        )


def _record_place(
    session: Session,
    call: _Call,
    verb: str,
    machine: str,
    point: str | None,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
) -> None:
    what = "point" if point is not None else "machine"
    record(
        session,
        call.principal,
        f"{what}.{verb}",
        f"{what}:{_place(machine, point)}",
        before=before,
        after=after,
        now_s=call.now_s,
        request_id=call.request_id,
    )


def _place(machine: str, point: str | None) -> str:
    return machine if point is None else f"{machine}/{point}"


def _who(call: _Call) -> str:
    return call.principal.name[: a.MAX_NAME]


def _names(alarm: str) -> tuple[str, str]:
    gateway, _, name = alarm.partition(".")
    return gateway, name


def _audited(row: t.Alarm) -> dict[str, Any]:
    return {
        "state": row.state,
        "revision": row.revision,
        "shelved_until_s": row.shelved_until_s,
        "assignee": row.assignee,
        "review": row.review,
        "fault": row.review_fault,
    }


def _told(action: a.Action) -> dict[str, Any]:
    """What the alarm's own columns do not say."""
    match action:
        case a.Shelve(reason=text) | a.Comment(text=text) | a.Judge(text=text) | a.Acknowledge(text=text):
            return {"text": text} if text else {}
    return {}

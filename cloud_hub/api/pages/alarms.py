"""Alarms for the operator on shift: the list, one alarm with its reasons, and how much is asked of an operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from cloud_hub.accounts.permissions import Permission, Principal
from cloud_hub.alarms import actions as a
from cloud_hub.alarms.spectra import spectra
from cloud_hub.alarms.states import OPEN, TABLE, AlarmStateError, Event, State
from cloud_hub.api.context import ContextDep, HubContext, PagingDep, SessionDep
from cloud_hub.api.guard import needs, principal_of, request_id_of
from cloud_hub.api.pages.evidence_charts import EvidenceCharts, evidence_charts
from cloud_hub.api.pages.flash import redirect
from cloud_hub.api.pages.rendering import render
from cloud_hub.errors import NotFoundError, StaleError
from cloud_hub.services import alarms as service
from cloud_hub.store import alarm_metrics, alarm_queries, history_queries
from cloud_hub.store import views as v
from cloud_hub.store.alarm_queries import AlarmFilter
from cloud_hub.store.database import Session
from cloud_hub.store.paging import Paging
from cloud_hub.store.sorts import AlarmSort

router = APIRouter(include_in_schema=False)
Actor = Annotated[Principal, Depends(needs(Permission.ALARMS_ACT))]
Typed = Annotated[str, Form(max_length=4 * a.MAX_TEXT)]
Revision = Annotated[int | None, Form(ge=0, lt=2**62)]
_READS = [Depends(needs(Permission.FLEET_READ))]
_DAY_S = 86_400.0
_ALL = Paging(limit=200)
_SHELVES = (
    (900, "15 minutes"),
    (3600, "1 hour"),
    (4 * 3600, "4 hours"),
    (8 * 3600, "a shift, 8 hours"),
    (86_400, "1 day"),
)
StateChoice = Literal["open", "any"] | v.AlarmState


@router.get("/alarms", response_class=HTMLResponse, dependencies=_READS)
def list_alarms(
    request: Request,
    session: SessionDep,
    paging: PagingDep,
    state: StateChoice = "open",
    machine: Annotated[str, Query(max_length=64)] = "",
    gateway: Annotated[str, Query(max_length=64)] = "",
    assignee: Annotated[str, Query(max_length=a.MAX_NAME)] = "",
    review: Literal["", "none", "true", "false", "unsure"] = "",
    text: Annotated[str, Query(max_length=200)] = "",
    sort: AlarmSort = "raised",
) -> HTMLResponse:
    """The operator's list."""
    wanted = AlarmFilter(
        states={"any": None, "open": _OPEN}.get(state, (state,)),  # type: ignore[arg-type]  # "open" is no state
        machine=machine or None,
        gateway=gateway or None,
        assignee=assignee or None,
        review={"": None, "none": ""}.get(review, review),
        text=text or None,
    )
    return render(
        request,
        "alarms/list.html.j2",
        alarms=alarm_queries.search_alarms(session, paging, wanted, sort),
        counts=alarm_queries.count_alarms(session),
        chosen={"state": state, "machine": machine, "gateway": gateway, "assignee": assignee, "review": review,
                "text": text, "sort": sort},
    )  # fmt: skip


_OPEN: tuple[v.AlarmState, ...] = tuple(state.value for state in State if state in OPEN)


@router.post("/alarms/acknowledge")
def acknowledge_many(
    request: Request,
    context: ContextDep,
    caller: Actor,
    alarm: Annotated[list[str] | None, Form(max_length=500)] = None,
) -> RedirectResponse:
    """Acknowledge all that are ticked; each comes with the revision that was seen."""
    if not alarm:
        return redirect(request, "/alarms", "Tick the alarms first.", "problem")
    targets = [_target(text) for text in alarm]
    outcome = service.act_on_many(
        context.database, caller, targets, a.Acknowledge(), now_s=context.now_s(), request_id=request_id_of(request)
    )
    said = f"{len(outcome.done)} acknowledged."
    if outcome.refused:
        reasons = "; ".join(refusal.reason for refusal in outcome.refused[:3])
        return redirect(request, "/alarms", f"{said} {len(outcome.refused)} not: {reasons}", "problem")
    return redirect(request, "/alarms", said)


def _target(text: str) -> service.Target:
    alarm, _, revision = text.rpartition("@")
    return service.Target(alarm, int(revision)) if alarm and revision.isdecimal() else service.Target(text)


@router.get("/alarms/floods", response_class=HTMLResponse, dependencies=_READS)
def floods(
    request: Request, session: SessionDep, context: ContextDep, days: Annotated[int, Query(ge=1, le=366)] = 7
) -> HTMLResponse:
    """The figures of ISA-18.2."""
    now_s = context.now_s()
    figures = alarm_metrics.alarm_metrics(session, now_s - days * _DAY_S, now_s, now_s)
    return render(request, "alarms/floods.html.j2", figures=figures, days=days)


@router.get("/alarms/{alarm}", response_class=HTMLResponse, dependencies=_READS)
def get_alarm(
    request: Request,
    session: SessionDep,
    alarm: str,
    event: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
    axis: Annotated[str | None, Query(max_length=200)] = None,
) -> HTMLResponse:
    """One alarm: what, why, what to do, what was done."""
    detail = history_queries.get_alarm(session, alarm)
    caller = principal_of(request)
    may_look = caller is not None and caller.may(Permission.DATA_READ)
    return render(
        request,
        "alarms/page.html.j2",
        detail=detail,
        alarm=detail.alarm,
        can=_possible(detail.alarm),
        actions=alarm_queries.list_actions(session, _ALL, alarm),
        charts=_charts(session, alarm, event, axis) if may_look else None,
        may_look=may_look,
        with_evidence=[e for e in detail.events if e.evidence is not None],
        shelves=_SHELVES,
    )


def _possible(alarm: v.AlarmView) -> frozenset[str]:
    """What the table of states lets people do now."""
    return frozenset(event.value for event in TABLE[State(alarm.state)] if event in _BY_PEOPLE)


_BY_PEOPLE = frozenset({Event.ACKNOWLEDGED, Event.SHELVED, Event.UNSHELVED})


def _charts(session: Session, alarm: str, event: int | None, axis: str | None) -> EvidenceCharts | None:
    try:
        evidence, diagnosis = alarm_queries.get_evidence(session, alarm, event)
    except NotFoundError:
        if event is not None:
            raise
        return None  # not every alarm comes with a window, and the page says so
    return evidence_charts(evidence, spectra(evidence, diagnosis, axis))


@router.post("/alarms/{alarm}/acknowledge")
def acknowledge(
    request: Request, context: ContextDep, caller: Actor, alarm: str, revision: Revision = None, text: Typed = ""
) -> RedirectResponse:
    """Acknowledge, then back to the alarm."""
    return _act(request, context, caller, alarm, revision, lambda: a.Acknowledge(text), "Acknowledged.")


@router.post("/alarms/{alarm}/shelve")
def shelve(
    *,
    request: Request,
    context: ContextDep,
    caller: Actor,
    alarm: str,
    duration_s: Annotated[float, Form()],
    reason: Typed = "",
    revision: Revision = None,
) -> RedirectResponse:
    """Put it aside."""
    return _act(request, context, caller, alarm, revision, lambda: a.Shelve(duration_s, reason), "Shelved.")


@router.post("/alarms/{alarm}/unshelve")
def unshelve(
    request: Request, context: ContextDep, caller: Actor, alarm: str, revision: Revision = None
) -> RedirectResponse:
    """Take it from the shelf."""
    return _act(request, context, caller, alarm, revision, a.Unshelve, "Taken from the shelf.")


@router.post("/alarms/{alarm}/comment")
def comment(request: Request, context: ContextDep, caller: Actor, alarm: str, text: Typed = "") -> RedirectResponse:
    """Say something; nobody's revision stands in the way of that."""
    return _act(request, context, caller, alarm, None, lambda: a.Comment(text), "Your comment is in the history.")


@router.post("/alarms/{alarm}/assign")
def assign(
    request: Request, context: ContextDep, caller: Actor, alarm: str, revision: Revision = None, assignee: Typed = ""
) -> RedirectResponse:
    """Say whose job it is; an empty field: nobody's."""
    said = f"Assigned to {assignee.strip()}." if assignee.strip() else "Assigned to nobody."
    return _act(request, context, caller, alarm, revision, lambda: a.Assign(assignee.strip() or None), said)


@router.post("/alarms/{alarm}/review")
def judge(
    *,
    request: Request,
    context: ContextDep,
    caller: Actor,
    alarm: str,
    review: Annotated[v.Review, Form()],
    fault: Typed = "",
    text: Typed = "",
    revision: Revision = None,
) -> RedirectResponse:
    """Say what it turned out to be."""
    said = "Thank you: models learn from this."
    return _act(request, context, caller, alarm, revision, lambda: a.Judge(review, fault.strip() or None, text), said)


def _act(
    request: Request,
    context: HubContext,
    caller: Principal,
    alarm: str,
    revision: int | None,
    make: Callable[[], a.Action],
    said: str,
) -> RedirectResponse:
    """One action, and back to the alarm: with what was done, or why it was not."""
    back = f"/alarms/{quote(alarm, safe='')}"
    try:
        service.act(
            context.database,
            caller,
            alarm,
            make(),
            now_s=context.now_s(),
            revision=revision,
            request_id=request_id_of(request),
        )
    except (a.ActionError, AlarmStateError, StaleError) as error:
        return redirect(request, back, f"Not done. {error}", "problem")
    return redirect(request, back, said)

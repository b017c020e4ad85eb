"""Alarms: the operator's list, what people do about them, what is silenced, and how much is asked of an operator.

An alarm's `ETag` is its revision. A write with `If-Match` is refused with 412 when somebody else was faster.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from cloud_hub.accounts.permissions import Permission, Principal
from cloud_hub.alarms import actions as a
from cloud_hub.api.answers import SilencedView
from cloud_hub.api.conditions import IfMatch, json_only, tag
from cloud_hub.api.context import MAX_INTEGER, ContextDep, IdFilter, PagingDep, SessionDep, TimeFilter
from cloud_hub.api.guard import RequestIdDep, needs
from cloud_hub.api.idempotency import OnceDep
from cloud_hub.api.problems import problem_responses
from cloud_hub.services import alarms as service
from cloud_hub.store import alarm_metrics as metrics
from cloud_hub.store import alarm_queries as queries
from cloud_hub.store import history_queries
from cloud_hub.store import views as v
from cloud_hub.store.alarm_views import AlarmMetrics, BulkOutcome
from cloud_hub.store.paging import Page
from cloud_hub.store.sorts import AlarmSort

router = APIRouter(tags=["alarms"], dependencies=[Depends(needs(Permission.FLEET_READ))])
Actor = Annotated[Principal, Depends(needs(Permission.ALARMS_ACT))]
_CHANGES = [Depends(json_only)]
_DENIED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_LIST = problem_responses(HTTPStatus.BAD_REQUEST, *_DENIED)
_ONE = problem_responses(HTTPStatus.NOT_FOUND, *_DENIED)
_MANY = problem_responses(HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, *_DENIED)
_PLACE = problem_responses(
    HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.UNSUPPORTED_MEDIA_TYPE, HTTPStatus.BAD_REQUEST, *_DENIED
)
_CHANGE = _PLACE | problem_responses(HTTPStatus.PRECONDITION_FAILED)
_DAY_S = 86_400.0
_MAX_SPAN_S = 400 * _DAY_S

Reason = Annotated[str, Field(min_length=1, max_length=a.MAX_TEXT, pattern=r"\S", description="Why; others read it.")]
Said = Annotated[str, Field(max_length=a.MAX_TEXT)]
Duration = Annotated[float, Field(ge=a.MIN_SHELF_S, le=a.MAX_SHELF_S, description="Seconds.")]
Assignee = Annotated[str, Field(min_length=1, max_length=a.MAX_NAME, pattern=r"\S")] | None
Fault = Annotated[str, Field(min_length=1, max_length=a.MAX_NAME, pattern=r"\S", examples=["BPFO"])] | None


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class AcknowledgeBody(_Body):
    """Somebody has seen it and takes care of it."""

    text: Said = ""

    def action(self) -> a.Action:
        """What it asks for."""
        return a.Acknowledge(self.text)


class ShelveBody(_Body):
    """Put the alarms of this point in this slot aside for a while."""

    duration_s: Duration
    reason: Reason

    def action(self) -> a.Action:
        """What it asks for."""
        return a.Shelve(self.duration_s, self.reason)


class UnshelveBody(_Body):
    """Take them from the shelf."""

    def action(self) -> a.Action:
        """What it asks for."""
        return a.Unshelve()


class CommentBody(_Body):
    """Say something about it."""

    text: Reason

    def action(self) -> a.Action:
        """What it asks for."""
        return a.Comment(self.text)


class AssignBody(_Body):
    """Whose job it is; null: nobody's."""

    assignee: Assignee

    def action(self) -> a.Action:
        """What it asks for."""
        return a.Assign(self.assignee)


class ReviewBody(_Body):
    """What it turned out to be. `fault`: only with "true"."""

    review: v.Review
    fault: Fault = None
    text: Said = ""

    def action(self) -> a.Action:
        """What it asks for."""
        return a.Judge(self.review, self.fault, self.text)


class _Acknowledge(AcknowledgeBody):
    do: Literal["acknowledge"]


class _Shelve(ShelveBody):
    do: Literal["shelve"]


class _Unshelve(UnshelveBody):
    do: Literal["unshelve"]


class _Comment(CommentBody):
    do: Literal["comment"]


class _Assign(AssignBody):
    do: Literal["assign"]


class _Review(ReviewBody):
    do: Literal["review"]


class TargetBody(_Body):
    """An alarm, and the revision of it that the caller has seen."""

    alarm: Annotated[str, Field(min_length=1, max_length=129)]
    revision: Annotated[int, Field(ge=0, le=MAX_INTEGER)] | None = None


class BulkBody(_Body):
    """The same about many alarms."""

    alarms: Annotated[list[TargetBody], Field(min_length=1, max_length=service.MAX_BULK)]
    action: Annotated[_Acknowledge | _Shelve | _Unshelve | _Comment | _Assign | _Review, Field(discriminator="do")]


class OutOfServiceBody(_Body):
    """Why no alarm of this shall ask for attention."""

    reason: Reason


def alarm_filter(
    state: Annotated[list[v.AlarmState] | None, Query(description="Any of these; several times for several.")] = None,
    machine: IdFilter = None,
    point: IdFilter = None,
    gateway: IdFilter = None,
    slot: IdFilter = None,
    status: v.AlarmStatus | None = None,
    assignee: Annotated[str | None, Query(max_length=a.MAX_NAME, description="Empty: nobody's.")] = None,
    review: Annotated[Literal["true", "false", "unsure", ""] | None, Query(description="Empty: none yet.")] = None,
    since: TimeFilter = None,
    until: TimeFilter = None,
    text: Annotated[str | None, Query(max_length=200, description="Part of the summary or of a name.")] = None,
) -> queries.AlarmFilter:
    """The filters that the list and the exports share; `since`: raised at that time or later, `until`: before it."""
    return queries.AlarmFilter(
        states=frozenset(state) if state else None,
        machine=machine,
        point=point,
        gateway=gateway,
        slot=slot,
        status=status,
        assignee=assignee,
        review=review,
        since_s=since,
        until_s=until,
        text=text,
    )


AlarmFilterDep = Annotated[queries.AlarmFilter, Depends(alarm_filter)]


@router.get("/alarms", responses=_LIST)
def list_alarms(
    session: SessionDep, paging: PagingDep, wanted: AlarmFilterDep, sort: AlarmSort = "raised"
) -> Page[v.AlarmView]:
    """Alarms: those raised last first, or those changed last, or those with the highest peak."""
    return queries.search_alarms(session, paging, wanted, sort)


@router.get("/alarms/counts", responses=_LIST)
def count_alarms(session: SessionDep, machine: IdFilter = None, gateway: IdFilter = None) -> v.AlarmCounts:
    """How many alarms there are in each state; `open` is the operator's list."""
    return queries.count_alarms(session, machine=machine, gateway=gateway)


@router.get("/alarms/metrics", responses=_LIST)
def get_metrics(
    session: SessionDep,
    context: ContextDep,
    since: TimeFilter = None,
    until: TimeFilter = None,
    gateway: IdFilter = None,
) -> AlarmMetrics:
    """The figures of ISA-18.2 over a span of time, by default the last 24 hours; 400 days at most."""
    now_s = context.now_s()
    until_s = until if until is not None else now_s
    since_s = since if since is not None else until_s - _DAY_S
    if not 0 < until_s - since_s <= _MAX_SPAN_S:
        raise a.ActionError(
            f"since, until: want {_MAX_SPAN_S / _DAY_S:g} days at most, the later last, got {since_s:g}, {until_s:g}"
        )
    return metrics.alarm_metrics(session, since_s, until_s, now_s, gateway=gateway)


@router.get("/alarms/labels", responses=_LIST)
def list_labels(
    session: SessionDep, paging: PagingDep, machine: IdFilter = None, slot: IdFilter = None
) -> Page[v.LabelView]:
    """What people say that alarms were: labels for those who train models."""
    return queries.list_labels(session, paging, machine=machine, slot=slot)


@router.post("/alarms/bulk", responses=_PLACE, dependencies=_CHANGES, response_model=BulkOutcome)
def act_on_many(
    context: ContextDep, caller: Actor, request_id: RequestIdDep, once: OnceDep, body: BulkBody
) -> Response:
    """Do the same about many alarms; one that cannot be done does not stop the others, and the answer says why."""

    def make() -> BulkOutcome:
        return service.act_on_many(
            context.database,
            caller,
            [service.Target(target.alarm, target.revision) for target in body.alarms],
            body.action.action(),
            now_s=context.now_s(),
            request_id=request_id,
        )

    return once.answer(make, HTTPStatus.OK)


@router.get("/alarms/{alarm}", responses=_ONE)
def get_alarm(session: SessionDep, response: Response, alarm: str) -> v.AlarmDetail:
    """One alarm (gateway.alarm) with its diagnosis and its newest events."""
    found = history_queries.get_alarm(session, alarm)
    tag(response, found.alarm.revision)
    return found


@router.get("/alarms/{alarm}/actions", responses=_MANY)
def list_actions(session: SessionDep, paging: PagingDep, alarm: str) -> Page[v.AlarmActionView]:
    """What people, and the hub's clock, have done about an alarm, newest first; comments are among it."""
    return queries.list_actions(session, paging, alarm)


class _Doing:
    """What all writes about one alarm share."""

    def __init__(
        self,
        context: ContextDep,
        caller: Actor,
        request_id: RequestIdDep,
        response: Response,
        alarm: str,
        revision: IfMatch,
    ) -> None:
        self._context, self._caller, self._request_id, self._response = context, caller, request_id, response
        self._alarm, self._revision = alarm, revision

    def __call__(self, action: a.Action) -> v.AlarmView:
        service.act(
            self._context.database,
            self._caller,
            self._alarm,
            action,
            now_s=self._context.now_s(),
            revision=self._revision,
            request_id=self._request_id,
        )
        with self._context.database.read() as session:
            view = history_queries.alarm_view(history_queries.find_alarm(session, self._alarm))
        tag(self._response, view.revision)
        return view


Doing = Annotated[_Doing, Depends(_Doing)]


@router.post("/alarms/{alarm}/acknowledge", responses=_CHANGE, dependencies=_CHANGES)
def acknowledge(do: Doing, body: AcknowledgeBody) -> v.AlarmView:
    """Say that somebody has seen it and takes care of it."""
    return do(body.action())


@router.post("/alarms/{alarm}/shelve", responses=_CHANGE, dependencies=_CHANGES)
def shelve(do: Doing, body: ShelveBody) -> v.AlarmView:
    """Put the alarms of its point in its slot aside, for a day at most; what is raised meanwhile goes there, too."""
    return do(body.action())


@router.post("/alarms/{alarm}/unshelve", responses=_CHANGE, dependencies=_CHANGES)
def unshelve(do: Doing, body: UnshelveBody) -> v.AlarmView:
    """Take them from the shelf before its time is up."""
    return do(body.action())


@router.post("/alarms/{alarm}/comments", responses=_CHANGE, dependencies=_CHANGES, response_model=v.AlarmView)
def comment(do: Doing, once: OnceDep, body: CommentBody) -> Response:
    """Say something about it."""
    return once.answer(lambda: do(body.action()), HTTPStatus.OK, revision="revision")


@router.put("/alarms/{alarm}/assignee", responses=_CHANGE, dependencies=_CHANGES)
def assign(do: Doing, body: AssignBody) -> v.AlarmView:
    """Say whose job it is."""
    return do(body.action())


@router.put("/alarms/{alarm}/review", responses=_CHANGE, dependencies=_CHANGES)
def review(do: Doing, body: ReviewBody) -> v.AlarmView:
    """Say what it turned out to be; those who train models read it as a label."""
    return do(body.action())


@router.get("/suppressions", responses=_LIST)
def list_suppressions(
    session: SessionDep, context: ContextDep, paging: PagingDep, machine: IdFilter = None
) -> Page[v.SuppressionView]:
    """What is shelved or out of service now, newest first."""
    return queries.list_suppressions(session, paging, context.now_s(), machine=machine)


@router.put("/machines/{machine}/out-of-service", responses=_PLACE, dependencies=_CHANGES)
def take_machine_out(
    context: ContextDep, caller: Actor, request_id: RequestIdDep, machine: str, body: OutOfServiceBody
) -> SilencedView:
    """No alarm of this machine asks for attention until it is restored."""
    return _take_out(context, caller, request_id, machine, None, body)


@router.delete("/machines/{machine}/out-of-service", responses=_PLACE)
def restore_machine(context: ContextDep, caller: Actor, request_id: RequestIdDep, machine: str) -> SilencedView:
    """What still lasts asks for attention again."""
    return _restore(context, caller, request_id, machine, None)


@router.put("/machines/{machine}/points/{point}/out-of-service", responses=_PLACE, dependencies=_CHANGES)
def take_point_out(
    context: ContextDep, caller: Actor, request_id: RequestIdDep, machine: str, point: str, body: OutOfServiceBody
) -> SilencedView:
    """No alarm of this point asks for attention until it is restored."""
    return _take_out(context, caller, request_id, machine, point, body)


@router.delete("/machines/{machine}/points/{point}/out-of-service", responses=_PLACE)
def restore_point(
    context: ContextDep, caller: Actor, request_id: RequestIdDep, machine: str, point: str
) -> SilencedView:
    """What still lasts asks for attention again."""
    return _restore(context, caller, request_id, machine, point)


def _take_out(
    context: ContextDep,
    caller: Principal,
    request_id: RequestIdDep,
    machine: str,
    point: str | None,
    body: OutOfServiceBody,
) -> SilencedView:
    moved = service.take_out_of_service(
        context.database,
        caller,
        machine,
        point,
        body.reason,
        now_s=context.now_s(),
        request_id=request_id,
    )
    return SilencedView(alarms=moved)


def _restore(
    context: ContextDep, caller: Principal, request_id: RequestIdDep, machine: str, point: str | None
) -> SilencedView:
    moved = service.restore_to_service(
        context.database, caller, machine, point, now_s=context.now_s(), request_id=request_id
    )
    return SilencedView(alarms=moved)

"""Rollouts: make, watch, and steer them; and where gateways are, which is what cohorts are chosen by.

Who changes something stands in the rollout's log and in the audit log. Changes take JSON only.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from cloud_hub.accounts.permissions import Permission, Principal
from cloud_hub.api.conditions import IfMatch, json_only, tag
from cloud_hub.api.context import ContextDep, PagingDep, SessionDep
from cloud_hub.api.guard import RequestIdDep, needs
from cloud_hub.api.idempotency import OnceDep
from cloud_hub.api.problems import problem_responses
from cloud_hub.errors import PlanError
from cloud_hub.rollout.plan import MAX_COHORTS, MAX_LISTED, Plan
from cloud_hub.services import ask
from cloud_hub.store import rollout_queries as queries
from cloud_hub.store.paging import Page
from cloud_hub.store.rollout_views import (
    MemberStage,
    MemberView,
    NoteView,
    RolloutDetail,
    RolloutStatus,
    RolloutView,
    SiteView,
)
from cloud_hub.store.sorts import RolloutSort
from models.contract.ids import ID_PATTERN, SHA256_PATTERN

router = APIRouter(tags=["rollouts"])
_READS = [Depends(needs(Permission.FLEET_READ))]
# Who may not is told so before anything else is looked at.
_STEER, _SURVEY = needs(Permission.ROLLOUTS_STEER), needs(Permission.SITES_WRITE)
_CHANGES = [Depends(_STEER), Depends(json_only)]
_LIST = problem_responses(HTTPStatus.BAD_REQUEST)
_ONE = problem_responses(HTTPStatus.NOT_FOUND)
_MEMBERS = problem_responses(HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND)
_CHANGE = problem_responses(
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.CONFLICT,
    HTTPStatus.PRECONDITION_FAILED,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
)
_ID = rf"^{ID_PATTERN}$"
Steerer = Annotated[Principal, Depends(_STEER)]
Surveyor = Annotated[Principal, Depends(_SURVEY)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CohortBody(_Body):
    """One cohort; exactly one of `share`, `label`, `gateways`."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    share: Annotated[str, Field(max_length=32, examples=["10 %"])] | None = None
    label: Annotated[str, Field(max_length=129, examples=["site=north"])] | None = None
    gateways: Annotated[list[str], Field(max_length=MAX_LISTED)] | None = None
    shadow_windows: Annotated[int, Field(ge=0, le=10**9)] | None = None
    soak_windows: Annotated[int, Field(ge=0, le=10**9)] | None = None
    errors: Annotated[str, Field(max_length=32, examples=["5 %", "3"])] | None = None
    success: Annotated[str, Field(max_length=32, examples=["90 %"])] | None = None
    approval: bool | None = None


class RolloutBody(_Body):
    """A new rollout. What is left out has the default of `cloud_hub.rollout.plan`; `limits`, `windows` as there."""

    name: Annotated[str, Field(pattern=_ID)] | None = None
    slot: Annotated[str, Field(pattern=_ID)]
    sha256: Annotated[str, Field(pattern=rf"^{SHA256_PATTERN}$")]
    cohorts: Annotated[list[CohortBody], Field(min_length=1, max_length=MAX_COHORTS)]
    select: Annotated[str, Field(max_length=129)] | None = None
    limits: dict[str, float | None] | None = None
    windows: list[dict[str, str | list[str]]] | None = None
    time_zone: str | None = None
    in_flight: int | None = None
    jitter_s: int | None = None
    silence_s: int | None = None
    arrive_s: int | None = None
    cohort_s: int | None = None
    timeout_s: int | None = None
    give_back: bool | None = None


class AskBody(_Body):
    """Why a change is asked for."""

    why: Annotated[str, Field(max_length=2000)] = ""


class AbortBody(AskBody):
    """`undo`: gateways that have come through get their previous bundle back, too. `force`: end it at once, for a
    rollout whose wants cannot be sent or that cannot be read: gateways keep what they were told last.
    """

    undo: bool = False
    force: bool = False


class RetryBody(AskBody):
    """`gateways`: those that shall try again; none: all that have failed."""

    gateways: Annotated[list[Annotated[str, Field(pattern=_ID)]], Field(min_length=1, max_length=MAX_LISTED)] | None = (
        None
    )


class SiteBody(_Body):
    """Where a gateway is, and its labels; all that was said before is replaced."""

    time_zone: Annotated[str, Field(max_length=64, examples=["Europe/Berlin"])] | None = None
    labels: Annotated[
        dict[Annotated[str, Field(pattern=_ID)], Annotated[str, Field(max_length=64)]],
        Field(json_schema_extra={"additionalProperties": False}),  # no other names
    ] = {}


def _plan_of(body: RolloutBody) -> Plan:
    values: dict[str, Any] = body.model_dump(exclude={"name"}, exclude_none=True)
    if body.limits is not None:
        values["limits"] = body.limits  # null there means: switched off
    try:
        return msgspec.convert(values, Plan)
    except msgspec.ValidationError as error:
        raise PlanError(f"plan: {error}") from error


@router.get("/rollouts", responses=_LIST, dependencies=_READS)
def list_rollouts(
    session: SessionDep, paging: PagingDep, status: RolloutStatus | None = None, sort: RolloutSort = "created"
) -> Page[RolloutView]:
    """Rollouts, newest first, or by name."""
    return queries.list_rollouts(session, paging, status=status, sort=sort)


@router.post(
    "/rollouts",
    responses=_CHANGE,
    dependencies=_CHANGES,
    status_code=HTTPStatus.CREATED,
    response_model=RolloutDetail,
)
def create_rollout(
    context: ContextDep, caller: Steerer, request_id: RequestIdDep, once: OnceDep, body: RolloutBody
) -> Response:
    """Begin a rollout of a published bundle."""

    def make() -> RolloutDetail:
        plan = _plan_of(body)
        made = ask.create(context.database, caller, plan, context.now_s(), name=body.name, request_id=request_id)
        return _detail(context, made)

    return once.answer(make, revision="rollout.revision")


@router.get("/rollouts/{rollout}", responses=_ONE, dependencies=_READS)
def get_rollout(session: SessionDep, rollout: str, response: Response) -> RolloutDetail:
    """One rollout: progress of each cohort, what the rules say, what it waits for."""
    found = queries.get_rollout(session, rollout)
    tag(response, found.rollout.revision)
    return found


@router.get("/rollouts/{rollout}/gateways", responses=_MEMBERS, dependencies=_READS)
def list_members(
    session: SessionDep,
    paging: PagingDep,
    rollout: str,
    stage: MemberStage | None = None,
    cohort: Annotated[int | None, Query(ge=0, le=MAX_COHORTS)] = None,
) -> Page[MemberView]:
    """The gateways of a rollout by id, with how far each is and why it failed."""
    return queries.list_members(session, paging, rollout, stage=stage, cohort=cohort)


@router.get("/rollouts/{rollout}/log", responses=_MEMBERS, dependencies=_READS)
def list_notes(session: SessionDep, paging: PagingDep, rollout: str) -> Page[NoteView]:
    """What happened to a rollout and by whose wish, newest first."""
    return queries.list_notes(session, paging, rollout)


class _Steering:
    """What all that is asked of one rollout has in common."""

    def __init__(
        self,
        context: ContextDep,
        caller: Steerer,
        request_id: RequestIdDep,
        response: Response,
        rollout: str,
        revision: IfMatch,
    ) -> None:
        self._context, self._caller, self._request_id, self._response = context, caller, request_id, response
        self._rollout, self._revision = rollout, revision

    def __call__(self, verb: ask.Verb, **more: Any) -> RolloutDetail:  # noqa: ANN401 - of `ask.ask`
        ask.ask(
            self._context.database, self._caller, self._rollout, verb, self._context.now_s(),
            revision=self._revision, request_id=self._request_id, **more,
        )  # fmt: skip
        found = _detail(self._context, self._rollout)
        tag(self._response, found.rollout.revision)
        return found


Steering = Annotated[_Steering, Depends(_Steering)]


@router.post("/rollouts/{rollout}/approve", responses=_CHANGE, dependencies=_CHANGES)
def approve_rollout(do: Steering, body: AskBody) -> RolloutDetail:
    """Let the cohort that waits for approval begin."""
    return do("approve", why=body.why)


@router.post("/rollouts/{rollout}/pause", responses=_CHANGE, dependencies=_CHANGES)
def pause_rollout(do: Steering, body: AskBody) -> RolloutDetail:
    """Send nothing forward until it is resumed."""
    return do("pause", why=body.why)


@router.post("/rollouts/{rollout}/resume", responses=_CHANGE, dependencies=_CHANGES)
def resume_rollout(do: Steering, body: AskBody) -> RolloutDetail:
    """Go on, in spite of the failures so far and of the rule that stopped it."""
    return do("resume", why=body.why)


@router.post("/rollouts/{rollout}/abort", responses=_CHANGE, dependencies=_CHANGES)
def abort_rollout(do: Steering, body: AbortBody) -> RolloutDetail:
    """End it for good; gateways that have not come through get their previous bundle back."""
    return do("abort", undo=body.undo, force=body.force, why=body.why)


@router.post("/rollouts/{rollout}/retry", responses=_CHANGE, dependencies=_CHANGES)
def retry_rollout(do: Steering, body: RetryBody) -> RolloutDetail:
    """Let gateways that have failed try again."""
    return do("retry", gateways=body.gateways, why=body.why)


@router.get("/sites", responses=_LIST, dependencies=_READS)
def list_sites(session: SessionDep, paging: PagingDep) -> Page[SiteView]:
    """Time zones and labels of gateways, by gateway."""
    return queries.list_sites(session, paging)


@router.get("/gateways/{gateway}/site", responses=_ONE, dependencies=_READS)
def get_site(session: SessionDep, gateway: str, response: Response) -> SiteView:
    """Time zone and labels of one gateway."""
    found = queries.get_site(session, gateway)
    tag(response, found.revision)
    return found


@router.put("/gateways/{gateway}/site", responses=_CHANGE, dependencies=[Depends(_SURVEY), Depends(json_only)])
def put_site(
    context: ContextDep,
    caller: Surveyor,
    request_id: RequestIdDep,
    gateway: str,
    body: SiteBody,
    revision: IfMatch,
    response: Response,
) -> SiteView:
    """Say where a gateway is and how it is labelled, also before it was ever seen."""
    said = ask.set_site(
        context.database, caller, gateway, body.time_zone, dict(body.labels), context.now_s(), revision=revision,
        request_id=request_id,
    )  # fmt: skip
    tag(response, said.revision)
    return said


def _detail(context: ContextDep, rollout: str) -> RolloutDetail:
    with context.database.read() as session:
        return queries.get_rollout(session, rollout)

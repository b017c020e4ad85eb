"""Rollouts: the list, the form of a new one, one as it goes on, and what people may ask of it."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Annotated, Any, get_args
from urllib.parse import quote

import msgspec
from fastapi import APIRouter, Depends, Form, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.responses import Response

from cloud_hub.accounts.permissions import Permission, Principal
from cloud_hub.api.context import ContextDep, PagingDep, SessionDep
from cloud_hub.api.guard import RequestIdDep, needs
from cloud_hub.api.pages.flash import redirect
from cloud_hub.api.pages.rendering import render
from cloud_hub.errors import ConflictError, HubError, NotFoundError, PlanError
from cloud_hub.rollout.plan import DAYS, DEFAULT_COHORTS, Plan
from cloud_hub.services import ask
from cloud_hub.store import model_queries
from cloud_hub.store import rollout_queries as queries
from cloud_hub.store.paging import Paging
from cloud_hub.store.rollout_views import MemberStage, RolloutStatus
from models.contract.ids import ID_PATTERN
from models.errors import TopicError

router = APIRouter(include_in_schema=False)
_READS = [Depends(needs(Permission.FLEET_READ))]
Steerer = Annotated[Principal, Depends(needs(Permission.ROLLOUTS_STEER))]
RolloutId = Annotated[str, Path(pattern=rf"^{ID_PATTERN}$")]
Filter = Annotated[str, Query(max_length=64)]
Text = Annotated[str, Form(max_length=2000)]
_ROWS = 6  # cohorts that the form has room for; the API takes more
_MODELS = Paging(limit=200)
_LOG = Paging(limit=50)
_CHOSEN = ("share", "label", "gateways")


@router.get("/rollouts", response_class=HTMLResponse, dependencies=_READS)
def list_rollouts(request: Request, session: SessionDep, paging: PagingDep, status: Filter = "") -> HTMLResponse:
    """Rollouts, newest first."""
    known = get_args(RolloutStatus)
    page = queries.list_rollouts(session, paging, status=status if status in known else None)
    return render(request, "rollouts/list.html.j2", page=page, statuses=known, chosen=status)


@router.get("/rollouts/new", response_class=HTMLResponse)
def get_form(request: Request, session: SessionDep, _caller: Steerer, sha256: Filter = "") -> HTMLResponse:
    """The form of a new one, with the usual cohorts."""
    given = {"sha256": sha256, "give_back": "yes", "time_zone": "UTC", "in_flight": "500", "jitter_s": "0"}
    for number, cohort in enumerate(DEFAULT_COHORTS):
        given |= {
            f"name-{number}": cohort.name, f"by-{number}": "share", f"which-{number}": cohort.share or "",
            f"shadow-{number}": str(cohort.shadow_windows), f"soak-{number}": str(cohort.soak_windows),
            f"errors-{number}": cohort.errors, f"success-{number}": cohort.success,
        }  # fmt: skip
    return _form(request, session, given)


@router.post("/rollouts/new", response_class=HTMLResponse)
async def post_form(request: Request, context: ContextDep, caller: Steerer, request_id: RequestIdDep) -> Response:
    """Begin it; what is not right is said at the form, all of it."""
    form = await request.form(max_fields=200)
    given = {name: value.strip() for name, value in form.items() if isinstance(value, str)}
    days = [value for value in form.getlist("days") if isinstance(value, str)]

    def begin() -> Response:
        try:
            with context.database.read() as session:
                slot = model_queries.get_model(session, given.get("sha256", "")).model.slot
            plan = _plan(given, days, slot)
            rollout = ask.create(
                context.database, caller, plan, context.now_s(), name=given.get("name") or None, request_id=request_id
            )
        except (PlanError, NotFoundError, ConflictError, TopicError, ValueError) as error:
            with context.database.read() as session:
                return _form(request, session, given, days, str(error))
        return redirect(request, f"/rollouts/{rollout}", "The rollout has begun.")

    return await run_in_threadpool(begin)


@router.get("/rollouts/{rollout}", response_class=HTMLResponse, dependencies=_READS)
def show_rollout(
    request: Request, session: SessionDep, paging: PagingDep, rollout: RolloutId, stage: Filter = ""
) -> HTMLResponse:
    """One rollout: its cohorts, what the rules say, every gateway with its reason, and its log."""
    wanted = stage if stage in get_args(MemberStage) else None
    return render(
        request,
        "rollouts/rollout.html.j2",
        detail=queries.get_rollout(session, rollout),
        members=queries.list_members(session, paging, rollout, stage=wanted),
        notes=queries.list_notes(session, _LOG, rollout).items,
        stages=get_args(MemberStage),
        stage=stage,
    )


@router.post("/rollouts/{rollout}/{verb}")
def steer(
    request: Request,
    context: ContextDep,
    caller: Steerer,
    request_id: RequestIdDep,
    rollout: RolloutId,
    verb: ask.Verb,
    why: Text = "",
    undo: Text = "",
    force: Text = "",
    gateway: Text = "",
) -> RedirectResponse:
    """Approve, pause, resume, abort or retry, then back to it."""
    path = f"/rollouts/{quote(rollout, safe='')}"
    chosen = [gateway] if gateway else None
    try:
        ask.ask(
            context.database, caller, rollout, verb, context.now_s(), why=why.strip(), undo=undo == "yes",
            force=force == "yes", gateways=chosen, request_id=request_id,
        )  # fmt: skip
    except HubError as error:
        return redirect(request, path, str(error), "problem")
    if force == "yes":
        return redirect(request, path, "It has ended.")
    done = {"approve": "Approved.", "pause": "It is paused.", "resume": "It goes on.", "abort": "It is being aborted."}
    return redirect(request, path, done.get(verb, "They try again."))


def _plan(given: dict[str, str], days: list[str], slot: str) -> Plan:
    """The plan that the form asks for. Raises: PlanError, ValueError: not a number."""
    cohorts: list[dict[str, Any]] = []
    for number in range(_ROWS):
        name = given.get(f"name-{number}", "")
        if not name:
            continue
        by = given.get(f"by-{number}", "share")
        which: str | list[str] = given.get(f"which-{number}", "")
        if by == "gateways":
            which = [one for one in re.split(r"[\s,]+", str(which)) if one]
        cohort: dict[str, Any] = {"name": name, "approval": given.get(f"approval-{number}") == "yes"}
        if by in _CHOSEN:
            cohort[by] = which
        for field, option in (("shadow", "shadow_windows"), ("soak", "soak_windows")):
            if given.get(f"{field}-{number}"):
                cohort[option] = int(given[f"{field}-{number}"])
        cohort |= {f: given[f"{f}-{number}"] for f in ("errors", "success") if given.get(f"{f}-{number}")}
        cohorts.append(cohort)
    values: dict[str, Any] = {"slot": slot, "sha256": given["sha256"], "cohorts": cohorts}
    values["give_back"] = given.get("give_back") == "yes"
    values |= {name: int(given[name]) for name in ("in_flight", "jitter_s") if given.get(name)}
    values |= {name: given[name] for name in ("select", "time_zone") if given.get(name)}
    if given.get("start") or given.get("end"):
        values["windows"] = [{"days": days or list(DAYS), "start": given.get("start", ""), "end": given.get("end", "")}]
    try:
        return msgspec.convert(values, Plan)
    except msgspec.ValidationError as error:
        raise PlanError(f"plan: {error}") from error


def _form(
    request: Request, session: SessionDep, given: dict[str, str], days: list[str] | None = None, error: str = ""
) -> HTMLResponse:
    published = model_queries.list_models(session, _MODELS, published=True).items
    return render(
        request,
        "rollouts/new.html.j2",
        status=HTTPStatus.UNPROCESSABLE_ENTITY if error else HTTPStatus.OK,
        given=given,
        days=days if days is not None else list(DAYS),
        all_days=DAYS,
        error=error,
        models=published,
        rows=range(_ROWS),
        usual=DEFAULT_COHORTS[-1],
    )

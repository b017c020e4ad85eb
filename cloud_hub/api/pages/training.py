"""Trainings: start one from a data set, watch it, cancel it, see what came of it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.responses import Response

from cloud_hub.accounts.permissions import Permission, Principal
from cloud_hub.api.context import ContextDep, PagingDep, SessionDep, WorkshopDep
from cloud_hub.api.guard import RequestIdDep, needs
from cloud_hub.api.pages.flash import redirect
from cloud_hub.api.pages.rendering import render
from cloud_hub.errors import ConflictError, DataError, NotFoundError
from cloud_hub.jobs.command import order_of
from cloud_hub.jobs.states import OVER, JobState
from cloud_hub.services import training_jobs as services
from cloud_hub.store import dataset_queries, model_queries
from cloud_hub.store import jobs as queries
from cloud_hub.store.paging import MAX_LIMIT, Paging
from models.contract.ids import ID_PATTERN
from models.families import families

router = APIRouter(include_in_schema=False)
_READS = [Depends(needs(Permission.FLEET_READ))]
Trainer = Annotated[Principal, Depends(needs(Permission.MODELS_TRAIN))]
JobId = Annotated[str, Path(pattern=rf"^{ID_PATTERN}$")]
Text = Annotated[str, Form(max_length=1000)]
_ALL = Paging(limit=MAX_LIMIT)
_LOG_CHARS = 20_000


@router.get("/models/training", response_class=HTMLResponse, dependencies=_READS)
def list_jobs(
    request: Request, session: SessionDep, paging: PagingDep, state: Annotated[str, Query(max_length=16)] = ""
) -> HTMLResponse:
    """Trainings, newest first."""
    wanted = state if state in set(JobState) else None
    page = queries.list_jobs(session, paging, state=wanted)
    return render(request, "training/list.html.j2", page=page, states=list(JobState), state=state)


@router.get("/models/training/new", response_class=HTMLResponse)
def get_form(
    request: Request,
    session: SessionDep,
    workshop: WorkshopDep,
    _caller: Trainer,
    data_set: Annotated[str, Query(max_length=64)] = "",
    version: Annotated[str, Query(max_length=20)] = "",
) -> HTMLResponse:
    """The form that starts one."""
    given = {"data_set": data_set, "data_set_version": version}
    return _form(request, session, workshop.trains, given)


@router.post("/models/training/new", response_class=HTMLResponse)
def start(
    request: Request,
    context: ContextDep,
    session: SessionDep,
    workshop: WorkshopDep,
    caller: Trainer,
    request_id: RequestIdDep,
    data_set: Text = "",
    data_set_version: Text = "",
    family: Text = "",
    slot: Text = "",
    version: Text = "",
    title: Text = "",
    units: Text = "",
    rate_hz: Text = "",
    axes: Text = "",
    seed: Text = "1",
    seeds: Text = "5",
    accept: Text = "",
) -> Response:
    """Queue it, then to its page; what is not right is said at the form."""
    given = {
        "data_set": data_set, "data_set_version": data_set_version, "family": family, "slot": slot, "version": version,
        "title": title, "units": units, "rate_hz": rate_hz, "axes": axes, "seed": seed, "seeds": seeds,
        "accept": accept,
    }  # fmt: skip
    try:
        number = int(data_set_version) if data_set_version.strip() else None
        order = order_of(_values(given))
        job = services.start(
            context.database, caller, data_set, number, order, now_s=context.now_s(), request_id=request_id
        )
    except (DataError, NotFoundError, ConflictError, ValueError) as error:
        return _form(request, session, workshop.trains, given, str(error))
    workshop.wake()
    return redirect(request, f"/models/training/{job.id}", "The training is queued.")


@router.get("/models/training/{job}", response_class=HTMLResponse, dependencies=_READS)
def show_job(request: Request, session: SessionDep, workshop: WorkshopDep, job: JobId) -> HTMLResponse:
    """One training: how far it is, and what came of it."""
    detail = queries.get_job(session, job)
    path = workshop.places.jobs / job / "log.txt"
    log = path.read_bytes().decode("utf-8", "replace")[-_LOG_CHARS:] if path.is_file() else ""
    made = detail.job.sha256
    model = model_queries.get_model(session, made).model if made is not None else None
    return render(
        request,
        "training/job.html.j2",
        job=detail.job,
        summary=detail.summary or {},
        over=detail.job.state in OVER,
        log=log,
        model=model,
    )


@router.post("/models/training/{job}/cancel")
def cancel(
    request: Request,
    context: ContextDep,
    workshop: WorkshopDep,
    caller: Trainer,
    request_id: RequestIdDep,
    job: JobId,
) -> RedirectResponse:
    """End it."""
    path = f"/models/training/{job}"
    try:
        services.cancel(context.database, caller, job, now_s=context.now_s(), request_id=request_id)
    except ConflictError as error:
        return redirect(request, path, str(error), "problem")
    workshop.wake()
    return redirect(request, path, "It is being cancelled.")


@router.post("/models/training/{job}/again")
def again(
    request: Request,
    context: ContextDep,
    workshop: WorkshopDep,
    caller: Trainer,
    request_id: RequestIdDep,
    job: JobId,
) -> RedirectResponse:
    """Queue the same once more."""
    made = services.again(context.database, caller, job, now_s=context.now_s(), request_id=request_id)
    workshop.wake()
    return redirect(request, f"/models/training/{made.id}", "The same training is queued once more.")


def _values(given: dict[str, str]) -> dict[str, Any]:
    """The fields of an order that were filled in. Raises: ValueError: not a number."""
    names = ("family", "slot", "version", "title", "units", "accept")
    values: dict[str, Any] = {name: given[name].strip() for name in names if given[name].strip()}
    if given["axes"].strip():
        values["axes"] = [axis.strip() for axis in given["axes"].split(",") if axis.strip()]
    if given["rate_hz"].strip():
        values["rate_hz"] = float(given["rate_hz"])
    for name in ("seed", "seeds"):
        values[name] = int(given[name])
    return values


def _form(request: Request, session: SessionDep, trains: int, given: dict[str, str], error: str = "") -> HTMLResponse:
    defaults = dict.fromkeys(("family", "slot", "version", "title", "units", "rate_hz", "axes", "accept"), "") | {
        "seed": "1",
        "seeds": "5",
    }
    return render(
        request,
        "training/new.html.j2",
        status=HTTPStatus.UNPROCESSABLE_ENTITY if error else HTTPStatus.OK,
        given=defaults | given,
        error=error,
        datasets=dataset_queries.list_datasets(session, _ALL).items,
        families=[(family.name, family.title) for family in families().values()],
        trains=trains,
    )

"""Training jobs: start, watch, cancel. Their trainings are processes of their own; see `cloud_hub.jobs`.

A job's `ETag` is its revision, which grows with every change, progress included.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field
from sse_starlette import EventSourceResponse

from cloud_hub.accounts.permissions import Permission, Principal
from cloud_hub.api.conditions import IfMatch, json_only, tag
from cloud_hub.api.context import MAX_INTEGER, ContextDep, HubContext, IdFilter, PagingDep, SessionDep, WorkshopDep
from cloud_hub.api.events import LIFE_S, stream_of
from cloud_hub.api.guard import RequestIdDep, needs
from cloud_hub.api.idempotency import OnceDep
from cloud_hub.api.problems import problem_responses
from cloud_hub.errors import NotFoundError
from cloud_hub.jobs.command import order_of
from cloud_hub.jobs.states import OVER, JobState
from cloud_hub.services import training_jobs as services
from cloud_hub.store import jobs as queries
from cloud_hub.store.job_views import JobDetail, JobView
from cloud_hub.store.paging import Page
from cloud_hub.store.sorts import JobSort
from models.contract.ids import ID_PATTERN

router = APIRouter(tags=["training"])
_READ = [Depends(needs(Permission.FLEET_READ))]
Trainer = Annotated[Principal, Depends(needs(Permission.MODELS_TRAIN))]
JobId = Annotated[str, Path(pattern=rf"^{ID_PATTERN}$")]
_ID = rf"^{ID_PATTERN}$"
_WHO = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_LIST = problem_responses(HTTPStatus.BAD_REQUEST, *_WHO)
_ONE = problem_responses(HTTPStatus.NOT_FOUND, *_WHO)
_LOG = problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, *_WHO)
_CHANGE = problem_responses(
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.CONFLICT,
    HTTPStatus.PRECONDITION_FAILED,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    *_WHO,
)
_POLL_S = 1.0
_Words = Annotated[str, Field(max_length=200)]


class OrderBody(BaseModel):
    """What to train. What is left out is taken from the data, as `cloud-hub train` does."""

    model_config = ConfigDict(extra="forbid")
    data_set: Annotated[str, Field(pattern=_ID)]
    data_set_version: Annotated[int, Field(ge=1, le=MAX_INTEGER, description="Default: the newest.")] | None = None
    family: Annotated[str, Field(pattern=_ID)] | None = None
    slot: Annotated[str, Field(pattern=_ID)] | None = None
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] | None = None
    title: _Words | None = None
    quantity: _Words | None = None
    units: _Words | None = None
    rate_hz: Annotated[float, Field(gt=0, le=1e9)] | None = None
    axes: Annotated[list[_Words], Field(max_length=64)] = []
    column_points: bool | None = None
    mend_time: bool | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 1
    seeds: Annotated[int, Field(ge=1, le=100)] = 5
    accept: Annotated[str, Field(max_length=1000, description="Ship although a gate fails, and why.")] | None = None


@router.get("/training-jobs", responses=_LIST, dependencies=_READ)
def list_jobs(
    session: SessionDep,
    paging: PagingDep,
    state: JobState | None = None,
    data_set: IdFilter = None,
    sort: JobSort = "created",
) -> Page[JobView]:
    """Training jobs, newest first, or oldest first, or together with those in the same state, newest first."""
    return queries.list_jobs(session, paging, state=state, dataset=data_set, sort=sort)


@router.post(
    "/training-jobs",
    responses=_CHANGE,
    dependencies=[Depends(json_only)],
    status_code=HTTPStatus.CREATED,
    response_model=JobView,
)
def start_job(
    context: ContextDep,
    workshop: WorkshopDep,
    caller: Trainer,
    body: OrderBody,
    request: RequestIdDep,
    once: OnceDep,
) -> Response:
    """Queue a training on a version of a data set."""

    def make() -> JobView:
        values: dict[str, Any] = body.model_dump(exclude={"data_set", "data_set_version"}, exclude_none=True)
        made = services.start(
            context.database, caller, body.data_set, body.data_set_version, order_of(values), now_s=context.now_s(),
            request_id=request,
        )  # fmt: skip
        workshop.wake()
        return made

    return once.answer(make, revision="revision")


@router.get("/training-jobs/{job}", responses=_ONE, dependencies=_READ)
def get_job(session: SessionDep, job: JobId, response: Response) -> JobDetail:
    """One job: how far it is, why it was refused, what came of it."""
    found = queries.get_job(session, job)
    tag(response, found.job.revision)
    return found


@router.post("/training-jobs/{job}/cancel", responses=_CHANGE)
def cancel_job(
    context: ContextDep,
    workshop: WorkshopDep,
    caller: Trainer,
    job: JobId,
    revision: IfMatch,
    request: RequestIdDep,
    response: Response,
) -> JobView:
    """End a training, or keep it from beginning."""
    after = services.cancel(context.database, caller, job, revision=revision, now_s=context.now_s(), request_id=request)
    workshop.wake()
    tag(response, after.revision)
    return after


@router.post("/training-jobs/{job}/again", responses=_CHANGE, status_code=HTTPStatus.CREATED, response_model=JobView)
def again(
    context: ContextDep, workshop: WorkshopDep, caller: Trainer, job: JobId, request: RequestIdDep, once: OnceDep
) -> Response:
    """Queue the same training once more, for example after the hub was restarted while it ran."""

    def make() -> JobView:
        made = services.again(context.database, caller, job, now_s=context.now_s(), request_id=request)
        workshop.wake()
        return made

    return once.answer(make, revision="revision")


@router.get(
    "/training-jobs/{job}/log",
    responses={**_LOG, 200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    response_class=PlainTextResponse,
    dependencies=_READ,
)
def get_log(session: SessionDep, workshop: WorkshopDep, job: JobId) -> PlainTextResponse:
    """What its process said: the first 512 KB and the last 128 KB of it."""
    queries.get_job(session, job)
    path = workshop.places.jobs / job / "log.txt"
    if not path.is_file():
        raise NotFoundError(f"training job {job}: this hub has no log of it: it has not begun here")
    return PlainTextResponse(path.read_bytes().decode("utf-8", "replace"))


@router.get(
    "/training-jobs/{job}/events",
    responses={**_ONE, **stream_of({"job": JobView}, "The job, each time it has changed.")},
    response_class=EventSourceResponse,
    dependencies=_READ,
)
async def follow_job(request: Request, context: ContextDep, job: JobId) -> EventSourceResponse:
    """A job as it changes: server-sent events `job` with the job as JSON, until it is over.

    After 15 minutes the stream ends before that: ask again, and the first event says how the job is then.
    """
    first = await run_in_threadpool(_read, context, job)

    async def events() -> AsyncIterator[dict[str, str]]:
        seen, now = 0, first
        ends_s = time.monotonic() + LIFE_S  # by the clock, however often the job changes
        while True:
            if now.revision != seen:
                seen = now.revision
                yield {"event": "job", "id": str(seen), "data": msgspec.json.encode(now).decode()}
            left_s = ends_s - time.monotonic()
            if now.state in OVER or left_s <= 0 or await request.is_disconnected():
                return
            await asyncio.sleep(min(_POLL_S, left_s))
            now = await run_in_threadpool(_read, context, job)

    return EventSourceResponse(events())


def _read(context: HubContext, job: str) -> JobView:
    with context.database.read() as session:
        return queries.get_job(session, job).job

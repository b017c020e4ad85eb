"""Labels: what people say about captures and spans of time.

A label's `ETag` is its revision. A write with `If-Match` is refused with 412 when somebody else was faster.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from cloud_hub.accounts.permissions import Permission, Principal
from cloud_hub.api.conditions import IfMatch, json_only, tag
from cloud_hub.api.context import MAX_INTEGER, ContextDep, IdFilter, PagingDep, SessionDep
from cloud_hub.api.guard import RequestIdDep, needs
from cloud_hub.api.idempotency import OnceDep
from cloud_hub.api.problems import problem_responses
from cloud_hub.data.stretches import Verdict
from cloud_hub.services import labels as services
from cloud_hub.store import labels as queries
from cloud_hub.store.data_views import LabelView
from cloud_hub.store.paging import Page
from models.contract.ids import ID_PATTERN

router = APIRouter(tags=["data"])
_READ = [Depends(needs(Permission.DATA_READ))]
Writer = Annotated[Principal, Depends(needs(Permission.DATA_WRITE))]
LabelId = Annotated[int, Path(ge=1, le=MAX_INTEGER)]
_ID = rf"^{ID_PATTERN}$"
_CHANGES = [Depends(json_only)]
_WHO = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_LIST = problem_responses(HTTPStatus.BAD_REQUEST, *_WHO)
_ONE = problem_responses(HTTPStatus.NOT_FOUND, *_WHO)
_CHANGE = problem_responses(
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.CONFLICT,
    HTTPStatus.PRECONDITION_FAILED,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    *_WHO,
)


class SayingBody(BaseModel):
    """What is said. `fault`: which one, with the verdict fault and only then."""

    model_config = ConfigDict(extra="forbid")
    verdict: Verdict
    fault: Annotated[str, Field(pattern=_ID, examples=["outer-race"])] | None = None
    note: Annotated[str, Field(max_length=2000)] = ""

    def saying(self) -> services.Saying:
        """For the service."""
        return services.Saying(self.verdict, self.fault, self.note)


class LabelBody(SayingBody):
    """About all of a `capture`, or about a span of time of a point, by the gateway's clock."""

    capture: Annotated[str, Field(pattern=_ID)] | None = None
    machine: Annotated[str, Field(pattern=_ID)] | None = None
    point: Annotated[str, Field(pattern=_ID)] | None = None
    from_s: Annotated[float, Field(ge=0, le=1e11)] | None = None
    to_s: Annotated[float, Field(ge=0, le=1e11)] | None = None

    @model_validator(mode="after")
    def one_or_the_other(self) -> LabelBody:
        """A capture, or a whole span."""
        span = [self.machine, self.point, self.from_s, self.to_s]
        if (self.capture is None) == (None in span) or (self.capture is not None and span.count(None) < 4):
            raise ValueError("expected either capture, or machine, point, from_s and to_s")
        return self


@router.get("/labels", responses=_LIST, dependencies=_READ)
def list_labels(
    session: SessionDep,
    paging: PagingDep,
    machine: IdFilter = None,
    point: IdFilter = None,
    capture: IdFilter = None,
    verdict: Verdict | None = None,
) -> Page[LabelView]:
    """Labels, those said last first. Where labels of a point overlap, the one said last counts."""
    return queries.list_labels(session, paging, machine=machine, point=point, capture=capture, verdict=verdict)


@router.post(
    "/labels", responses=_CHANGE, dependencies=_CHANGES, status_code=HTTPStatus.CREATED, response_model=LabelView
)
def add_label(context: ContextDep, caller: Writer, body: LabelBody, request: RequestIdDep, once: OnceDep) -> Response:
    """Say that something is healthy, a fault, or not to be used."""
    now_s = context.now_s()

    def make() -> LabelView:
        if body.capture is not None:
            return services.label_capture(
                context.database, caller, body.capture, body.saying(), now_s=now_s, request_id=request
            )
        return services.label_span(
            context.database, caller, body.machine or "", body.point or "", (body.from_s or 0.0, body.to_s or 0.0),
            body.saying(), now_s=now_s, request_id=request,
        )  # fmt: skip

    return once.answer(make, revision="revision")


@router.get("/labels/{label}", responses=_ONE, dependencies=_READ)
def get_label(session: SessionDep, label: LabelId, response: Response) -> LabelView:
    """One label."""
    found = queries.get_label(session, label)
    tag(response, found.revision)
    return found


@router.put("/labels/{label}", responses=_CHANGE, dependencies=_CHANGES)
def put_label(
    context: ContextDep,
    caller: Writer,
    label: LabelId,
    body: SayingBody,
    revision: IfMatch,
    request: RequestIdDep,
    response: Response,
) -> LabelView:
    """Say something else about the same span."""
    changed = services.change(
        context.database, caller, label, revision, body.saying(), now_s=context.now_s(), request_id=request
    )
    tag(response, changed.revision)
    return changed


@router.delete("/labels/{label}", responses=_CHANGE, status_code=HTTPStatus.NO_CONTENT)
def delete_label(context: ContextDep, caller: Writer, label: LabelId, revision: IfMatch, request: RequestIdDep) -> None:
    """Take a label away. Data sets that were made with it stay as they are."""
    services.remove(context.database, caller, label, revision, now_s=context.now_s(), request_id=request)

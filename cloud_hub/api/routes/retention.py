"""How long the trends of a point are kept."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict, Field

from cloud_hub.accounts.permissions import Permission, Principal
from cloud_hub.api.conditions import IfMatch, json_only, tag
from cloud_hub.api.context import ContextDep, SessionDep
from cloud_hub.api.guard import RequestIdDep, needs
from cloud_hub.api.problems import problem_responses
from cloud_hub.services import keeping
from cloud_hub.store.keep_views import KeptDays, KeptView

router = APIRouter(tags=["machines"])
_WHO = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_ONE = problem_responses(HTTPStatus.NOT_FOUND, *_WHO)
_CHANGE = problem_responses(
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.PRECONDITION_FAILED,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    *_WHO,
)
Days = Annotated[float, Field(ge=keeping.MIN_DAYS, le=keeping.MAX_DAYS)] | None


class KeepBody(BaseModel):
    """Days for each resolution; null: as the hub's settings say. They may not fall from finer to coarser."""

    model_config = ConfigDict(extra="forbid")
    rows: Days = None
    five_minutes: Days = None
    hours: Days = None


@router.get(
    "/machines/{machine}/points/{point}/retention",
    responses=_ONE,
    dependencies=[Depends(needs(Permission.FLEET_READ))],
)
def get_retention(session: SessionDep, context: ContextDep, response: Response, machine: str, point: str) -> KeptView:
    """How long its trends are kept: as they came, in buckets of 5 minutes, and of an hour."""
    found = keeping.get(session, context.keeps, machine, point)
    tag(response, found.revision)
    return found


@router.put("/machines/{machine}/points/{point}/retention", responses=_CHANGE, dependencies=[Depends(json_only)])
def put_retention(
    context: ContextDep,
    caller: Annotated[Principal, Depends(needs(Permission.DATA_WRITE))],
    request_id: RequestIdDep,
    response: Response,
    machine: str,
    point: str,
    body: KeepBody,
    revision: IfMatch,
) -> KeptView:
    """Say how long its trends are kept. What is over its days is deleted within the hour, and for good."""
    own = KeptDays(body.rows, body.five_minutes, body.hours)
    said = keeping.put(
        context.database, caller, context.keeps, machine, point, own, now_s=context.now_s(), revision=revision,
        request_id=request_id,
    )  # fmt: skip
    tag(response, said.revision)
    return said

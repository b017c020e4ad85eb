"""Uploads: files that people bring to train on."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.concurrency import run_in_threadpool

from cloud_hub.accounts.permissions import Permission
from cloud_hub.api.context import ContextDep, PagingDep, SessionDep, WorkshopDep
from cloud_hub.api.guard import RequestIdDep, needs
from cloud_hub.api.problems import problem_responses
from cloud_hub.api.receiving import body_in
from cloud_hub.api.routes.labels import Writer
from cloud_hub.services import datasets as services
from cloud_hub.store import dataset_queries as queries
from cloud_hub.store.data_views import UploadView
from cloud_hub.store.paging import Page
from models.contract.ids import SHA256_PATTERN

router = APIRouter(tags=["data"])
_READ = [Depends(needs(Permission.DATA_READ))]
_WHO = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_LIST = problem_responses(HTTPStatus.BAD_REQUEST, *_WHO)
_ONE = problem_responses(HTTPStatus.NOT_FOUND, *_WHO)
_CHANGE = problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, *_WHO)
Sha256 = Annotated[str, Path(pattern=rf"^{SHA256_PATTERN}$")]


@router.get("/uploads", responses=_LIST, dependencies=_READ)
def list_uploads(
    session: SessionDep, paging: PagingDep, kind: Literal["csv", "parquet", "wav", "npz"] | None = None
) -> Page[UploadView]:
    """Files that people brought, newest first."""
    return queries.list_uploads(session, paging, kind=kind)


@router.post(
    "/uploads",
    responses=_CHANGE,
    status_code=HTTPStatus.CREATED,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def add_upload(
    request: Request,
    context: ContextDep,
    workshop: WorkshopDep,
    caller: Writer,
    request_id: RequestIdDep,
    name: Annotated[str, Query(min_length=5, max_length=200, description="The file's name, with its ending.")],
) -> UploadView:
    """Bring a file: CSV, Parquet, WAV or npz, as the body. It is looked at apart, and kept under its digest; the same
    bytes again are no second file: it may be sent again without an idempotency key.
    """
    async with body_in(request, workshop.places.uploads, workshop.places.upload_max) as partial:

        def keep() -> UploadView:
            return services.keep_upload(
                context.database, caller, workshop.places, name, partial, now_s=context.now_s(), request_id=request_id
            )

        return await run_in_threadpool(keep)


@router.get("/uploads/{sha256}", responses=_ONE, dependencies=_READ)
def get_upload(session: SessionDep, sha256: Sha256) -> UploadView:
    """One file."""
    return queries.get_upload(session, sha256)


@router.delete("/uploads/{sha256}", responses=_CHANGE, status_code=HTTPStatus.NO_CONTENT)
def delete_upload(
    context: ContextDep, workshop: WorkshopDep, caller: Writer, sha256: Sha256, request_id: RequestIdDep
) -> None:
    """Remove a file that no data set holds."""
    services.remove_upload(
        context.database, caller, workshop.places, sha256, now_s=context.now_s(), request_id=request_id
    )

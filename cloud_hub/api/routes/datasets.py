"""Data sets: named versions of captures, uploads and spans of time, with roles and a split. A version never changes.

A data set's `ETag` is its newest version. Adding a version with `If-Match` is refused with 412 when there is a newer.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from cloud_hub.accounts.permissions import Permission
from cloud_hub.api.conditions import IfMatch, json_only, tag
from cloud_hub.api.context import MAX_INTEGER, ContextDep, PagingDep, SessionDep, WorkshopDep
from cloud_hub.api.guard import RequestIdDep, needs
from cloud_hub.api.idempotency import OnceDep
from cloud_hub.api.problems import problem_responses
from cloud_hub.api.routes.labels import Writer
from cloud_hub.services import datasets as services
from cloud_hub.services.datasets import Item, Recipe
from cloud_hub.store import dataset_queries as queries
from cloud_hub.store.data_views import DatasetView, LineageView, VersionDetail, VersionView
from cloud_hub.store.paging import Page
from cloud_hub.store.sorts import DatasetSort
from models.contract.ids import ID_PATTERN

router = APIRouter(tags=["data"])
_READ = [Depends(needs(Permission.DATA_READ))]
_CHANGES = [Depends(json_only)]
_WHO = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_LIST = problem_responses(HTTPStatus.BAD_REQUEST, *_WHO)
_ONE = problem_responses(HTTPStatus.NOT_FOUND, *_WHO)
_PART = problem_responses(HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, *_WHO)
_LOOK = problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, *_WHO)
_CHANGE = problem_responses(
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.CONFLICT,
    HTTPStatus.PRECONDITION_FAILED,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    *_WHO,
)
_ID = rf"^{ID_PATTERN}$"
Version = Annotated[int, Path(ge=1, le=MAX_INTEGER)]


class ItemBody(BaseModel):
    """What a data set is to hold: a `capture` or `upload` by `ref`, or what was captured of a point in a `span`."""

    model_config = ConfigDict(extra="forbid")
    kind: Literal["capture", "upload", "span"]
    role: Literal["healthy", "fault"]
    ref: Annotated[str, Field(max_length=64)] = ""
    fault: Annotated[str, Field(pattern=_ID)] | None = None
    machine: Annotated[str, Field(max_length=64)] = ""
    point: Annotated[str, Field(max_length=64)] = ""
    from_s: Annotated[float, Field(ge=0, le=1e11)] = 0.0
    to_s: Annotated[float, Field(ge=0, le=1e11)] = 1e11
    start: Annotated[float, Field(ge=0, le=1)] = 0.0
    end: Annotated[float, Field(ge=0, le=1)] = 1.0


class RecipeBody(BaseModel):
    """A version that is to be. Training never sees the last `test_share` of each source."""

    model_config = ConfigDict(extra="forbid")
    items: Annotated[list[ItemBody], Field(min_length=1, max_length=services.MAX_SOURCES)]
    test_share: Annotated[float, Field(ge=0, le=0.9)] = 0.2
    title: Annotated[str, Field(max_length=200)] = ""
    note: Annotated[str, Field(max_length=2000)] = ""

    def recipe(self) -> Recipe:
        """For the service."""
        items = tuple(Item(**item.model_dump()) for item in self.items)
        return Recipe(items, self.test_share, self.title, self.note)


class DatasetBody(RecipeBody):
    """A new data set with its first version."""

    name: Annotated[str, Field(pattern=_ID)]


@router.get("/data-sets", responses=_LIST, dependencies=_READ)
def list_datasets(session: SessionDep, paging: PagingDep, sort: DatasetSort = "changed") -> Page[DatasetView]:
    """Data sets, those changed last first, or by name."""
    return queries.list_datasets(session, paging, sort=sort)


@router.post(
    "/data-sets",
    responses=_CHANGE,
    dependencies=_CHANGES,
    status_code=HTTPStatus.CREATED,
    response_model=VersionDetail,
)
def create_dataset(
    context: ContextDep,
    workshop: WorkshopDep,
    caller: Writer,
    body: DatasetBody,
    request: RequestIdDep,
    once: OnceDep,
) -> Response:
    """Make a data set. Labels are applied now: what is excluded, or is labelled to be something else, is left out."""

    def make() -> VersionDetail:
        return services.make_version(
            context.database, caller, workshop.places, body.name, body.recipe(), None, now_s=context.now_s(),
            request_id=request,
        )  # fmt: skip

    return once.answer(make, revision="version.version")


@router.get("/data-sets/{name}", responses=_ONE, dependencies=_READ)
def get_dataset(session: SessionDep, name: str, response: Response) -> DatasetView:
    """One data set."""
    found = queries.get_dataset(session, name)
    tag(response, found.version)
    return found


@router.get("/data-sets/{name}/versions", responses=_PART, dependencies=_READ)
def list_versions(session: SessionDep, paging: PagingDep, name: str) -> Page[VersionView]:
    """Versions of a data set, newest first."""
    return queries.list_versions(session, paging, name)


@router.post(
    "/data-sets/{name}/versions",
    responses=_CHANGE,
    dependencies=_CHANGES,
    status_code=HTTPStatus.CREATED,
    response_model=VersionDetail,
)
def add_version(
    context: ContextDep,
    workshop: WorkshopDep,
    caller: Writer,
    name: str,
    body: RecipeBody,
    expected: IfMatch,
    request: RequestIdDep,
    once: OnceDep,
) -> Response:
    """Add a version. Equal contents again are no new version."""

    def make() -> VersionDetail:
        wanted = expected
        if wanted is None:
            with context.database.read() as session:
                wanted = queries.get_dataset(session, name).version
        return services.make_version(
            context.database, caller, workshop.places, name, body.recipe(), wanted, now_s=context.now_s(),
            request_id=request,
        )  # fmt: skip

    return once.answer(make, revision="version.version")


@router.get("/data-sets/{name}/versions/{version}", responses=_ONE, dependencies=_READ)
def get_version(session: SessionDep, name: str, version: Version) -> VersionDetail:
    """One version with its files, their roles and parts."""
    return queries.get_version(session, name, version)


@router.get("/data-sets/{name}/versions/{version}/inspection", responses=_LOOK, dependencies=_READ)
def get_inspection(context: ContextDep, workshop: WorkshopDep, name: str, version: Version) -> dict[str, Any]:
    """What `cloud-hub inspect` says of the healthy training part; the first time this takes a while."""
    return services.inspect_version(context.database, workshop.places, name, version)


@router.get("/data-sets/{name}/versions/{version}/models", responses=_ONE, dependencies=_READ)
def get_models(session: SessionDep, name: str, version: Version) -> list[LineageView]:
    """The models that were trained on it: by a job of this hub, or elsewhere on exactly its files."""
    return queries.bundles_from(session, name, version)

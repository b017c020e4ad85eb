"""Models: published bundles and those trained here, their cards, figures and reports, where they are and whence."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response
from fastapi.responses import HTMLResponse

from cloud_hub.accounts.permissions import Permission, Principal
from cloud_hub.api.answers import CardBody, CompareRow, PublishBody
from cloud_hub.api.context import ContextDep, IdFilter, PagingDep, SessionDep, WorkshopDep
from cloud_hub.api.guard import RequestIdDep, needs
from cloud_hub.api.idempotency import OnceDep
from cloud_hub.api.problems import problem_responses
from cloud_hub.errors import NotFoundError
from cloud_hub.services import models as services
from cloud_hub.store import model_queries as queries
from cloud_hub.store.model_views import DataOrigin, ModelUse, ModelView
from cloud_hub.store.paging import Page
from cloud_hub.store.sorts import ModelSort
from models.contract.ids import SHA256_PATTERN

router = APIRouter(tags=["models"])
_READ = [Depends(needs(Permission.FLEET_READ))]
_WHO = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_LIST = problem_responses(HTTPStatus.BAD_REQUEST, *_WHO)
_ONE = problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, *_WHO)
Sha256 = Annotated[str, Path(pattern=rf"^{SHA256_PATTERN}$")]
# A report is a page of its own making: its styles and pictures are in it, and nothing in it may run or ask for more.
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; sandbox"


@router.get("/models", responses=_LIST, dependencies=_READ)
def list_models(
    session: SessionDep,
    paging: PagingDep,
    slot: IdFilter = None,
    family: IdFilter = None,
    published: bool | None = None,
    sort: ModelSort = "created",
) -> Page[ModelView]:
    """Bundles that were published or trained here: newest first, or by slot and version, or the largest first."""
    return queries.list_models(session, paging, slot=slot, family=family, published=published, sort=sort)


@router.get("/models/{sha256}", responses=_ONE, dependencies=_READ)
def get_model(session: SessionDep, sha256: Sha256) -> ModelView:
    """One bundle."""
    return queries.get_model(session, sha256).model


@router.get("/models/{sha256}/card", responses=_ONE, dependencies=_READ)
def get_card(context: ContextDep, workshop: WorkshopDep, sha256: Sha256) -> CardBody:
    """Model card, manifest and evaluation as they stand in the bundle."""
    card = services.card_of(services.read_model(context.database, workshop.places, sha256)[2])
    return CardBody(
        sha256=card.sha256, card=card.card, manifest=card.manifest, evaluation=card.evaluation,
        network_bytes=card.network_bytes,
    )  # fmt: skip


@router.get(
    "/models/{sha256}/report",
    responses={**_ONE, 200: {"content": {"text/html": {"schema": {"type": "string"}}}}},
    response_class=HTMLResponse,
    dependencies=_READ,
)
def get_report(session: SessionDep, workshop: WorkshopDep, sha256: Sha256) -> HTMLResponse:
    """The report of its training, for bundles that were trained here. It may run nothing and load nothing."""
    model = queries.get_model(session, sha256).model
    path = workshop.places.reports / f"{sha256}.html"
    if not path.is_file():
        raise NotFoundError(
            f"model {model.slot}/{model.version}: this hub has no report of it; it was trained elsewhere"
        )
    return HTMLResponse(path.read_bytes(), headers={"Content-Security-Policy": REPORT_POLICY})


@router.get("/models/{sha256}/use", responses=_ONE, dependencies=_READ)
def get_use(session: SessionDep, sha256: Sha256) -> ModelUse:
    """The gateways that have it, and the rollouts that brought it."""
    queries.get_model(session, sha256)
    return queries.get_use(session, sha256)


@router.get("/models/{sha256}/data", responses=_ONE, dependencies=[Depends(needs(Permission.DATA_READ))])
def get_data(session: SessionDep, sha256: Sha256) -> list[DataOrigin]:
    """The versions of data sets that hold what it was trained on."""
    return queries.get_origins(session, queries.get_model(session, sha256))


@router.get("/models/{sha256}/compare/{other}", responses=_ONE, dependencies=_READ)
def compare(context: ContextDep, workshop: WorkshopDep, sha256: Sha256, other: Sha256) -> list[CompareRow]:
    """What two bundles have, figure by figure."""
    rows = services.compare_models(context.database, workshop.places, sha256, other)
    return [
        CompareRow(section=row.section, name=row.name, one=row.one, other=row.other, same=row.same, change=row.change)
        for row in rows
    ]


@router.get(
    "/models/{sha256}/bundle",
    responses={**_ONE, 200: {"content": {"application/octet-stream": {"schema": {"type": "string"}}}}},
    response_class=Response,
    dependencies=_READ,
)
def get_bundle(context: ContextDep, workshop: WorkshopDep, sha256: Sha256) -> Response:
    """The file itself (.mwb)."""
    record, data, _ = services.read_model(context.database, workshop.places, sha256)
    name = f"{record.model.slot}-{record.model.version}.mwb"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(data, media_type="application/octet-stream", headers=headers)


@router.post("/models/{sha256}/publish", responses=_ONE, response_model=PublishBody)
def publish(
    context: ContextDep,
    workshop: WorkshopDep,
    caller: Annotated[Principal, Depends(needs(Permission.MODELS_PUBLISH))],
    sha256: Sha256,
    request: RequestIdDep,
    once: OnceDep,
) -> Response:
    """Sign for it and send it: any gateway can fetch it then, none does before a want or a rollout says so."""

    def make() -> PublishBody:
        done = services.publish(
            context.database, workshop.places, workshop.publish, caller, sha256, now_s=context.now_s(),
            request_id=request,
        )  # fmt: skip
        return PublishBody(
            target=done.target, sha256=done.sha256, length=done.length, chunks=done.chunks,
            bytes_sent=done.bytes_sent, seconds=done.seconds,
        )  # fmt: skip

    return once.answer(make, HTTPStatus.OK)

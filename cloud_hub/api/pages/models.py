"""Models: the registry, one model with its evaluation, two side by side, publishing."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from cloud_hub.accounts.permissions import Permission, Principal
from cloud_hub.api.context import ContextDep, PagingDep, SessionDep, WorkshopDep
from cloud_hub.api.guard import RequestIdDep, needs
from cloud_hub.api.pages.flash import redirect
from cloud_hub.api.pages.rendering import render
from cloud_hub.charts import Svg, roc_chart, score_split
from cloud_hub.errors import ConflictError, HubError, NotFoundError
from cloud_hub.evaluate.compare import SECTIONS
from cloud_hub.evaluate.figures import rocs_of, scores_of
from cloud_hub.services import models as services
from cloud_hub.store import model_queries as queries
from cloud_hub.store.paging import Paging
from models.contract.ids import SHA256_PATTERN

router = APIRouter(include_in_schema=False)
_READS = [Depends(needs(Permission.FLEET_READ))]
Sha256 = Annotated[str, Path(pattern=rf"^{SHA256_PATTERN}$")]
_COMPARED = Paging(limit=50)


@router.get("/models", response_class=HTMLResponse, dependencies=_READS)
def list_models(
    request: Request,
    session: SessionDep,
    paging: PagingDep,
    slot: Annotated[str, Query(max_length=64)] = "",
    published: Annotated[str, Query(max_length=8)] = "",
) -> HTMLResponse:
    """Published bundles and those that were trained here, newest first."""
    wanted = {"yes": True, "no": False}.get(published)
    page = queries.list_models(session, paging, slot=slot or None, published=wanted)
    slots = queries.slots_known(session)
    return render(request, "models/list.html.j2", page=page, slots=slots, slot=slot, published=published)


@router.get("/models/compare", response_class=HTMLResponse, dependencies=_READS)
def compare(
    request: Request,
    context: ContextDep,
    workshop: WorkshopDep,
    session: SessionDep,
    one: Annotated[str, Query(pattern=rf"^{SHA256_PATTERN}$")],
    other: Annotated[str, Query(pattern=rf"^{SHA256_PATTERN}$")],
    every: Annotated[str, Query(alias="all", max_length=8)] = "",
) -> HTMLResponse:
    """Two models, figure by figure; only what differs, unless all is asked for."""
    rows = services.compare_models(context.database, workshop.places, one, other)
    shown = rows if every else [row for row in rows if not row.same]
    return render(
        request,
        "models/compare.html.j2",
        one=queries.get_model(session, one).model,
        other=queries.get_model(session, other).model,
        sections=[(section, [row for row in shown if row.section == section]) for section in SECTIONS],
        total=len(rows),
        same=sum(row.same for row in rows),
        every=bool(every),
    )


@router.get("/models/{sha256}", response_class=HTMLResponse, dependencies=_READS)
def show_model(
    request: Request, context: ContextDep, workshop: WorkshopDep, session: SessionDep, sha256: Sha256
) -> HTMLResponse:
    """One model: what it is worth, where it runs, where it comes from."""
    record = queries.get_model(session, sha256)
    card: services.ModelCard | None = None
    problem = ""
    try:
        card = services.card_of(services.read_model(context.database, workshop.places, sha256)[2])
    except (NotFoundError, ConflictError) as error:
        problem = str(error)
    others = queries.list_models(session, _COMPARED, slot=record.model.slot).items
    return render(
        request,
        "models/model.html.j2",
        model=record.model,
        card=card,
        problem=problem,
        charts=charts_of(card.evaluation) if card is not None else [],
        use=queries.get_use(session, sha256),
        origins=queries.get_origins(session, record),
        others=[one for one in others if one.sha256 != sha256],
        has_report=(workshop.places.reports / f"{sha256}.html").is_file(),
        can_publish=workshop.publish is not None,
    )


def charts_of(evaluation: dict[str, Any]) -> list[Svg]:
    """The plots of an evaluation: those for which the bundle carries scores."""
    charts: list[Svg] = []
    shipped = scores_of(evaluation, "scores")
    if shipped.both:
        title = "Scores of the network as shipped"
        charts.append(score_split("scores-int8", title, shipped.healthy, shipped.faulty))
    plain = scores_of(evaluation, "baseline")
    if plain.both:
        title = f"The same windows by plain {evaluation.get('baseline_name', 'baseline')}"
        charts.append(score_split("scores-baseline", title, plain.healthy, plain.faulty))
    curves = rocs_of(evaluation)
    if curves:
        title = "Found over false alarms"
        charts.append(roc_chart("roc", title, [(c.name, c.false, c.hits, c.auc) for c in curves]))
    return charts


@router.post("/models/{sha256}/publish")
def publish(
    request: Request,
    context: ContextDep,
    workshop: WorkshopDep,
    caller: Annotated[Principal, Depends(needs(Permission.MODELS_PUBLISH))],
    request_id: RequestIdDep,
    sha256: Sha256,
    really: Annotated[str, Form(max_length=8)] = "",
) -> RedirectResponse:
    """Sign for a model and send it, then back to it."""
    path = f"/models/{sha256}"
    if really != "yes":
        return redirect(request, path, "Not published: tick the box first.", "problem")
    try:
        done = services.publish(
            context.database, workshop.places, workshop.publish, caller, sha256, now_s=context.now_s(),
            request_id=request_id,
        )  # fmt: skip
    except HubError as error:
        return redirect(request, path, f"Not published: {error}", "problem")
    return redirect(request, path, f"Published: {done.chunks} chunks, {done.bytes_sent:,} bytes sent.")

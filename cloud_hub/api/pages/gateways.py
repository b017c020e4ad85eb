"""Gateways: the list, one as it stands, letting one in, shutting one out, where it is."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Form, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.responses import Response

from cloud_hub.accounts.permissions import Permission, Principal
from cloud_hub.api.context import ContextDep, PagingDep, SessionDep, WorkshopDep
from cloud_hub.api.guard import RequestIdDep, needs
from cloud_hub.api.pages.flash import redirect
from cloud_hub.api.pages.rendering import render
from cloud_hub.errors import ConflictError, DataError, HubError, NotFoundError, PlanError
from cloud_hub.services import ask
from cloud_hub.services.gateways import GatewayDesk
from cloud_hub.store import fleet_queries, history_queries, rollout_queries
from cloud_hub.store.gateway_queries import standing_of
from cloud_hub.store.paging import Paging
from cloud_hub.store.retirement import obstacle
from cloud_hub.store.retirement import retire as retire_gateway
from cloud_hub.store.views import GatewayDetail
from models.contract.ids import ID_PATTERN

router = APIRouter(include_in_schema=False)
_READS = [Depends(needs(Permission.FLEET_READ))]
Enroller = Annotated[Principal, Depends(needs(Permission.GATEWAYS_ENROL))]
GatewayName = Annotated[str, Path(pattern=rf"^{ID_PATTERN}$")]
Text = Annotated[str, Form(max_length=4000)]
_FEW = Paging(limit=20)


@router.get("/gateways", response_class=HTMLResponse, dependencies=_READS)
def list_gateways(
    request: Request,
    session: SessionDep,
    context: ContextDep,
    paging: PagingDep,
    online: Annotated[str, Query(max_length=8)] = "",
) -> HTMLResponse:
    """Gateways by id, with versions, certificates and what waits in their outboxes."""
    is_online = {"yes": True, "no": False}.get(online)
    page = fleet_queries.list_gateways(session, paging, online=is_online, retired=online == "retired")
    standing = standing_of(session, [one.id for one in page.items], context.now_s())
    has_desk = context.workshop is not None and context.workshop.desk is not None
    return render(request, "gateways/list.html.j2", page=page, standing=standing, online=online, has_desk=has_desk)


@router.post("/gateways/token", response_class=HTMLResponse)
def create_token(
    request: Request,
    context: ContextDep,
    workshop: WorkshopDep,
    caller: Enroller,
    gateway: Text,
    hours: Text = "24",
) -> Response:
    """Issue a token and show it, this once: it is in this answer and nowhere else."""
    gateway = gateway.strip()
    try:
        made = _desk(workshop.desk).create_token(caller, gateway, float(hours), context.now_s())
    except (DataError, ConflictError, ValueError) as error:
        return redirect(request, "/gateways", str(error), "problem")
    return render(request, "gateways/token.html.j2", token=made)


@router.get("/gateways/{gateway}", response_class=HTMLResponse, dependencies=_READS)
def show_gateway(request: Request, session: SessionDep, context: ContextDep, gateway: GatewayName) -> HTMLResponse:
    """One gateway: slots and how far each is, points, certificates, where it is. It may never have been seen."""
    desk = context.workshop.desk if context.workshop is not None else None
    now_s = context.now_s()
    certificates = desk.certificates(gateway) if desk is not None else []
    tokens = desk.open_tokens(gateway, now_s) if desk is not None else []
    site = rollout_queries.get_site(session, gateway)
    detail: GatewayDetail | None = None
    try:
        detail = fleet_queries.get_gateway(session, gateway)
    except NotFoundError:
        if not (certificates or tokens or site.labels or site.time_zone):
            raise
    return render(
        request,
        "gateways/gateway.html.j2",
        name=gateway,
        detail=detail,
        certificates=certificates,
        tokens=tokens,
        site=site,
        labels="\n".join(f"{label}={value}" for label, value in site.labels.items()),
        alarms=history_queries.list_alarms(session, _FEW, gateway=gateway, status="raised").items,
        standing=standing_of(session, [gateway], now_s)[gateway],
        has_desk=desk is not None,
        obstacle=obstacle(session, gateway, now_s),
    )


@router.post("/gateways/{gateway}/site")
def put_site(
    request: Request,
    context: ContextDep,
    caller: Annotated[Principal, Depends(needs(Permission.SITES_WRITE))],
    request_id: RequestIdDep,
    gateway: GatewayName,
    time_zone: Text = "",
    labels: Text = "",
) -> RedirectResponse:
    """Say where it is, and its labels: one `name=value` a line."""
    pairs = [line.strip().partition("=") for line in labels.splitlines() if line.strip()]
    path = f"/gateways/{quote(gateway, safe='')}"
    try:
        ask.set_site(
            context.database, caller, gateway, time_zone.strip() or None, {k.strip(): v.strip() for k, _, v in pairs},
            context.now_s(), request_id=request_id,
        )  # fmt: skip
    except PlanError as error:
        return redirect(request, path, str(error), "problem")
    return redirect(request, path, "Its place is noted.")


@router.post("/gateways/{gateway}/revoke")
def revoke(
    request: Request,
    context: ContextDep,
    workshop: WorkshopDep,
    caller: Annotated[Principal, Depends(needs(Permission.GATEWAYS_REVOKE))],
    gateway: GatewayName,
    why: Text = "",
    typed: Text = "",
) -> RedirectResponse:
    """Revoke its certificates and tokens, and end its session."""
    path = f"/gateways/{quote(gateway, safe='')}"
    if typed.strip() != gateway:
        return redirect(request, path, f"Not revoked: type {gateway} to say that you mean it.", "problem")
    try:
        done = _desk(workshop.desk).revoke(caller, gateway, why.strip() or "revoked", context.now_s())
    except HubError as error:
        return redirect(request, path, str(error), "problem")
    ended = " Its session was ended." if done.session_ended else ""
    return redirect(request, path, f"Revoked: {len(done.serials)} certificates. {done.broker}.{ended}")


@router.post("/gateways/{gateway}/retire")
def retire(
    request: Request,
    context: ContextDep,
    caller: Annotated[Principal, Depends(needs(Permission.GATEWAYS_REVOKE))],
    gateway: GatewayName,
    why: Text = "",
    typed: Text = "",
) -> RedirectResponse:
    """Take it out of the fleet."""
    path = f"/gateways/{quote(gateway, safe='')}"
    if typed.strip() != gateway:
        return redirect(request, path, f"Not retired: type {gateway} to say that you mean it.", "problem")
    try:
        retire_gateway(context.database, caller, gateway, why.strip() or "retired", context.now_s())
    except (ConflictError, NotFoundError) as error:
        return redirect(request, path, str(error), "problem")
    return redirect(request, path, f"Gateway {gateway} is retired. Its history stays.")


def _desk(desk: GatewayDesk | None) -> GatewayDesk:
    if desk is None:
        raise ConflictError("this hub has no certificate authority (cloud-hub identity init)")
    return desk

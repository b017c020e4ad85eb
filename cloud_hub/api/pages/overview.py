"""The fleet at a glance: how its machines are, and what has changed today."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse

from cloud_hub.accounts.permissions import Permission
from cloud_hub.api.context import ContextDep, SessionDep
from cloud_hub.api.guard import needs
from cloud_hub.api.pages.rendering import render
from cloud_hub.store import fleet_queries, history_queries
from cloud_hub.store.paging import Paging
from cloud_hub.store.views import PointView

router = APIRouter(include_in_schema=False)
_SHOWN = Paging(limit=100)
_FEW = Paging(limit=10)


@router.get("/", response_class=HTMLResponse, dependencies=[Depends(needs(Permission.FLEET_READ))])
def overview(request: Request, session: SessionDep, context: ContextDep) -> HTMLResponse:
    """Open alarms first, then machines, gateways, bundles."""
    return render(
        request,
        "overview/page.html.j2",
        connected=context.connected(),
        ingest=context.ingest(),
        alarms=history_queries.list_alarms(session, _SHOWN, status="raised"),
        cleared=history_queries.list_alarms(session, _FEW, status="cleared"),
        machines=fleet_queries.list_machines(session, _SHOWN),
        points=_points_by_machine(session),
        gateways=fleet_queries.list_gateways(session, _SHOWN),
        bundles=fleet_queries.list_bundles(session, _FEW),
    )


def _points_by_machine(session: SessionDep) -> dict[str, list[PointView]]:
    points: dict[str, list[PointView]] = {}
    for point in fleet_queries.list_points(session, Paging(limit=500), current=True).items:
        points.setdefault(point.machine, []).append(point)
    return points

"""One page for people, drawn on the server: what is there, how it is, what is wrong. And a list of the API's routes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse, HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from cloud_hub.accounts.permissions import Permission
from cloud_hub.api.context import ContextDep, SessionDep
from cloud_hub.api.guard import needs
from cloud_hub.store import fleet_queries, history_queries
from cloud_hub.store.paging import Paging
from cloud_hub.store.views import PointView

router = APIRouter(include_in_schema=False)
_CSS = Path(__file__).with_name("templates") / "hub.css"
_SHOWN = Paging(limit=100)
_FEW = Paging(limit=10)
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


@router.get("/", response_class=HTMLResponse, dependencies=[Depends(needs(Permission.FLEET_READ))])
def overview(session: SessionDep, context: ContextDep) -> HTMLResponse:
    """Open alarms first, then machines, gateways, bundles."""
    now_s = context.now_s()
    page = _TEMPLATES.get_template("overview.html.j2").render(
        fleet=context.fleet,
        now_s=now_s,
        connected=context.connected(),
        ingest=context.ingest(),
        alarms=history_queries.list_alarms(session, _SHOWN, status="raised"),
        cleared=history_queries.list_alarms(session, _FEW, status="cleared"),
        machines=fleet_queries.list_machines(session, _SHOWN),
        points=_points_by_machine(session),
        gateways=fleet_queries.list_gateways(session, _SHOWN),
        bundles=fleet_queries.list_bundles(session, _FEW),
        ago=lambda time_s: ago(now_s - time_s),
    )
    return HTMLResponse(page)


def _points_by_machine(session: SessionDep) -> dict[str, list[PointView]]:
    points: dict[str, list[PointView]] = {}
    for point in fleet_queries.list_points(session, Paging(limit=500), current=True).items:
        points.setdefault(point.machine, []).append(point)
    return points


@router.get("/api", response_class=HTMLResponse, dependencies=[Depends(needs(Permission.FLEET_READ))])
def routes(request: Request) -> HTMLResponse:
    """Every route of the API with its sentence."""
    paths = request.app.openapi()["paths"]
    listed = [(path, method.upper(), op) for path, methods in paths.items() for method, op in methods.items()]
    return HTMLResponse(_TEMPLATES.get_template("routes.html.j2").render(routes=listed))


@router.get("/hub.css")
def stylesheet() -> FileResponse:
    """The style of both pages."""
    return FileResponse(_CSS, media_type="text/css")


def ago(seconds: float) -> str:
    """How long ago, for people; clocks that differ make it "just now", not a negative number."""
    if seconds < 5:
        return "just now"
    for limit, unit, name in ((2 * _MINUTE, 1, "s"), (2 * _HOUR, _MINUTE, "min"), (2 * _DAY, _HOUR, "h")):
        if seconds < limit:
            return f"{seconds // unit:.0f} {name} ago"
    return f"{seconds // _DAY:.0f} days ago"


def utc(time_s: float) -> str:
    """A time for people and for `<time datetime>`."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def iso(time_s: float) -> str:
    """A time for machines."""
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds")


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


_TEMPLATES = Environment(
    loader=PackageLoader("cloud_hub.api"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters.update(utc=utc, iso=iso, size=size)

"""A list of the API's routes, for people who write programs."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse

from cloud_hub.accounts.permissions import Permission
from cloud_hub.api.guard import needs
from cloud_hub.api.pages.rendering import render

router = APIRouter(include_in_schema=False)


@router.get("/api", response_class=HTMLResponse, dependencies=[Depends(needs(Permission.FLEET_READ))])
def routes(request: Request) -> HTMLResponse:
    """Every route of the API with its sentence."""
    paths = request.app.openapi()["paths"]
    listed = [(path, method.upper(), op) for path, methods in paths.items() for method, op in methods.items()]
    return render(request, "api/routes.html.j2", routes=listed)

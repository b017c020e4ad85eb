"""The fleet at a glance: how its machines are, and what has changed in the last day."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse

from cloud_hub.accounts.permissions import Permission
from cloud_hub.api.context import ContextDep, SessionDep
from cloud_hub.api.guard import needs
from cloud_hub.api.pages.rendering import render
from cloud_hub.store import history_queries, overview_queries, rollout_queries
from cloud_hub.store.paging import Paging

router = APIRouter(include_in_schema=False)
LATELY_S = 86_400.0
_ALARMS, _FEW = Paging(limit=6), Paging(limit=5)


@router.get("/", response_class=HTMLResponse, dependencies=[Depends(needs(Permission.FLEET_READ))])
def overview(request: Request, session: SessionDep, context: ContextDep) -> HTMLResponse:
    """Health map, open alarms, what changed."""
    since_s = context.now_s() - LATELY_S
    return render(
        request,
        "overview/page.html.j2",
        connected=context.connected(),
        ingest=context.ingest(),
        concerns=context.concerns(),
        health=overview_queries.health_map(session),
        gateways=overview_queries.gateway_counts(session),
        open_alarms=history_queries.list_alarms(session, _ALARMS, status="raised"),
        raised=overview_queries.alarms_raised(session, since_s),
        latest=history_queries.list_alarms(session, _FEW, since_s=since_s),
        changes=overview_queries.gateway_changes(session, since_s),
        installed=overview_queries.bundles_installed(session, since_s),
        rollouts=rollout_queries.list_rollouts(session, _FEW),
        since_s=since_s,
    )

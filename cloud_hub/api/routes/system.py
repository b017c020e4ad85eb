"""The hub itself: is it well, what has it taken in."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from cloud_hub.accounts.permissions import Permission
from cloud_hub.api.answers import HubHealth
from cloud_hub.api.context import ContextDep
from cloud_hub.api.guard import needs
from cloud_hub.ingest.status import StatusView
from cloud_hub.services.concerns import Concern

router = APIRouter(tags=["hub"])


@router.get("/health")
def get_health(context: ContextDep) -> HubHealth:
    """Whether the hub is well."""
    ingest = context.ingest()
    connected = context.connected()
    return HubHealth(
        status="ok" if connected and ingest.store_error is None else "degraded",
        fleet=context.fleet,
        broker_connected=connected,
        store_error=ingest.store_error,
        queued=ingest.queued,
        time_s=context.now_s(),
    )


@router.get("/ingest/status", dependencies=[Depends(needs(Permission.FLEET_READ))])
def get_ingest_status(context: ContextDep) -> StatusView:
    """Counters of what came in, and the last messages that were rejected, with the reason."""
    return context.ingest()


@router.get("/concerns", dependencies=[Depends(needs(Permission.FLEET_READ))])
def get_concerns(context: ContextDep) -> list[Concern]:
    """What expires before long and only people can renew, with what to do; wants that expire among them."""
    return list(context.concerns())

"""The fleet for those who bring hosts up: what Ansible's inventory is made of."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, Depends

from cloud_hub.accounts.permissions import Permission
from cloud_hub.api.context import ContextDep, PagingDep, SessionDep
from cloud_hub.api.guard import needs
from cloud_hub.api.problems import problem_responses
from cloud_hub.store.inventory_queries import list_inventory as inventory
from cloud_hub.store.inventory_views import InventoryView
from cloud_hub.store.paging import Page

router = APIRouter(tags=["fleet"], dependencies=[Depends(needs(Permission.FLEET_READ))])


@router.get("/inventory", responses=problem_responses(HTTPStatus.BAD_REQUEST))
def list_inventory(session: SessionDep, context: ContextDep, paging: PagingDep) -> Page[InventoryView]:
    """Every gateway that was seen or labelled, by id: where it is, what it runs, how it does."""
    return inventory(session, paging, context.now_s())

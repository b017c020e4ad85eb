"""Gateways, machines, points, bundles, wants, acks."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from cloud_hub.accounts.permissions import Permission
from cloud_hub.api.context import MAX_INTEGER, ContextDep, IdFilter, PagingDep, SessionDep, TimeFilter
from cloud_hub.api.guard import needs
from cloud_hub.api.problems import problem_responses
from cloud_hub.store import fleet_queries as queries
from cloud_hub.store import views as v
from cloud_hub.store.overview_queries import overview
from cloud_hub.store.overview_views import Overview
from cloud_hub.store.paging import Page
from cloud_hub.store.sorts import BundleSort, GatewaySort, MachineSort

router = APIRouter(tags=["fleet"], dependencies=[Depends(needs(Permission.FLEET_READ))])
_DAY_S = 86_400.0
_LIST = problem_responses(HTTPStatus.BAD_REQUEST)
_ONE = problem_responses(HTTPStatus.NOT_FOUND)


@router.get("/overview", responses=problem_responses())
def get_overview(session: SessionDep, context: ContextDep, since: TimeFilter = None) -> Overview:
    """The fleet at a glance: machines by their worst verdict, gateways, and what has changed since, by default in the
    last 24 hours.
    """
    return overview(session, since if since is not None else context.now_s() - _DAY_S)


@router.get("/gateways", responses=_LIST)
def list_gateways(
    session: SessionDep,
    paging: PagingDep,
    online: bool | None = None,
    retired: Annotated[bool, Query()] = False,  # noqa: FBT002 - a query parameter
    sort: GatewaySort = "id",
) -> Page[v.GatewayView]:
    """Gateways by id, or those not heard for longest first, or those with the fullest outbox; `retired`: those that
    were taken out of the fleet, which are in no other list.
    """
    return queries.list_gateways(session, paging, online=online, retired=retired, sort=sort)


@router.get("/gateways/{gateway}", responses=_ONE)
def get_gateway(session: SessionDep, gateway: str) -> v.GatewayDetail:
    """One gateway with slots, points, counters, latest health and current want."""
    return queries.get_gateway(session, gateway)


@router.get("/machines", responses=_LIST)
def list_machines(
    session: SessionDep,
    paging: PagingDep,
    gateway: IdFilter = None,
    verdict: v.Verdict | None = None,
    sort: MachineSort = "id",
) -> Page[v.MachineView]:
    """Machines with the worst verdict and the highest score of their points: by id, or those with the highest score
    first, or those named last.
    """
    return queries.list_machines(session, paging, gateway=gateway, verdict=verdict, sort=sort)


@router.get("/machines/{machine}", responses=_ONE)
def get_machine(session: SessionDep, machine: str) -> v.MachineDetail:
    """One machine with its points."""
    return queries.get_machine(session, machine)


@router.get("/points", responses=_LIST)
def list_points(
    session: SessionDep,
    paging: PagingDep,
    gateway: IdFilter = None,
    machine: IdFilter = None,
    verdict: v.Verdict | None = None,
    current: bool | None = None,
) -> Page[v.PointView]:
    """Points by gateway, machine and name."""
    return queries.list_points(session, paging, gateway=gateway, machine=machine, verdict=verdict, current=current)


@router.get("/bundles", responses=_LIST)
def list_bundles(
    session: SessionDep,
    paging: PagingDep,
    slot: IdFilter = None,
    family: IdFilter = None,
    sort: BundleSort = "created",
) -> Page[v.BundleView]:
    """Published bundles, newest first, or by slot and version."""
    return queries.list_bundles(session, paging, slot=slot, family=family, sort=sort)


@router.get("/bundles/{reference:path}", responses=_ONE)
def get_bundle(session: SessionDep, reference: str) -> v.BundleDetail:
    """One bundle with its manifest, by digest, unique prefix of it (6 digits or more) or slot/version."""
    return queries.get_bundle(session, reference)


@router.get("/wants", responses=_LIST)
def list_wants(
    *,
    session: SessionDep,
    paging: PagingDep,
    gateway: IdFilter = None,
    current: Annotated[bool, Query(description="Only the want that counts, for each gateway.")] = False,
) -> Page[v.WantView]:
    """Wants, newest first, each with the last step that its gateway took for each slot."""
    return queries.list_wants(session, paging, gateway=gateway, current=current)


@router.get("/acks", responses=_LIST)
def list_acks(
    session: SessionDep,
    paging: PagingDep,
    gateway: IdFilter = None,
    seq: Annotated[int | None, Query(ge=0, le=MAX_INTEGER)] = None,
    phase: v.Phase | None = None,
) -> Page[v.AckView]:
    """Every step that gateways took towards their wants, those received last first."""
    return queries.list_acks(session, paging, gateway=gateway, seq=seq, phase=phase)

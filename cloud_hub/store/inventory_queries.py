"""One read for those who bring hosts up: every gateway with where it is, what it runs and how it does, page by page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from sqlalchemy import func, select, union
from sqlalchemy.orm import Session

from cloud_hub.store import tables as t
from cloud_hub.store import views as v
from cloud_hub.store.inventory_views import InventoryView, RunningView, Standing
from cloud_hub.store.paging import MAX_LIMIT, Page, Paging, decode_cursor, encode_cursor

_WORST_FIRST: tuple[v.Verdict, ...] = ("alarm", "warn", "warming_up", "ok")
_LIST = "inventory"


def list_inventory(session: Session, paging: Paging, now_s: float) -> Page[InventoryView]:
    """Every gateway that was seen or labelled, by id, but for those that were retired. Raises: CursorError."""
    limit = max(1, min(paging.limit, MAX_LIMIT))
    named = union(
        select(t.Gateway.id.label("id")).where(t.Gateway.retired_s.is_(None)), select(t.GatewaySite.gateway.label("id"))
    ).subquery()
    query = select(named.c.id).order_by(named.c.id).limit(limit + 1)
    if paging.cursor is not None:
        query = query.where(named.c.id > decode_cursor(paging.cursor, _LIST, (str,))[0])
    found = list(session.scalars(query))
    ids = found[:limit]
    following = encode_cursor(_LIST, (ids[-1],)) if len(found) > limit else None
    return Page(tuple(_views(session, ids, now_s)), following)


def _views(session: Session, ids: list[str], now_s: float) -> Iterable[InventoryView]:
    gateways = {row.id: row for row in session.scalars(select(t.Gateway).where(t.Gateway.id.in_(ids)))}
    sites = {row.gateway: row for row in session.scalars(select(t.GatewaySite).where(t.GatewaySite.gateway.in_(ids)))}
    slots: defaultdict[str, list[RunningView]] = defaultdict(list)
    s, p = t.GatewaySlot, t.Point
    for slot in session.scalars(select(s).where(s.gateway_id.in_(ids)).order_by(s.slot)):
        slots[slot.gateway_id].append(
            RunningView(slot.slot, slot.phase, slot.active_version, slot.active_sha256)  # type: ignore[arg-type]  # a word
        )
    machines: defaultdict[str, set[str]] = defaultdict(set)
    verdicts: defaultdict[str, set[str]] = defaultdict(set)
    points = select(p.gateway_id, p.machine_id, p.verdict).where(p.gateway_id.in_(ids), p.current.is_(True)).distinct()
    for gateway, machine, verdict in session.execute(points):
        machines[gateway].add(machine)
        verdicts[gateway].add(verdict)
    ends, revoked = _certificates(session, ids, now_s)
    for name in ids:
        row, site = gateways.get(name), sites.get(name)
        yield InventoryView(
            id=name,
            standing=_standing(row, verdicts[name], revoked=name in revoked and name not in ends),
            online=row is not None and row.online,
            last_seen_s=row.last_seen_s if row is not None else None,
            agent_version=row.agent_version if row is not None else "",
            runtime=row.runtime if row is not None else "",
            time_zone=site.time_zone if site is not None else None,
            labels=site.labels if site is not None else {},
            slots=tuple(slots[name]),
            machines=tuple(sorted(machines[name])),
            certificate_s=ends.get(name),
        )


def _certificates(session: Session, ids: list[str], now_s: float) -> tuple[dict[str, float], set[str]]:
    """When the last valid certificate of each gateway ends; which of them ever had one revoked."""
    c = t.Certificate
    valid = select(c.gateway, func.max(c.not_after_s)).where(
        c.gateway.in_(ids), c.revoked_s.is_(None), c.not_after_s > now_s
    )
    ends: dict[str, float] = {name: end for name, end in session.execute(valid.group_by(c.gateway))}  # noqa: C416 - typed
    revoked = select(c.gateway).where(c.gateway.in_(ids), c.revoked_s.is_not(None)).distinct()
    return ends, set(session.scalars(revoked))


def _standing(row: t.Gateway | None, verdicts: set[str], *, revoked: bool) -> Standing:
    if revoked:
        return "revoked"
    if row is None:
        return "unseen"
    if not row.online:
        return "offline"
    return next((word for word in _WORST_FIRST if word in verdicts), "warming_up")

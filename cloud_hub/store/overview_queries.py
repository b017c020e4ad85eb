"""Reads of the overview: how the fleet is now, and what has changed lately.

What they cost grows with the fleet and with what happened in the time asked for, never with the age of the data: tables
of history are read from their newest end, through an index, until they are older than that.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, Select, Subquery, and_, case, func, select
from sqlalchemy.orm import Session

from cloud_hub.store import tables as t
from cloud_hub.store.overview_views import (
    MAX_TILES,
    AlarmCount,
    GatewayChange,
    GatewayCounts,
    HealthMap,
    Installed,
    Overview,
    Tile,
)
from cloud_hub.store.views import Verdict

_WORST_FIRST: tuple[Verdict, ...] = ("alarm", "warn", "warming_up", "ok")
MAX_COUNTED = 1000
INSTALLED = "confirmed"


def health_map(session: Session, limit: int = MAX_TILES) -> HealthMap:
    """How the machines are."""
    machines = _machines()
    severity = machines.c.severity
    # Counted over all of them beside each of them: so they are gone through once.
    totals = [func.sum(_one_if(severity == i)).over().label(f"of_{i}") for i in range(len(_WORST_FIRST))]
    query = select(machines, *totals).order_by(severity, machines.c.machine).limit(limit)
    rows = session.execute(query).all()
    counts = {word: int(getattr(rows[0], f"of_{i}")) if rows else 0 for i, word in enumerate(_WORST_FIRST)}
    tiles = [Tile(row.machine, _WORST_FIRST[row.severity], row.score, row.points, bool(row.online)) for row in rows]
    if sum(counts.values()) <= limit:
        tiles.sort(key=lambda tile: tile.machine)  # each machine in its place, whatever happens to it
    return HealthMap(counts, tuple(tiles))


def gateway_counts(session: Session) -> GatewayCounts:
    """How many gateways there are, and are there."""
    total, online = session.execute(
        select(func.count(), func.coalesce(func.sum(_one_if(t.Gateway.online.is_(True))), 0))
        .select_from(t.Gateway)
        .where(t.Gateway.retired_s.is_(None))
    ).one()
    return GatewayCounts(total, online)


def gateway_changes(session: Session, since_s: float, limit: int = 10) -> tuple[GatewayChange, ...]:
    """Gateways that went away or were first heard since then, the latest first."""
    gone = (
        select(t.Gateway.id, t.Gateway.last_seen_s)
        .where(t.Gateway.online.is_(False), t.Gateway.last_seen_s >= since_s, t.Gateway.retired_s.is_(None))
        .order_by(t.Gateway.last_seen_s.desc())
        .limit(limit)
    )
    new = (
        select(t.Gateway.id, t.Gateway.first_seen_s)
        .where(t.Gateway.first_seen_s >= since_s, t.Gateway.retired_s.is_(None))
        .order_by(t.Gateway.first_seen_s.desc())
        .limit(limit)
    )
    found = [
        GatewayChange(gateway, kind, time_s)
        for kind, query in (("gone", gone), ("new", new))
        for gateway, time_s in session.execute(query)
    ]
    return tuple(sorted(found, key=lambda change: -change.time_s)[:limit])


def alarms_raised(session: Session, since_s: float) -> AlarmCount:
    """How many alarms were raised since then, counted to `MAX_COUNTED`."""
    some = select(t.Alarm.id).where(t.Alarm.raised_s >= since_s).order_by(t.Alarm.raised_s.desc())
    count = session.scalar(select(func.count()).select_from(some.limit(MAX_COUNTED + 1).subquery())) or 0
    return AlarmCount(min(count, MAX_COUNTED), count > MAX_COUNTED)


def bundles_installed(session: Session, since_s: float, limit: int = 10) -> tuple[Installed, ...]:
    """Bundles that gateways have confirmed since then, the latest first.

    Acks are numbered as they come, so the first older one, looked for from the newest end, bounds what is read.
    """
    before = session.scalar(_newest_ack_before(since_s)) or 0
    last_s = func.max(t.Ack.received_s)
    query = (
        select(t.Ack.slot, t.Ack.sha256, t.Bundle.version, func.count(t.Ack.gateway_id.distinct()), last_s)
        .outerjoin(t.Bundle, t.Bundle.sha256 == t.Ack.sha256)
        .where(t.Ack.id > before, t.Ack.phase == INSTALLED, t.Ack.sha256.is_not(None))
        .group_by(t.Ack.slot, t.Ack.sha256, t.Bundle.version)
        .order_by(last_s.desc())
        .limit(limit)
    )
    return tuple(
        Installed(slot, sha256, version, gateways, at_s)
        for slot, sha256, version, gateways, at_s in session.execute(query)
        if sha256 is not None
    )


def _newest_ack_before(since_s: float) -> Select[int]:
    return select(t.Ack.id).where(t.Ack.received_s < since_s).order_by(t.Ack.id.desc()).limit(1)


def _machines() -> Subquery:
    severity = case(
        {word: i for i, word in enumerate(_WORST_FIRST)}, value=t.Point.verdict, else_=len(_WORST_FIRST) - 1
    )
    return (
        select(
            t.Point.machine_id.label("machine"),
            func.min(severity).label("severity"),
            func.max(t.Point.score).label("score"),
            func.count().label("points"),
            func.min(_one_if(t.Gateway.online.is_(True))).label("online"),
        )
        .join(t.Gateway, and_(t.Gateway.id == t.Point.gateway_id))
        .where(t.Point.current.is_(True))
        .group_by(t.Point.machine_id)
        .subquery()
    )


def _one_if(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return case((condition, 1), else_=0)


def overview(session: Session, since_s: float) -> Overview:
    """The fleet at a glance, and what has changed since."""
    return Overview(
        health=health_map(session),
        gateways=gateway_counts(session),
        since_s=since_s,
        alarms_raised=alarms_raised(session, since_s),
        gateway_changes=gateway_changes(session, since_s),
        bundles_installed=bundles_installed(session, since_s),
    )

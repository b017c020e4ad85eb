"""Reads about the fleet: gateways, machines, points, bundles, wants, acks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TypeVar

from sqlalchemy import ColumnElement, and_, func, select, tuple_
from sqlalchemy.orm import Session

from cloud_hub.errors import NotFoundError
from cloud_hub.store import tables as t
from cloud_hub.store import views as v
from cloud_hub.store.paging import Order, Page, Paging, fetch_page
from cloud_hub.store.registry import find_bundle
from cloud_hub.store.sorts import BundleSort, GatewaySort, MachineSort

_R = TypeVar("_R")
# Of gateways, only their names have an index: the others change with every message, and the fleet is a bounded set.
_GATEWAYS = {
    "id": Order("gateways", (t.Gateway.id,), (str,)),
    "silent": Order("gateways-silent", (t.Gateway.last_seen_s, t.Gateway.id), (float, str)),
    "outbox": Order("gateways-outbox", (t.Gateway.outbox_bytes, t.Gateway.id), (int, str), descending=True),
}
_UNSCORED = -1.0  # scores are not negative
_BY_POINT = Order("points", (t.Point.gateway_id, t.Point.machine_id, t.Point.point), (str, str, str))
_BUNDLES = {
    "created": Order("bundles", (t.Bundle.created_s, t.Bundle.sha256), (float, str), descending=True),
    "slot": Order("bundles-slot", (t.Bundle.slot, t.Bundle.version), (str, str)),
}
_BY_WANT = Order("wants", (t.Want.issued_s, t.Want.gateway, t.Want.seq), (float, str, int), descending=True)
_BY_ACK = Order("acks", (t.Ack.id,), (int,), descending=True)
_WORST_FIRST: tuple[v.Verdict, ...] = ("alarm", "warn", "warming_up", "ok")  # not known yet is not healthy


def list_gateways(
    session: Session,
    paging: Paging,
    *,
    online: bool | None = None,
    retired: bool = False,
    sort: GatewaySort = "id",
) -> Page[v.GatewayView]:
    """Gateways by id, or as `sort` says: those of the fleet, or those that were taken out of it."""
    query = select(t.Gateway).where(t.Gateway.retired_s.is_not(None) if retired else t.Gateway.retired_s.is_(None))
    if online is not None:
        query = query.where(t.Gateway.online.is_(online))
    return fetch_page(session, query, _GATEWAYS[sort], paging, _gateway)


def get_gateway(session: Session, gateway: str) -> v.GatewayDetail:
    """One gateway. Raises: NotFoundError."""
    row = session.get(t.Gateway, gateway)
    if row is None:
        raise NotFoundError(f"gateway {gateway!r}: none has reported itself under this id")
    slots = session.scalars(
        select(t.GatewaySlot).where(t.GatewaySlot.gateway_id == gateway).order_by(t.GatewaySlot.slot)
    )
    points = session.scalars(
        select(t.Point).where(t.Point.gateway_id == gateway).order_by(t.Point.machine_id, t.Point.point)
    )
    health = session.scalar(
        select(t.Health)
        .where(t.Health.gateway_id == gateway)
        .order_by(t.Health.time_s.desc(), t.Health.id.desc())
        .limit(1)
    )
    want = session.scalar(select(t.Want).where(t.Want.gateway == gateway).order_by(t.Want.seq.desc()).limit(1))
    return v.GatewayDetail(
        gateway=_gateway(row),
        slots=tuple(_slot(s) for s in slots),
        points=tuple(_point(p) for p in points),
        counters=row.counters,
        health=health_view(health) if health is not None else None,
        want=_wants(session, [want])[0] if want is not None else None,
    )


def list_machines(
    session: Session,
    paging: Paging,
    *,
    gateway: str | None = None,
    verdict: str | None = None,
    sort: MachineSort = "id",
) -> Page[v.MachineView]:
    """Machines by id, or as `sort` says."""
    query = select(t.Machine)
    if gateway is not None:
        query = query.where(select(t.Point).where(_current_of_machine(), t.Point.gateway_id == gateway).exists())
    if verdict is not None:
        worse = _WORST_FIRST[: _WORST_FIRST.index(verdict)]
        query = query.where(select(t.Point).where(_current_of_machine(), t.Point.verdict == verdict).exists())
        if worse:
            query = query.where(~select(t.Point).where(_current_of_machine(), t.Point.verdict.in_(worse)).exists())
    page = fetch_page(session, query, _MACHINES[sort], paging, _as_it_is)
    return Page(tuple(_machines(session, page.items)), page.next)


def get_machine(session: Session, machine: str) -> v.MachineDetail:
    """One machine. Raises: NotFoundError."""
    row = session.get(t.Machine, machine)
    if row is None:
        raise NotFoundError(f"machine {machine!r}: no gateway has named it")
    points = session.scalars(
        select(t.Point).where(t.Point.machine_id == machine).order_by(t.Point.point, t.Point.gateway_id)
    )
    return v.MachineDetail(_machines(session, [row])[0], tuple(_point(p) for p in points))


def list_points(
    session: Session,
    paging: Paging,
    *,
    gateway: str | None = None,
    machine: str | None = None,
    verdict: str | None = None,
    current: bool | None = None,
) -> Page[v.PointView]:
    """Points by gateway, machine and name."""
    query = select(t.Point)
    if gateway is not None:
        query = query.where(t.Point.gateway_id == gateway)
    if machine is not None:
        query = query.where(t.Point.machine_id == machine)
    if verdict is not None:
        query = query.where(t.Point.verdict == verdict)
    if current is not None:
        query = query.where(t.Point.current.is_(current))
    return fetch_page(session, query, _BY_POINT, paging, _point)


def list_bundles(
    session: Session,
    paging: Paging,
    *,
    slot: str | None = None,
    family: str | None = None,
    sort: BundleSort = "created",
) -> Page[v.BundleView]:
    """Bundles, newest first, or as `sort` says."""
    query = select(t.Bundle)
    if slot is not None:
        query = query.where(t.Bundle.slot == slot)
    if family is not None:
        query = query.where(t.Bundle.family == family)
    return fetch_page(session, query, _BUNDLES[sort], paging, _bundle)


def list_wants(
    session: Session, paging: Paging, *, gateway: str | None = None, current: bool = False
) -> Page[v.WantView]:
    """Wants, newest first; `current`: of each gateway only the one that counts."""
    query = select(t.Want)
    if gateway is not None:
        query = query.where(t.Want.gateway == gateway)
    if current:
        newest = select(t.Want.gateway, func.max(t.Want.seq)).group_by(t.Want.gateway)
        query = query.where(tuple_(t.Want.gateway, t.Want.seq).in_(newest))
    page = fetch_page(session, query, _BY_WANT, paging, _as_it_is)
    return Page(tuple(_wants(session, page.items)), page.next)


def list_acks(
    session: Session, paging: Paging, *, gateway: str | None = None, seq: int | None = None, phase: str | None = None
) -> Page[v.AckView]:
    """Steps towards wants, those received last first."""
    query = select(t.Ack)
    if gateway is not None:
        query = query.where(t.Ack.gateway_id == gateway)
    if seq is not None:
        query = query.where(t.Ack.seq == seq)
    if phase is not None:
        query = query.where(t.Ack.phase == phase)
    return fetch_page(session, query, _BY_ACK, paging, _ack)


def _as_it_is(row: _R) -> _R:
    return row


def _current_of_machine() -> ColumnElement[bool]:
    return and_(t.Point.machine_id == t.Machine.id, t.Point.current.is_(True))


_SCORE = func.coalesce(
    select(func.max(t.Point.score)).where(_current_of_machine()).correlate(t.Machine).scalar_subquery(), _UNSCORED
)
_MACHINES = {
    "id": Order("machines", (t.Machine.id,), (str,)),
    "score": Order("machines-score", (_SCORE, t.Machine.id), (float, str), descending=True),
    "new": Order("machines-new", (t.Machine.first_seen_s, t.Machine.id), (float, str), descending=True),
}


def _machines(session: Session, rows: Sequence[t.Machine]) -> list[v.MachineView]:
    ids = [row.id for row in rows]
    points: defaultdict[str, list[tuple[t.Point, bool]]] = defaultdict(list)
    query = select(t.Point, t.Gateway.online).join(t.Gateway, t.Gateway.id == t.Point.gateway_id)
    for point, online in session.execute(query.where(t.Point.machine_id.in_(ids), t.Point.current.is_(True))):
        points[point.machine_id].append((point, online))
    count = select(t.Alarm.machine_id, func.count()).where(t.Alarm.machine_id.in_(ids), t.Alarm.status == "raised")
    raised = {machine: n for machine, n in session.execute(count.group_by(t.Alarm.machine_id))}  # noqa: C416 - typed
    return [_machine(row, points[row.id], raised.get(row.id, 0)) for row in rows]


def _machine(row: t.Machine, points: list[tuple[t.Point, bool]], open_alarms: int) -> v.MachineView:
    verdicts = {p.verdict for p, _ in points}
    return v.MachineView(
        id=row.id,
        gateways=tuple(sorted({p.gateway_id for p, _ in points})),
        online=bool(points) and all(online for _, online in points),
        verdict=next((word for word in _WORST_FIRST if word in verdicts), "warming_up"),
        score=max((p.score for p, _ in points if p.score is not None), default=None),
        points=len(points),
        open_alarms=open_alarms,
        first_seen_s=row.first_seen_s,
    )


def _wants(session: Session, rows: Iterable[t.Want]) -> list[v.WantView]:
    rows = list(rows)
    gateways = {row.gateway for row in rows}
    seqs = {row.seq for row in rows}
    bundles: defaultdict[tuple[str, int], list[v.WantedView]] = defaultdict(list)
    wanted = (
        select(t.WantBundle, t.Bundle.version)
        .join(t.Bundle, t.Bundle.sha256 == t.WantBundle.sha256)
        .where(t.WantBundle.gateway.in_(gateways), t.WantBundle.seq.in_(seqs))
        .order_by(t.WantBundle.slot)
    )
    for row, version in session.execute(wanted):
        bundles[row.gateway, row.seq].append(v.WantedView(row.slot, row.sha256, version))
    progress: defaultdict[tuple[str, int], list[v.AckView]] = defaultdict(list)
    last = (
        select(func.max(t.Ack.id))
        .where(t.Ack.gateway_id.in_(gateways), t.Ack.seq.in_(seqs))
        .group_by(t.Ack.gateway_id, t.Ack.seq, t.Ack.slot)
    )
    for ack in session.scalars(select(t.Ack).where(t.Ack.id.in_(last)).order_by(t.Ack.slot)):
        progress[ack.gateway_id, ack.seq].append(_ack(ack))
    return [
        v.WantView(
            w.gateway,
            w.seq,
            w.issued_s,
            w.expires_s,
            tuple(bundles[w.gateway, w.seq]),
            tuple(progress[w.gateway, w.seq]),
        )
        for w in rows
    ]


def _gateway(row: t.Gateway) -> v.GatewayView:
    return v.GatewayView(
        id=row.id,
        online=row.online,
        boot_id=row.boot_id,
        agent_version=row.agent_version,
        runtime=row.runtime,
        want_seq=row.want_seq,
        rss_mb=row.rss_mb,
        outbox_bytes=row.outbox_bytes,
        state_s=row.state_s,
        first_seen_s=row.first_seen_s,
        last_seen_s=row.last_seen_s,
        retired_s=row.retired_s,
    )


def _slot(row: t.GatewaySlot) -> v.SlotView:
    return v.SlotView(
        row.slot, row.phase, row.active_sha256, row.active_version, row.candidate_sha256, row.error  # type: ignore[arg-type]  # the phase was checked before it was stored
    )  # fmt: skip


def _point(row: t.Point) -> v.PointView:
    return v.PointView(
        gateway=row.gateway_id,
        machine=row.machine_id,
        point=row.point,
        slot=row.slot,
        verdict=row.verdict,  # type: ignore[arg-type]  # checked before it was stored
        score=row.score,
        windows=row.windows,
        warmup_left=row.warmup_left,
        last_window_s=row.last_window_s,
        current=row.current,
    )


def health_view(row: t.Health) -> v.HealthView:
    """A row of health."""
    return v.HealthView(
        gateway=row.gateway_id,
        boot_id=row.boot_id,
        time_s=row.time_s,
        rss_mb=row.rss_mb,
        cpu_s=row.cpu_s,
        windows=row.windows,
        window_us=row.window_us,
        outbox_bytes=row.outbox_bytes,
    )


def _bundle(row: t.Bundle) -> v.BundleView:
    return v.BundleView(row.sha256, row.slot, row.version, row.family, row.target, row.length, row.created_s)


def _ack(row: t.Ack) -> v.AckView:
    return v.AckView(
        gateway=row.gateway_id,
        seq=row.seq,
        slot=row.slot or None,
        phase=row.phase,  # type: ignore[arg-type]  # checked before it was stored
        time_s=row.time_s,
        received_s=row.received_s,
        sha256=row.sha256,
        reason=row.reason,
        detail=row.detail,
    )


def get_bundle(session: Session, reference: str) -> v.BundleDetail:
    """One bundle by digest, unique prefix or slot/version. Raises: NotFoundError."""
    record = find_bundle(session, reference)
    return v.BundleDetail(
        v.BundleView(
            sha256=record.sha256,
            slot=record.slot,
            version=record.version,
            family=record.family,
            target=record.target,
            length=record.length,
            created_s=record.created_s,
        ),
        record.manifest_json,
    )

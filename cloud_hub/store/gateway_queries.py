"""Reads about gateways as they stand: certificates, slots, how far they are with what they were asked to run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from cloud_hub.store import tables as t


@dataclass(frozen=True, slots=True)
class StandingView:
    """What a list of gateways shows beside each. `certificate_s`: when the last of its valid certificates ends, None
    without one. `slots`: "slot version" of what decides. `open_alarms`: raised and not cleared.
    """

    certificate_s: float | None
    slots: tuple[str, ...]
    open_alarms: int


def standing_of(session: Session, gateways: Sequence[str], now_s: float) -> dict[str, StandingView]:
    """How each of these gateways stands."""
    c, s, a = t.Certificate, t.GatewaySlot, t.Alarm
    valid = (
        select(c.gateway, func.max(c.not_after_s))
        .where(c.gateway.in_(gateways), c.revoked_s.is_(None), c.not_after_s > now_s)
        .group_by(c.gateway)
    )
    ends: dict[str, float] = {gateway: end for gateway, end in session.execute(valid)}  # noqa: C416 - typed
    slots: defaultdict[str, list[str]] = defaultdict(list)
    rows = select(s.gateway_id, s.slot, s.active_version).where(s.gateway_id.in_(gateways)).order_by(s.slot)
    for gateway, slot, version in session.execute(rows):
        slots[gateway].append(f"{slot} {version or 'empty'}")
    raised = (
        select(a.gateway_id, func.count())
        .where(a.gateway_id.in_(gateways), a.status == "raised")
        .group_by(a.gateway_id)
    )
    alarms: dict[str, int] = {gateway: count for gateway, count in session.execute(raised)}  # noqa: C416 - typed
    return {name: StandingView(ends.get(name), tuple(slots.get(name, ())), alarms.get(name, 0)) for name in gateways}

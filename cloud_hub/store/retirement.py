"""Taking a gateway out of the fleet for good: it leaves every list and count, and its history stays.

It is back in them as soon as it reports itself again, which it cannot before somebody has let it in anew.
"""

from __future__ import annotations

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from cloud_hub.accounts.permissions import Principal
from cloud_hub.alarms.states import PRESENT, Event, step
from cloud_hub.errors import ConflictError, NotFoundError
from cloud_hub.store import alarm_standing, audit
from cloud_hub.store import tables as t
from cloud_hub.store.database import Database


def obstacle(session: Session, gateway: str, now_s: float) -> str | None:
    """Why a gateway cannot be retired now, in words; None when it can."""
    c, e = t.Certificate, t.EnrolToken
    if session.scalar(select(c.sha256).where(c.gateway == gateway, c.revoked_s.is_(None), c.not_after_s > now_s)):
        return "it has a valid certificate, revoke it first"
    if session.scalar(select(e.token_hash).where(e.gateway == gateway, e.used_s.is_(None), e.expires_s > now_s)):
        return "it has a token to enrol with, revoke it first"
    if session.scalar(select(t.Gateway.online).where(t.Gateway.id == gateway)):
        return "it is online, stop it first"
    return None


def retire(database: Database, principal: Principal, gateway: str, why: str, now_s: float) -> bool:
    """Retire a gateway. Its alarms that last return to normal, its slots and its place are forgotten, rollouts go on
    without it; alarms, trends, captures and certificates stay.

    Returns: whether it was not retired before.
    Raises:  NotFoundError: never seen. ConflictError: it can still come in, or is there.
    """
    with database.write() as session:
        row = session.get(t.Gateway, gateway)
        if row is None:
            raise NotFoundError(f"gateway {gateway!r}: none has reported itself under this id")
        if row.retired_s is not None:
            return False
        problem = obstacle(session, gateway, now_s)
        if problem is not None:
            raise ConflictError(f"gateway {gateway}: {problem}")
        ended = _end_alarms(session, principal, gateway, why, now_s)
        slots = select(t.GatewaySlot.slot).where(t.GatewaySlot.gateway_id == gateway).order_by(t.GatewaySlot.slot)
        before: dict[str, object] = {"slots": list(session.scalars(slots))}
        site = session.get(t.GatewaySite, gateway)
        if site is not None:
            before |= {"time_zone": site.time_zone, "labels": dict(site.labels)}
            session.delete(site)
        session.execute(delete(t.GatewaySlot).where(t.GatewaySlot.gateway_id == gateway))
        session.execute(update(t.Point).where(t.Point.gateway_id == gateway).values(current=False))
        row.retired_s, row.outbox_bytes = now_s, 0
        audit.record(
            session, principal, "gateway.retire", f"gateway:{gateway}",
            before=before, after={"retired_s": now_s, "why": why, "alarms_ended": ended}, now_s=now_s,
        )  # fmt: skip
        return True


def _end_alarms(session: Session, principal: Principal, gateway: str, why: str, now_s: float) -> int:
    """Nobody else will say that they are over."""
    alarms = session.scalars(
        select(t.Alarm).where(t.Alarm.gateway_id == gateway, t.Alarm.status == "raised").order_by(t.Alarm.id)
    ).all()
    for row in alarms:
        row.status, row.cleared_s = "cleared", now_s
        before = alarm_standing.standing_of(row)
        if before.state in PRESENT:
            steps = [(Event.CLEARED, before, step(before, Event.CLEARED, now_s))]
            alarm_standing.move(session, row, steps, principal.name[:200], now_s, f"its gateway was retired: {why}")
    return len(alarms)

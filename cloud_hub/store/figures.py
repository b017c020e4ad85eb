"""Figures of the fleet for monitoring. Every count is over what is there now, never over history, so that a scrape
costs the same after ten years.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from cloud_hub.rollout.states import OVER
from cloud_hub.store import tables as t

SILENT_S = 600.0


@dataclass(frozen=True, slots=True)
class Figures:
    """The fleet at one moment.

    gateways: by "online", "offline". silent: not heard of for `SILENT_S`, though their broker says they are online.
    points: by verdict. alarms_raised: open episodes by verdict. rollouts: those that are not over, by status.
    outbox_bytes: the fullest. agents: gateways by agent version. certificates_until: when the next certificates of
    gateways end, soonest first.
    """

    gateways: Mapping[str, int]
    silent: int
    points: Mapping[str, int]
    alarms_raised: Mapping[str, int]
    rollouts: Mapping[str, int]
    agents: Mapping[str, int]
    outbox_bytes: int
    certificates_until: tuple[float, ...]


def fleet_figures(session: Session, now_s: float) -> Figures:
    """Count the fleet."""
    here = t.Gateway.retired_s.is_(None)
    online = dict(session.execute(select(t.Gateway.online, func.count()).where(here).group_by(t.Gateway.online)).all())
    silent = select(func.count()).where(t.Gateway.online.is_(True), t.Gateway.last_seen_s < now_s - SILENT_S)
    points = select(t.Point.verdict, func.count()).where(t.Point.current.is_(True)).group_by(t.Point.verdict)
    raised = select(t.Alarm.verdict, func.count()).where(t.Alarm.status == "raised").group_by(t.Alarm.verdict)
    over = [status.value for status in OVER]
    rollouts = select(t.Rollout.status, func.count()).where(t.Rollout.status.not_in(over)).group_by(t.Rollout.status)
    agents = select(t.Gateway.agent_version, func.count()).where(here).group_by(t.Gateway.agent_version)
    until = (
        select(func.max(t.Certificate.not_after_s))
        .where(t.Certificate.revoked_s.is_(None))
        .group_by(t.Certificate.gateway)
    )
    return Figures(
        gateways={"online": online.get(True, 0), "offline": online.get(False, 0)},
        silent=session.scalar(silent) or 0,
        points=dict(session.execute(points).all()),
        alarms_raised=dict(session.execute(raised).all()),
        rollouts=dict(session.execute(rollouts).all()),
        agents={version or "unknown": n for version, n in session.execute(agents)},
        outbox_bytes=session.scalar(select(func.max(t.Gateway.outbox_bytes))) or 0,
        certificates_until=tuple(sorted(s for s in session.scalars(until) if s is not None)),
    )

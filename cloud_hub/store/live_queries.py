"""What has changed lately, for those who watch. `since_s` is by the hub's clock.

A change shows up here when it is committed, which may be later than the time it bears: askers go back a little further
than to their last question, and pass over what they have seen (`cloud_hub.live`).
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from cloud_hub.jobs.states import ACTIVE
from cloud_hub.live.changes import AlarmChange, JobChange, PointChange, RolloutChange
from cloud_hub.rollout.states import OVER
from cloud_hub.store import tables as t

ACTIVE_JOBS = frozenset(state.value for state in ACTIVE)
"""States of training jobs that wait or run."""
_OVER = [status.value for status in OVER]


def changed_alarms(session: Session, since_s: float, limit: int) -> list[AlarmChange]:
    """Alarms written since, those written last first, `limit` at most."""
    a = t.Alarm
    query = select(
        a.gateway_id, a.alarm, a.machine_id, a.point, a.state, a.status, a.verdict, a.score, a.peak, a.revision,
        a.changed_s, a.summary,
    )  # fmt: skip
    query = query.where(a.changed_s >= since_s).order_by(a.changed_s.desc(), a.id.desc()).limit(limit)
    return [AlarmChange(f"{gateway}.{alarm}", gateway, *rest) for gateway, alarm, *rest in session.execute(query)]


def points_of(session: Session, machines: Collection[str]) -> list[PointChange]:
    """All points of some machines."""
    p = t.Point
    query = select(p.gateway_id, p.machine_id, p.point, p.verdict, p.score, p.last_window_s)
    return [PointChange(*row) for row in session.execute(query.where(p.machine_id.in_(sorted(machines))))]


def newest_report(session: Session) -> float | None:
    """When any gateway was last heard of."""
    return session.scalar(select(func.max(t.Gateway.last_seen_s)))


def offline_gateways(session: Session) -> frozenset[str]:
    """Those that are away."""
    return frozenset(session.scalars(select(t.Gateway.id).where(t.Gateway.online.is_(False))))


def rollout_revisions(session: Session, also: Collection[str] = ()) -> dict[str, int]:
    """The revision of each rollout that is not over, and of those in `also`."""
    r = t.Rollout
    query = select(r.id, r.revision).where(or_(r.status.not_in(_OVER), r.id.in_(sorted(also))))
    return {row[0]: row[1] for row in session.execute(query)}


def rollouts(session: Session, wanted: Collection[str]) -> list[RolloutChange]:
    """How far these have come."""
    r, m = t.Rollout, t.RolloutMember
    names = sorted(wanted)
    stages: dict[str, dict[str, int]] = {name: {} for name in names}
    counts = select(m.rollout_id, m.stage, func.count()).where(m.rollout_id.in_(names)).group_by(m.rollout_id, m.stage)
    for rollout, stage, count in session.execute(counts):
        stages[rollout][stage] = count
    query = select(r.id, r.slot, r.status, r.cohort, r.revision).where(r.id.in_(names)).order_by(r.id)
    return [RolloutChange(*row, stages=stages[row[0]]) for row in session.execute(query)]


def recent_jobs(session: Session, since_s: float, also: Collection[str] = ()) -> list[JobChange]:
    """Training jobs that wait or run, those queued since, and those in `also`."""
    j = t.TrainingJob
    query = select(j.id, j.dataset, j.version, j.state, j.stage, j.share, j.revision, j.created_s, j.sha256)
    wanted = or_(j.state.in_(sorted(ACTIVE_JOBS)), j.created_s >= since_s, j.id.in_(sorted(also)))
    return [JobChange(*row) for row in session.execute(query.where(wanted).order_by(j.id))]

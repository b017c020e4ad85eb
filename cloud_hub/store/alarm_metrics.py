"""The figures of ISA-18.2 over a span of time: load, floods, who causes it, what stands for long."""

from __future__ import annotations

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from cloud_hub.alarms.floods import STALE_S, TARGETS, load
from cloud_hub.alarms.states import State
from cloud_hub.store import tables as t
from cloud_hub.store.alarm_views import AlarmMetrics, BadActor, StandingAlarm

TOP = 10
_SHOWN = (State.UNACKNOWLEDGED.value, State.ACKNOWLEDGED.value)


def alarm_metrics(
    session: Session, since_s: float, until_s: float, now_s: float, *, gateway: str | None = None
) -> AlarmMetrics:
    """The figures of all gateways, or of one."""
    a = t.Alarm
    mine = [a.gateway_id == gateway] if gateway is not None else []
    span = [a.announced_s >= since_s, a.announced_s < until_s, *mine]
    rows = session.execute(select(a.announced_s, a.acknowledged_s - a.announced_s).where(*span)).all()
    announced = np.array([row[0] for row in rows], np.float64)
    waits = [row[1] for row in rows if row[1] is not None]
    place = (a.gateway_id, a.machine_id, a.point, a.slot)
    count = func.count()
    worst = session.execute(
        select(*place, count).where(*span).group_by(*place).order_by(count.desc(), *place).limit(TOP)
    ).all()
    shown = [a.state.in_(_SHOWN), *mine]
    stale = [*shown, a.announced_s < now_s - STALE_S]
    # Those that stand are few and have an index. `+ 0` keeps PostgreSQL from looking for the oldest of them among all
    # alarms that ever were, because those have an index in order.
    oldest = session.scalars(select(a).where(*stale).order_by(a.announced_s + 0, a.id).limit(TOP))
    reviews = {row[0]: row[1] for row in session.execute(select(a.review, count).where(*span).group_by(a.review))}
    reviewed = sum(n for review, n in reviews.items() if review is not None)
    return AlarmMetrics(
        since_s=since_s,
        until_s=until_s,
        load=load(announced, since_s, until_s),
        targets=TARGETS,
        acknowledged=len(waits),
        acknowledge_s=float(np.median(waits)) if waits else None,
        bad_actors=tuple(BadActor(*row[:4], alarms=row[4], share=row[4] / len(rows)) for row in worst),
        standing=session.scalar(select(count).where(*shown)) or 0,
        stale=session.scalar(select(count).where(*stale)) or 0,
        oldest=tuple(
            StandingAlarm(f"{row.gateway_id}.{row.alarm}", row.machine_id, row.point, row.state, row.announced_s or 0.0)
            for row in oldest
        ),
        reviewed=reviewed,
        false_share=reviews.get("false", 0) / reviewed if reviewed else None,
    )

"""What is new since the last look at the database: one `Watch` for all viewers of a process.

States are compared, not a log read: an event says how a thing is now, so that one that comes twice does no harm, and
one that was missed is made good by the next.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import msgspec

from cloud_hub.live.changes import KINDS, Change, GatewayChange, Kind, PointChange
from cloud_hub.store import live_queries as queries
from cloud_hub.store.database import Database, Session

OVERLAP_S = 30.0
"""A change may be committed this long after the time it bears: a writer in SQLite waits up to 20 s for its turn."""
MOST_ALARMS = 500
_POINTS_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Event:
    """Something to tell. `machine`: which one it is about; None for none, or for more than one. `data`: JSON."""

    kind: Kind
    machine: str | None
    data: bytes


class Watch:
    """Looks at the database. `begin` first, then `look` from time to time, both in one thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen_alarms: dict[str, float] = {}
        self._points: dict[tuple[str, str, str], PointChange] = {}
        self._rollouts: dict[str, int] = {}
        self._jobs: dict[str, int] = {}
        self._offline: frozenset[str] = frozenset()
        self._reported_s: float | None = None
        self._told_points_s = 0.0

    def begin(self, now_s: float) -> None:
        """Take how everything is for known. Raises: StoreError."""
        with self._database.read() as session:
            known = queries.changed_alarms(session, now_s - OVERLAP_S, MOST_ALARMS)
            self._seen_alarms = {alarm.id: alarm.changed_s for alarm in known}
            self._rollouts = queries.rollout_revisions(session)
            recent = queries.recent_jobs(session, now_s - OVERLAP_S)
            self._jobs = {job.id: job.revision for job in recent}
            self._offline = queries.offline_gateways(session)
            self._reported_s = queries.newest_report(session)
        self._points = {}

    def look(self, now_s: float, machines: Collection[str]) -> list[Event]:
        """What is new. `machines`: those whose points somebody watches one by one. Raises: StoreError."""
        with self._database.read() as session:
            return [
                *self._alarms(session, now_s),
                *self._watched_points(session, machines),
                *self._any_points(session, now_s),
                *self._of_rollouts(session),
                *self._gateways(session),
                *self._of_jobs(session, now_s),
            ]

    def _alarms(self, session: Session, now_s: float) -> Iterable[Event]:
        found = queries.changed_alarms(session, now_s - OVERLAP_S, MOST_ALARMS)
        new = [alarm for alarm in found if self._seen_alarms.get(alarm.id) != alarm.changed_s]
        self._seen_alarms = {alarm.id: alarm.changed_s for alarm in found}
        if len(found) == MOST_ALARMS and new:
            return [anything("alarm")]  # too many to tell one by one: look at the list
        return [_event("alarm", alarm) for alarm in reversed(new)]

    def _watched_points(self, session: Session, machines: Collection[str]) -> Iterable[Event]:
        if not machines:
            self._points = {}
            return []
        now = {(p.gateway, p.machine, p.point): p for p in queries.points_of(session, machines)}
        before, self._points = self._points, now
        known = {machine for _, machine, _ in before}
        return [_event("point", p) for key, p in now.items() if p.machine in known and before.get(key) != p]

    def _any_points(self, session: Session, now_s: float) -> Iterable[Event]:
        """That some scores are new, now and then: to whoever watches no machine in particular."""
        if now_s - self._told_points_s < _POINTS_EVERY_S:
            return []
        newest_s = queries.newest_report(session)
        if newest_s == self._reported_s:
            return []
        self._reported_s, self._told_points_s = newest_s, now_s
        return [anything("point")]

    def _of_rollouts(self, session: Session) -> Iterable[Event]:
        now = queries.rollout_revisions(session, self._rollouts)
        changed = [rollout for rollout, revision in now.items() if self._rollouts.get(rollout) != revision]
        self._rollouts = now
        return [_event("rollout", r) for r in queries.rollouts(session, changed)] if changed else []

    def _gateways(self, session: Session) -> Iterable[Event]:
        now = queries.offline_gateways(session)
        before, self._offline = self._offline, now
        turned = dict.fromkeys(now - before, False) | dict.fromkeys(before - now, True)
        return [_event("gateway", GatewayChange(g, g, online)) for g, online in sorted(turned.items())]

    def _of_jobs(self, session: Session, now_s: float) -> Iterable[Event]:
        """Each change until a job is over, also of one that was over before anybody could look."""
        since_s = now_s - OVERLAP_S
        found = queries.recent_jobs(session, since_s, self._jobs)
        changed = [job for job in found if self._jobs.get(job.id) != job.revision]
        lasting = (job for job in found if job.state in queries.ACTIVE_JOBS or job.created_s >= since_s)
        self._jobs = {job.id: job.revision for job in lasting}
        return [_event("job", job) for job in changed]


def missed(database: Database, since_s: float) -> list[Event]:
    """What somebody has missed who was told everything up to `since_s`: alarms one by one unless they are too many,
    and of the rest that it may be otherwise now. Raises: StoreError.
    """
    with database.read() as session:
        alarms = queries.changed_alarms(session, since_s - OVERLAP_S, MOST_ALARMS)
    told = [anything("alarm")] if len(alarms) == MOST_ALARMS else [_event("alarm", a) for a in reversed(alarms)]
    return [*told, *(anything(kind) for kind in KINDS if kind != "alarm")]


def anything(kind: Kind) -> Event:
    """An event without fields: whatever is shown of this kind may be otherwise now."""
    return Event(kind, None, b"{}")


def _event(kind: Kind, change: Change) -> Event:
    return Event(kind, getattr(change, "machine", None), msgspec.json.encode(change))

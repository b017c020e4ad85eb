"""Where alarms stand, in the database: what ingest, people and the hub's clock change goes through here.

What decides on what it has read does so in `Database.write`, which no other writer interrupts; ingest workers, which
share theirs, each have alarms of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, Select, and_, or_, select, tuple_
from sqlalchemy.orm import Session

from cloud_hub.alarms.states import OPEN, PRESENT, Event, Standing, State, aligned, step
from cloud_hub.errors import NotFoundError
from cloud_hub.store import tables as t
from cloud_hub.store.alarm_places import Places, places
from cloud_hub.store.episodes import Episode

HUB = "hub"
"""Who does what nobody has asked for: its clock, and what is raised on a shelf."""
COLUMNS = ("state", "state_s", "shelved_until_s", "revision", "announced_s")
_KEYS_AT_ONCE = 500
Steps = list[tuple[Event, Standing, Standing]]  # what happened, before, after
_PRESENT = tuple(state.value for state in State if state in PRESENT)


def standing_of(row: t.Alarm | Row[Any]) -> Standing:
    """Where an alarm stands."""
    return Standing(State(row.state), row.state_s, row.shelved_until_s)


@dataclass(frozen=True, slots=True)
class Followed:
    """What the columns of an alarm become, and what the hub did about it by itself."""

    values: dict[str, object]
    steps: Steps


def follow(row: Row[Any] | None, episode: Episode, at: Places, gateway: str, now_s: float) -> Followed:
    """Where an alarm stands after its gateway has told more. `row`: its `COLUMNS` and its status as they
    were, None for a new one.
    """
    cleared = episode.status == "cleared"
    if row is not None:
        before = standing_of(row)
        ends = cleared and row.status != "cleared"
        standing = step(before, Event.CLEARED if ends else Event.UPDATED, now_s)
        return Followed(_columns(standing, row.revision + (standing.state is not before.state), row.announced_s), [])
    standing, steps = step(Standing(), Event.RAISED, now_s), []
    out, until_s = at.at(gateway, episode.machine, episode.point, episode.slot)
    for happened, after in aligned(standing, now_s, out=out, shelf_until_s=until_s):
        steps.append((happened, standing, after))
        standing = after
    announced_s = now_s if standing.state is State.UNACKNOWLEDGED else None
    if cleared:
        standing = step(standing, Event.CLEARED, now_s)
    return Followed(_columns(standing, 1, announced_s), steps)


def _columns(standing: Standing, revision: int, announced_s: float | None) -> dict[str, object]:
    return {
        "state": standing.state.value,
        "state_s": standing.since_s,
        "open": standing.state in OPEN,
        "shelved_until_s": standing.shelved_until_s,
        "revision": revision,
        "announced_s": announced_s,
    }


def move(session: Session, row: t.Alarm, steps: Steps, who: str, now_s: float, text: str | None = None) -> None:
    """Make steps of an alarm, and write each of them into its history."""
    if not steps:
        return
    standing = steps[-1][2]
    announced_s = row.announced_s
    if announced_s is None and any(after.state is State.UNACKNOWLEDGED for _, _, after in steps):
        announced_s = now_s
    for name, value in _columns(standing, row.revision + 1, announced_s).items():
        setattr(row, name, value)
    row.changed_s = now_s
    note(session, row.id, steps, who, now_s, text)


def note(session: Session, alarm: int, steps: Steps, who: str, now_s: float, text: str | None = None) -> None:
    """Write steps into an alarm's history."""
    session.add_all(
        t.AlarmAction(
            alarm_id=alarm,
            time_s=now_s,
            who=who,
            action=happened.value,
            before=before.state.value,
            after=after.state.value,
            text=text,
            until_s=after.shelved_until_s,
        )
        for happened, before, after in steps
    )


def find(session: Session, names: Iterable[tuple[str, str]]) -> dict[tuple[str, str], t.Alarm]:
    """The alarms with these (gateway, alarm). Unknown ones are left out."""
    found: dict[tuple[str, str], t.Alarm] = {}
    keys = sorted(set(names))
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        some = keys[start : start + _KEYS_AT_ONCE]
        query = select(t.Alarm).where(tuple_(t.Alarm.gateway_id, t.Alarm.alarm).in_(some))
        found |= {(row.gateway_id, row.alarm): row for row in session.scalars(query)}
    return found


def find_one(session: Session, alarm_id: str) -> t.Alarm:
    """The alarm "gateway.alarm". Raises: NotFoundError."""
    gateway, _, alarm = alarm_id.partition(".")
    found = find(session, [(gateway, alarm)])
    if not found:
        raise NotFoundError(f"alarm {alarm_id!r}: not known (an alarm's id is gateway.alarm)")
    return found[gateway, alarm]


def realign(session: Session, machines: Sequence[str] | None, who: str, now_s: float, text: str | None = None) -> int:
    """Bring alarms to where their places are: those of some machines, or all that this could change.

    Returns: how many have moved.
    """
    at, query = affected(session, machines, now_s)
    moved = 0
    for row in session.scalars(query).all():
        steps = alignment(row, at, now_s)
        move(session, row, steps, who, now_s, text)
        moved += bool(steps)
    return moved


def affected(session: Session, machines: Sequence[str] | None, now_s: float) -> tuple[Places, Select[t.Alarm]]:
    """What is shelved or out of service, and the alarms that it may concern: of some machines, or of all."""
    at = places(session, now_s, machines)
    if machines is not None:
        return at, select(t.Alarm).where(t.Alarm.machine_id.in_(machines), t.Alarm.state.in_(_PRESENT))
    hidden = t.Alarm.state.in_((State.SHELVED.value, State.OUT_OF_SERVICE.value))
    shown = and_(t.Alarm.open, t.Alarm.machine_id.in_(at.machines))
    return at, select(t.Alarm).where(or_(hidden, shown) if len(at) else hidden)


def anything_to_do(session: Session, now_s: float) -> bool:
    """Whether `realign` would move an alarm."""
    at, query = affected(session, None, now_s)
    return any(alignment(row, at, now_s) for row in session.scalars(query))


def say(session: Session, row: t.Alarm, action: str, text: str | None, who: str, now_s: float) -> None:
    """Write into an alarm's history what somebody says of it; where it stands is left as it is."""
    row.revision += 1
    row.changed_s = now_s
    session.add(
        t.AlarmAction(
            alarm_id=row.id, time_s=now_s, who=who, action=action, before=row.state, after=row.state, text=text
        )
    )


def alignment(row: t.Alarm, at: Places, now_s: float) -> Steps:
    """The steps that bring an alarm to where its place is."""
    standing, steps = standing_of(row), []
    out, until_s = at.at(row.gateway_id, row.machine_id, row.point, row.slot)
    for happened, after in aligned(standing, now_s, out=out, shelf_until_s=until_s):
        steps.append((happened, standing, after))
        standing = after
    return steps

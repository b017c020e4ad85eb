"""The transition table of an alarm after ISA-18.2, as a pure function of (state, event, now). The only one there is.

An alarm here is one episode of one point: the machine leaves its normal condition once and returns to it once. So
`normal` is where an alarm begins and where it ends. What ISA-18.2 says of an alarm that may come again (shelving, out
of service) is said of the place (`cloud_hub.store.alarm_suppressions`), and `aligned` tells what it means for an alarm
that stands there.

The table is also the diagram in ALARMS.md, made from it by `python -m cloud_hub.alarms.states`; a test compares them.
Source: ANSI/ISA-18.2-2016, section 5 (alarm state transition diagram).
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

from cloud_hub.errors import HubError


class AlarmStateError(HubError):
    """An event that has no place in this state."""


class State(enum.Enum):
    """Where an alarm stands. The values are stored and shown: they stay when a name here changes."""

    NORMAL = "normal"  # not yet raised, or over and dealt with
    UNACKNOWLEDGED = "unacknowledged"  # nobody has seen it yet
    ACKNOWLEDGED = "acknowledged"  # somebody has, and the condition lasts
    RETURNED = "returned"  # returned to normal, and nobody had seen it
    SHELVED = "shelved"  # put aside by somebody until a moment that is known
    OUT_OF_SERVICE = "out_of_service"  # its machine or point is


class Event(enum.Enum):
    """What can happen to an alarm."""

    RAISED = "raised"  # the gateway: the condition has begun
    UPDATED = "updated"  # the gateway: it goes on, or more is known
    CLEARED = "cleared"  # the gateway: it is over
    ACKNOWLEDGED = "acknowledge"
    SHELVED = "shelve"
    UNSHELVED = "unshelve"
    EXPIRED = "expire"  # the shelf's time is up
    TAKEN_OUT = "take_out"  # of service
    RESTORED = "restore"  # to service


S, E = State, Event

# fmt: off
TABLE: dict[State, dict[Event, State]] = {
    # What comes late changes nothing: an episode has one end.
    S.NORMAL:         {E.RAISED: S.UNACKNOWLEDGED, E.UPDATED: S.NORMAL},
    S.UNACKNOWLEDGED: {E.UPDATED: S.UNACKNOWLEDGED, E.CLEARED: S.RETURNED, E.ACKNOWLEDGED: S.ACKNOWLEDGED,
                       E.SHELVED: S.SHELVED, E.TAKEN_OUT: S.OUT_OF_SERVICE},
    S.ACKNOWLEDGED:   {E.UPDATED: S.ACKNOWLEDGED, E.CLEARED: S.NORMAL, E.SHELVED: S.SHELVED,
                       E.TAKEN_OUT: S.OUT_OF_SERVICE},
    S.RETURNED:       {E.UPDATED: S.RETURNED, E.ACKNOWLEDGED: S.NORMAL},
    # What lasts longer than its shelf wants somebody's eyes again, also when somebody had acknowledged it before.
    S.SHELVED:        {E.UPDATED: S.SHELVED, E.CLEARED: S.NORMAL, E.SHELVED: S.SHELVED, E.UNSHELVED: S.UNACKNOWLEDGED,
                       E.EXPIRED: S.UNACKNOWLEDGED, E.TAKEN_OUT: S.OUT_OF_SERVICE},
    S.OUT_OF_SERVICE: {E.UPDATED: S.OUT_OF_SERVICE, E.CLEARED: S.NORMAL, E.RESTORED: S.UNACKNOWLEDGED},
}
# fmt: on

OPEN = frozenset({S.UNACKNOWLEDGED, S.ACKNOWLEDGED, S.RETURNED})
"""What stands in the operator's list."""

PRESENT = frozenset({S.UNACKNOWLEDGED, S.ACKNOWLEDGED, S.SHELVED, S.OUT_OF_SERVICE})
"""The condition lasts."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an alarm stands since when, UTC seconds. `shelved_until_s` is set in `shelved` and nowhere else."""

    state: State = State.NORMAL
    since_s: float = 0.0
    shelved_until_s: float | None = None


def step(standing: Standing, event: Event, now_s: float, until_s: float | None = None) -> Standing:
    """Where an alarm stands after an event.

    Args:   until_s: with `Event.SHELVED`, and only then: when the shelf's time is up.
    Raises: AlarmStateError: the event has no place here, or not at this moment.
    """
    state = standing.state
    if event not in TABLE[state]:
        raise AlarmStateError(
            f"alarm: {event.value!r} has no place in state {state.value!r}; what has: "
            + ", ".join(sorted(e.value for e in TABLE[state]))
        )
    if (event is Event.SHELVED) != (until_s is not None) or (until_s is not None and not until_s > now_s):
        raise AlarmStateError(f"alarm: {event.value!r} at {now_s:g} until {until_s}: expected a later end, to a shelf")
    if event is Event.EXPIRED and now_s < (standing.shelved_until_s or 0.0):
        raise AlarmStateError(f"alarm: its shelf lasts until {standing.shelved_until_s}, it is {now_s:g}")
    to = TABLE[state][event]
    return Standing(to, standing.since_s if to is state else now_s, until_s or _shelf_after(standing, to))


def _shelf_after(standing: Standing, to: State) -> float | None:
    return standing.shelved_until_s if to is State.SHELVED else None


def aligned(
    standing: Standing, now_s: float, *, out: bool, shelf_until_s: float | None
) -> Iterator[tuple[Event, Standing]]:
    """The steps that bring an alarm to where its place is.

    Args: out: its machine or point is out of service. shelf_until_s: the end of the shelf that its place is on, if any.
    """

    def go(event: Event, until_s: float | None = None) -> tuple[Event, Standing]:
        nonlocal standing
        standing = step(standing, event, now_s, until_s)
        return event, standing

    if standing.state not in PRESENT:  # what is over is not hidden: somebody may still want to know of it
        return
    shelf = shelf_until_s if shelf_until_s is not None and shelf_until_s > now_s else None
    if out:
        if standing.state is not State.OUT_OF_SERVICE:
            yield go(Event.TAKEN_OUT)
        return
    if standing.state is State.OUT_OF_SERVICE:
        yield go(Event.RESTORED)
    if shelf is not None:
        if standing.shelved_until_s != shelf:
            yield go(Event.SHELVED, shelf)
    elif standing.state is State.SHELVED:
        early = standing.shelved_until_s is not None and now_s < standing.shelved_until_s
        yield go(Event.UNSHELVED if early else Event.EXPIRED)


def document() -> str:
    """ALARMS.md, from the table."""
    events = list(Event)
    lines = [
        "# The states of an alarm",
        "",
        "Made from the table in `cloud_hub/alarms/states.py` by `python -m cloud_hub.alarms.states`; do not edit.",
        "",
        "After ANSI/ISA-18.2-2016. An alarm is one episode of one point; `normal` is its beginning and its end.",
        "`raised`, `updated` and `cleared` come from the gateway, `expire` from the hub's clock, the rest from people.",
        "",
        "```mermaid",
        "stateDiagram-v2",
        f"    [*] --> {State.NORMAL.value}",
        *(f"    {s.value} --> {to.value}: {event.value}" for s, row in TABLE.items() for event, to in row.items()),
        "```",
        "",
        f"| | {' | '.join(event.value for event in events)} |",
        f"|---|{'---|' * len(events)}",
        *(
            f"| **{s.value}** | " + " | ".join(row[event].value if event in row else "" for event in events) + " |"
            for s, row in TABLE.items()
        ),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(document())

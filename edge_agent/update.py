"""The update machine of one slot: which bundle runs, which is on its way, and how far it has come.

Everything that decides is in this file, and all of it is pure: `advance(record, event, ...)` gives the next record or
raises `UpdateError`, leaving the record as it was. Carrying it out is `delivery.py`'s part, in this order: the record
goes to the disk first, then the world follows it; so a power cut leaves a record that says where to go on.

A record names up to three bundles: `active` runs, `candidate` is on its way, `previous` is what a rollback returns to.
At most two of their files are on the disk: the candidate's takes the place of the previous one's.

The table below is also the diagram in UPDATE.md, which is made from it (`python -m edge_agent.update`; a test compares).
"""

from __future__ import annotations

import enum
from typing import Any

import msgspec

from edge_agent.errors import AgentError
from edge_agent.storage import Document
from models.contract.messages import Phase, WantedBundle


class UpdateError(AgentError):
    """An event that has no place in this state: a mistake of ours."""


class State(enum.Enum):
    """How far a slot has come. The values are stored and reported: they stay when a name here changes."""

    IDLE = "idle"
    SEEN = "seen"
    FETCHING = "fetching"
    FETCHED = "fetched"
    VERIFIED = "verified"
    REPLAYED = "replayed"
    SHADOW = "shadow"
    ACTIVE = "active"
    CONFIRMED = "confirmed"
    REFUSED = "refused"
    ROLLED_BACK = "rolled_back"

    @property
    def phase(self) -> Phase:
        """As the contract has it."""
        phase: Phase = self.value
        return phase


class Event(enum.Enum):
    """What can happen to a slot."""

    WANTED = "wanted"  # a verified want names a bundle that neither runs nor is on its way
    WITHDRAWN = "withdrawn"  # a verified want names nothing for this slot, and nothing runs
    KEPT = "kept"  # a verified want names what runs, or nothing: the one on its way is not wanted any more
    BEGUN = "begun"  # not-before and jitter are over
    FETCHED = "fetched"  # every chunk is in the .part file
    VERIFIED = "verified"  # signatures, length and digest hold; the file has its final name
    REPLAYED = "replayed"  # it fits the points, loads, and its golden vectors come out right here
    SHADOWED = "shadowed"  # it learns beside a champion
    ACTIVATED = "activated"  # it decides from now on
    CONFIRMED = "confirmed"  # it has run well for long enough
    REFUSED = "refused"  # it must not run
    FAILED = "failed"  # it failed while it ran, or took the agent down too often
    RETRIED = "retried"  # the hub has published anew: a refused one deserves another look


S, E = State, Event

# fmt: off
TRANSITIONS: dict[State, dict[Event, State]] = {
    # A want may come at any time, also in the midst of another one's way: the newest is what counts.
    S.IDLE:        {E.WANTED: S.SEEN, E.WITHDRAWN: S.IDLE},
    S.SEEN:        {E.WANTED: S.SEEN, E.WITHDRAWN: S.IDLE, E.KEPT: S.CONFIRMED,
                    E.BEGUN: S.FETCHING, E.REFUSED: S.REFUSED},
    S.FETCHING:    {E.WANTED: S.SEEN, E.WITHDRAWN: S.IDLE, E.KEPT: S.CONFIRMED,
                    E.FETCHED: S.FETCHED, E.REFUSED: S.REFUSED},
    S.FETCHED:     {E.WANTED: S.SEEN, E.WITHDRAWN: S.IDLE, E.KEPT: S.CONFIRMED,
                    E.VERIFIED: S.VERIFIED, E.REFUSED: S.REFUSED},
    S.VERIFIED:    {E.WANTED: S.SEEN, E.WITHDRAWN: S.IDLE, E.KEPT: S.CONFIRMED,
                    E.REPLAYED: S.REPLAYED, E.REFUSED: S.REFUSED},
    S.REPLAYED:    {E.WANTED: S.SEEN, E.WITHDRAWN: S.IDLE, E.KEPT: S.CONFIRMED,
                    E.SHADOWED: S.SHADOW, E.ACTIVATED: S.ACTIVE, E.REFUSED: S.REFUSED},
    # A candidate that fails in shadow is dropped; the champion never stopped. Without a champion there is no shadow.
    S.SHADOW:      {E.WANTED: S.SEEN, E.KEPT: S.CONFIRMED, E.ACTIVATED: S.ACTIVE, E.FAILED: S.ROLLED_BACK},
    # From here on it is the one that runs, so there is nothing left to withdraw.
    S.ACTIVE:      {E.WANTED: S.SEEN, E.KEPT: S.ACTIVE, E.CONFIRMED: S.CONFIRMED, E.FAILED: S.ROLLED_BACK},
    S.CONFIRMED:   {E.WANTED: S.SEEN, E.KEPT: S.CONFIRMED},
    S.REFUSED:     {E.WANTED: S.SEEN, E.WITHDRAWN: S.IDLE, E.KEPT: S.CONFIRMED, E.RETRIED: S.SEEN},
    # No retry after a rollback: the bundle itself is the cause. Only another want brings another try.
    S.ROLLED_BACK: {E.WANTED: S.SEEN, E.WITHDRAWN: S.IDLE, E.KEPT: S.CONFIRMED},
}
# fmt: on

ON_TRIAL = frozenset({S.VERIFIED, S.REPLAYED, S.SHADOW, S.ACTIVE})
"""States in which the new bundle's code paths run: a start of the agent in one of them counts."""


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle whose file is in the slot's folder."""

    sha256: str
    version: str


class SlotRecord(Document, frozen=True, kw_only=True):
    """What is stored of a slot. `want_seq`: of the want that named the candidate. `begin_s`: when to start fetching.
    `starts`: of the agent, since the bundle on trial last ran well. `error`, `reason`: why it is refused or rolled back.
    """

    state: State = State.IDLE
    want_seq: int = 0
    begin_s: float = 0.0
    candidate: WantedBundle | None = None
    active: Installed | None = None
    previous: Installed | None = None
    starts: int = 0
    error: str | None = None
    reason: str | None = None


def advance(record: SlotRecord, event: Event, **changes: Any) -> SlotRecord:
    """The record after an event. `changes`: `candidate`, `want_seq`, `begin_s` with WANTED; `error`, `reason` with
    REFUSED and FAILED.

    Raises: UpdateError: the event has no place in this state.
    """
    try:
        state = TRANSITIONS[record.state][event]
    except KeyError:
        raise UpdateError(f"update: {event.value!r} has no place in state {record.state.value!r}") from None
    replace = msgspec.structs.replace
    match event:
        case Event.WANTED:
            return replace(record, state=state, starts=0, error=None, reason=None, **changes)
        case Event.WITHDRAWN | Event.KEPT:
            starts = record.starts if state is State.ACTIVE else 0
            return replace(record, state=state, candidate=None, starts=starts, error=None, reason=None)
        case Event.VERIFIED:
            return replace(record, state=state, previous=None, starts=0)
        case Event.ACTIVATED:
            return _activated(record, state)
        case Event.CONFIRMED:
            return replace(record, state=state, starts=0)
        case Event.FAILED:
            return _rolled_back(record, state, **changes)
        case Event.RETRIED:
            return replace(record, state=state, starts=0, error=None, reason=None)
        case _:
            return replace(record, state=state, **changes)


def _activated(record: SlotRecord, state: State) -> SlotRecord:
    wanted = record.candidate
    if wanted is None:
        raise UpdateError(f"update: nothing to activate in state {record.state.value!r}")
    active = Installed(sha256=wanted.sha256, version=wanted.version)
    return msgspec.structs.replace(record, state=state, active=active, previous=record.active, candidate=None)


def _rolled_back(record: SlotRecord, state: State, **changes: Any) -> SlotRecord:
    """In shadow the champion simply stays; a failed active one gives way to the previous one, or to none."""
    if record.state is State.ACTIVE:
        changes |= {"active": record.previous, "previous": None}
    return msgspec.structs.replace(record, state=state, candidate=None, starts=0, **changes)


def counted_start(record: SlotRecord) -> SlotRecord:
    """The record after a start of the agent: one that is on trial has used up one of its starts."""
    return msgspec.structs.replace(record, starts=record.starts + 1) if record.state in ON_TRIAL else record


def diagram() -> str:
    """UPDATE.md, from the table."""
    lines = [
        "# The update machine of a slot",
        "",
        "Made from `TRANSITIONS` in `edge_agent/update.py` by `python -m edge_agent.update`; do not edit.",
        "",
        "```mermaid",
        "stateDiagram-v2",
        "    [*] --> idle",
        *(
            f"    {state.value} --> {target.value}: {event.value}"
            for state, row in TRANSITIONS.items()
            for event, target in row.items()
        ),
        "```",
        "",
        f"| | {' | '.join(event.value for event in Event)} |",
        f"|---|{'---|' * len(Event)}",
        *(
            f"| **{state.value}** | " + " | ".join(row[event].value if event in row else "" for event in Event) + " |"
            for state, row in TRANSITIONS.items()
        ),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(diagram())

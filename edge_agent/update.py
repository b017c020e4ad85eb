"""The update machine of one slot: which bundle runs, which is on its way, and how far it has come.

Everything that decides is in this file, and all of it is pure: `advance(record, event, ...)` gives the next record or
raises `UpdateError`, leaving the record as it was. Carrying it out is `delivery.py`'s part, in this order: the record
goes to the disk first, then the world follows it; so a power cut leaves a record that says where to go on.

A record names up to three bundles: `active` runs, `candidate` is on its way, `previous` is what a rollback returns to.
At most two of their files are on the disk: the candidate's takes the place of the previous one's.

The table below is also the diagram in UPDATE.md, made from it by `python -m edge_agent.update`; a test compares them.
"""

from __future__ import annotations

import enum
import zlib

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
    AMENDED = "amended"  # a verified want names the one on its way again, with other conditions perhaps
    WITHDRAWN = "withdrawn"  # a verified want names nothing for this slot, and nothing runs
    KEPT = "kept"  # a verified want names what runs, or nothing: the one on its way is not wanted any more
    BEGUN = "begun"  # not-before and jitter are over
    FETCHED = "fetched"  # every chunk is in the .part file
    DAMAGED = "damaged"  # the .part file is not what was wanted: what is wrong in it is to be fetched again
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
    S.SEEN:        {E.WANTED: S.SEEN, E.AMENDED: S.SEEN, E.WITHDRAWN: S.IDLE, E.KEPT: S.CONFIRMED,
                    E.BEGUN: S.FETCHING, E.REFUSED: S.REFUSED},
    S.FETCHING:    {E.WANTED: S.SEEN, E.AMENDED: S.FETCHING, E.WITHDRAWN: S.IDLE, E.KEPT: S.CONFIRMED,
                    E.FETCHED: S.FETCHED, E.REFUSED: S.REFUSED},
    S.FETCHED:     {E.WANTED: S.SEEN, E.AMENDED: S.FETCHED, E.WITHDRAWN: S.IDLE, E.KEPT: S.CONFIRMED,
                    E.VERIFIED: S.VERIFIED, E.DAMAGED: S.FETCHING, E.REFUSED: S.REFUSED},
    S.VERIFIED:    {E.WANTED: S.SEEN, E.AMENDED: S.VERIFIED, E.WITHDRAWN: S.IDLE, E.KEPT: S.CONFIRMED,
                    E.REPLAYED: S.REPLAYED, E.REFUSED: S.REFUSED},
    S.REPLAYED:    {E.WANTED: S.SEEN, E.AMENDED: S.REPLAYED, E.WITHDRAWN: S.IDLE, E.KEPT: S.CONFIRMED,
                    E.SHADOWED: S.SHADOW, E.ACTIVATED: S.ACTIVE, E.REFUSED: S.REFUSED},
    # A candidate that fails in shadow is dropped; the champion never stopped.
    S.SHADOW:      {E.WANTED: S.SEEN, E.AMENDED: S.SHADOW, E.WITHDRAWN: S.IDLE, E.KEPT: S.CONFIRMED,
                    E.ACTIVATED: S.ACTIVE, E.FAILED: S.ROLLED_BACK},
    # From here on it is the one that runs, so there is nothing left to withdraw.
    S.ACTIVE:      {E.WANTED: S.SEEN, E.KEPT: S.ACTIVE, E.CONFIRMED: S.CONFIRMED, E.FAILED: S.ROLLED_BACK},
    # A confirmed bundle fails only when its file does not load any more.
    S.CONFIRMED:   {E.WANTED: S.SEEN, E.KEPT: S.CONFIRMED, E.FAILED: S.ROLLED_BACK},
    S.REFUSED:     {E.WANTED: S.SEEN, E.WITHDRAWN: S.IDLE, E.KEPT: S.CONFIRMED, E.RETRIED: S.SEEN},
    # No retry after a rollback: the bundle itself is the cause. Only another want brings another try.
    S.ROLLED_BACK: {E.WANTED: S.SEEN, E.WITHDRAWN: S.IDLE, E.KEPT: S.CONFIRMED},
}
# fmt: on

ON_TRIAL = frozenset({S.VERIFIED, S.REPLAYED, S.SHADOW, S.ACTIVE})
"""States in which the new bundle's code paths run: a start of the agent in one of them counts."""


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle whose file is in the slot's folder. `memory_kb`: what its network took when it was tried out."""

    sha256: str
    version: str
    memory_kb: float | None = None


class SlotRecord(Document, frozen=True, kw_only=True):
    """What is stored of a slot. `want_seq`: of the want that named the candidate. `begin_s`: when to start fetching.
    `starts`: of the agent, since the bundle on trial last ran well. `repairs`: how often the fetched file was not the
    one that was wanted. `memory_kb`: what the candidate's network takes. `error`, `reason`: why it was refused or
    failed.
    """

    state: State = State.IDLE
    want_seq: int = 0
    begin_s: float = 0.0
    candidate: WantedBundle | None = None
    active: Installed | None = None
    previous: Installed | None = None
    starts: int = 0
    repairs: int = 0
    memory_kb: float | None = None
    error: str | None = None
    reason: str | None = None


def advance(
    record: SlotRecord,
    event: Event,
    *,
    candidate: WantedBundle | None = None,
    want_seq: int = 0,
    begin_s: float = 0.0,
    memory_kb: float | None = None,
    reason: str | None = None,
    error: str | None = None,
) -> SlotRecord:
    """The record after an event.

    Args:   candidate, want_seq: with WANTED and AMENDED. begin_s: with WANTED. memory_kb: with REPLAYED.
            reason, error: with REFUSED and FAILED.
    Raises: UpdateError: the event has no place in this state.
    """
    target = TRANSITIONS[record.state].get(event)
    if target is None:
        raise UpdateError(f"update: {event.value!r} has no place in state {record.state.value!r}")
    after = msgspec.structs.replace(record, state=target, reason=None, error=None)
    replace = msgspec.structs.replace
    match event:
        case Event.WANTED:
            after = replace(after, candidate=candidate, want_seq=want_seq, begin_s=begin_s)
            after = replace(after, starts=0, repairs=0, memory_kb=None)
        case Event.AMENDED:
            after = replace(after, candidate=candidate, want_seq=want_seq)
        case Event.DAMAGED:
            after = replace(after, repairs=record.repairs + 1)
        case Event.REPLAYED:
            after = replace(after, memory_kb=memory_kb)
        case Event.WITHDRAWN | Event.KEPT:
            after = replace(after, candidate=None, starts=record.starts if target is State.ACTIVE else 0)
        case Event.VERIFIED:
            after = replace(after, previous=None, starts=0)
        case Event.ACTIVATED:
            after = _activated(after)
        case Event.REFUSED:
            after = replace(after, reason=reason, error=error, starts=0)
        case Event.FAILED:
            after = _rolled_back(record, replace(after, reason=reason, error=error))
        case Event.CONFIRMED | Event.RETRIED:
            after = replace(after, starts=0, repairs=0)
        case Event.BEGUN | Event.FETCHED | Event.SHADOWED:
            pass
    return after


def _activated(record: SlotRecord) -> SlotRecord:
    wanted = record.candidate
    if wanted is None:
        raise UpdateError("update: nothing to activate")
    active = Installed(sha256=wanted.sha256, version=wanted.version, memory_kb=record.memory_kb)
    return msgspec.structs.replace(record, active=active, previous=record.active, candidate=None)


def _rolled_back(before: SlotRecord, after: SlotRecord) -> SlotRecord:
    """In shadow the champion simply stays; a failed active one gives way to the previous one, or to none."""
    if before.state in {State.ACTIVE, State.CONFIRMED}:
        after = msgspec.structs.replace(after, active=before.previous, previous=None)
    return msgspec.structs.replace(after, candidate=None, starts=0)


def heard(record: SlotRecord, wanted: WantedBundle | None, seq: int) -> Event | None:
    """What a verified want means for a slot; None: nothing that is new. `wanted` is None when it names nothing."""
    active = record.active.sha256 if record.active is not None else None
    settled = record.state in {State.REFUSED, State.ROLLED_BACK}
    if wanted is None or wanted.sha256 == active:
        if (record.candidate is None and not settled) or seq == record.want_seq:
            return None
        return Event.KEPT if active is not None else Event.WITHDRAWN
    if seq == record.want_seq and (settled or record.candidate == wanted):
        return None
    return Event.AMENDED if not settled and _same_bundle(record.candidate, wanted) else Event.WANTED


def _same_bundle(one: WantedBundle | None, other: WantedBundle) -> bool:
    """Whether two wants name the same bundle, whatever conditions they make."""
    conditions = {"shadow_windows": 0, "hold": False}
    replaced = msgspec.structs.replace
    return one is not None and replaced(one, **conditions) == replaced(other, **conditions)


def counted_start(record: SlotRecord) -> SlotRecord:
    """The record after a start of the agent: one that is on trial has used up one of its starts."""
    return msgspec.structs.replace(record, starts=record.starts + 1) if record.state in ON_TRIAL else record


def share_of_jitter(gateway: str, seq: int) -> float:
    """Where in a want's jitter a gateway begins, 0 to 1: spread evenly over gateways and wants, and always the same."""
    return zlib.crc32(f"{gateway}/{seq}".encode()) / 2**32


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

"""What the machine works on: a rollout, its members, and the facts about gateways. Frozen; a change is a new value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from cloud_hub.rollout.evidence import Check
from cloud_hub.rollout.states import Event, Stage, Status
from models.contract.messages import Behaviour

Kind = Literal[
    "refused", "replay", "rolled_back", "alarm_rate", "flagged_rate", "score_shift", "latency", "memory", "silent",
    "stalled", "superseded", "absent", "undeliverable",
]  # fmt: skip
"""Why a gateway has failed. `replay`: its golden vectors came out otherwise there. `silent`: it was there and is not
heard any more. `stalled`: it is there and does not get on. `superseded`: somebody else wants another bundle there.
`absent`: it never came while the rollout ran.
"""

Due = Literal["try", "run", "return"]
"""The want that must still go out: the candidate on hold beside the champion, the candidate, the previous bundle."""

Cause = Literal[
    "errors", "too_few", "alarm_rate", "flagged_rate", "score_shift", "latency", "memory", "cohort_timeout", "timeout",
    "unreadable", "by_hand",
]  # fmt: skip
"""Why a rollout is paused."""


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway in a rollout.

    `want_seq`: of the last want it was issued here, `try_seq`: of the first one of this try; 0: none. `sent`: whether
    the broker is known to have it, or somebody has given up sending it by force. `since_s`: when it came to its stage,
    by the hub's clock. `previous`: the bundle to return to, None: the slot was empty. `was_online`: when its want was
    issued. `windows`: scored in this stage, as last judged; `ready`: they are enough and good. `baseline`: what the
    champion did beside the candidate. `origin`: what the candidate had done when it began to decide. `forgiven`:
    somebody resumed in spite of this failure, or its gateway was retired: it counts no more.
    """

    gateway: str
    cohort: int
    stage: Stage = Stage.WAITING
    due: Due | None = None
    want_seq: int = 0
    try_seq: int = 0
    sent: bool = True
    since_s: float = 0.0
    previous: str | None = None
    was_online: bool = False
    windows: int = 0
    ready: bool = False
    baseline: Behaviour | None = None
    origin: Behaviour | None = None
    kind: Kind | None = None
    detail: str | None = None
    forgiven: bool = False


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout. `cohort`: the one it is at. `resumes`: where it goes on after a pause. `waits`: for what, in words.
    `accepted`: rules that somebody resumed in spite of, for this cohort.
    """

    id: str
    status: Status
    cohort: int = 0
    resumes: Status | None = None
    cohort_ends_s: float = 0.0
    ends_s: float = 0.0
    paused_s: float | None = None
    cause: Cause | None = None
    detail: str | None = None
    waits: str = ""
    accepted: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()

    @property
    def position(self) -> Status:
        """The status, or the one that it will go on in."""
        return self.resumes if self.status is Status.PAUSED and self.resumes is not None else self.status

    @property
    def begun(self) -> int:
        """How many cohorts have begun."""
        return self.cohort + (self.position in {Status.TRYING, Status.RELEASING, Status.FINISHED})

    @property
    def released(self) -> int:
        """In how many cohorts the candidate may decide."""
        return self.cohort + (self.position in {Status.RELEASING, Status.FINISHED})


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway's own no to the candidate, from its acks."""

    seq: int
    phase: Literal["refused", "rolled_back"]
    reason: str = ""
    detail: str = ""


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """What the hub knows of a gateway and the slot. `reported_seq`: the want it says it follows. `wanted`: what the
    newest want issued to it, `wanted_seq`, asks of the slot. `shadow`: the behaviour of the candidate.
    `retired`: it was taken out of the fleet.
    """

    gateway: str
    online: bool = False
    last_seen_s: float = 0.0
    reported_seq: int = 0
    phase: str = "idle"
    active: str | None = None
    candidate: str | None = None
    error: str | None = None
    champion: Behaviour | None = None
    shadow: Behaviour | None = None
    refusal: Refusal | None = None
    wanted: str | None = None
    wanted_seq: int = 0
    time_zone: str | None = None
    retired: bool = False


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """An entry in the log of a rollout."""

    time_s: float
    event: Event
    text: str
    by: str = "hub"


class State(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout with its members."""

    rollout: Rollout
    members: Mapping[str, Member]


class Send(msgspec.Struct, frozen=True, kw_only=True):
    """An action: issue and publish a want."""

    gateway: str
    due: Due


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a step gives: the next state, which members changed, what must be sent, and what to write into the log."""

    state: State
    changed: Mapping[str, Member]
    actions: tuple[Send, ...]
    notes: tuple[Note, ...]

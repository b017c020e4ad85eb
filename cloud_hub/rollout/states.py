"""The two transition tables of a rollout: of the rollout itself, and of each gateway in it. The only ones there are.

The tables are also the diagrams in ROLLOUT.md, made from them by `python -m cloud_hub.rollout.states`; a test compares
them. `machine.step` looks every change up here; what is not in a table cannot happen.
"""

from __future__ import annotations

import enum

from cloud_hub.errors import HubError


class RolloutError(HubError):
    """An event that has no place in this state."""


class Status(enum.Enum):
    """How far a rollout has come. The values are stored and shown: they stay when a name here changes."""

    AWAITING = "awaiting_approval"
    TRYING = "trying"
    RELEASING = "releasing"
    PAUSED = "paused"
    ABORTING = "aborting"
    ABORTED = "aborted"
    FINISHED = "finished"


class Event(enum.Enum):
    """What can happen to a rollout."""

    APPROVED = "approved"  # somebody lets the cohort begin
    TRIED = "tried"  # enough of the cohort behave beside the champion: they may decide
    CAME_THROUGH = "came_through"  # enough of the cohort have run well: the next one begins
    AT_GATE = "at_gate"  # the same, but the next one needs approval
    COMPLETED = "completed"  # the same, and there is no next one
    STOPPED = "stopped"  # a rule, a time limit, an unreadable plan or somebody
    RESUMED_AWAITING = "resumed_awaiting"
    RESUMED_TRYING = "resumed_trying"
    RESUMED_RELEASING = "resumed_releasing"
    ABORTED = "abort"  # somebody ends it for good
    RETURNED = "returned"  # every want that takes something back is out
    FORCED = "forced"  # somebody ends it although wants that take something back cannot be sent


class Stage(enum.Enum):
    """How far a gateway has come within a rollout. Stored and shown."""

    WAITING = "waiting"
    SENT = "sent"
    SHADOW = "shadow"
    RELEASED = "released"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    RETURNED = "returned"


class Step(enum.Enum):
    """What can happen to a gateway."""

    TRIED = "tried"  # it shall get the want that asks for the candidate
    SHADOWS = "shadows"  # it reports the candidate in shadow
    RELEASED = "released"  # it shall get the want that lets the candidate decide
    RUNS = "runs"  # it reports the candidate as the one that decides
    SOAKED = "soaked"  # it has run well for long enough
    FAILED = "failed"  # see `machine.Kind`
    RETURNED = "returned"  # it shall get its previous bundle back
    RETRIED = "retried"  # somebody wants it to try again


S, E, G, P = Status, Event, Stage, Step

# fmt: off
ROLLOUT: dict[Status, dict[Event, Status]] = {
    S.AWAITING:  {E.APPROVED: S.TRYING, E.STOPPED: S.PAUSED, E.ABORTED: S.ABORTING,
                  E.FORCED: S.ABORTED},
    S.TRYING:    {E.TRIED: S.RELEASING, E.STOPPED: S.PAUSED, E.ABORTED: S.ABORTING, E.FORCED: S.ABORTED},
    S.RELEASING: {E.CAME_THROUGH: S.TRYING, E.AT_GATE: S.AWAITING, E.COMPLETED: S.FINISHED, E.STOPPED: S.PAUSED,
                  E.ABORTED: S.ABORTING, E.FORCED: S.ABORTED},
    # Where it goes on is where it was stopped.
    S.PAUSED:    {E.RESUMED_AWAITING: S.AWAITING, E.RESUMED_TRYING: S.TRYING, E.RESUMED_RELEASING: S.RELEASING,
                  E.STOPPED: S.PAUSED, E.ABORTED: S.ABORTING, E.FORCED: S.ABORTED},
    S.ABORTING:  {E.RETURNED: S.ABORTED, E.FORCED: S.ABORTED},
    # Undoing is possible afterwards, too.
    S.ABORTED:   {E.ABORTED: S.ABORTING},
    S.FINISHED:  {E.ABORTED: S.ABORTING},
}

GATEWAY: dict[Stage, dict[Step, Stage]] = {
    # One that is retired before its turn fails without ever having been tried.
    G.WAITING:  {P.TRIED: G.SENT, P.FAILED: G.FAILED},
    # Where nothing ran before there is nothing to run beside.
    G.SENT:     {P.SHADOWS: G.SHADOW, P.RUNS: G.RUNNING, P.FAILED: G.FAILED, P.RETURNED: G.RETURNED},
    G.SHADOW:   {P.RELEASED: G.RELEASED, P.RUNS: G.RUNNING, P.FAILED: G.FAILED, P.RETURNED: G.RETURNED},
    G.RELEASED: {P.RUNS: G.RUNNING, P.FAILED: G.FAILED, P.RETURNED: G.RETURNED},
    G.RUNNING:  {P.SOAKED: G.DONE, P.FAILED: G.FAILED, P.RETURNED: G.RETURNED},
    # It may still roll back while the rollout goes on.
    G.DONE:     {P.FAILED: G.FAILED, P.RETURNED: G.RETURNED},
    G.FAILED:   {P.RETRIED: G.WAITING, P.RETURNED: G.RETURNED},
    # Its want could not be sent, and somebody has ended the rollout by force.
    G.RETURNED: {P.FAILED: G.FAILED},
}
# fmt: on

RUNNING = frozenset({Status.AWAITING, Status.TRYING, Status.RELEASING})
"""A rollout in one of these moves by itself."""

OVER = frozenset({Status.ABORTED, Status.FINISHED})


def next_status(status: Status, event: Event) -> Status:
    """The state after an event. Raises: RolloutError: it has no place here."""
    if event not in ROLLOUT[status]:
        raise RolloutError(f"rollout: {event.value!r} has no place in state {status.value!r}")
    return ROLLOUT[status][event]


def next_stage(stage: Stage, step: Step) -> Stage:
    """The stage after a step. Raises: RolloutError: it has no place here."""
    if step not in GATEWAY[stage]:
        raise RolloutError(f"gateway in a rollout: {step.value!r} has no place in stage {stage.value!r}")
    return GATEWAY[stage][step]


def document() -> str:
    """ROLLOUT.md, from the tables."""
    return (
        "# The states of a rollout\n\n"
        "Made from the tables in `cloud_hub/rollout/states.py` by `python -m cloud_hub.rollout.states`; "
        "do not edit.\n\n"
        + _diagram("The rollout", S.AWAITING, ROLLOUT, list(E))
        + "\n"
        + _diagram("Each gateway in it", G.WAITING, GATEWAY, list(P))
    )


def _diagram(title: str, first: enum.Enum, table: object, events: list[enum.Enum]) -> str:
    rows: dict[enum.Enum, dict[enum.Enum, enum.Enum]] = table  # type: ignore[assignment]  # both tables look like that
    lines = [
        f"## {title}",
        "",
        "```mermaid",
        "stateDiagram-v2",
        f"    [*] --> {first.value}",
        *(f"    {s.value} --> {to.value}: {event.value}" for s, row in rows.items() for event, to in row.items()),
        "```",
        "",
        f"| | {' | '.join(event.value for event in events)} |",
        f"|---|{'---|' * len(events)}",
        *(
            f"| **{s.value}** | " + " | ".join(row[event].value if event in row else "" for event in events) + " |"
            for s, row in rows.items()
        ),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(document())

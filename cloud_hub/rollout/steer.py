"""What people may ask of a rollout: each gives an `Outcome` from the state as it is. Pure, as `machine`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from cloud_hub.rollout.gateways import ON_THE_WAY, moved
from cloud_hub.rollout.plan import ReadPlan
from cloud_hub.rollout.state import Due, Outcome, State
from cloud_hub.rollout.states import RUNNING, Event, RolloutError, Stage, Status, Step
from cloud_hub.rollout.work import Work

replace = msgspec.structs.replace
_RESUME = {
    Status.AWAITING: Event.RESUMED_AWAITING,
    Status.TRYING: Event.RESUMED_TRYING,
    Status.RELEASING: Event.RESUMED_RELEASING,
}


def approve(state: State, read: ReadPlan, now_s: float, by: str) -> Outcome:
    """Let the cohort begin. Raises: RolloutError: it does not wait for that."""
    work = Work(state, {}, now_s)
    name = read.plan.cohorts[state.rollout.cohort].name
    work.go(Event.APPROVED, f"cohort {name} may begin", by, cohort_ends_s=now_s + read.plan.cohort_s)
    return work.outcome()


def pause(state: State, now_s: float, by: str, why: str = "") -> Outcome:
    """Send nothing forward until it is resumed. Raises: RolloutError: it is over."""
    work = Work(state, {}, now_s)
    if state.rollout.status is Status.PAUSED:
        return work.outcome()
    work.stop("by_hand", why or "somebody paused it", by)
    return work.outcome()


def resume(state: State, read: ReadPlan, now_s: float, by: str) -> Outcome:
    """Go on, in spite of the failures so far and of the rule that stopped it: somebody has looked at them. Time limits
    go on where they were, or anew when they are over. Raises: RolloutError: it is not paused.
    """
    work = Work(state, {}, now_s)
    rollout = state.rollout
    if rollout.status is not Status.PAUSED or rollout.resumes is None:
        raise RolloutError(f"rollout {rollout.id}: expected a paused one to resume, it is {rollout.status.value}")
    forgiven = [m for m in state.members.values() if m.stage is Stage.FAILED and not m.forgiven]
    for member in forgiven:
        work.put(replace(member, forgiven=True))
    accepted = {*rollout.accepted, *(c.rule for c in rollout.checks if c.verdict == "breach")}
    away_s = now_s - (rollout.paused_s or now_s)
    cohort_ends_s, ends_s = rollout.cohort_ends_s + away_s, rollout.ends_s + away_s
    work.go(
        _RESUME[rollout.resumes],
        f"{len(forgiven)} failed gateways accepted"
        + (f"; accepted: {', '.join(sorted(accepted))}" if accepted else ""),
        by,
        resumes=None,
        paused_s=None,
        cause=None,
        detail=None,
        accepted=tuple(sorted(accepted)),
        cohort_ends_s=cohort_ends_s if cohort_ends_s > now_s else now_s + read.plan.cohort_s,
        ends_s=ends_s if ends_s > now_s else now_s + read.plan.timeout_s,
    )
    return work.outcome()


def abort(state: State, now_s: float, by: str, *, undo: bool = False) -> Outcome:
    """End it for good. Gateways that have not come through get their previous bundle back: none may stay on hold for
    ever. With `undo` those that have come through, too. Raises: RolloutError: it is being aborted already.
    """
    work = Work(state, {}, now_s)
    takes_back = ON_THE_WAY | ({Stage.DONE} if undo else set())
    count = 0
    for member in state.members.values():
        due: Due | None = "return" if member.try_seq else None
        if member.stage in takes_back:
            work.put(moved(member, Step.RETURNED, now_s, due=due))
            count += due is not None
        elif member.stage is Stage.FAILED and member.kind != "superseded":
            # No change where it has been given back already. What was given up by force is sent once more.
            given_up = member.kind == "undeliverable" and member.want_seq > 0
            work.put(replace(member, due=due, sent=member.sent and not given_up))
            count += due is not None
    work.go(Event.ABORTED, f"{count} gateways get their previous bundle back", by, resumes=None, paused_s=None)
    return work.outcome()


def force(state: State, now_s: float, by: str) -> Outcome:
    """End it at once, for example because a want cannot be signed: nothing more is sent, and each gateway keeps what it
    was told last, also one on hold. Aborting it again tries to give those their previous bundle back.

    Raises: RolloutError: it is over.
    """
    work = Work(state, {}, now_s)
    count = 0
    for member in state.members.values():
        pending = member.due is not None or not member.sent
        if not pending and member.stage not in ON_THE_WAY:
            continue
        why = "ended by force: it keeps what it was told last"
        if member.kind is not None:
            why += f"; failed before: {member.kind}" + (f": {member.detail}" if member.detail else "")
        changes: dict[str, Any] = {"due": None, "sent": True, "ready": False, "kind": "undeliverable"}
        changes["detail"] = why[:2000]
        is_failed = member.stage is Stage.FAILED
        work.put(replace(member, **changes) if is_failed else moved(member, Step.FAILED, now_s, **changes))
        count += 1
    work.go(Event.FORCED, f"{count} gateways keep what they were told last", by, resumes=None, paused_s=None, waits="")
    return work.outcome()


def retry(state: State, now_s: float, by: str, gateways: Iterable[str] | None = None) -> Outcome:
    """Let failed gateways (None: all) try again. Raises: RolloutError: one has not failed, or the rollout is over."""
    work = Work(state, {}, now_s)
    if state.rollout.status not in RUNNING | {Status.PAUSED}:
        raise RolloutError(f"rollout {state.rollout.id}: expected one that goes on, it is {state.rollout.status.value}")
    chosen = (
        list(gateways) if gateways is not None else [g for g, m in state.members.items() if m.stage is Stage.FAILED]
    )
    for gateway in chosen:
        member = state.members.get(gateway)
        if member is None or member.stage is not Stage.FAILED:
            was = member.stage.value if member is not None else "not in it"
            raise RolloutError(f"rollout {state.rollout.id}, {gateway}: expected a failed gateway, it is {was}")
        cleared: dict[str, Any] = {
            "due": None, "try_seq": 0, "windows": 0, "ready": False, "baseline": None, "origin": None, "kind": None,
            "detail": None, "forgiven": False, "sent": True,
        }  # fmt: skip
        work.put(moved(member, Step.RETRIED, now_s, **cleared))
    work.note(Event.RESUMED_TRYING, f"{len(chosen)} failed gateways try again", by)
    return work.outcome()

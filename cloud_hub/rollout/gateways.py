"""How far one gateway is, from what is known of it. Pure; the stages are those of `states.GATEWAY`."""

from __future__ import annotations

from typing import Any

import msgspec

from cloud_hub.rollout.evidence import ALPHA_GATEWAY, Check, judge, tally
from cloud_hub.rollout.plan import Cohort, Plan
from cloud_hub.rollout.state import Fact, Kind, Member
from cloud_hub.rollout.states import Stage, Step, next_stage
from models.contract.messages import Behaviour
from models.errors import BundleReplayError

ON_THE_WAY = frozenset({Stage.SENT, Stage.SHADOW, Stage.RELEASED, Stage.RUNNING})
_CHANGED = ON_THE_WAY | {Stage.DONE}
_RUNS = frozenset({"active", "confirmed"})
_REPLAY_REASON = BundleReplayError.reason


def moved(member: Member, step: Step, now_s: float, **changes: Any) -> Member:  # noqa: ANN401 - fields of Member
    """The member after a step, with these fields changed. Raises: RolloutError."""
    return msgspec.structs.replace(member, stage=next_stage(member.stage, step), since_s=now_s, **changes)


def failed(member: Member, plan: Plan, kind: Kind, detail: str, now_s: float) -> Member:
    """The member, failed; it gets its previous bundle back unless somebody else has taken over or it never got any."""
    back = plan.give_back and member.try_seq > 0 and kind != "superseded"
    changes = {"kind": kind, "detail": detail[:2000], "due": "return" if back else None, "ready": False}
    return moved(member, Step.FAILED, now_s, **changes)


def is_absent(member: Member, fact: Fact | None) -> bool:
    """Whether it was away when its want went out, and has not been heard since: that says nothing about the bundle."""
    heard = fact is not None and fact.last_seen_s > member.since_s
    return member.stage is Stage.SENT and not member.was_online and not heard


def since(now: Behaviour, origin: Behaviour | None) -> Behaviour:
    """What was done after `origin`; all of it, where counting has begun anew since."""
    if origin is None or origin.since_s != now.since_s or origin.windows > now.windows:
        return now
    before = [*origin.scores, *[0] * (len(now.scores) - len(origin.scores))]
    return msgspec.structs.replace(
        now,
        windows=now.windows - origin.windows,
        flagged=max(0, now.flagged - origin.flagged),
        alarms=max(0, now.alarms - origin.alarms),
        scores=[max(0, a - b) for a, b in zip(now.scores, before, strict=False)],
    )


def report(member: Member, fact: Fact | None, plan: Plan, cohort: Cohort, now_s: float, listening_s: float) -> Member:
    """The member after what is known of its gateway; the same object when nothing has changed.

    Args: listening_s: since when the hub has heard gateways without a break. Its own silence is nobody's fault.
    """
    if fact is not None and fact.retired and member.stage in _CHANGED | {Stage.WAITING}:
        gone = failed(member, plan, "superseded", "the gateway was retired", now_s)
        return msgspec.structs.replace(gone, forgiven=True)
    if member.stage not in _CHANGED or member.due is not None or not member.sent or member.try_seq == 0:
        return member
    for _ in range(len(Stage)):  # a gateway may have come several stages further since we last looked
        after = _report_once(member, fact, plan, cohort, now_s, listening_s)
        if after is member or after.stage is Stage.FAILED:
            return after
        member = after
    return member


def _report_once(
    member: Member, fact: Fact | None, plan: Plan, cohort: Cohort, now_s: float, listening_s: float
) -> Member:
    if fact is None:
        return member
    problem = _problem(member, fact, plan)
    if problem is not None:
        return failed(member, plan, *problem, now_s)
    runs = fact.active == plan.sha256 and fact.phase in _RUNS
    match member.stage:
        case Stage.SENT | Stage.RELEASED | Stage.SHADOW if runs:
            origin = fact.champion if _is_of(fact.champion, plan.sha256) else None
            return moved(member, Step.RUNS, now_s, windows=0, ready=False, origin=origin)
        case Stage.SENT if fact.phase == "shadow" and fact.candidate == plan.sha256:
            return moved(member, Step.SHADOWS, now_s, windows=0, ready=False)
        case Stage.SHADOW if fact.shadow is not None and _is_of(fact.shadow, plan.sha256):
            member = _judged(member, plan, cohort.shadow_windows, fact.shadow, fact.champion, now_s)
        case Stage.RUNNING if fact.champion is not None and _is_of(fact.champion, plan.sha256):
            done = since(fact.champion, member.origin)
            member = _judged(member, plan, cohort.soak_windows, done, member.baseline, now_s)
        case _:
            pass
    if member.stage is Stage.RUNNING and fact.phase == "confirmed" and (member.ready or cohort.soak_windows == 0):
        return moved(member, Step.SOAKED, now_s)
    late = _late(member, fact, plan, now_s, listening_s) if member.stage in ON_THE_WAY else None
    return member if late is None else failed(member, plan, *late, now_s)


def _problem(member: Member, fact: Fact, plan: Plan) -> tuple[Kind, str] | None:
    """What somebody else, or the gateway itself, has decided."""
    if fact.wanted_seq > member.want_seq and fact.wanted != plan.sha256:
        return "superseded", f"want {fact.wanted_seq} asks for {(fact.wanted or 'nothing')[:12]}"
    refusal = fact.refusal
    if refusal is not None and refusal.seq >= member.try_seq:
        text = f"{refusal.reason}: {refusal.detail}" if refusal.detail else refusal.reason
        if refusal.phase == "rolled_back":
            return "rolled_back", text
        return "replay" if refusal.reason == _REPLAY_REASON else "refused", text
    if fact.reported_seq >= member.try_seq and fact.active != plan.sha256:
        if fact.phase == "rolled_back":
            return "rolled_back", fact.error or ""
        if fact.phase == "refused" and fact.candidate == plan.sha256:
            return "refused", fact.error or ""
    return None


def _judged(member: Member, plan: Plan, enough: int, ours: Behaviour, theirs: Behaviour | None, now_s: float) -> Member:
    """Judge what is new. Without a champion there is nothing to compare with, and the agent's own trial must do."""
    if ours.windows == member.windows:
        return member
    checks = compare(plan, ours, theirs) if theirs is not None else []
    bad = next((c for c in checks if c.verdict == "breach"), None)
    if bad is not None:
        return failed(msgspec.structs.replace(member, windows=ours.windows), plan, bad.rule, bad.text, now_s)
    ready = ours.windows >= enough and all(c.verdict != "wait" for c in checks)
    waiting = next((f"{c.rule}: {c.text}" for c in checks if c.verdict == "wait"), None)
    return msgspec.structs.replace(
        member, windows=ours.windows, ready=ready, detail=waiting if ours.windows >= enough else None
    )


def compare(plan: Plan, ours: Behaviour, theirs: Behaviour) -> list[Check]:
    """The rules, over one gateway."""
    return judge(plan.limits, tally([ours]), tally([theirs]), ALPHA_GATEWAY, lenient=True)


def _late(member: Member, fact: Fact, plan: Plan, now_s: float, listening_s: float) -> tuple[Kind, str] | None:
    if is_absent(member, fact):
        return None
    quiet_s = now_s - max(member.since_s, fact.last_seen_s, listening_s)
    if quiet_s > plan.silence_s:
        return "silent", f"not heard for {quiet_s:.0f} s, since it was {member.stage.value}; at most {plan.silence_s} s"
    waits = member.stage in {Stage.SENT, Stage.RELEASED}
    heard_s = now_s - max(member.since_s, listening_s)
    if waits and heard_s > plan.arrive_s:
        return "stalled", f"still {fact.phase} {heard_s:.0f} s after its want; {fact.error or 'it says nothing more'}"
    return None


def _is_of(behaviour: Behaviour | None, sha256: str) -> bool:
    return behaviour is not None and behaviour.sha256 == sha256

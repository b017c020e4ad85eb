"""The rollout machine: `step(state, plan, facts, now) -> Outcome`. Pure, as is `steer`: what people may ask of it.

A step first takes in what gateways report, then looks for a reason to stop, and only without one goes forward. Whoever
carries it out stores the outcome before anything is sent: `Member.due` is the want that must still go out, so a crash
at any moment leaves a state that says where to go on.

The gates are counted, not clocked. A cohort *is tried* when enough of its gateways (`success`) have scored enough
windows beside the champion and no rule speaks against it, and *has come through* when as many have run well as the
champion. Stragglers of an earlier cohort go on by themselves, and their failures still count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from cloud_hub.errors import PlanError
from cloud_hub.rollout.evidence import ALPHA_COHORT, Check, judge, sticks_out, tally
from cloud_hub.rollout.gateways import ON_THE_WAY, failed, is_absent, moved, report, since
from cloud_hub.rollout.maintenance import is_open
from cloud_hub.rollout.plan import ReadPlan, check_zone
from cloud_hub.rollout.state import Cause, Due, Fact, Member, Outcome, Rollout, State
from cloud_hub.rollout.states import OVER, RUNNING, Event, Stage, Status, Step
from cloud_hub.rollout.work import Work
from models.contract.messages import Behaviour

replace = msgspec.structs.replace
_PASSED = frozenset({Stage.RELEASED, Stage.RUNNING, Stage.DONE})


def begin(rollout: str, read: ReadPlan, cohort_of: Mapping[str, int], now_s: float) -> State:
    """A new rollout. Nothing moves before the first step."""
    plan = read.plan
    return State(
        rollout=Rollout(
            id=rollout,
            status=Status.AWAITING if plan.cohorts[0].approval else Status.TRYING,
            cohort_ends_s=now_s + plan.cohort_s,
            ends_s=now_s + plan.timeout_s,
        ),
        members={g: Member(gateway=g, cohort=c, since_s=now_s) for g, c in cohort_of.items()},
    )


def step(
    state: State, read: ReadPlan | PlanError, facts: Mapping[str, Fact], now_s: float, listening_s: float = 0.0
) -> Outcome:
    """One step. Again with the same facts at the same time: no change.

    Args: read: the plan, or why it cannot be read. listening_s: see `gateways.report`.
    """
    work = Work(state, facts, now_s)
    status = state.rollout.status
    if status is Status.ABORTING and not any(m.due is not None or not m.sent for m in state.members.values()):
        work.go(Event.RETURNED, "every want that takes something back is out")
    if status in OVER or status is Status.ABORTING:
        return work.outcome()
    if isinstance(read, PlanError):
        if status in RUNNING:
            work.stop("unreadable", str(read))
        return work.outcome()
    mover = _Mover(work, read, listening_s)
    mover.take_reports()
    try:
        if status in RUNNING and not mover.stopped():
            mover.forward()
    except PlanError as error:  # a site's time zone that is none any more
        work = Work(state, facts, now_s)
        work.stop("unreadable", str(error))
    return work.outcome()


# ------------------------------------------------------------------------------------------------- inside a step


class _Mover:
    """The three parts of a step."""

    def __init__(self, work: Work, read: ReadPlan, listening_s: float) -> None:
        self.work = work
        self.plan = read.plan
        self.rules = read.rules
        self.listening_s = listening_s
        self._by_cohort: list[list[Member]] = []

    def take_reports(self) -> None:
        """What gateways say about themselves, also while the rollout is paused."""
        w = self.work
        self._by_cohort = [[] for _ in self.plan.cohorts]
        for member in w.before.values():
            fact = w.facts.get(member.gateway)
            after = report(member, fact, self.plan, self.plan.cohorts[member.cohort], w.now_s, self.listening_s)
            w.put(after)
            self._by_cohort[member.cohort].append(after)

    # ---- reasons to stop

    def stopped(self) -> bool:
        """Stop when there is a reason to."""
        w = self.work
        checks = self._pooled()
        w.rollout = replace(w.rollout, checks=tuple(checks))
        reason = self._reason(checks)
        if reason is not None:
            w.stop(*reason)
        return reason is not None

    def _reason(self, checks: list[Check]) -> tuple[Cause, str] | None:
        w = self.work
        for index in range(w.rollout.begun):
            name, members, rules = self.plan.cohorts[index].name, self._by_cohort[index], self.rules[index]
            lost = [m for m in members if m.stage is Stage.FAILED and not m.forgiven]
            errors = sum(m.kind not in {"superseded", "absent"} for m in lost)
            allowed = rules.errors.at_most(len(members))
            if errors > allowed:
                return "errors", f"cohort {name}: {errors} of {len(members)} failed, at most {allowed}: {_kinds(lost)}"
            size = len(members) - sum(m.forgiven for m in members)
            if size - len(lost) < rules.success.at_least(size):
                needed = rules.success.at_least(size)
                return "too_few", f"cohort {name}: {len(lost)} lost, {needed} of {size} must come through"
        for check in checks:
            if check.verdict == "breach" and check.rule not in w.rollout.accepted:
                return check.rule, f"cohort {self.plan.cohorts[w.rollout.cohort].name}: {check.text}"
        if w.now_s > w.rollout.ends_s:
            return "timeout", f"not through after {self.plan.timeout_s} s"
        if w.now_s > w.rollout.cohort_ends_s and w.rollout.status is not Status.AWAITING:
            return "cohort_timeout", f"not through after {self.plan.cohort_s} s: {w.rollout.waits}"
        return None

    def _pooled(self) -> list[Check]:
        """The rules over all gateways of the cohort that have not failed by themselves.

        The error rule allows some gateways to be bad. As long as no more stick out than it allows, they are its matter,
        and not held against the bundle as a whole: else one flooded gateway among a thousand would outweigh the rest.
        """
        w = self.work
        if w.rollout.status is Status.AWAITING:
            return []
        group = self._by_cohort[w.rollout.cohort]
        pairs = [pair for member in group if (pair := self._pair(member)) is not None]
        if not pairs:
            return []
        allowed = self.rules[w.rollout.cohort].errors.at_most(len(group))
        allowed -= sum(m.stage is Stage.FAILED and not m.forgiven for m in group)
        calm = [pair for pair in pairs if not sticks_out(self.plan.limits, *pair)]
        if len(pairs) - len(calm) <= allowed:
            pairs = calm
        return judge(self.plan.limits, tally(o for o, _ in pairs), tally(t for _, t in pairs), ALPHA_COHORT)

    def _pair(self, member: Member) -> tuple[Behaviour, Behaviour] | None:
        """What candidate and champion did on one gateway: beside each other, or one after the other."""
        fact = self.work.facts.get(member.gateway)
        if fact is None or fact.champion is None:
            return None
        if member.stage is Stage.SHADOW and fact.shadow is not None and fact.shadow.sha256 == self.plan.sha256:
            return fact.shadow, fact.champion
        if (
            member.stage in {Stage.RUNNING, Stage.DONE}
            and self.work.rollout.status is Status.RELEASING
            and member.baseline is not None
            and fact.champion.sha256 == self.plan.sha256
        ):
            return since(fact.champion, member.origin), member.baseline
        return None

    # ---- forward

    def forward(self) -> None:
        """Send wants, release what is ready, open gates."""
        w = self.work
        if w.rollout.status is Status.TRYING:
            self._gate_trying()
        elif w.rollout.status is Status.RELEASING:
            self._gate_releasing()
        if w.rollout.status in RUNNING:
            self._send()

    def _waiting_checks(self) -> list[Check]:
        """Rules that do not pass yet. What was accepted does not hold up."""
        r = self.work.rollout
        return [c for c in r.checks if c.verdict in {"wait", "breach"} and c.rule not in r.accepted]

    def _gate_trying(self) -> None:
        w = self.work
        cohort, members = self.plan.cohorts[w.rollout.cohort], self._by_cohort[w.rollout.cohort]
        tried = sum(m.stage in _PASSED or (m.stage is Stage.SHADOW and m.ready) for m in members)
        if cohort.shadow_windows == 0:
            self._open(Event.TRIED, f"cohort {cohort.name}: no shadow asked for")
        elif self._enough(tried, "behave well beside the champion"):
            self._open(Event.TRIED, f"cohort {cohort.name}: {tried} of {len(members)} behave well")

    def _gate_releasing(self) -> None:
        w = self.work
        index = w.rollout.cohort
        cohort, members = self.plan.cohorts[index], self._by_cohort[index]
        done = sum(m.stage is Stage.DONE for m in members)
        last = index + 1 == len(self.plan.cohorts)
        if not self._enough(done, "run well as the champion") or (last and self._stragglers()):
            return
        text = f"cohort {cohort.name}: {done} of {len(members)} run well"
        if last:
            self._finish(text)
            return
        following = self.plan.cohorts[index + 1]
        self._open(
            Event.AT_GATE if following.approval else Event.CAME_THROUGH,
            text,
            cohort=index + 1,
            accepted=(),
            checks=(),
            waits=f"cohort {following.name} waits for approval" if following.approval else "",
            cohort_ends_s=w.now_s + self.plan.cohort_s,
        )

    def _open(self, event: Event, text: str, **changes: Any) -> None:  # noqa: ANN401 - fields of Rollout
        self.work.go(event, text, **{"waits": "", **changes})

    def _enough(self, came: int, what: str) -> bool:
        """Whether as many as it takes have come, and no rule holds it up; what it waits for, if not."""
        w = self.work
        members = self._by_cohort[w.rollout.cohort]
        size = len(members) - sum(m.forgiven for m in members)
        needed = self.rules[w.rollout.cohort].success.at_least(size)
        waits = [] if came >= needed else [f"{came} of {size} {what}, {needed} must"]
        waits += [f"{c.rule}: {c.text}" for c in self._waiting_checks()]
        w.rollout = replace(w.rollout, waits="; ".join(waits)[:2000])
        return not waits

    def _stragglers(self) -> bool:
        """Whether gateways are on their way still: a finished rollout leaves none on hold."""
        w = self.work
        late = [m for group in self._by_cohort for m in group if m.stage in ON_THE_WAY | {Stage.WAITING}]
        late = [m for m in late if not is_absent(m, w.facts.get(m.gateway))]
        if late:
            w.rollout = replace(w.rollout, waits=f"{len(late)} gateways are on their way still")
        return bool(late)

    def _finish(self, text: str) -> None:
        """Gateways that never came get their previous bundle back: nobody would watch them."""
        w = self.work
        absent = [m for group in self._by_cohort for m in group if m.stage is Stage.SENT]
        for member in absent:
            w.put(failed(member, self.plan, "absent", "never heard while the rollout ran", w.now_s))
        w.go(Event.COMPLETED, text + (f"; {len(absent)} never came" if absent else ""), waits="")

    def _send(self) -> None:
        """Issue what may go out now: to begin, within the bound on fetching; to decide, where the gate is open."""
        w = self.work
        room = self.plan.in_flight
        for group in self._by_cohort[: w.rollout.begun]:
            room -= sum(m.stage is Stage.SENT and not is_absent(m, w.facts.get(m.gateway)) for m in group)
        shut = 0
        for index, group in enumerate(self._by_cohort[: w.rollout.begun]):
            for member in group:
                begins = member.stage is Stage.WAITING and room > 0
                ready = member.stage is Stage.SHADOW and member.ready and index < w.rollout.released
                decides = ready and member.gateway in w.facts  # its champion's behaviour is what it is judged by
                if not (begins or decides):
                    continue
                if not self._open_now(member):
                    shut += 1
                elif begins:
                    room -= 1
                    due: Due = "try" if self.plan.cohorts[index].shadow_windows else "run"
                    w.put(moved(member, Step.TRIED, w.now_s, due=due))
                else:
                    champion = w.facts[member.gateway].champion
                    w.put(moved(member, Step.RELEASED, w.now_s, due="run", baseline=champion, ready=False))
        if shut:
            waits = f"{shut} gateways wait for their maintenance window, or to be there in it"
            w.rollout = replace(w.rollout, waits=f"{w.rollout.waits}; {waits}" if w.rollout.waits else waits)

    def _open_now(self, member: Member) -> bool:
        """With maintenance windows only what is there now is changed: a want waiting at the broker knows no clock."""
        if not self.plan.windows:
            return True
        fact = self.work.facts.get(member.gateway)
        zone = (fact.time_zone if fact is not None else None) or self.plan.time_zone
        open_now = is_open(self.plan.windows, check_zone(zone, member.gateway), self.work.now_s)
        return open_now and fact is not None and fact.online


def _kinds(members: list[Member]) -> str:
    counts: dict[str, int] = {}
    for member in members:
        counts[member.kind or "?"] = counts.get(member.kind or "?", 0) + 1
    return ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items()))

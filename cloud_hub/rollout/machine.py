"""The rollout machine: `step(state, plan, facts, now) -> Outcome`, and what people may ask of it. All of it is pure.

A step first takes in what gateways report, then looks for a reason to stop, and only without one goes forward. Whoever
carries it out stores the outcome before anything is sent: `Member.due` is the want that must still go out, so a crash
at any moment leaves a state that says where to go on.

The gates are counted, not clocked. A cohort *is tried* when enough of its gateways (`success`) have scored enough
windows beside the champion and no rule speaks against it, and *has come through* when as many have run well as the
champion. Stragglers of an earlier cohort go on by themselves, and their failures still count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from cloud_hub.errors import PlanError
from cloud_hub.rollout.evidence import ALPHA_COHORT, Check, judge, sticks_out, tally
from cloud_hub.rollout.gateways import ON_THE_WAY, failed, is_absent, moved, report, since
from cloud_hub.rollout.maintenance import is_open
from cloud_hub.rollout.plan import ReadPlan, check_zone
from cloud_hub.rollout.state import Cause, Due, Fact, Member, Note, Outcome, Rollout, Send, State
from cloud_hub.rollout.states import OVER, RUNNING, Event, RolloutError, Stage, Status, Step, next_status
from models.contract.messages import Behaviour

replace = msgspec.structs.replace
_PASSED = frozenset({Stage.RELEASED, Stage.RUNNING, Stage.DONE})
_RESUME = {
    Status.AWAITING: Event.RESUMED_AWAITING,
    Status.TRYING: Event.RESUMED_TRYING,
    Status.RELEASING: Event.RESUMED_RELEASING,
}


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
    work = _Work(state, facts, now_s)
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
        work = _Work(state, facts, now_s)
        work.stop("unreadable", str(error))
    return work.outcome()


# ------------------------------------------------------------------------------------------- what people may ask


def approve(state: State, read: ReadPlan, now_s: float, by: str) -> Outcome:
    """Let the cohort begin. Raises: RolloutError: it does not wait for that."""
    work = _Work(state, {}, now_s)
    name = read.plan.cohorts[state.rollout.cohort].name
    work.go(Event.APPROVED, f"cohort {name} may begin", by, cohort_ends_s=now_s + read.plan.cohort_s)
    return work.outcome()


def pause(state: State, now_s: float, by: str, why: str = "") -> Outcome:
    """Send nothing forward until it is resumed. Raises: RolloutError: it is over."""
    work = _Work(state, {}, now_s)
    if state.rollout.status is Status.PAUSED:
        return work.outcome()
    work.stop("by_hand", why or "somebody paused it", by)
    return work.outcome()


def resume(state: State, read: ReadPlan, now_s: float, by: str) -> Outcome:
    """Go on, in spite of the failures so far and of the rule that stopped it: somebody has looked at them. Time limits
    go on where they were, or anew when they are over. Raises: RolloutError: it is not paused.
    """
    work = _Work(state, {}, now_s)
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
    work = _Work(state, {}, now_s)
    takes_back = ON_THE_WAY | ({Stage.DONE} if undo else set())
    count = 0
    for member in state.members.values():
        due: Due | None = "return" if member.try_seq else None
        if member.stage in takes_back:
            work.put(moved(member, Step.RETURNED, now_s, due=due))
            count += due is not None
        elif member.stage is Stage.FAILED and member.kind != "superseded":
            work.put(replace(member, due=due))  # no change where it has been given back already
            count += due is not None
    work.go(Event.ABORTED, f"{count} gateways get their previous bundle back", by, resumes=None, paused_s=None)
    return work.outcome()


def retry(state: State, now_s: float, by: str, gateways: Iterable[str] | None = None) -> Outcome:
    """Let failed gateways (None: all) try again. Raises: RolloutError: one has not failed, or the rollout is over."""
    work = _Work(state, {}, now_s)
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


# ------------------------------------------------------------------------------------------------- inside a step


class _Work:
    """A state while it changes."""

    def __init__(self, state: State, facts: Mapping[str, Fact], now_s: float) -> None:
        self.rollout = state.rollout
        self.before = state.members
        self.facts = facts
        self.now_s = now_s
        self.changed: dict[str, Member] = {}
        self.notes: list[Note] = []

    def members(self) -> Iterable[Member]:
        return (self.changed.get(g, m) for g, m in self.before.items())

    def put(self, member: Member) -> None:
        if self.before[member.gateway] is not member:
            self.changed[member.gateway] = member

    def note(self, event: Event, text: str, by: str = "hub") -> None:
        self.notes.append(Note(time_s=self.now_s, event=event, text=text, by=by))

    def go(self, event: Event, text: str, by: str = "hub", **changes: Any) -> None:  # noqa: ANN401 - fields of Rollout
        self.rollout = replace(self.rollout, status=next_status(self.rollout.status, event), **changes)
        self.note(event, text, by)

    def stop(self, cause: Cause, text: str, by: str = "hub") -> None:
        resumes = self.rollout.position
        self.go(Event.STOPPED, text, by, resumes=resumes, paused_s=self.now_s, cause=cause, detail=text, waits="")

    def outcome(self) -> Outcome:
        members = {**self.before, **self.changed} if self.changed else self.before
        sends = tuple(Send(gateway=m.gateway, due=m.due) for m in self.changed.values() if m.due is not None)
        return Outcome(
            state=State(rollout=self.rollout, members=members),
            changed=self.changed,
            actions=sends,
            notes=tuple(self.notes),
        )


class _Mover:
    """The three parts of a step."""

    def __init__(self, work: _Work, read: ReadPlan, listening_s: float) -> None:
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

"""From scores and residuals to verdicts by sums and nearness. A pure function of (state, score, residual, spec).

*Raised* by a sum (CUSUM, Page 1954): the logarithms of score / `alarm_level` are added up, the sum is held between 0
and `sum_limit`, and an alarm is raised where it reaches that: what is far over the limit alarms within few windows,
what is little over it later, what goes up and down about it not at all.

*Cleared* by nearness: the network's residuals, in units of each group's limit, say where the machine is. Once an alarm
is `known_after` windows old, as long as a window is and so free of what the change itself did to the features, the mean
of the last `known_of` of them is the fault's state, and follows it slowly. The alarm ends when `clear_windows` windows
in a row are nearer to where the machine came from than to that state; what else has wandered meanwhile does not count,
because only the way between both states does. It also ends after as many scores under `clear_level`.

*Settled*: a repaired machine does not come back to the very state that it was calibrated in. Where it is when an alarm
has ended is a second healthy state, a mean over the last `memory` windows that are not in alarm, and the nearer of both
counts. The verdict is `warn` while that state lies over the old `warn_level`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import log

import numpy as np

from models.bundle.manifest import DecisionSpec, FollowSpec
from models.contract.messages import Verdict
from models.signal.arrays import F64
from models.signal.decide import Change

Rescore = Callable[[F64], float]
"""The calibrated score of one residual, (features,)."""

_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class FollowState:
    """`total`: the sum. `recent`: the last m scores, for `warn`. `quiet`, `near`: windows in a row that speak for the
    end of the alarm. `age`: windows since it was raised. `origin`: where the machine came from, None for where it was
    calibrated; `fault`: how far from there the fault's state lies; `last`: the alarm's last residuals. `settled`: the
    second healthy state, a mean over `settled_over` windows.
    """

    verdict: Verdict = "ok"
    total: float = 0.0
    recent: tuple[float, ...] = ()
    quiet: int = 0
    near: int = 0
    age: int = 0
    origin: F64 | None = None
    fault: F64 | None = None
    last: tuple[F64, ...] = ()
    settled: F64 | None = None
    settled_over: int = 0


def follow(
    state: FollowState, score: float, residual: F64, decision: DecisionSpec, spec: FollowSpec, rescore: Rescore
) -> tuple[FollowState, Change | None]:
    """Take one more window.

    Args:    score: calibrated, 1.0 is the limit. residual: (features,), of which `rescore` makes the score.
    Returns: the new state, and whether an alarm was raised or cleared by this window.
    """
    if state.verdict == "alarm":
        return _in_alarm(state, score, residual, decision, spec, rescore)
    settled, over, nearest, moved = state.settled, state.settled_over, score, False
    if settled is not None:
        over = min(over + 1, spec.memory)
        settled = settled + (residual - settled) / over
        from_settled = rescore(residual - settled)
        moved = from_settled < score
        nearest = min(score, from_settled)
    total = state.total + log(max(nearest, _TINY) / decision.alarm_level)
    total = max(0.0, min(total, spec.sum_limit))
    if total >= spec.sum_limit:
        origin = settled if moved else None
        return FollowState("alarm", origin=origin, settled=settled, settled_over=over), "raised"
    recent = (*state.recent, nearest)[-decision.m :]
    warns = sum(one > decision.warn_level for one in recent) >= decision.n
    if settled is not None:
        warns = warns or rescore(settled) > decision.warn_level
    verdict: Verdict = "warn" if warns else "ok"
    return FollowState(verdict, total, recent, settled=settled, settled_over=over), None


def _in_alarm(
    state: FollowState, score: float, residual: F64, decision: DecisionSpec, spec: FollowSpec, rescore: Rescore
) -> tuple[FollowState, Change | None]:
    off = residual if state.origin is None else residual - state.origin
    from_origin = score if state.origin is None else rescore(off)
    age = state.age + 1
    fault, near = state.fault, 0
    last = (*state.last, residual)[-max(spec.known_of, decision.clear_windows) :]
    if fault is None and age >= spec.known_after:
        mean = np.mean(last[-spec.known_of :], axis=0)
        fault = mean if state.origin is None else mean - state.origin
    if fault is not None:
        # Nearer to the origin than to the fault: |off| < |off - fault| is the same as off . fault < |fault|^2 / 2.
        if float(off @ fault) < 0.5 * float(fault @ fault):
            near = state.near + 1
        else:
            fault = fault + (off - fault) / spec.known_after
    quiet = state.quiet + 1 if from_origin < decision.clear_level else 0
    if max(near, quiet) < decision.clear_windows:
        return replace(state, quiet=quiet, near=near, age=age, fault=fault, last=last), None
    over = min(decision.clear_windows, len(last))
    settled: F64 = np.mean(last[-over:], axis=0)
    verdict: Verdict = "warn" if rescore(settled) > decision.warn_level else "ok"
    return FollowState(verdict, settled=settled, settled_over=over), "cleared"

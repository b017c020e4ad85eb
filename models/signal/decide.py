"""From calibrated scores to verdicts: n of m, with hysteresis. A pure function of (state, score, spec)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from models.bundle.manifest import DecisionSpec
from models.contract.messages import Verdict

Change = Literal["raised", "cleared"]


@dataclass(frozen=True, slots=True)
class DecisionState:
    """The last m scores (fewer at the start), newest last; the verdict; how long it has been quiet."""

    recent: tuple[float, ...] = ()
    verdict: Verdict = "ok"
    quiet: int = 0


def decide(state: DecisionState, score: float, spec: DecisionSpec) -> tuple[DecisionState, Change | None]:
    """Take one more score.

    Returns: the new state, and whether an alarm was raised or cleared by this score.

    An alarm holds until `clear_windows` scores in a row are under `clear_level`; what set it off is then forgotten, so
    that old scores cannot raise it again.
    """
    recent = (*state.recent, score)[-spec.m :]
    quiet = state.quiet + 1 if score < spec.clear_level else 0
    if state.verdict == "alarm":
        if quiet >= spec.clear_windows:
            return DecisionState((), "ok", 0), "cleared"
        return DecisionState(recent, "alarm", quiet), None
    if _over(recent, spec.alarm_level) >= spec.n:
        return DecisionState(recent, "alarm", 0), "raised"
    if _over(recent, spec.warn_level) >= spec.n:
        return DecisionState(recent, "warn", quiet), None
    if state.verdict == "warn" and quiet < spec.clear_windows:
        return replace(state, recent=recent, quiet=quiet), None
    return DecisionState(recent, "ok", quiet), None


def _over(recent: tuple[float, ...], level: float) -> int:
    return sum(score > level for score in recent)

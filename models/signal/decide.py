"""From calibrated scores to verdicts: n of m, with hysteresis. A pure function of (state, score, spec).

Two ways out of an alarm. *Back to normal*: `clear_windows` scores in a row under `clear_level`. *Settled*: as many
under `clear_of_peak` times the episode's peak. A pump whose valve was put right does not come back to the very level it
was calibrated at, and an alarm that waits for that never ends; what ended is told by the fall from the peak. The point
then re-arms from the level that it settles at: all levels are multiplied by `armed`, which starts at `rearm` times the
median of the last m scores, only ever falls with that median while nothing is wrong, and is back at 1 with the scores.
Until then the verdict is `warn`: something is different, even if nothing is getting worse.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import median
from typing import Literal

from models.bundle.manifest import DecisionSpec
from models.contract.messages import Verdict

Change = Literal["raised", "cleared"]


@dataclass(frozen=True, slots=True)
class DecisionState:
    """The last m scores (fewer at the start), newest last; the verdict; how long it has been quiet.

    `fallen`: scores in a row under their share of the peak. `peak`: largest median of `episode`, the alarm's last
    `peak_windows` scores, once there are so many: an overshoot at the onset is not to be taken for the level.
    `armed`: what all levels are multiplied by, 1 unless the machine has settled elsewhere after an alarm.
    """

    recent: tuple[float, ...] = ()
    verdict: Verdict = "ok"
    quiet: int = 0
    fallen: int = 0
    peak: float = 0.0
    episode: tuple[float, ...] = ()
    armed: float = 1.0


def decide(state: DecisionState, score: float, spec: DecisionSpec) -> tuple[DecisionState, Change | None]:
    """Take one more score.

    Returns: the new state, and whether an alarm was raised or cleared by this score.

    What set an alarm off is forgotten when it ends, so that old scores cannot raise it again.
    """
    recent = (*state.recent, score)[-spec.m :]
    armed = state.armed
    if armed > 1.0 and state.verdict != "alarm":
        armed = max(1.0, min(armed, spec.rearm * median(recent)))
    quiet = state.quiet + 1 if score < spec.clear_level * armed else 0
    if state.verdict == "alarm":
        return _in_alarm(state, recent, quiet, spec)
    if _over(recent, spec.alarm_level * armed) >= spec.n:
        return DecisionState(recent, "alarm", 0, 0, 0.0, recent[-spec.peak_windows :], armed), "raised"
    if armed > 1.0 or _over(recent, spec.warn_level) >= spec.n:
        return DecisionState(recent, "warn", quiet, armed=armed), None
    if state.verdict == "warn" and quiet < spec.clear_windows:
        return replace(state, recent=recent, quiet=quiet, armed=armed), None
    return DecisionState(recent, "ok", quiet), None


def _in_alarm(
    state: DecisionState, recent: tuple[float, ...], quiet: int, spec: DecisionSpec
) -> tuple[DecisionState, Change | None]:
    if quiet >= spec.clear_windows:
        return DecisionState((), "warn" if state.armed > 1.0 else "ok", 0, armed=state.armed), "cleared"
    if spec.clear_of_peak is None:
        return replace(state, recent=recent, quiet=quiet), None
    episode = (*state.episode, recent[-1])[-spec.peak_windows :]
    if len(episode) < spec.peak_windows:  # no telling yet what its level is
        return replace(state, recent=recent, quiet=quiet, episode=episode), None
    peak = max(state.peak, median(episode))
    fallen = state.fallen + 1 if recent[-1] < spec.clear_of_peak * peak else 0
    if fallen >= spec.clear_windows:
        armed = max(1.0, spec.rearm * median(recent))
        return DecisionState((), "warn" if armed > 1.0 else "ok", 0, armed=armed), "cleared"
    return replace(state, recent=recent, quiet=quiet, fallen=fallen, peak=peak, episode=episode), None


def _over(recent: tuple[float, ...], level: float) -> int:
    return sum(score > level for score in recent)

"""What a bundle does on live windows, counted; and the local rules by which a candidate in shadow is given up.

The hub decides by comparing fleets; the rules here are only what needs no comparing: no score that is not a number,
costs within the budgets, and not crying wolf at nearly every window while the champion is calm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from edge_agent.storage import Document
from models.bundle.manifest import Budgets
from models.contract.messages import SCORE_BINS, Behaviour
from models.signal.monitor import Result

MIN_WINDOWS = 20
"""No share and no mean is judged on fewer windows than this."""

NEARLY_ALL = 0.9
CALM = 0.1
_BINS_AN_OCTAVE = 6
_BIN_OF_LIMIT = 44


def bin_of(score: float) -> int:
    """The bin of a calibrated score in a histogram as `SCORE_BINS` describes it."""
    if not score > 0.0:
        return 0
    if math.isinf(score):
        return SCORE_BINS - 1
    return min(max(math.floor(_BINS_AN_OCTAVE * math.log2(score)) + _BIN_OF_LIMIT, 0), SCORE_BINS - 1)


class StoredShadow(Document, frozen=True, kw_only=True):
    """How far a shadow has come, so that a restart does not begin it anew. `scored`: windows by point name."""

    champion: Behaviour | None = None
    candidate: Behaviour | None = None
    scored: dict[str, int] = msgspec.field(default_factory=dict)


class Meter:
    """Counts what one bundle does over the points of a slot. `scored[i]`: scored windows of point i."""

    def __init__(self, sha256: str, points: int) -> None:
        self.sha256 = sha256
        self.scored = [0] * points
        self.flagged = 0
        self.alarms = 0
        self.windows = 0
        self.strange: str | None = None
        self._scores = [0] * SCORE_BINS
        self._since_s: float | None = None
        self._busy_s = 0.0
        self._timed = 0

    def observe(self, result: Result, now_s: float) -> None:
        """Count one result; one without a score (the point warms up) is not counted."""
        score = result.score
        if score is None:
            return
        self._since_s = now_s if self._since_s is None else self._since_s
        self.windows += 1
        self.scored[result.point] += 1
        self.alarms += result.change == "raised"
        if not math.isfinite(score):
            self.strange = f"a score of point {result.point} is {score}"
            return
        self.flagged += score > 1.0
        self._scores[bin_of(score)] += 1

    def took(self, busy_s: float, windows: int) -> None:
        """Count the time that so many windows took, from samples to scores."""
        self._busy_s += busy_s
        self._timed += windows

    @property
    def window_us(self) -> float:
        """Mean time of one window."""
        return 1e6 * self._busy_s / self._timed if self._timed else 0.0

    def behaviour(self, memory_kb: float | None = None) -> Behaviour | None:
        """For the report; None before anything was scored."""
        if self._since_s is None:
            return None
        return Behaviour(
            sha256=self.sha256,
            since_s=self._since_s,
            windows=self.windows,
            flagged=self.flagged,
            alarms=self.alarms,
            scores=list(self._scores),
            window_us=self.window_us,
            memory_kb=memory_kb,
        )

    def restore(self, kept: Behaviour, scored: Sequence[int]) -> None:
        """Go on from what was counted before a restart."""
        self.windows, self.flagged, self.alarms = kept.windows, kept.flagged, kept.alarms
        self._since_s, self._scores, self.scored = kept.since_s, list(kept.scores), list(scored)
        self._busy_s, self._timed = kept.window_us * kept.windows / 1e6, kept.windows


def unfit(candidate: Meter, champion: Meter, budgets: Budgets, memory_kb: float | None) -> tuple[str, str] | None:
    """Why a candidate in shadow has to be given up, as (reason, text); None while nothing speaks against it."""
    if candidate.strange is not None:
        return "shadow_scores", candidate.strange
    if memory_kb is not None and memory_kb > budgets.memory_kb:
        return "shadow_memory", f"its network takes {memory_kb:.0f} KB, its budget is {budgets.memory_kb:.0f} KB"
    if candidate.windows < MIN_WINDOWS:
        return None
    if candidate.window_us > budgets.window_us:
        text = f"a window takes {candidate.window_us:.0f} us on live samples, its budget is {budgets.window_us:.0f} us"
        return "shadow_latency", text
    calm = champion.windows >= MIN_WINDOWS and champion.flagged <= CALM * champion.windows
    if calm and candidate.flagged >= NEARLY_ALL * candidate.windows:
        text = (
            f"it flags {candidate.flagged} of {candidate.windows} windows, "
            f"the champion {champion.flagged} of {champion.windows}"
        )
        return "shadow_flags", text
    return None


def packed(champion: Meter, candidate: Meter, names: Sequence[str]) -> StoredShadow | None:
    """A shadow for the disk; None before both have scored."""
    ours, theirs = champion.behaviour(), candidate.behaviour()
    if ours is None or theirs is None:
        return None
    return StoredShadow(champion=ours, candidate=theirs, scored=dict(zip(names, candidate.scored, strict=True)))

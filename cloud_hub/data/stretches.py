"""Which rows of a recording may be used for what: labels painted over its time, cut at its gaps, split at its end.

All positions are rows, counted from 0; a stretch is half open, [start, stop).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

Verdict = Literal["healthy", "fault", "exclude"]


@dataclass(frozen=True, slots=True)
class Run:
    """Rows without a gap: `time_s` is when the first of them was taken."""

    start: int
    stop: int
    time_s: float


@dataclass(frozen=True, slots=True)
class Said:
    """What somebody said of a span of time, [from_s, to_s). `fault`: which, where the verdict is fault."""

    from_s: float
    to_s: float
    verdict: Verdict
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows of one run that the same has been said of; `verdict` is None where nobody has said anything."""

    start: int
    stop: int
    verdict: Verdict | None = None
    fault: str | None = None


def paint(runs: Sequence[Run], rate_hz: float, said: Iterable[Said]) -> list[Stretch]:
    """Cut runs where what is said changes.

    Args:   said: the oldest first; where they overlap, the one said last counts.
    Returns: stretches in the order of rows; together they are exactly the runs.
    """
    painted = []
    labels = list(said)
    for run in runs:
        stretches = [Stretch(run.start, run.stop)]
        for label in labels:
            first = run.start + round((label.from_s - run.time_s) * rate_hz)
            last = run.start + round((label.to_s - run.time_s) * rate_hz)
            stretches = [piece for old in stretches for piece in _over(old, first, last, label)]
        painted += _joined(stretches)
    return painted


def _over(old: Stretch, first: int, last: int, label: Said) -> list[Stretch]:
    """A stretch with a label painted over [first, last)."""
    first, last = max(old.start, first), min(old.stop, last)
    if first >= last:
        return [old]
    parts = [replace(old, stop=first), Stretch(first, last, label.verdict, label.fault), replace(old, start=last)]
    return [part for part in parts if part.start < part.stop]


def _joined(stretches: Iterable[Stretch]) -> list[Stretch]:
    """Neighbours of which the same was said as one."""
    out: list[Stretch] = []
    for one in stretches:
        if out and out[-1].stop == one.start and (out[-1].verdict, out[-1].fault) == (one.verdict, one.fault):
            out[-1] = replace(out[-1], stop=one.stop)
        else:
            out.append(one)
    return out


def usable(stretches: Iterable[Stretch], role: Literal["healthy", "fault"], fault: str | None) -> list[Stretch]:
    """The stretches that fit a role: those said to be so, and those of which nothing was said. What is excluded, or
    said to be the opposite or another fault, is left out.
    """
    return [
        one
        for one in stretches
        if one.verdict is None or (one.verdict == role and (role == "healthy" or fault is None or one.fault == fault))
    ]


def split(stretches: Sequence[Stretch], test_share: float) -> tuple[list[Stretch], list[Stretch]]:
    """The rows before and after the split: the last `test_share` of all rows is after it. In time, not at random, for
    neighbouring windows are nearly the same and would stand on both sides.
    """
    total = sum(one.stop - one.start for one in stretches)
    left = total - round(total * test_share)
    train: list[Stretch] = []
    test: list[Stretch] = []
    for one in stretches:
        cut = min(one.stop, one.start + max(0, left))
        left -= one.stop - one.start
        train += [replace(one, stop=cut)] if one.start < cut else []
        test += [replace(one, start=cut)] if cut < one.stop else []
    return train, test

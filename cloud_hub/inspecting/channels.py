"""One column's numbers: range, quantisation, stuck stretches, clipping, counters."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from models.signal.arrays import F64

_CHANCE = 1e-6  # a run of one value that is less likely than this is no chance
_LEVEL_ROWS = 1_000_000  # distinct values are looked for in at most so many rows, evenly drawn
_MIN_LEVELS = 16  # a signal of fewer levels is a switch or a coarse reading: its ends are no clipping
_PILE = 4.0  # times as many rows at the end as at the next level
_PILE_ROWS = 8
_SAME = 1e-9


@dataclass(frozen=True, slots=True)
class Numbers:
    """What one column's values say; meanings as in `cloud_hub.inspecting.result.Channel`."""

    low: float
    high: float
    mean: float
    deviation: float
    missing: int
    levels: int
    step: float | None
    stuck_rows: int
    stuck_at: int
    clipped_low: float
    clipped_high: float
    counter: bool


def look_at(values: F64) -> Numbers | None:
    """Look at a column (n,), NaN where a value is missing; None when there is no value at all."""
    good = np.isfinite(values)
    x = values if good.all() else values[good]
    missing = len(values) - len(x)
    if not len(x):
        return None
    low, high = float(x.min()), float(x.max())
    stride = -(-len(x) // _LEVEL_ROWS)
    levels, counts = np.unique(x[::stride], return_counts=True)
    stuck, at = longest_run(x)
    clipped = (0.0, 0.0)
    if len(levels) >= _MIN_LEVELS:
        clipped = (_pile(counts[:_MIN_LEVELS], len(x), stride), _pile(counts[::-1][:_MIN_LEVELS], len(x), stride))
    return Numbers(
        low=low,
        high=high,
        mean=float(x.mean()),
        deviation=float(x.std()),
        missing=missing,
        levels=len(levels),
        step=quantisation_step(levels),
        stuck_rows=stuck if len(levels) > 2 else 0,  # a switch rests
        stuck_at=at,
        clipped_low=clipped[0],
        clipped_high=clipped[1],
        counter=is_counter(x),
    )


def _pile(counts: np.ndarray[tuple[int, ...], np.dtype[np.int64]], rows: int, stride: int) -> float:
    """Share of rows at the outermost level (the first count), when it is a pile against its neighbours; else 0."""
    outer, neighbours = int(counts[0]), float(np.mean(counts[1:]))
    return outer * stride / rows if outer >= _PILE_ROWS and outer > _PILE * neighbours else 0.0


def quantisation_step(levels: F64) -> float | None:
    """The step of which all distances between levels are multiples, None when there is none.

    The levels (k,) are sorted and distinct. A file's decimals are a step too: it is the sensor's when it is coarse
    against the signal's deviation.
    """
    if len(levels) < 3:
        return None
    gaps = np.diff(levels)
    step = float(np.median(gaps[gaps <= 1.5 * gaps.min()]))
    multiples = gaps / step
    tolerance = 0.02 + 1e-6 * multiples
    return step if bool((np.abs(multiples - np.rint(multiples)) <= tolerance).all()) else None


def longest_run(x: F64) -> tuple[int, int]:
    """Length and first row of the longest run of one value, when it is no chance; (0, 0) when it is.

    With a share p of steps that change nothing, n samples have a run of r or more with probability below
    n (1 - p) p^(r - 1) (the union bound behind Schilling 1990, "The longest run of heads"); p is estimated outside the
    run in question, so that a sensor that froze does not excuse itself.
    """
    if len(x) < 3:
        return 0, 0
    starts = np.r_[0, np.flatnonzero(np.diff(x) != 0) + 1]
    lengths = np.diff(np.r_[starts, len(x)])
    at = int(lengths.argmax())
    run, others = int(lengths[at]), len(x) - int(lengths[at])
    same = max(others - (len(starts) - 1), 0)
    p = (same + 1) / (others + 2)
    chance = math.log(len(x)) + math.log1p(-p) + (run - 1) * math.log(p)
    return (run, int(starts[at])) if run > 3 and chance < math.log(_CHANCE) else (0, 0)


def is_counter(x: F64) -> bool:
    """Whether the column rises by the same amount in every row: a row number or a clock, never a measurement."""
    if len(x) < 8:
        return False
    steps = np.diff(x)
    return bool(steps[0] != 0 and (np.abs(steps - steps[0]) <= _SAME * np.abs(x[1:]) + 1e-6 * abs(steps[0])).all())

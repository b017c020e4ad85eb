"""Fewer points for the same picture."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]
COLUMNS = 500


def m4(x: F64, y: F64, columns: int = COLUMNS) -> Ints:
    """Which points to keep: of each of `columns` equal stretches of x the first, the last, the lowest and the highest.
    The line through them covers the same pixels as the line through all, on a plot of that many columns; no peak is
    lost on any.

    Args:   x: (n,) ascending. y: (n,), finite.
    Returns: (m,) ascending indices, m <= 4 * columns.
    Source: Jugel et al., M4: A Visualization-Oriented Time Series Data Aggregation, VLDB 2014.
    """
    if len(x) <= 4 * columns or x[-1] <= x[0]:
        return np.arange(len(x))
    column = np.minimum(((x - x[0]) * (columns / (x[-1] - x[0]))).astype(np.intp), columns - 1)
    starts = np.flatnonzero(np.diff(column, prepend=-1))
    ends = np.append(starts[1:], len(x)) - 1
    by_value = np.lexsort((y, column))
    return np.unique(np.concatenate([starts, ends, by_value[starts], by_value[ends]]))


def envelope(x: F64, low: F64, high: F64, columns: int = COLUMNS) -> tuple[F64, F64, F64]:
    """A band with at most `columns` corners a side: of each stretch of x the lowest low and the highest high."""
    if len(x) <= columns or x[-1] <= x[0]:
        return x, low, high
    column = np.minimum(((x - x[0]) * (columns / (x[-1] - x[0]))).astype(np.intp), columns - 1)
    starts = np.flatnonzero(np.diff(column, prepend=-1))
    ends = np.append(starts[1:], len(x)) - 1
    middle = (x[starts] + x[ends]) / 2
    middle[0], middle[-1] = x[0], x[-1]
    return middle, np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts)


def runs(x: F64, *values: F64, gap: float | None = None) -> list[slice]:
    """Stretches without a hole: all values finite, and no step of x longer than `gap` (three times the median of steps
    when it is None).
    """
    good = np.isfinite(x)
    for value in values:
        good &= np.isfinite(value)
    if not good.any():
        return []
    steps = np.diff(x)
    if gap is None:
        usual = steps[good[1:] & good[:-1]]
        gap = 3 * float(np.median(usual)) if len(usual) else np.inf
    # A run ends where a value is missing or the step to the next one is too long.
    together = good[1:] & good[:-1] & (steps <= gap)
    edges = np.flatnonzero(~together) + 1
    bounds = [0, *edges.tolist(), len(x)]
    return [slice(a, b) for a, b in pairwise(bounds) if good[a]]

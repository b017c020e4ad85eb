"""How much is asked of an operator: the figures of ISA-18.2, computed from when alarms asked for attention.

Source: ANSI/ISA-18.2-2016, section 16 (monitoring and assessment), whose targets `TARGETS` are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
SPAN_S = 600.0
FLOOD_COUNT = 10
STALE_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Targets:
    """What ISA-18.2 holds for manageable, per operator."""

    per_10_min: float = 1.0
    per_10_min_at_most: float = 2.0
    flood_share: float = 0.01
    stale: int = 5


TARGETS = Targets()


@dataclass(frozen=True, slots=True)
class Load:
    """`mean_per_10_min`, `peak_per_10_min`: alarms in spans of 10 minutes, the peak over all positions of such a span.
    `flood_share`: share of the time at which more than 10 alarms had come within the last 10 minutes. `floods`: how
    many times that began.
    """

    alarms: int
    mean_per_10_min: float
    peak_per_10_min: int
    flood_share: float
    floods: int


def load(announced_s: F64, since_s: float, until_s: float) -> Load:
    """The load of alarms announced at these times, in [since, until), (n,), in any order, UTC seconds.

    The time of a flood is exact, not that of whole spans: alarm k is the one that makes it a flood when the tenth
    before it came less than 10 minutes earlier, and it lasts until that one is 10 minutes old.

    Raises: ValueError: the span of time is empty.
    """
    length_s = until_s - since_s
    if not length_s > 0:
        raise ValueError(f"load: expected since_s < until_s, got {since_s:g} and {until_s:g}")
    times = np.sort(announced_s[(announced_s >= since_s) & (announced_s < until_s)])
    n = len(times)
    if n == 0:
        return Load(0, 0.0, 0, 0.0, 0)
    peak = int((np.arange(1, n + 1) - np.searchsorted(times, times - SPAN_S, "right")).max())
    begins = times[FLOOD_COUNT:]
    ends = np.minimum(times[:-FLOOD_COUNT] + SPAN_S, until_s) if n > FLOOD_COUNT else begins
    flooded = ends > begins
    begins, ends = begins[flooded], ends[flooded]
    # Both are in order, so the union of the spans is a walk: each adds what lies behind the end of the one before.
    before = np.concatenate([[-np.inf], ends[:-1]])
    seconds = float(np.sum(ends - np.maximum(begins, before)))
    return Load(n, n * SPAN_S / length_s, peak, seconds / length_s, int(np.count_nonzero(begins > before)))

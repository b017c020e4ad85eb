"""What time stamps tell: rate, jitter, gaps, steps back, repeats; and how a series is put in order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.signal.arrays import F64

Rows = npt.NDArray[np.int64]

MAX_UNEVEN = 0.1
_OFF = 0.5  # of the median: a step further from it is uneven
GAP_STEPS = 2.5  # a step up to this many medians is one lost sample or a rounded stamp; a longer one is a gap


@dataclass(frozen=True, slots=True)
class Timing:
    """What a series of stamps says. Rows are counted from 0 and are those after a step.

    `rate_hz`: None when the stamps cannot tell it. `step_s`: the median step. `jitter`: standard deviation of the even
    steps, as a share of the median. `uneven`: share of the steps that are far from the median. `back`: rows at which
    time goes back. `repeats`: stamps that an earlier row has already. `gaps`: rows after a gap; `lost_s`: time in gaps.
    `counted_hz`: samples divided by the time from first to last.
    """

    rate_hz: float | None
    step_s: float
    jitter: float
    uneven: float
    back: Rows
    repeats: int
    missing: int
    gaps: Rows
    lost_s: float
    counted_hz: float | None

    @property
    def coarse(self) -> bool:
        """The stamps are coarser than the samples: several rows in a row share one."""
        return self.step_s <= 0


def study(seconds: F64) -> Timing:
    """Look at stamps (n,), as they stand in the file."""
    known = seconds[np.isfinite(seconds)]
    missing = len(seconds) - len(known)
    empty = np.empty(0, np.int64)
    if len(known) < 3:
        return Timing(None, 0.0, 0.0, 0.0, empty, 0, missing, empty, 0.0, None)
    steps = np.diff(known)
    back = np.flatnonzero(steps < 0) + 1
    repeats = len(known) - len(np.unique(known))
    step = float(np.median(steps))
    span = float(known.max() - known.min())
    counted = (len(known) - 1) / span if span > 0 else None
    if step <= 0:
        return Timing(None, step, 0.0, 1.0, back, repeats, missing, empty, 0.0, counted)
    off = np.abs(steps - step) > _OFF * step
    even = steps[~off]
    gaps = np.flatnonzero(steps > GAP_STEPS * step) + 1
    return Timing(
        rate_hz=_rate(step, float(even.mean())),
        step_s=step,
        jitter=float(even.std() / step),
        uneven=float(off.mean()),
        back=back,
        repeats=repeats,
        missing=missing,
        gaps=gaps,
        lost_s=float((steps[gaps - 1] - step).sum()),
        counted_hz=counted,
    )


def _rate(median_s: float, mean_s: float) -> float:
    """The rate by the median step, which shrugs off outliers; by the mean when rounded stamps put the median wrong (400
    Hz in whole milliseconds steps by 2 and 3).
    """
    step = median_s if abs(mean_s - median_s) <= 0.005 * median_s else mean_s
    return float(f"{1.0 / step:.6g}")  # stamps are decimal: 100 Hz, not 99.99999999999991


def in_order(seconds: F64) -> Rows:
    """Rows (k,) sorted by stamp; of equal stamps the first in the file, of missing ones none."""
    rows = np.flatnonzero(np.isfinite(seconds))
    rows = rows[np.argsort(seconds[rows], kind="stable")]
    stamps = seconds[rows]
    first: Rows = rows[np.r_[True, np.diff(stamps) > 0][: len(rows)]]
    return first


def runs(rows: Rows, cuts: Rows) -> list[Rows]:
    """Rows split before the given positions; no empty run."""
    return [run for run in np.split(rows, np.unique(cuts)) if len(run)]

"""How often the outlook of a point is true: histories of scores are replayed, and it is asked on the way.

Of each history that reaches the limit it is asked at `_ASKS` times spread evenly before it does; of one that does not,
at as many over its length. Asks of one history depend on each other: the histories are the sample size.

Recordings are scored by what the kit ships: bearings by an int8 bundle of their own, a burst by the median over its
windows. Turbofan units have no score, so a plain one is made: the Mahalanobis distance from the first 50 cycles of a
third of the units, its limit the 99.9 % quantile of the same cycles of the second third, the last third asked. No
figure of a recording has been used to choose anything in the model of the outlook; `made_histories` was.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from cloud_hub.data.lives import read_lives
from cloud_hub.errors import DataError
from cloud_hub.evaluate.femto import burst_scores
from cloud_hub.evaluate.made_histories import MADE, make_histories
from models.signal.arrays import F64
from models.signal.trend import MIN_SCORES, Outlook, outlook

COVERAGE = 0.8
LASTING = 5  # scores, from the one that crosses on, whose median must stay over the limit
_ASKS = 12
_MADE_SEED = 30_000
_HEALTHY_CYCLES = 50
_CYCLE_S = 3600.0


class OutlookRow(msgspec.Struct, frozen=True, kw_only=True):
    """One group of histories.

    Of all asks: `too_short`, `none_in_sight`, `reached` (said before the limit was). Of those that say `rising`:
    `judged` have a known truth (the limit is reached within the record, or the interval ended before the record did, a
    miss), `inside` hold it, `early` / `late` tell whether the truth came before or after the interval, `open` have no
    upper end. `width`: median of (high - low) / truth of the judged with an end. `wrong_none`: asks that said none in
    sight though the limit was reached within as long as the history was then. `false_rises`: `rising` with an upper
    end, in histories that never reach the limit.
    """

    name: str
    histories: int
    crossing: int
    asks: int
    too_short: int
    none_in_sight: int
    reached: int
    rising: int
    judged: int
    inside: int
    early: int
    late: int
    open: int
    width: float | None
    wrong_none: int
    false_rises: int

    @property
    def coverage(self) -> float | None:
        """Share of the judged that hold the truth."""
        return self.inside / self.judged if self.judged else None


class OutlookResult(msgspec.Struct, frozen=True, kw_only=True):
    """All groups; `nominal`: the probability that was asked for."""

    nominal: float
    rows: list[OutlookRow]


def evaluate_outlook(folder: Path, made: int = 60) -> OutlookResult:
    """Made histories, `made` of each kind, and what the folder holds of `femto` and `cmapss`.

    Raises: DataError: it holds neither, or a file is broken.
    """
    bearings = sorted((folder / "femto").glob("*.npz"))
    units = folder / "cmapss" / "train_FD001.txt"
    if not bearings and not units.is_file():
        raise DataError(f"{folder}: expected femto/*.npz or cmapss/train_FD001.txt in it, found neither")
    rows = made_rows(made, _MADE_SEED)
    for path in bearings:
        times, scores = burst_scores(path)
        rows.append(replay(f"bearing {path.stem}", [(times, scores, crossing(scores))]))
    if units.is_file():
        rows.append(replay("turbofan units", turbofans(units)))
    return OutlookResult(nominal=COVERAGE, rows=rows)


def made_rows(count: int, seed: int) -> list[OutlookRow]:
    """`count` made histories of each kind."""
    rows = []
    for kind in MADE:
        histories = make_histories(kind, count, seed)
        rows.append(
            replay(kind, [(np.arange(len(seen), dtype=np.float64) * 60.0, seen, end) for seen, end in histories])
        )
    return rows


def crossing(scores: F64) -> int | None:
    """The first score over 1 from which the median of the next `LASTING`, itself among them, is so too."""
    if len(scores) < LASTING:
        return None
    ahead = np.median(np.lib.stride_tricks.sliding_window_view(scores, LASTING), axis=1)
    over = np.flatnonzero((scores[: len(ahead)] >= 1.0) & (ahead >= 1.0))
    return int(over[0]) if len(over) else None


def replay(name: str, histories: list[tuple[F64, F64, int | None]]) -> OutlookRow:
    """Ask on the way. Each history: times (n,) in s, scores (n,), the index at which the limit is reached."""
    count = dict.fromkeys(("asks", "too_short", "none_in_sight", "reached", "rising", "judged", "inside"), 0)
    count |= dict.fromkeys(("early", "late", "open", "wrong_none", "false_rises"), 0)
    widths: list[float] = []
    for times, scores, end in histories:
        stop = len(times) if end is None else end
        if stop <= MIN_SCORES:
            continue
        for now in np.unique(np.linspace(MIN_SCORES, stop, _ASKS + 1)[:-1].astype(int)).tolist():
            said = outlook(times[:now], scores[:now], coverage=COVERAGE)
            count["asks"] += 1
            left = None if end is None else float(times[end] - times[now - 1])
            record = float(times[-1] - times[now - 1])
            _judge(count, widths, said, left, record, float(times[now - 1] - times[0]))
    return OutlookRow(
        name=name,
        histories=len(histories),
        crossing=sum(end is not None for _, _, end in histories),
        width=float(np.median(widths)) if widths else None,
        **count,
    )


def _judge(
    count: dict[str, int], widths: list[float], said: Outlook, left: float | None, record: float, age: float
) -> None:
    if said.state == "no_trend":
        count["none_in_sight"] += 1
        count["wrong_none"] += left is not None and left <= age
        return
    if said.state != "rising":
        count[said.state] += 1
        return
    count["rising"] += 1
    low = np.inf if said.low_s is None else said.low_s
    high = np.inf if said.high_s is None else said.high_s
    count["open"] += not np.isfinite(high)
    count["false_rises"] += left is None and bool(np.isfinite(high))
    if left is None:
        # Not reached within the record: an interval that ends inside it is a miss, of another the truth is not known.
        count["judged"] += high < record
        count["late"] += high < record
        return
    count["judged"] += 1
    count["inside"] += bool(low <= left <= high)
    count["early"] += bool(left < low)
    count["late"] += bool(left > high)
    if np.isfinite(high):
        widths.append((high - low) / left)


def turbofans(path: Path) -> list[tuple[F64, F64, int | None]]:
    """Histories of the last third of the units. Raises: DataError: fewer than 9 units, or all too short."""
    units = [np.asarray(rows, np.float64) for rows in read_lives(path).units.values()]
    if len(units) < 9 or min(map(len, units)) < _HEALTHY_CYCLES + LASTING:
        raise DataError(f"{path}: expected at least 9 units of {_HEALTHY_CYCLES + LASTING} cycles, got {len(units)}")
    fitted, held, asked = (units[part::3] for part in range(3))
    healthy = np.concatenate([rows[:_HEALTHY_CYCLES] for rows in fitted])
    moving = healthy.std(axis=0) > 1e-6 * np.maximum(np.abs(healthy).max(axis=0), 1e-6)
    centre, spread = healthy[:, moving].mean(axis=0), healthy[:, moving].std(axis=0)
    z = (healthy[:, moving] - centre) / spread
    inverse = np.linalg.inv(np.cov(z.T) + 0.1 * np.eye(z.shape[1]))

    def distance(rows: F64) -> F64:
        off = (rows[:, moving] - centre) / spread
        out: F64 = np.sqrt(np.einsum("ij,jk,ik->i", off, inverse, off))
        return out

    limit = float(np.quantile(np.concatenate([distance(rows[:_HEALTHY_CYCLES]) for rows in held]), 0.999))
    out: list[tuple[F64, F64, int | None]] = []
    for rows in asked:
        scores = distance(rows) / limit
        out.append((np.arange(len(scores), dtype=np.float64) * _CYCLE_S, scores, crossing(scores)))
    return out

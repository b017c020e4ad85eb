"""From results to trend rows: one row per point and span, never across a discontinuity."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from models.contract.messages import TrendRow, Verdict
from models.signal.arrays import F32, F64
from models.signal.monitor import Result


class TrendAccumulator:
    """Gathers one point's results until `span_s` of windows are together."""

    def __init__(self, machine: str, point: str, span_s: float) -> None:
        self._machine = machine
        self._point = point
        self._span_s = span_s
        self._clear()

    def _clear(self) -> None:
        self._began_s = 0.0
        self._windows = 0
        self._flagged = 0
        self._scored = 0
        self._score_sum = 0.0
        self._score_max = -math.inf
        self._mean_square: F64 | None = None
        self._verdict: Verdict = "warming_up"

    def add(self, result: Result, rms: F32, now_s: float) -> None:
        """Take one window's result; `rms` is (axes,)."""
        if self._windows == 0:
            self._began_s = now_s
        self._windows += 1
        self._verdict = result.verdict
        square: F64 = np.square(rms, dtype=np.float64)
        self._mean_square = square if self._mean_square is None else self._mean_square + square
        if result.score is not None:
            self._scored += 1
            self._score_sum += result.score
            self._score_max = max(self._score_max, result.score)
            self._flagged += result.score > 1.0

    def due(self, hop_s: float, now_s: float) -> bool:
        """Whether the row is full, or has waited long for a stream that has fallen silent."""
        return self._windows > 0 and (
            self._windows * hop_s >= self._span_s or now_s - self._began_s >= 2 * self._span_s + hop_s
        )

    def close(self, hop_s: float) -> TrendRow | None:
        """The row so far, and begin anew. None: nothing was gathered."""
        if self._windows == 0 or self._mean_square is None:
            return None
        row = TrendRow(
            machine=self._machine,
            point=self._point,
            time_s=self._began_s,
            span_s=self._windows * hop_s,
            windows=self._windows,
            flagged=self._flagged,
            score_mean=self._score_sum / self._scored if self._scored else None,
            score_max=self._score_max if self._scored else None,
            rms=np.sqrt(self._mean_square / self._windows).tolist(),
            verdict=self._verdict,
        )
        self._clear()
        return row


_WORST: dict[Verdict, int] = {"warming_up": 0, "ok": 1, "warn": 2, "alarm": 3}


def merge_rows(rows: Sequence[TrendRow]) -> TrendRow:
    """Several rows of one point as one: means weighted by windows, the largest maximum, the worst verdict.

    Args: rows: at least one, in time order.
    """
    windows = sum(row.windows for row in rows)
    scored = [(row.score_mean, row.windows) for row in rows if row.score_mean is not None]
    maxima = [row.score_max for row in rows if row.score_max is not None]
    weight = sum(w for _, w in scored)
    levels = [row for row in rows if len(row.rms) == len(rows[-1].rms)]
    level_windows = max(1, sum(row.windows for row in levels))
    rms = [
        math.sqrt(sum(row.rms[axis] ** 2 * row.windows for row in levels) / level_windows)
        for axis in range(len(rows[-1].rms))
    ]
    return TrendRow(
        machine=rows[0].machine,
        point=rows[0].point,
        time_s=rows[0].time_s,
        span_s=sum(row.span_s for row in rows),
        windows=windows,
        flagged=sum(row.flagged for row in rows),
        score_mean=sum(mean * w for mean, w in scored) / weight if weight else None,
        score_max=max(maxima) if maxima else None,
        rms=rms,
        verdict=max((row.verdict for row in rows), key=_WORST.__getitem__),
    )

"""Intervals of predictions from what the truth was above similar predictions, unit by unit.

Units are what is exchangeable, not their cycles: each unit counts alike however long it ran, and the ranks allow for as
many units as there are near the prediction (conformal prediction in two layers: Dunn, Wasserman & Ramdas 2022, JASA;
predictions of units by members that have not seen them, as in cross-conformal prediction and CV+: Vovk 2015; Barber et
al. 2021, Annals of Statistics 49).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cloud_hub.errors import DataError
from models.signal.arrays import F64, Ints

NEIGHBOURS = 150


@dataclass(frozen=True, slots=True)
class Known:
    """Predictions of units not seen, rising, (k,); truth less prediction, (k,); which unit each is of, (k,)."""

    predicted: F64
    residuals: F64
    owners: Ints

    def __post_init__(self) -> None:
        if not (self.predicted.ndim == 1 and self.predicted.shape == self.residuals.shape == self.owners.shape):
            raise DataError(
                "intervals: expected predictions, residuals and units of one shape (k,), got "
                f"{self.predicted.shape}, {self.residuals.shape}, {self.owners.shape}"
            )
        if not len(self.predicted) or (np.diff(self.predicted) < 0).any():
            raise DataError("intervals: expected at least one known prediction, in rising order")


def interval_of(predicted: F64, known: Known, coverage: float) -> tuple[F64, F64]:
    """Low and high for each prediction (n,), never under 0.

    Args: coverage: probability of the interval, over 0 and under 1.
    """
    k = min(NEIGHBOURS, len(known.predicted))
    at = np.clip(np.searchsorted(known.predicted, predicted) - k // 2, 0, len(known.predicted) - k)
    share = 1.0 / np.bincount(known.owners)[known.owners]  # of its unit that a row stands for
    low, high = np.empty(len(predicted)), np.empty(len(predicted))
    for i, start in enumerate(at.tolist()):
        near = slice(start, start + k)
        n = len(np.unique(known.owners[near]))
        tail = np.floor((n + 1) * (1 - coverage) / 2) / n
        low[i], high[i] = _quantiles(known.residuals[near], share[near], tail)
    return np.maximum(predicted + low, 0.0), np.maximum(predicted + high, 0.0)


def _quantiles(values: F64, weights: F64, tail: float) -> tuple[float, float]:
    """The largest value with at most `tail` of the weight under it, and the same from above."""
    order = np.argsort(values)
    under = np.cumsum(weights[order])
    total = under[-1]
    low = int(np.searchsorted(under, tail * total, "right"))
    high = int(np.searchsorted(under, (1 - tail) * total, "left"))
    last = len(values) - 1
    return float(values[order[min(low, last)]]), float(values[order[min(high, last)]])

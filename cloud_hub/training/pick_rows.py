"""What is told about the choice of a head, in bundles and reports."""

from __future__ import annotations

import msgspec
import numpy as np


class HeadRow(msgspec.Struct, frozen=True, kw_only=True):
    """One head that was tried: AUC of its float network, held-out healthy windows against made-up faults."""

    head: str
    auc: float
    shipped: bool


class Steadiness(msgspec.Struct, frozen=True, kw_only=True):
    """AUC of the shipped kind of head, float, over seeds of training and of made-up faults."""

    seeds: list[int]
    auc: list[float]

    @property
    def mean(self) -> float:
        """Mean AUC."""
        return float(np.mean(self.auc))

    @property
    def spread(self) -> float:
        """Standard deviation of the AUC."""
        return float(np.std(self.auc))

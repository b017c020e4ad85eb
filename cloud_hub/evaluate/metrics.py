"""Measures of quality."""

from __future__ import annotations

import numpy as np

from models.errors import SignalError
from models.signal.arrays import F64


def roc_auc(healthy: F64, faulty: F64) -> float:
    """Area under the ROC curve: the chance that a faulty score is above a healthy one, ties half.

    Computed from ranks (Mann & Whitney 1947). Raises: SignalError: one side is empty.
    """
    from scipy.stats import rankdata

    if not len(healthy) or not len(faulty):
        raise SignalError(f"AUC: expected scores of both kinds, got {len(healthy)} healthy and {len(faulty)} faulty")
    ranks = rankdata(np.concatenate([healthy, faulty]))
    u = ranks[len(healthy) :].sum() - len(faulty) * (len(faulty) + 1) / 2
    return float(u / (len(healthy) * len(faulty)))

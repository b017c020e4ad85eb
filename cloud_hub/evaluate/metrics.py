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


def partial_auc(healthy: F64, faulty: F64, max_fpr: float = 0.1) -> float:
    """Area under the ROC curve up to a false-positive rate, standardised: chance is 0.5, best 1 (McClish 1989).

    Raises: SignalError: one side is empty.
    """
    if not len(healthy) or not len(faulty):
        raise SignalError(f"pAUC: expected scores of both kinds, got {len(healthy)} healthy and {len(faulty)} faulty")
    thresholds = np.unique(np.concatenate([healthy, faulty]))[::-1]
    sorted_healthy, sorted_faulty = np.sort(healthy), np.sort(faulty)
    fpr = np.concatenate([[0.0], 1.0 - np.searchsorted(sorted_healthy, thresholds, "left") / len(healthy)])
    tpr = np.concatenate([[0.0], 1.0 - np.searchsorted(sorted_faulty, thresholds, "left") / len(faulty)])
    inside = fpr <= max_fpr
    x = np.concatenate([fpr[inside], [max_fpr]])
    y = np.concatenate([tpr[inside], [np.interp(max_fpr, fpr, tpr)]])
    area = float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2.0))
    least = max_fpr**2 / 2.0
    return 0.5 * (1.0 + (area - least) / (max_fpr - least))

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


def partial_auc(healthy: F64, faulty: F64, max_false: float = 0.1) -> float:
    """Area under the ROC curve up to a false-alarm rate, scaled so that chance is 0.5 and perfection 1.

    Source: McClish, "Analyzing a portion of the ROC curve", Medical Decision Making 9 (1989), as DCASE challenges use
    it. Raises: SignalError: one side is empty, or max_false is not in (0, 1].
    """
    if not len(healthy) or not len(faulty):
        raise SignalError(
            f"partial AUC: expected scores of both kinds, got {len(healthy)} healthy and {len(faulty)} faulty"
        )
    if not 0 < max_false <= 1:
        raise SignalError(f"partial AUC: expected a false-alarm rate over 0 and at most 1, got {max_false}")
    thresholds = np.unique(np.concatenate([healthy, faulty]))[::-1]
    false, true = (
        np.concatenate([[0.0], 1.0 - np.searchsorted(np.sort(side), thresholds, side="left") / len(side)])
        for side in (healthy, faulty)
    )
    inside = false <= max_false
    x = np.append(false[inside], max_false)
    y = np.append(true[inside], np.interp(max_false, false, true))
    area = float(np.trapezoid(y, x))
    chance = 0.5 * max_false * max_false
    return 0.5 * (1.0 + (area - chance) / (max_false - chance))

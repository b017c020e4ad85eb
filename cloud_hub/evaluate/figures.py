"""What an evaluation's columns of scores show: the curve of hits over false alarms, and quantisation's own error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cloud_hub.evaluate.metrics import roc_auc
from models.signal.arrays import F64

_MOST_POINTS = 400


@dataclass(frozen=True, slots=True)
class Roc:
    """Shares, from (0, 0) to (1, 1): `false` of healthy windows flagged, `hits` of faulty ones."""

    name: str
    false: F64
    hits: F64
    auc: float


@dataclass(frozen=True, slots=True)
class Scores:
    """Calibrated scores of the windows kept for plots; empty where the bundle has none."""

    healthy: F64
    faulty: F64

    @property
    def both(self) -> bool:
        """Whether there are scores of both kinds."""
        return bool(len(self.healthy) and len(self.faulty))


def scores_of(evaluation: Mapping[str, Any], kind: str) -> Scores:
    """The scores of `scores` (int8, as shipped), `float` or `baseline`."""
    parts = [np.asarray(evaluation.get(f"{kind}_{side}", ()), np.float64) for side in ("healthy", "faulty")]
    return Scores(*(part[np.isfinite(part)] if part.ndim == 1 else np.empty(0) for part in parts))


def rocs_of(evaluation: Mapping[str, Any]) -> list[Roc]:
    """Curves of the int8 network, the float one and the classical baseline, those that the bundle carries."""
    names = {
        "scores": "int8, as shipped",
        "float": "float",
        "baseline": str(evaluation.get("baseline_name", "baseline")),
    }
    found = [(name, scores_of(evaluation, kind)) for kind, name in names.items()]
    return [roc(name, scores) for name, scores in found if scores.both]


def roc(name: str, scores: Scores) -> Roc:
    """The curve over every threshold, thinned to what a plot can show."""
    thresholds = np.unique(np.concatenate([scores.healthy, scores.faulty]))[::-1]
    keep = np.unique(np.linspace(0, len(thresholds) - 1, min(_MOST_POINTS, len(thresholds))).astype(int))
    false, hits = (
        np.concatenate([[0.0], 1.0 - np.searchsorted(np.sort(side), thresholds[keep], side="left") / len(side), [1.0]])
        for side in (scores.healthy, scores.faulty)
    )
    return Roc(name, false, hits, roc_auc(scores.healthy, scores.faulty))

"""How a point learns what is normal for it: from its first healthy windows to a shift and a limit.

The shift moves the training set's feature means towards this point's own, shrunk by `shift_weight` windows of prior
(the posterior mean of a normal mean with known variance). The limit is drawn in the log of the raw score, where healthy
scores are near to symmetric: median + z * spread, spread the larger of the standard deviation and 1.4826 times the
median absolute deviation (Hampel 1974), never below `min_spread`; the limit is never below `least_limit`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from msgspec import structs

from models.bundle.manifest import CalibrationSpec
from models.errors import SignalError
from models.signal.arrays import F32, F64
from models.signal.score import Scorer


@dataclass(frozen=True, slots=True)
class Baseline:
    """What is normal for one point. `limit`: the raw score that counts as 1.0. `level`: (features,), healthy means."""

    shift: F32
    level: F32
    limit: float


def limit_of(raw: F64, spec: CalibrationSpec) -> float:
    """The raw score that counts as 1.0, from healthy raw scores (k,).

    Raises: SignalError: fewer than 8 scores, or one that is not finite.
    """
    if len(raw) < 8 or not np.isfinite(raw).all():
        raise SignalError(f"calibration: expected at least 8 finite healthy scores, got {len(raw)}")
    logs = np.log(np.maximum(raw, 1e-12))
    centre = float(np.median(logs))
    spread = max(float(logs.std()), 1.4826 * float(np.median(np.abs(logs - centre))), spec.min_spread)
    return max(math.exp(centre + spec.z * spread), spec.least_limit)


def classical_limit(raw: F64, spec: CalibrationSpec) -> float:
    """The same rule for a classical score, whose size has nothing to do with the bundle's least limit.

    Raises: SignalError as `limit_of`.
    """
    return limit_of(raw, structs.replace(spec, least_limit=0.0))


def calibrate(features: F32, scorer: Scorer) -> Baseline:
    """A point's baseline from its healthy features (k, features), one of them when the score is absolute.

    Raises: SignalError as `limit_of`.
    """
    if not scorer.calibrates:
        return Baseline(np.zeros_like(scorer.mean), features.mean(axis=0), 1.0)
    spec = scorer.manifest.calibration
    level = features.mean(axis=0, dtype=np.float64)
    share = len(features) / (len(features) + spec.shift_weight)
    shift = (share * (level - scorer.mean)).astype(np.float32)
    return Baseline(shift, level.astype(np.float32), limit_of(scorer.score(features, shift).raw, spec))

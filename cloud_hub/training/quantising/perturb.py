"""Rows that look like mild faults, made of healthy ones without knowing what the inputs mean.

A quantised network must follow the float one where faults are, and no fault is at hand. So healthy rows are moved off
their manifold in several ways that need only a mean, a spread and an order of the inputs, neighbours being alike as in
any spectrum. The strength is set by the float network itself: such that it tells these rows apart as well, or as
badly, as it would a mild fault (`at_auc`), since that is where a quantised score can lose most.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from models.signal.arrays import F32, F64

KINDS = ("band", "tilt", "noise", "stretch", "swap", "state")
_STEPS = 14
_STATE_SHARE = 0.8  # of the variance: what the operating state makes vary, the rest being noise


@dataclass(frozen=True, slots=True)
class Moments:
    """Of representative rows. `mean`, `spread`: (features,). `axes`: (axes, features), the principal axes that most of
    the variance lies along, each as long as the rows spread along it.
    """

    mean: F32
    spread: F32
    axes: F32


def moments_of(rows: F32) -> Moments:
    """Mean, principal axes, and spread, the spread never under a hundredth of its median."""
    spread = rows.std(axis=0, dtype=np.float64)
    floor = 0.01 * max(float(np.median(spread)), 1e-6)
    mean = rows.mean(axis=0, dtype=np.float64)
    _, long, axes = np.linalg.svd(rows - mean, full_matrices=False)
    most = int(np.searchsorted(np.cumsum(long**2), _STATE_SHARE * np.sum(long**2))) + 1
    scaled = axes[:most] * (long[:most, None] / np.sqrt(len(rows)))
    return Moments(mean.astype(np.float32), np.maximum(spread, floor).astype(np.float32), scaled.astype(np.float32))


def directions(kind: str, units: F32, moments: Moments, period: int, rng: np.random.Generator) -> F32:
    """What to add to healthy units, times a strength.

    Args:    units: (units, windows, features), one fault for all windows of a unit. period: after how many inputs the
             meaning repeats (the bins of one frame of a window of several); the features when it never does.
    Returns: the shape of units.
    """
    count, _, features = units.shape
    position = np.arange(features) % period / period
    if kind == "noise":
        return np.asarray(rng.standard_normal(units.shape, dtype=np.float32) * moments.spread, np.float32)
    if kind == "stretch":
        return np.asarray(units - moments.mean, np.float32)
    if kind == "state":  # an operating state that was never seen: far along what varies, where ranges end
        way = rng.standard_normal((count, len(moments.axes)), dtype=np.float32)
        return np.asarray((way @ moments.axes)[:, None], np.float32) + np.zeros_like(units)
    if kind == "swap":
        other = units[(np.arange(count) + rng.integers(1, max(2, count), size=count)) % count]
        return np.asarray(other - units, np.float32)
    centre, width = rng.uniform(size=(count, 1)), rng.uniform(0.02, 0.15, size=(count, 1))
    sign = rng.choice(np.array([-1.0, 1.0]), p=[0.25, 0.75], size=(count, 1))
    if kind == "band":
        shape = sign * np.exp(-0.5 * np.square((position - centre) / width))
    else:
        shape = sign * (position - centre) * 2
    return np.asarray(shape[:, None] * moments.spread, np.float32) + np.zeros_like(units)


def at_auc(score: Callable[[F32], F64], units: F32, delta: F32, target: float, highest: float) -> F32:
    """Scale `delta` so that the float score tells `units + delta` from `units` with the given AUC.

    Args:    score: (units, windows, features) to (units,). highest: the greatest strength to try.
    Returns: the perturbed units; at `highest` when even that stays under the target.
    """
    from cloud_hub.evaluate.metrics import roc_auc

    healthy = score(units)
    low, high = 0.0, highest
    for _ in range(_STEPS):
        middle = 0.5 * (low + high)
        if roc_auc(healthy, score(units + np.float32(middle) * delta)) < target:
            low = middle
        else:
            high = middle
    return units + np.float32(high) * delta

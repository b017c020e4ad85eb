"""Ranges of activations: how much of a tensor's tails to give up for a finer step.

Sources: percentile and entropy calibration, Migacz, "8-bit inference with TensorRT" (2017), here the percentile; the
clipping of least mean squared error, Banner et al., "Post training 4-bit quantization" (2019), found by search.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cloud_hub.training.quantising.graph import FloatGraph, Range
from models.signal.arrays import F32

PERCENTILE = 99.99
_LEVELS = 255  # steps between the lowest and the highest int8
_SHRINKS = np.concatenate([np.linspace(0.3, 1.0, 15), [1.1]])
_SAMPLE = 40_000


def nudged(low: float, high: float) -> tuple[float, int]:
    """Scale and zero point as the converter derives them from a range: zero is always representable.

    Source: TensorFlow Lite 8-bit quantisation specification, "Quantization scheme".
    """
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max(high - low, 1e-12) / _LEVELS
    return scale, int(np.clip(np.rint(-128 - low / scale), -128, 127))


def rounded(values: F32, low: float, high: float) -> F32:
    """What int8 makes of real numbers under a range. Returns: float32, the shape of values."""
    scale, zero = nudged(low, high)
    q = np.clip(np.rint(values / np.float32(scale)) + np.float32(zero), -128, 127) - np.float32(zero)
    return np.asarray(q * np.float32(scale), np.float32)


def observe(graph: FloatGraph, rows: F32) -> dict[int, F32]:
    """Every activation tensor's values over `rows`, flat, by tensor number."""
    seen: dict[int, F32] = {}

    def keep(number: int, tensor: Any) -> Any:  # noqa: ANN401 - a tensor
        seen[number] = np.asarray(tensor, np.float32)
        return tensor

    graph.run(rows, keep)
    return seen


def percentile_range(values: F32) -> Range:
    """The central `PERCENTILE` per cent."""
    tail = 100.0 - PERCENTILE
    low, high = np.percentile(values, [tail, PERCENTILE])
    return float(low), float(high)


def least_squares_range(values: F32, rng: np.random.Generator) -> Range:
    """The range of least mean squared error of rounding and clipping together."""
    flat = values.reshape(-1)
    if len(flat) > _SAMPLE:
        flat = np.concatenate([flat[rng.integers(len(flat), size=_SAMPLE)], [flat.min(), flat.max()]])
    low, high = float(flat.min()), float(flat.max())
    best = (np.inf, low, high)
    for _ in range(2):  # one end after the other, twice: the two hardly interact
        low, high = best[1], best[2]
        ends = [(s * low, high) for s in _SHRINKS] if low < 0 else [(low, high)]
        best = min(*((_squared(flat, *e), *e) for e in ends), best)
        best = min(*((_squared(flat, *e), *e) for e in ((best[1], s * high) for s in _SHRINKS)), best)
    return best[1], best[2]


def _squared(values: F32, low: float, high: float) -> float:
    return float(np.square(values - rounded(values, low, high)).mean(dtype=np.float64))

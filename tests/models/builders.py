"""A small real bundle's parts for tests: a manifest whose network is a plain function."""

from __future__ import annotations

import msgspec
import numpy as np

from models.bundle.manifest import (
    Budgets,
    CalibrationSpec,
    DecisionSpec,
    FeatureSpec,
    InputSpec,
    LogBands,
    Manifest,
    NetworkSpec,
    Normalisation,
    Provenance,
    ResidualScore,
    Shape,
    Tensor,
)
from models.signal.features import FeatureExtractor

RATE_HZ = 8192.0
WINDOW = 2048


def healthy_windows(k: int, seed: int = 0, level: float = 1.0, axes: int = 1) -> np.ndarray:
    """Broadband noise with a 120 Hz line: (k, WINDOW, axes)."""
    rng = np.random.default_rng(seed)
    t = np.arange(WINDOW) / RATE_HZ
    line = 0.5 * np.sin(2 * np.pi * 120.0 * t[None, :, None] + rng.uniform(0, 6, (k, 1, axes)))
    return (level * (line + 0.2 * rng.standard_normal((k, WINDOW, axes)))).astype(np.float32)


def blows(k: int, strike_hz: float, amplitude: float, seed: int = 1) -> np.ndarray:
    """Impacts at `strike_hz` that ring at 2600 Hz: (k, WINDOW, 1)."""
    rng = np.random.default_rng(seed)
    n = k * WINDOW
    x = np.zeros(n + 256)
    at = np.round(np.arange(0, n, RATE_HZ / strike_hz) + rng.normal(0, 0.4, int(np.ceil(n * strike_hz / RATE_HZ))))
    x[at.astype(int).clip(0, n - 1)] = amplitude
    t = np.arange(200) / RATE_HZ
    ring = np.exp(-900.0 * t) * np.sin(2 * np.pi * 2600.0 * t)
    return np.convolve(x, ring)[:n].reshape(k, WINDOW, 1).astype(np.float32)


def manifest(**changes: object) -> Manifest:
    """A manifest for `healthy_windows`, normalised on them."""
    source = InputSpec(quantity="acceleration", units="g", axes=["x"], rate_hz=RATE_HZ, window=WINDOW, hop=WINDOW // 2)
    spec = FeatureSpec(blocks=[LogBands(bands=24, low_hz=16.0, high_hz=3900.0), Shape()])
    features = FeatureExtractor(spec, source)(healthy_windows(200, seed=99))
    size = features.shape[1]
    made = Manifest(
        slot="vibration",
        version="1",
        family="spectral",
        title="test",
        input=source,
        features=spec,
        normalisation=Normalisation(mean=features.mean(0).tolist(), scale=features.std(0).tolist()),
        network=NetworkSpec(
            input=Tensor(size=size, scale=0.0625, zero_point=0), output=Tensor(size=size, scale=0.0625, zero_point=0)
        ),
        score=ResidualScore(weights=[1.0] * size),
        calibration=CalibrationSpec(windows=32, z=4.0, min_spread=0.08, shift_weight=0.0),
        decision=DecisionSpec(n=3, m=5, clear_windows=4),
        budgets=Budgets(window_us=1e6, memory_kb=1e6),
        golden_tolerance=0.02,
        provenance=Provenance(
            created_s=0, data={}, windows_train=200, windows_validation=0, code="test", libraries={}, seed=0
        ),
    )
    return msgspec.structs.replace(made, **changes)


def no_network(x: np.ndarray) -> np.ndarray:
    """Reconstructs every window as the healthy mean: the score is then a plain distance."""
    return np.zeros_like(x)

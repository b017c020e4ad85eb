"""Made-up faults on held-out healthy windows: how well would this network see a fault that nobody has recorded yet?

Nothing here is trained on. The kinds are those of rotating machines: blows that ring at a structural resonance
(bearing, gear tooth), a growing line (imbalance, misalignment), noise in a band (cavitation, rubbing, lost
lubrication); for slow signals a drift and a growing spread. Strengths are relative to the window's own RMS, from
barely to plainly visible.
"""

from __future__ import annotations

import numpy as np

from models.bundle.manifest import InputSpec
from models.signal.arrays import F32

VIBRATION_KINDS = ("impacts", "line", "band_noise")
PROCESS_KINDS = ("drift", "spread")
STRENGTHS = (0.1, 0.2, 0.4)


def stress_windows(healthy: F32, source: InputSpec, *, slow: bool, rng: np.random.Generator) -> F32:
    """Windows with a made-up fault each.

    Args:    healthy: (k, window, axes). slow: process signals rather than vibration.
    Returns: (k, window, axes): row i has kind i modulo the number of kinds, with a random strength.
    """
    level = (healthy - healthy.mean(axis=1, keepdims=True)).std(axis=(0, 1)) + 1e-12
    out = healthy.astype(np.float32, copy=True)
    kinds = PROCESS_KINDS if slow else VIBRATION_KINDS
    for i, window in enumerate(out):
        strength = float(rng.choice(STRENGTHS))
        kind = kinds[i % len(kinds)]
        axis = int(rng.integers(window.shape[1]))
        shape = _vibration(kind, source, rng) if not slow else _process(kind, len(window), rng)
        scale = 10 * strength if slow else strength
        window[:, axis] += (scale * level[axis] * shape).astype(np.float32)
    return out


def _vibration(kind: str, source: InputSpec, rng: np.random.Generator) -> F32:
    """Unit-RMS disturbance of one window, (window,)."""
    n, rate_hz = source.window, source.rate_hz
    t = np.arange(n) / rate_hz
    if kind == "impacts":
        resonance_hz = rng.uniform(0.12, 0.4) * rate_hz
        period = max(8, round(rate_hz / rng.uniform(60, 200)))
        blows = np.zeros(n)
        blows[rng.integers(period) :: period] = rng.uniform(0.8, 1.2)
        ring = np.exp(-t[:256] * resonance_hz * 0.15) * np.sin(2 * np.pi * resonance_hz * t[:256])
        x = np.convolve(blows, ring)[:n]
    elif kind == "line":
        x = np.sin(2 * np.pi * rng.uniform(0.005, 0.1) * rate_hz * t + rng.uniform(0, 2 * np.pi))
    else:
        spectrum = np.fft.rfft(rng.standard_normal(n))
        low = rng.uniform(0.1, 0.35)
        outside = np.abs(np.fft.rfftfreq(n) - low - 0.05) > 0.05
        spectrum[outside] = 0
        x = np.fft.irfft(spectrum, n)
    return np.asarray(x / (x.std() + 1e-12), np.float32)


def _process(kind: str, n: int, rng: np.random.Generator) -> F32:
    if kind == "drift":
        return np.asarray(np.linspace(0.5, 1.0, n) * rng.choice([-1.0, 1.0]), np.float32)
    return rng.standard_normal(n, dtype=np.float32)

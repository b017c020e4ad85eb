"""Made-up faults on healthy clips of log-mel frames, as `stress` makes them on samples.

Nothing here is trained on. Strengths are relative to what is usual among the healthy clips themselves: a shift of level
to how much a band's mean differs from clip to clip, a modulation to how much a band moves within a clip.
"""

from __future__ import annotations

import numpy as np

from models.signal.arrays import F32, F64

KINDS = ("level", "tone", "modulation", "clicks", "missing", "speed")
STRENGTHS = (0.5, 1.0, 2.0)


def stress_clips(healthy: F32, rng: np.random.Generator) -> F32:
    """Clips with a made-up fault each.

    Args:    healthy: (k, frames, mels), decibels, k at least 2.
    Returns: (k, frames, mels): clip i has kind i modulo the number of kinds, with a random strength.
    """
    between = healthy.mean(axis=1).std(axis=0, dtype=np.float64)  # (mels,)
    within = healthy.std(axis=1).mean(axis=0, dtype=np.float64)
    usual = max(float(np.median(between)), 1e-3), max(float(np.median(within)), 1e-3)
    out = np.empty_like(healthy)
    for i, clip in enumerate(healthy):
        out[i] = _faulty(clip.astype(np.float64), KINDS[i % len(KINDS)], float(rng.choice(STRENGTHS)), usual, rng)
    return out


def _faulty(clip: F64, kind: str, strength: float, usual: tuple[float, float], rng: np.random.Generator) -> F64:
    """One clip (frames, mels) with a fault. `usual`: spread of levels between clips, and within one, in decibels."""
    between, within = usual
    frames, mels = clip.shape
    beat: F64
    where = _bump(mels, rng.uniform(0.01, 0.12), rng)
    level = clip.mean(axis=0)
    added: F64
    match kind:
        case "level":
            added = rng.choice([-1.0, 1.0]) * 1.5 * strength * between * where
        case "tone":
            line = 10.0 ** ((level + 1.5 * strength * within) / 10.0) * _bump(mels, 0.006, rng)
            added = 10.0 * np.log10(10.0 ** (clip / 10.0) + line) - clip
        case "modulation":
            beat = np.sin(2 * np.pi * rng.uniform(0.01, 0.3) * np.arange(frames) + rng.uniform(0, 2 * np.pi))
            added = strength * within * beat[:, None] * where
        case "clicks":
            often = rng.uniform(0.03, 0.25)
            hit: F64 = np.where(rng.random(frames) < often, rng.uniform(0.5, 1.5, frames), 0.0)
            added = 2.0 * strength * within * hit[:, None] * where
        case "missing":
            added = -1.5 * strength * between * _bump(mels, 0.012, rng)
        case "speed":
            places = np.arange(mels) + rng.choice([-1.0, 1.0]) * 0.5 * strength
            added = np.stack([np.interp(places, np.arange(mels), frame) for frame in clip]) - clip
        case _:
            raise ValueError(f"kind of fault: expected one of {', '.join(KINDS)}, got {kind!r}")
    return clip + added


def _bump(mels: int, width: float, rng: np.random.Generator) -> F64:
    """A bell over the bands, 1 at a random centre. `width`: its standard deviation as a share of all bands."""
    bands = np.arange(mels)
    bell: F64 = np.exp(-0.5 * np.square((bands - rng.uniform(0, mels - 1)) / max(width * mels, 0.5)))
    return bell

"""Histories of a score that are made up: what the outlook is chosen on, so that recordings can judge it.

Everything is in steps of the log score under a limit of 0; a kind's sizes are drawn anew for each history.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from models.signal.arrays import F64

_STEPS = 1500
_START = -2.0


def _wander(rng: np.random.Generator, size: float, memory: float) -> F64:
    """An Ornstein-Uhlenbeck path of standard deviation `size` that forgets in `memory` steps, (_STEPS,)."""
    kept = np.exp(-1.0 / memory)
    out = np.empty(_STEPS)
    value = size * rng.standard_normal()
    for i, kick in enumerate(size * np.sqrt(1 - kept**2) * rng.standard_normal(_STEPS)):
        value = kept * value + kick
        out[i] = value
    return out


def _rise(rng: np.random.Generator) -> F64:
    """Steps since a rise began, 0 before; it begins in the first 300."""
    since: F64 = np.maximum(np.arange(_STEPS) - rng.integers(0, 300), 0).astype(np.float64)
    return since


def _steady(_rng: np.random.Generator) -> F64:
    return np.full(_STEPS, _START)


def _wandering(rng: np.random.Generator) -> F64:
    return _START + _wander(rng, rng.uniform(0.1, 0.4), rng.uniform(5, 100))


def _walk(rng: np.random.Generator) -> F64:
    return _START + np.cumsum(rng.uniform(0.02, 0.1) * rng.standard_normal(_STEPS))


def _drift(rng: np.random.Generator) -> F64:
    return _START + rng.uniform(0.004, 0.03) * _rise(rng)


def _drift_and_walk(rng: np.random.Generator) -> F64:
    return _drift(rng) + np.cumsum(rng.uniform(0.01, 0.06) * rng.standard_normal(_STEPS))


def _drift_and_wander(rng: np.random.Generator) -> F64:
    return _drift(rng) + _wander(rng, rng.uniform(0.05, 0.3), rng.uniform(5, 60))


def _bend(rng: np.random.Generator) -> F64:
    """Faster and faster: a power of the time since the rise began."""
    power = rng.uniform(1.0, 2.5)
    return _START + 2.0 * (_rise(rng) / rng.uniform(100, 500)) ** power + _wander(rng, 0.1, 20)


def _pieces(rng: np.random.Generator) -> F64:
    """A drift that changes at random times, at times to none."""
    since = _rise(rng)
    changes = np.cumsum(rng.random(_STEPS) < 1.0 / rng.uniform(50, 300))
    drifts = rng.uniform(0.004, 0.03) * rng.choice([0.0, 0.5, 1.0, 2.0], changes[-1] + 1)
    return _START + np.cumsum(np.where(since > 0, drifts[changes], 0.0)) + _wander(rng, 0.05, 20)


MADE: dict[str, Callable[[np.random.Generator], F64]] = {
    "steady": _steady,
    "wandering": _wandering,
    "walk": _walk,
    "drift": _drift,
    "drift and walk": _drift_and_walk,
    "drift and wander": _drift_and_wander,
    "bend": _bend,
    "pieces": _pieces,
}


def make_histories(kind: str, count: int, seed: int) -> list[tuple[F64, int | None]]:
    """Histories of one of the kinds `MADE`.

    Returns: of each, the scores as seen, (steps,), with noise, and the step at which the score without the noise first
             reaches 1; None when it does not.
    """
    out: list[tuple[F64, int | None]] = []
    for index in range(count):
        rng = np.random.default_rng([seed, list(MADE).index(kind), index])
        truth = MADE[kind](rng)
        seen = truth + rng.uniform(0.02, 0.2) * rng.standard_normal(_STEPS)
        over = np.flatnonzero(truth >= 0.0)
        out.append((np.exp(np.minimum(seen, 50.0)), int(over[0]) if len(over) else None))
    return out

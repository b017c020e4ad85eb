"""Whole lives of a made-up machine: two sensors that wear out exponentially, one that tells nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from models.signal.arrays import F32

SENSORS = ("vibration", "flow", "noise")


def lives_of(units: int, seed: int) -> dict[int, F32]:
    """Samples (cycles, 3) of each unit, one row per cycle up to the failure."""
    rng = np.random.default_rng(seed)
    lives = {}
    for unit in range(1, units + 1):
        cycles = int(rng.integers(110, 190))
        wear = 3.0 * np.exp(-np.arange(cycles)[::-1] / 35.0)
        noise = rng.standard_normal((cycles, 3)) * (0.15, 0.8, 1.0)
        columns = np.stack([wear, 50.0 - 4.0 * wear, np.zeros(cycles)], axis=1) + noise
        lives[unit] = columns.astype(np.float32)
    return lives


def write_lives(path: Path, units: int = 16, seed: int = 3) -> None:
    """Write them as CSV with a header."""
    lines = [",".join(("unit", "cycle", *SENSORS))]
    for unit, rows in lives_of(units, seed).items():
        lines += [f"{unit},{i + 1}," + ",".join(f"{value:.4f}" for value in row) for i, row in enumerate(rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")

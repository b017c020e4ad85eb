"""Lives of machines that ran to failure: unit, cycle and sensors, one row per cycle.

Two layouts are read: the text of NASA's C-MAPSS sets (26 columns with spaces, no header: unit, cycle, 3 settings, 21
sensors), and CSV with a header that has columns `unit` and `cycle`; every other column is a sensor.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cloud_hub.errors import DataError
from models.signal.arrays import F32, F64

_CMAPSS = ("unit", "cycle", *(f"setting_{i}" for i in range(1, 4)), *(f"s{i}" for i in range(1, 22)))


@dataclass(frozen=True, slots=True)
class Lives:
    """`units`: number to samples (cycles, sensors) float32, oldest first, one row per cycle without a gap."""

    name: str
    sensors: tuple[str, ...]
    units: dict[int, F32]
    sha256: str


def read_lives(path: Path) -> Lives:
    """Read one file. Raises: DataError: unreadable, another layout, cycles that do not follow each other."""
    try:
        data = path.read_bytes()
        first = data.split(b"\n", 1)[0].decode()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    header = "," in first
    names = tuple(word.strip() for word in first.split(",")) if header else _CMAPSS
    missing = [word for word in ("unit", "cycle") if word not in names]
    if missing:
        raise DataError(f"{path}: expected columns unit and cycle, {' and '.join(missing)} missing in {first[:80]!r}")
    try:
        table = np.loadtxt(data.decode().splitlines(), delimiter="," if header else None, skiprows=int(header), ndmin=2)
    except ValueError as error:
        raise DataError(f"{path}: expected numbers: {error}") from error
    if table.shape[1] != len(names) or not len(table):
        raise DataError(f"{path}: expected {len(names)} columns ({names[0]} to {names[-1]}), got shape {table.shape}")
    if not np.isfinite(table).all():
        row = int(np.flatnonzero(~np.isfinite(table).all(axis=1))[0])
        raise DataError(f"{path}, row {row + 1}: a value is not finite")
    keep = [i for i, name in enumerate(names) if name not in ("unit", "cycle")]
    units = {}
    for unit in np.unique(table[:, names.index("unit")]):
        rows: F64 = table[table[:, names.index("unit")] == unit]
        cycles = rows[:, names.index("cycle")]
        if not (np.diff(cycles) == 1).all():
            at = int(np.flatnonzero(np.diff(cycles) != 1)[0])
            raise DataError(f"{path}, unit {unit:g}: cycle {cycles[at]:g} is followed by {cycles[at + 1]:g}")
        units[int(unit)] = rows[:, keep].astype(np.float32)
    return Lives(path.name, tuple(names[i] for i in keep), units, hashlib.sha256(data).hexdigest())


def picked(lives: Lives, sensors: tuple[str, ...]) -> Lives:
    """The lives with the sensors named, in that order; all when none is. Raises: DataError: one is not there."""
    if not sensors:
        return lives
    unknown = [name for name in sensors if name not in lives.sensors]
    if unknown:
        raise DataError(f"{lives.name}: no column {', '.join(unknown)}; it has {', '.join(lives.sensors)}")
    at = [lives.sensors.index(name) for name in sensors]
    return replace(lives, sensors=sensors, units={unit: rows[:, at] for unit, rows in lives.units.items()})


def read_remaining(path: Path, units: int) -> F64:
    """The true remaining cycles of the test units, (units,). Raises: DataError: not one number for each."""
    try:
        values = np.loadtxt(path, ndmin=1)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if values.shape != (units,):
        raise DataError(f"{path}: expected one number for each of {units} units, got shape {values.shape}")
    return values

"""Shafts: lines at multiples of shaft rate, which imbalance and misalignment raise.

Healthy amplitudes are given as velocity RMS, as ISO 20816-1:2016 (5.3) grades machines, and turned into acceleration:
a = 2 pi f v. Imbalance is a force that turns with the shaft, hence 1x, radial, proportional to speed squared;
misalignment is 2x, and 1x along the shaft (ISO 13373-3:2015, annex B).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from firmware_sim.machines.fault import Fault, severity_of
from firmware_sim.machines.running import F64, TAU

AXES = ("radial", "tangential", "axial")
# Share of the radial amplitude and phase lead: a whirling shaft is seen a quarter turn later a quarter turn around.
_GAIN = {"radial": 1.0, "tangential": 0.8, "axial": 0.35}
_LEAD = {"radial": 0.0, "tangential": -np.pi / 2, "axial": 0.9}
_IMBALANCE_MM_S = 11.0  # at severity 1: zone D of ISO 20816-3:2022 for every support class
_IMBALANCE_GAIN = {"radial": 1.0, "tangential": 0.9, "axial": 0.1}
_MISALIGNMENT_MM_S = 8.0
_MISALIGNMENT_2X = {"radial": 1.0, "tangential": 0.9, "axial": 0.8}
_MISALIGNMENT_1X_AXIAL = 0.7
_HUM_MS2 = 0.08  # magnetostriction at twice the line frequency


class ShaftLines:
    """The lines of one shaft at one sensor. `velocity_mm_s`: RMS of 1x, 2x, ... at mean load."""

    def __init__(
        self, shaft_hz: float, velocity_mm_s: Sequence[float], line_hz: float, faults: Sequence[Fault]
    ) -> None:
        self._shaft_hz = shaft_hz
        self._velocity = tuple(velocity_mm_s)
        self._line_hz = line_hz
        self._faults = faults

    def add_to(self, out: dict[str, F64], t: F64, angle: F64, load: F64, speed: F64) -> None:
        """Add acceleration (m/s²) to each axis. `load`: relative to its mean; `speed`: likewise."""
        for k, velocity in enumerate(self._velocity, 1):
            level = self._peak(k, velocity) * (0.6 + 0.4 * load) * speed**2
            for axis in out:
                out[axis] += _GAIN[axis] * level * np.cos(k * (angle + _LEAD[axis]) + 0.7 * k)
        imbalance = severity_of(self._faults, "imbalance", t)
        if imbalance is not None:
            level = self._peak(1, _IMBALANCE_MM_S) * imbalance * speed**2
            for axis in out:
                out[axis] += _IMBALANCE_GAIN[axis] * level * np.cos(angle + _LEAD[axis] + 0.7)
        misalignment = severity_of(self._faults, "misalignment", t)
        if misalignment is not None:
            for axis in out:
                level = self._peak(2, _MISALIGNMENT_MM_S) * misalignment
                out[axis] += _MISALIGNMENT_2X[axis] * level * np.cos(2 * angle + _LEAD[axis] + 1.3)
                if axis == "axial":
                    along = self._peak(1, _MISALIGNMENT_MM_S) * misalignment
                    out[axis] += _MISALIGNMENT_1X_AXIAL * along * np.cos(angle + 0.4)
        if self._line_hz > 0:
            hum = _HUM_MS2 * np.sin(2 * TAU * self._line_hz * t)
            for axis in out:
                out[axis] += _GAIN[axis] * hum

    def _peak(self, k: int, velocity_mm_s: float) -> float:
        """Peak acceleration (m/s²) of a line at k times shaft rate with this velocity RMS."""
        return float(np.sqrt(2.0) * TAU * k * self._shaft_hz * velocity_mm_s * 1e-3)

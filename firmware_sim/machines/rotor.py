"""Shafts, gears and pumps: lines in the spectrum that follow the shaft, and noise that follows the load."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from firmware_sim.machines.faults import Fault
from firmware_sim.machines.running import F64

_IMBALANCE_MS2 = 6.0
_MISALIGNMENT_MS2 = 4.0
_TOOTH_DEPTH = 2.5
_CAVITATION_MS2 = 12.0


@dataclass(frozen=True, slots=True)
class Rotor:
    """Lines at multiples of shaft rate.

    `harmonics_ms2`: amplitudes of 1x, 2x, ... at full load. `teeth` with `mesh_ms2`: gear mesh and its second harmonic,
    modulated once a turn (McFadden 1986). `vanes` with `vane_ms2`: pressure pulses of a pump or fan.
    """

    harmonics_ms2: tuple[float, ...] = (0.6, 0.25, 0.12)
    teeth: int = 0
    mesh_ms2: float = 0.0
    vanes: int = 0
    vane_ms2: float = 0.0
    faults: tuple[Fault, ...] = field(default=())

    def radial(self, t: F64, angle: F64, load: F64) -> F64:
        """Radial acceleration (m/s²) at times t, where the shaft is at `angle` and the machine under `load`."""
        level = 0.6 + 0.4 * load
        out = np.zeros_like(t)
        for k, amplitude in enumerate(self.harmonics_ms2, 1):
            out += amplitude * level * np.cos(k * angle + 0.7 * k)
        if self.vanes:
            out += self.vane_ms2 * load * np.cos(self.vanes * angle)
        if self.teeth:
            depth = 0.15 + _TOOTH_DEPTH * self._severity("tooth", t)
            envelope = 1.0 + depth * np.maximum(0.0, np.cos(angle)) ** 8
            mesh = np.cos(self.teeth * angle) + 0.4 * np.cos(2 * self.teeth * angle + 1.0)
            out += self.mesh_ms2 * load * envelope * mesh
        if self.has("imbalance"):
            out += _IMBALANCE_MS2 * self._severity("imbalance", t) * np.cos(angle)
        if self.has("misalignment"):
            out += 0.5 * _MISALIGNMENT_MS2 * self._severity("misalignment", t) * np.cos(2 * angle + 0.5)
        return out

    def axial(self, t: F64, angle: F64, radial: F64) -> F64:
        """Axial acceleration (m/s²): a share of the radial, and most of a misalignment's 2x (ISO 13373-3:2015, B)."""
        out = 0.35 * radial
        if self.has("misalignment"):
            out += _MISALIGNMENT_MS2 * self._severity("misalignment", t) * np.cos(2 * angle + 1.3)
        return out

    def cavitation(self, t: F64, angle: F64) -> F64:
        """Amplitude (m/s²) of cavitation noise: bursts at vane-pass rate (Brennen 1994, section 6)."""
        beat = 1.0 + 0.6 * np.cos(max(1, self.vanes) * angle)
        return _CAVITATION_MS2 * self._severity("cavitation", t) * beat

    def has(self, kind: str) -> bool:
        """Whether a fault of this kind may come."""
        return any(fault.kind == kind for fault in self.faults)

    def _severity(self, kind: str, t: F64) -> F64:
        total = np.zeros_like(t)
        for fault in self.faults:
            if fault.kind == kind:
                total += fault.at(t)
        return total


class StructureNoise:
    """Broadband noise as it arrives at a sensor: white noise through the structure, two resonances and a floor.

    `level_ms2`: RMS at full load.
    """

    def __init__(
        self, rate_hz: float, resonances_hz: tuple[float, ...], level_ms2: float, rng: np.random.Generator
    ) -> None:
        lag = np.arange(160) / rate_hz
        response = np.zeros(len(lag))
        response[0] = 1.0
        for i, hz in enumerate(resonances_hz):
            response += 0.35 / (i + 1) * np.exp(-0.08 * 2 * np.pi * hz * lag) * np.sin(2 * np.pi * hz * lag)
        self._response = response * (level_ms2 / np.sqrt(np.sum(response**2)))
        self._rng = rng
        self._history: F64 = rng.standard_normal(len(response) - 1)

    def block(self, n: int) -> F64:
        """The next n samples, (n,)."""
        fresh = self._rng.standard_normal(n)
        driven = np.concatenate([self._history, fresh])
        self._history = driven[-(len(self._response) - 1) :]
        return np.convolve(driven, self._response, "valid")

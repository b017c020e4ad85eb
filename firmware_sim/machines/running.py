"""How a machine runs: load and shaft angle as smooth functions of absolute time, so that nothing depends on blocks.

Load and speed each wander as a sum of sinusoids with incommensurate periods and seeded phases: bounded, smooth, never
quite repeating, and with an integral in closed form, so that the shaft's angle is exact after any length of time.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
TAU = 2.0 * np.pi

_SHARES = (0.5, 0.3, 0.2)
_LOAD_RATIOS = (1.0, 0.371, 0.173)
_SPEED_RATIOS = (0.823, 0.287, 0.119)
Phases = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Running:
    """Load between 0 and about 1, and a speed that gives way to it, as an induction motor's does (slip).

    shaft_hz: speed at mean load. swing: largest departure of the load from its mean. period_s: of its slowest part.
    droop: relative loss of speed from no load to full load. wander: largest relative departure of the speed's own.
    """

    shaft_hz: float
    mean: float = 0.7
    swing: float = 0.1
    period_s: float = 30.0
    droop: float = 0.01
    wander: float = 0.002
    load_phases: Phases = (0.0, 2.1, 4.4)
    speed_phases: Phases = field(default=(1.0, 3.3, 5.2))

    def load_at(self, t: F64) -> F64:
        """Load at times t (s)."""
        total = np.full_like(t, self.mean)
        for ratio, share, phase in zip(_LOAD_RATIOS, _SHARES, self.load_phases, strict=True):
            total += self.swing * share * np.sin(TAU * t / (self.period_s * ratio) + phase)
        return total

    def speed_at(self, t: F64) -> F64:
        """Shaft speed (Hz) at times t (s)."""
        relative = np.ones_like(t)
        for amplitude, period_s, phase in self._speed_parts():
            relative += amplitude * np.sin(TAU * t / period_s + phase)
        return self.shaft_hz * relative

    def angle_at(self, t: F64) -> F64:
        """Shaft angle (rad) at times t: the exact integral of the speed, always increasing."""
        angle = t.copy()
        for amplitude, period_s, phase in self._speed_parts():
            angle -= amplitude * period_s / TAU * np.cos(TAU * t / period_s + phase)
        angle *= TAU * self.shaft_hz
        return angle

    def time_at(self, angle: F64, near_s: float) -> F64:
        """When the shaft is at `angle` (rad): the inverse of `angle_at`. `near_s`: a time in the neighbourhood."""
        rate = TAU * self.shaft_hz
        times = near_s + (angle - self.angle_at(np.array([near_s]))) / rate
        for _ in range(5):  # each step gains the factor by which the speed departs from its mean, a few percent
            times += (angle - self.angle_at(times)) / rate
        return times

    def _speed_parts(self) -> list[tuple[float, float, float]]:
        """(relative amplitude, period in s, phase) of everything that moves the speed."""
        slowed = zip(_LOAD_RATIOS, _SHARES, self.load_phases, strict=True)
        own = zip(_SPEED_RATIOS, _SHARES, self.speed_phases, strict=True)
        return [(-self.droop * self.swing * share, self.period_s * ratio, phase) for ratio, share, phase in slowed] + [
            (self.wander * share, self.period_s * ratio, phase) for ratio, share, phase in own
        ]


def random_phases(rng: np.random.Generator) -> Phases:
    """Phases for `Running`, so that machines do not swing in step."""
    a, b, c = rng.uniform(0.0, TAU, 3)
    return float(a), float(b), float(c)

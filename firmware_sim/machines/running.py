"""How a machine runs: load and shaft angle as smooth functions of time, so that nothing depends on block sizes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
TAU = 2.0 * np.pi


@dataclass(frozen=True, slots=True)
class Running:
    """Load between 0 and about 1, and speed that gives way to it (induction motor slip).

    `swing`: amplitude of the load's slow changes, shared over three incommensurate periods around `period_s`.
    `droop`: relative loss of speed from no load to full load; `wander`: relative amplitude of the speed's own drift.
    """

    shaft_hz: float
    load: float = 0.7
    swing: float = 0.1
    period_s: float = 60.0
    droop: float = 0.01
    wander: float = 0.001
    phases: tuple[float, float, float] = (0.0, 2.1, 4.4)

    _RATIOS = (1.0, 0.37, 0.173)
    _SHARES = (0.5, 0.3, 0.2)

    def load_at(self, t: F64) -> F64:
        """Load at times t (s)."""
        total = np.full_like(t, self.load)
        for ratio, share, phase in zip(self._RATIOS, self._SHARES, self.phases, strict=True):
            total += self.swing * share * np.sin(TAU * t / (self.period_s * ratio) + phase)
        return total

    def angle_at(self, t: F64) -> F64:
        """Shaft angle (rad) at times t: the exact integral of the speed, increasing."""
        angle = t * (1.0 - self.droop * self.load)
        for ratio, share, phase in zip(self._RATIOS, self._SHARES, self.phases, strict=True):
            period_s = self.period_s * ratio
            amplitude = (self.wander - self.droop * self.swing) * share
            angle -= amplitude * period_s / TAU * np.cos(TAU * t / period_s + phase)
        return angle * (TAU * self.shaft_hz)


def random_phases(rng: np.random.Generator) -> tuple[float, float, float]:
    """Phases for `Running`, so that machines do not swing in step."""
    a, b, c = rng.uniform(0.0, TAU, 3)
    return float(a), float(b), float(c)

"""Slow values of a pump's process, about one a second: temperatures, pressure, flow, current, that follow the load.

First-order lags for heat (lumped capacity), affinity laws for pressure and flow (ISO 17769-1:2012, 2.1.13), current
proportional to load over a magnetising part.
"""

from __future__ import annotations

import numpy as np

from firmware_sim.machines.faults import Fault
from firmware_sim.machines.running import F64, TAU, Running

AXES = ("bearing_degC", "winding_degC", "pressure_bar", "flow_l_min", "current_A", "voltage_V")
_NOISE = np.array([0.05, 0.08, 0.02, 0.4, 0.03, 0.6])
_LAG_S = (180.0, 420.0)


class ProcessValues:
    """The values of one pump, (n, 6) in the order of `AXES`."""

    def __init__(self, running: Running, faults: tuple[Fault, ...], rng: np.random.Generator) -> None:
        self._running = running
        self._faults = faults
        self._rng = rng

    def block(self, t: F64) -> F64:
        """Values at times t (s)."""
        load = self._running.load_at(t)
        closed = np.clip(sum((f.at(t) for f in self._faults if f.kind == "valve_closing"), np.zeros_like(t)), 0, 0.95)
        flow = 32.0 * (0.6 + 0.4 * load) * (1.0 - closed)
        pressure = 1.2 * (0.7 + 0.3 * load) * (1.0 + 0.8 * closed**2)
        current = np.sqrt(0.9**2 + (1.6 * load * (1.0 - 0.45 * closed)) ** 2)
        bearing, winding = (self._warmth(t, lag_s) for lag_s in _LAG_S)
        values = np.stack(
            [
                41.0 + 14.0 * bearing + 6.0 * closed,
                55.0 + 30.0 * winding,
                pressure,
                flow,
                current,
                np.full_like(t, 231.0),
            ],
            axis=1,
        )
        noisy: F64 = values + self._rng.standard_normal(values.shape) * _NOISE
        return noisy

    def _warmth(self, t: F64, lag_s: float) -> F64:
        """Load through a first-order lag, settled: each sinusoid of the load is smaller and later."""
        run = self._running
        out = np.full_like(t, run.load)
        for ratio, share, phase in zip(run._RATIOS, run._SHARES, run.phases, strict=True):  # noqa: SLF001 - one model
            omega = TAU / (run.period_s * ratio)
            gain = 1.0 / np.sqrt(1.0 + (omega * lag_s) ** 2)
            out += run.swing * share * gain * np.sin(omega * t + phase - np.arctan(omega * lag_s))
        return out

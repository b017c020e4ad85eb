"""Slow values of a machine, about one a second: temperatures, pressures, flow, current, that follow the load.

A centrifugal pump runs where its curve p = p0 n² - a Q² meets the system's p = ps + k (Q / opening)² (Guelich 2014,
"Centrifugal Pumps", sections 4.1 and 11.1); its shaft power rises with flow, from about half at a closed valve. Motor
current is the magnetising and the load-carrying part at right angles. Heat follows with first-order lags (lumped
capacity: Incropera 2007, section 5.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from firmware_sim.machines.bearing import BEARING_FAULTS
from firmware_sim.machines.fault import Fault, of_kinds, severity_of
from firmware_sim.machines.running import F64, Running

_COMMON = ("bearing_degC", "winding_degC", "current_A", "voltage_V")
CHANNELS: Final[dict[str, tuple[str, ...]]] = {
    "pump": (*_COMMON, "suction_bar", "discharge_bar", "flow_m3_h"),
    "fan": _COMMON,
    "gearbox": (*_COMMON, "oil_degC"),
    "motor": _COMMON,
}
"""What can be measured on each kind of machine."""

_NOISE = {
    "bearing_degC": 0.05, "winding_degC": 0.08, "oil_degC": 0.05, "current_A": 0.05, "voltage_V": 0.6,
    "suction_bar": 0.004, "discharge_bar": 0.012, "flow_m3_h": 0.12,
}  # fmt: skip
_LAG_S = {"bearing_degC": 120.0, "winding_degC": 300.0, "oil_degC": 400.0}
_AMBIENT_DEGC = 22.0
_MAGNETISING_A, _LOAD_A = 5.2, 9.5
_SHUT_OFF_BAR, _CURVE_BAR, _STATIC_BAR, _SYSTEM_BAR = 3.6, 0.9, 0.6, 2.1  # at speed 1 and flow 1
_RATED_M3_H = 30.0
_SUCTION_BAR, _SUCTION_LOSS_BAR = 0.42, 0.12
_LEAST_OPENING = 0.03


class ProcessValues:
    """The slow values of one machine: (n, axes) in the order of `axes`, all out of `CHANNELS[kind]`.

    Heat has a state that is carried from block to block; it begins settled. Asked for in blocks, in order.
    """

    def __init__(
        self,
        kind: str,
        axes: Sequence[str],
        running: Running,
        faults: Sequence[Fault],
        rate_hz: float,
        rng: np.random.Generator,
    ) -> None:
        self._kind = kind
        self._axes = axes
        self._running = running
        self._faults = faults
        self._step_s = 1.0 / rate_hz
        self._rng = rng
        self._heat: dict[str, float] = {}

    def block(self, t: F64) -> F64:
        """Values at times t (s)."""
        load = self._running.load_at(t) / self._running.mean
        speed = self._running.speed_at(t) / self._running.shaft_hz
        values: dict[str, F64] = {}
        power = load
        if self._kind == "pump":
            flow = self._pump(values, load, speed, t)
            power = 0.5 + 0.5 * flow
        current = np.hypot(_MAGNETISING_A, _LOAD_A * power)
        rated = np.hypot(_MAGNETISING_A, _LOAD_A)
        friction = sum((f.at(t) for f in of_kinds(self._faults, BEARING_FAULTS)), np.zeros_like(t))
        values["current_A"] = current
        values["voltage_V"] = 400.0 - 2.0 * (load - 1.0)
        self._warm(values, "winding_degC", _AMBIENT_DEGC + 45.0 * (current / rated) ** 2)
        self._warm(values, "bearing_degC", _AMBIENT_DEGC + 16.0 * speed + 6.0 * power + 25.0 * friction)
        if self._kind == "gearbox":
            self._warm(values, "oil_degC", _AMBIENT_DEGC + 28.0 * power)
        noise = self._rng.standard_normal((len(t), len(self._axes)))
        noise *= [_NOISE[axis] for axis in self._axes]
        return np.stack([values[axis] for axis in self._axes], axis=1) + noise

    def _pump(self, values: dict[str, F64], load: F64, speed: F64, t: F64) -> F64:
        """Pressures and flow at the operating point. Returns: flow, 1 = rated."""
        closed = severity_of(self._faults, "valve_closing", t)
        opening = load if closed is None else load * np.clip(1.0 - closed, _LEAST_OPENING, 1.0)
        head = _SHUT_OFF_BAR * speed**2 - _STATIC_BAR
        flow = np.sqrt(head / (_CURVE_BAR + _SYSTEM_BAR / opening**2))
        values["suction_bar"] = _SUCTION_BAR - _SUCTION_LOSS_BAR * flow**2
        values["discharge_bar"] = values["suction_bar"] + _SHUT_OFF_BAR * speed**2 - _CURVE_BAR * flow**2
        values["flow_m3_h"] = _RATED_M3_H * flow
        return flow

    def _warm(self, values: dict[str, F64], name: str, target: F64) -> None:
        """First-order lag towards `target`, exact for a target that holds from sample to sample."""
        gain = 1.0 - np.exp(-self._step_s / _LAG_S[name])
        heat = self._heat.get(name, float(target[0]))
        out = np.empty_like(target)
        for i, towards in enumerate(target):
            heat += gain * (float(towards) - heat)
            out[i] = heat
        self._heat[name] = heat
        values[name] = out

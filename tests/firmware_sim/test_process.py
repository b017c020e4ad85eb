from __future__ import annotations

import numpy as np
import pytest

from firmware_sim.machines.fault import Fault
from firmware_sim.machines.machine import Load
from firmware_sim.machines.process import CHANNELS
from tests.firmware_sim.builders import BEARING_6205, STEADY, machine


def values(on, seconds: int, rate_hz: float = 1.0) -> dict[str, np.ndarray]:
    axes = CHANNELS[on.spec.kind]
    block = on.process("process", axes, rate_hz).block(round(seconds * rate_hz))
    return {axis: block[:, i] for i, axis in enumerate(axes)}


@pytest.mark.parametrize("kind", list(CHANNELS))
def test_every_kind_of_machine_settles_at_plausible_values(kind):
    steady = values(machine(kind=kind, load=STEADY), 300)
    bounds = {
        "bearing_degC": (35, 60), "winding_degC": (50, 90), "oil_degC": (40, 70), "current_A": (8, 14),
        "voltage_V": (395, 405), "suction_bar": (0.1, 0.5), "discharge_bar": (2, 4), "flow_m3_h": (20, 40),
    }  # fmt: skip
    for axis, signal in steady.items():
        low, high = bounds[axis]
        assert low < signal.mean() < high, axis
        assert signal.std() < 0.02 * signal.mean() + 0.1, f"{axis} is steady under steady load"


def test_current_follows_the_load_at_once_and_heat_follows_later():
    on = machine(kind="motor", load=Load(mean=0.7, swing=0.3, period_s=400.0))
    got = values(on, 4000)
    load = on.running.load_at(np.arange(4000.0))

    def lag(signal: np.ndarray) -> int:
        centred = signal - signal.mean()
        steps = range(0, 200, 2)
        return max(steps, key=lambda k: float(np.corrcoef(centred[400 + k :], load[400 : len(load) - k])[0, 1]))

    assert lag(got["current_A"]) <= 2
    assert np.corrcoef(got["current_A"], load)[0, 1] > 0.98
    assert lag(got["bearing_degC"]) > 30
    assert lag(got["bearing_degC"]) < lag(got["winding_degC"]), "the winding has the longer time constant"


def test_heat_is_a_first_order_lag():
    """A bearing fault that is there at once heats by 25 K with a time constant of 120 s."""
    fault = Fault("outer_race", 1.0, 1e-6, start_s=100.0)
    got = values(machine(fault, kind="motor", load=STEADY, bearing=BEARING_6205), 1200)["bearing_degC"]
    before = got[:100].mean()
    after = got[1000:].mean() - before
    assert after == pytest.approx(25.0, abs=0.2)
    assert got[218:223].mean() - before == pytest.approx(25.0 * (1 - np.exp(-1)), abs=0.3)


def test_a_closing_valve_cuts_flow_and_current_and_raises_pressure():
    fault = Fault("valve_closing", 0.8, 100.0, "linear", start_s=100.0)
    got = values(machine(fault, load=STEADY), 400)
    change = {axis: signal[300:].mean() / signal[:100].mean() - 1 for axis, signal in got.items()}
    assert change["flow_m3_h"] < -0.4
    assert change["discharge_bar"] > 0.15
    assert change["suction_bar"] > 0.1
    assert change["current_A"] < -0.1
    assert abs(change["voltage_V"]) < 0.01


def test_the_operating_point_lies_on_pump_curve_and_system_curve():
    got = values(machine(load=STEADY), 500)
    flow = got["flow_m3_h"].mean() / 30.0
    head = got["discharge_bar"].mean() - got["suction_bar"].mean()
    assert head == pytest.approx(3.6 - 0.9 * flow**2, abs=0.01)
    assert head == pytest.approx(0.6 + 2.1 * flow**2, abs=0.01)


def test_a_valve_that_closes_all_the_way_leaves_numbers_finite():
    got = values(machine(Fault("valve_closing", 5.0, 10.0, start_s=0.0), load=STEADY), 100)
    assert all(np.isfinite(signal).all() for signal in got.values())
    assert 0 < got["flow_m3_h"][50:].mean() < 3.0

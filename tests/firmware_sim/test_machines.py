"""The physics, with SciPy as the instrument."""

import numpy as np
import pytest
from scipy import signal as sp

from firmware_sim.machines.bearing import BearingFault, Geometry
from firmware_sim.machines.faults import Fault
from firmware_sim.machines.process import AXES, ProcessValues
from firmware_sim.machines.rotor import Rotor, StructureNoise
from firmware_sim.machines.running import TAU, Running
from firmware_sim.node import Node
from firmware_sim.scenario import load_scenario

RATE_HZ = 8192.0
SKF_6205 = Geometry(elements=9, ball_mm=7.94, pitch_mm=39.04)
STEADY = Running(30.0, swing=0.0, droop=0.0, wander=0.0)


def test_orders_of_the_6205_are_the_published_ones() -> None:
    # Case Western Reserve University Bearing Data Center, drive-end bearing.
    want = {"BPFO": 3.5848, "BPFI": 5.4152, "BSF": 4.7135, "FTF": 0.39828}
    assert SKF_6205.orders() == pytest.approx(want, rel=2e-3)


def test_angle_is_the_integral_of_a_speed_that_gives_way_to_load() -> None:
    running = Running(25.0, load=0.7, swing=0.2, period_s=10.0, droop=0.02, wander=0.001)
    t = np.linspace(0.0, 60.0, 600_001)
    speed = np.gradient(running.angle_at(t), t) / TAU
    want = 25.0 * (1 - 0.02 * running.load_at(t) + 0.001 * (running.load_at(t) - 0.7) / 0.2)
    np.testing.assert_allclose(speed[1:-1], want[1:-1], rtol=1e-6)


def bearing(kind: str, severity: float = 1.0) -> BearingFault:
    fault = Fault(kind, severity, growth_s=1.0, start_s=-100.0)
    return BearingFault(SKF_6205, fault, STEADY, RATE_HZ, np.random.default_rng(1), 2700.0)


@pytest.mark.parametrize(("kind", "order"), [("outer_race", 3.585), ("inner_race", 5.415), ("ball", 4.714)])
def test_the_envelope_of_a_fault_stands_at_its_order(kind: str, order: float) -> None:
    x = bearing(kind).block(0, 16 * 8192)
    sos = sp.butter(4, [2000, 3400], "bandpass", fs=RATE_HZ, output="sos")
    envelope = np.abs(sp.hilbert(sp.sosfiltfilt(sos, x))) ** 2
    hz, power = sp.welch(envelope - envelope.mean(), RATE_HZ, nperseg=32768)
    near = (hz > 0.7 * order * 30) & (hz < 1.3 * order * 30)
    assert hz[near][np.argmax(power[near])] == pytest.approx(order * 30.0, rel=0.01)


def test_a_fault_on_the_inner_race_passes_the_load_zone_once_a_turn() -> None:
    x = bearing("inner_race").block(0, 16 * 8192)
    envelope = np.abs(sp.hilbert(x)) ** 2
    hz, power = sp.welch(envelope - envelope.mean(), RATE_HZ, nperseg=32768)
    at_shaft = power[np.argmin(np.abs(hz - 30.0))]
    assert at_shaft > 20 * np.median(power[(hz > 20) & (hz < 60)])


@pytest.mark.parametrize("sizes", [[8192], [1] * 40 + [8152], [100, 3000, 5092], [512] * 16])
def test_blocks_of_any_size_give_the_same_signal(sizes: list[int]) -> None:
    fault, noise = bearing("outer_race"), StructureNoise(RATE_HZ, (900.0,), 1.0, np.random.default_rng(2))
    whole = bearing("outer_race").block(0, 8192)
    whole_noise = StructureNoise(RATE_HZ, (900.0,), 1.0, np.random.default_rng(2)).block(8192)
    parts, noises, at = [], [], 0
    for n in sizes:
        parts.append(fault.block(at, n))
        noises.append(noise.block(n))
        at += n
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-9)
    np.testing.assert_allclose(np.concatenate(noises), whole_noise, atol=1e-9)


def test_a_fault_grows_as_told_and_is_not_there_before() -> None:
    grown = Fault("tooth", 0.8, growth_s=60.0, start_s=10.0)
    t = np.array([0.0, 9.99, 10.0, 40.0, 70.0, 500.0])
    np.testing.assert_allclose(grown.at(t), [0, 0, 0.008, 0.08, 0.8, 0.8])
    assert not Fault("tooth", 0.8, growth_s=60.0).at(t).any()
    np.testing.assert_allclose(Fault("tooth", 0.8, 60.0, exponential=False, start_s=10.0).at(t)[3], 0.4)


def spectrum_at(x: np.ndarray, hz: float) -> float:
    frequencies, power = sp.periodogram(x, RATE_HZ, "flattop", scaling="spectrum")
    near = np.abs(frequencies - hz) < 1.0
    return float(np.sqrt(2 * power[near].max()))


@pytest.mark.parametrize(("kind", "multiple"), [("imbalance", 1), ("misalignment", 2)])
def test_faults_of_the_shaft_raise_its_harmonics(kind: str, multiple: int) -> None:
    t = np.arange(4 * 8192) / RATE_HZ
    angle, load = STEADY.angle_at(t), STEADY.load_at(t)
    healthy = Rotor().axial(t, angle, Rotor().radial(t, angle, load))
    faulty = Rotor(faults=(Fault(kind, 1.0, 1.0, start_s=-50.0),))
    sick = faulty.axial(t, angle, faulty.radial(t, angle, load))
    assert spectrum_at(sick, multiple * 30.0) > 3 * spectrum_at(healthy, multiple * 30.0)
    assert spectrum_at(sick, 90.0) == pytest.approx(spectrum_at(healthy, 90.0), rel=0.05)


def test_a_worn_tooth_puts_sidebands_beside_the_mesh() -> None:
    t = np.arange(4 * 8192) / RATE_HZ
    angle, load = STEADY.angle_at(t), STEADY.load_at(t)
    healthy = Rotor(teeth=43, mesh_ms2=2.0).radial(t, angle, load)
    worn = Rotor(teeth=43, mesh_ms2=2.0, faults=(Fault("tooth", 1.0, 1.0, start_s=-9.0),)).radial(t, angle, load)
    sideband = 43 * 30.0 - 30.0
    assert spectrum_at(worn, sideband) > 3 * spectrum_at(healthy, sideband)


def test_slow_values_lag_behind_the_load_and_a_closing_valve_shows() -> None:
    running = Running(25.0, swing=0.2, period_s=900.0)
    t = np.arange(7200.0)
    healthy = ProcessValues(running, (), np.random.default_rng(0)).block(t)
    assert healthy.shape == (7200, len(AXES))
    load = running.load_at(t)
    current, winding = healthy[:, AXES.index("current_A")], healthy[:, AXES.index("winding_degC")]
    lags = [np.corrcoef(load[:-600], np.roll(v, -s)[:-600])[0, 1] for v in (current, winding) for s in (0, 180)]
    assert lags[0] > lags[1]  # the current follows at once
    assert lags[3] > lags[2]  # the winding warms later
    closing = Fault("valve_closing", 0.6, 300.0, exponential=False, start_s=3600.0)
    sick = ProcessValues(running, (closing,), np.random.default_rng(0)).block(t)
    np.testing.assert_allclose(sick[:3600], healthy[:3600])
    flow, pressure = AXES.index("flow_l_min"), AXES.index("pressure_bar")
    assert sick[-1, flow] < 0.6 * healthy[-1, flow]
    assert sick[-1, pressure] > 1.1 * healthy[-1, pressure]


def test_early_damage_shows_in_the_envelope_long_before_the_level_doubles() -> None:
    scenario = load_scenario("plant")
    spec = next(m for m in scenario.machine if m.id == "P-101")
    fault = Fault("outer_race", 1.0, 60.0, start_s=0.0)
    node, healthy = Node(spec, [fault], 7, 0), Node(spec, [], 7, 0)
    rms, lines = [], []
    for _ in range(12):
        x, y = node.values(5 * 8192)[:, 0], healthy.values(5 * 8192)[:, 0]
        rms.append(x.std() / y.std())
        sos = sp.butter(4, [2000, 3400], "bandpass", fs=RATE_HZ, output="sos")
        envelope = np.abs(sp.hilbert(sp.sosfiltfilt(sos, x))) ** 2
        hz, power = sp.welch(envelope - envelope.mean(), RATE_HZ, nperseg=16384)
        near = np.abs(hz - 3.585 * spec.shaft_hz) < 2.0
        lines.append(power[near].max() / np.median(power[(hz > 60) & (hz < 120)]))
    seen = next(i for i, line in enumerate(lines) if line > 10)
    doubled = next(i for i, level in enumerate(rms) if level > 2)
    assert seen + 2 <= doubled  # at least ten seconds earlier


def test_the_same_seed_gives_the_same_plant() -> None:
    spec = load_scenario("plant").machine[0]
    np.testing.assert_array_equal(Node(spec, [], 7, 0).values(2048), Node(spec, [], 7, 0).values(2048))
    assert not np.array_equal(Node(spec, [], 7, 0).values(2048), Node(spec, [], 8, 0).values(2048))

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal

from firmware_sim.machines.fault import Fault
from firmware_sim.machines.gear import Gear
from firmware_sim.machines.impeller import Impeller
from firmware_sim.machines.machine import Load
from firmware_sim.machines.noise import StructureNoise
from firmware_sim.machines.running import Running
from firmware_sim.machines.shaft import AXES
from tests.firmware_sim.builders import (
    RATE_HZ,
    SHAFT_HZ,
    accelerometer,
    envelope,
    everything,
    heard,
    line,
    machine,
    prominence,
    spectrum,
)

NOW = {"growth_s": 1e-6, "start_s": -1.0}
ALL_KINDS = (
    "outer_race", "inner_race", "ball", "cage", "imbalance", "misalignment", "gear_wear", "gear_crack", "cavitation",
)  # fmt: skip
SIZES = [1, 7, 511, 512, 3000, 1, 4096]


def in_portions(source, sizes: list[int], total: int) -> np.ndarray:
    parts, done, at = [], 0, 0
    while done < total:
        n = min(sizes[at % len(sizes)], total - done)
        parts.append(source.block(n))
        done, at = done + n, at + 1
    return np.concatenate(parts)


@pytest.mark.parametrize(
    "kinds", [(), *((kind,) for kind in ALL_KINDS), ALL_KINDS], ids=lambda k: "+".join(k) or "healthy"
)
def test_blocks_of_any_size_give_the_same_signal(kinds):
    total = int(2.5 * RATE_HZ)

    def fresh():
        # The faults begin within the signal, so that beginnings fall anywhere within blocks.
        return accelerometer(everything(*(Fault(k, 1.0, 1.0, start_s=0.7) for k in kinds)), AXES)

    whole = fresh().block(total)
    scale = np.abs(whole).max()
    assert np.allclose(in_portions(fresh(), SIZES, total), whole, rtol=0, atol=1e-9 * scale)
    assert np.allclose(in_portions(fresh(), [640], total), whole, rtol=0, atol=1e-9 * scale)


def test_process_blocks_of_any_size_give_the_same_values():
    def fresh():
        return everything(Fault("valve_closing", 0.8, 50.0, start_s=20.0)).process(
            "p", ("flow_m3_h", "winding_degC"), 1.0
        )

    assert np.array_equal(in_portions(fresh(), [1, 3, 10], 120), fresh().block(120))


def test_the_seed_decides_and_nothing_else_does():
    faults = [Fault("outer_race", 1.0, 1.0, start_s=0.0)]
    a, b = (accelerometer(everything(*faults, seed=5)).block(4096) for _ in range(2))
    assert np.array_equal(a, b)
    assert not np.allclose(a, accelerometer(everything(*faults, seed=6)).block(4096))


def test_sensors_on_one_machine_hear_the_same_blows_and_noise_of_their_own():
    on = machine(Fault("outer_race", 1.0, **NOW), bearing=everything().spec.bearing, noise_ms2=0.01)
    near, far = (on.acceleration(point, ("radial",), RATE_HZ, "m/s2").block(8192)[:, 0] for point in ("near", "far"))
    assert np.corrcoef(near, far)[0, 1] > 0.99
    assert not np.array_equal(near, far)


def test_units_of_g_are_standard_gravity():
    metric = everything().acceleration("p", ("radial",), RATE_HZ, "m/s2").block(100)
    in_g = everything().acceleration("p", ("radial",), RATE_HZ, "g").block(100)
    assert np.allclose(in_g * 9.80665, metric)


def test_angle_is_the_integral_of_the_speed_and_has_an_inverse():
    running = Running(25.0, swing=0.3, droop=0.1, wander=0.05, period_s=10.0)
    t = np.arange(0.0, 40.0, 1e-3)
    angle = running.angle_at(t)
    assert np.all(np.diff(angle) > 0)
    assert np.allclose(np.gradient(angle, t)[1:-1] / (2 * np.pi), running.speed_at(t)[1:-1], rtol=1e-4)
    assert np.allclose(running.time_at(angle[20_000:21_000], 20.0), t[20_000:21_000], atol=1e-9)
    assert running.speed_at(t).std() / 25.0 > 0.005
    assert np.abs(running.speed_at(t) / 25.0 - 1).max() <= 0.1 * 0.3 + 0.05


def test_load_swings_mildly_around_its_mean():
    load = Running(25.0, mean=0.7, swing=0.1, period_s=30.0).load_at(np.arange(0.0, 600.0, 0.1))
    assert load.mean() == pytest.approx(0.7, abs=0.01)
    assert np.abs(load - 0.7).max() <= 0.1
    assert load.std() > 0.02


def test_healthy_velocity_is_what_the_machine_states():
    x = heard(machine(velocity_mm_s=(2.0, 0.5)), 8.0)[:, 0]
    for k, velocity in ((1, 2.0), (2, 0.5)):
        assert line(x, k * SHAFT_HZ) / (2 * np.pi * k * SHAFT_HZ) * 1e3 == pytest.approx(velocity, rel=0.02)


def test_imbalance_raises_1x_radially():
    x = heard(machine(Fault("imbalance", 1.0, **NOW)), 8.0, ("radial", "tangential", "axial"))
    velocity = [line(x[:, i], SHAFT_HZ) / (2 * np.pi * SHAFT_HZ) * 1e3 for i in range(3)]
    assert velocity[0] > 7.1, "zone D of ISO 20816-3 for every class begins at 7.1 mm/s"
    assert velocity[2] < 0.2 * velocity[0]
    assert line(x[:, 0], 2 * SHAFT_HZ) < 0.01 * line(x[:, 0], SHAFT_HZ)
    shift = np.angle(np.fft.rfft(x[:, 1])[200] / np.fft.rfft(x[:, 0])[200])
    assert abs(shift) == pytest.approx(np.pi / 2, abs=0.05), "a quarter turn between the two radial directions"


def test_misalignment_raises_2x_and_1x_along_the_shaft():
    x = heard(machine(Fault("misalignment", 1.0, **NOW)), 8.0, ("radial", "axial"))
    assert line(x[:, 0], 2 * SHAFT_HZ) > 10 * line(x[:, 0], SHAFT_HZ)
    assert line(x[:, 1], 2 * SHAFT_HZ) > 1.0
    assert line(x[:, 1], SHAFT_HZ) > 0.3


def test_hum_is_at_twice_the_line_frequency():
    x = heard(machine(line_hz=60.0), 4.0)[:, 0]
    hz, rms = spectrum(x)
    assert hz[np.argmax(rms)] == pytest.approx(120.0, abs=0.3)


def geared(*faults: Fault) -> np.ndarray:
    return heard(machine(*faults, kind="gearbox", gear=Gear(teeth=31, pinion_teeth=17), noise_ms2=0.05), 8.0)[:, 0]


MESH_HZ = 31 * SHAFT_HZ


def test_gear_mesh_has_its_harmonics_and_small_sidebands_when_healthy():
    x = geared()
    lines = [line(x, k * MESH_HZ) for k in (1, 2, 3)]
    assert lines[0] > lines[1] > lines[2] > 0.05
    assert 0.01 < line(x, MESH_HZ + SHAFT_HZ) / lines[0] < 0.15
    pinion_hz = SHAFT_HZ * 31 / 17
    assert 0.01 < line(x, MESH_HZ + pinion_hz) / lines[0] < 0.1


def test_gear_wear_raises_high_harmonics_most_and_sidebands_at_shaft_rate():
    healthy, worn = geared(), geared(Fault("gear_wear", 1.0, **NOW))
    gain = [line(worn, k * MESH_HZ) / line(healthy, k * MESH_HZ) for k in (1, 2, 3)]
    assert gain[0] < gain[1] < gain[2]
    for side in (-1, 1):
        assert line(worn, MESH_HZ + side * SHAFT_HZ) > 5 * line(healthy, MESH_HZ + side * SHAFT_HZ)


def test_a_cracked_tooth_shows_once_a_turn_in_amplitude_and_phase():
    x = geared(Fault("gear_crack", 1.0, **NOW))
    sides = [line(x, MESH_HZ + k * SHAFT_HZ) for k in range(2, 8)]
    assert min(sides) > 5 * max(line(geared(), MESH_HZ + k * SHAFT_HZ) for k in range(2, 8)), "many sidebands"
    sos = scipy.signal.butter(4, (MESH_HZ - 350, MESH_HZ + 350), "bandpass", fs=RATE_HZ, output="sos")
    analytic = scipy.signal.hilbert(scipy.signal.sosfiltfilt(sos, x))
    turn = np.arange(len(x)) / RATE_HZ * SHAFT_HZ % 1.0
    at_crack = np.minimum(turn, 1 - turn) < 0.02
    away = (turn > 0.3) & (turn < 0.7)
    assert np.abs(analytic[at_crack]).mean() > 1.8 * np.abs(analytic[away]).mean()
    phase = np.unwrap(np.angle(analytic)) - 2 * np.pi * MESH_HZ * np.arange(len(x)) / RATE_HZ
    assert abs(phase[at_crack].mean() - phase[away].mean()) > 0.4


def test_vanes_give_lines_at_vane_pass():
    x = heard(machine(impeller=Impeller(vanes=6, pulse_ms2=1.0)), 4.0)[:, 0]
    assert line(x, 6 * SHAFT_HZ) == pytest.approx(1 / np.sqrt(2), rel=0.02)
    assert line(x, 12 * SHAFT_HZ) == pytest.approx(0.35 / np.sqrt(2), rel=0.02)


def test_cavitation_is_broadband_and_swings_at_vane_pass():
    quiet = heard(machine(impeller=Impeller(vanes=6), noise_ms2=0.5), 8.0)[:, 0]
    x = heard(machine(Fault("cavitation", 1.0, **NOW), impeller=Impeller(vanes=6), noise_ms2=0.5), 8.0)[:, 0]
    assert x.std() > 5 * quiet.std()
    hz, power = scipy.signal.welch(x, RATE_HZ, nperseg=1024)
    high = power[(hz > 1500) & (hz < 3900)]
    assert scipy.stats.gmean(high) / high.mean() > 0.5, "flat, as noise is, not lines"
    assert prominence(*envelope(x, (1500.0, 3900.0)), 6 * SHAFT_HZ) > 10


def test_a_fault_grows_from_nothing_to_its_severity():
    t = np.linspace(-5.0, 80.0, 1000)
    for growth in ("exponential", "linear"):
        severity = Fault("ball", 0.8, 60.0, growth, start_s=10.0).at(t)
        assert np.all(severity[t < 10.0] == 0.0)
        assert np.all(np.diff(severity) >= 0.0)
        assert np.abs(np.diff(severity)).max() < 0.01, "no jump"
        assert severity[-1] == pytest.approx(0.8)
    halfway = {g: Fault("ball", 0.8, 60.0, g, start_s=10.0).at(np.array([40.0]))[0] for g in ("exponential", "linear")}
    assert halfway["linear"] == pytest.approx(0.4)
    assert halfway["exponential"] == pytest.approx(0.8 / 11)  # (100 ** 0.5 - 1) / (100 - 1)


def test_a_waiting_fault_does_nothing():
    waiting = [Fault(kind, 1.0, 1.0) for kind in ALL_KINDS if kind != "cavitation"]
    assert np.array_equal(heard(everything(*waiting), 1.0), heard(everything(), 1.0))


def test_healthy_machines_vary_a_little_and_do_not_drift():
    x = heard(everything(), 60.0)[:, 0].reshape(-1, 8192)
    rms = x.std(axis=1)
    assert 0.01 < rms.std() / rms.mean() < 0.12
    assert abs(rms[:30].mean() / rms[30:].mean() - 1) < 0.05


def test_noise_has_the_level_and_the_resonances_asked_for():
    noise = StructureNoise(RATE_HZ, (900.0, 2600.0), 2.0, np.random.default_rng(1)).block(np.ones(200_000))
    assert noise.std() == pytest.approx(2.0, rel=0.02)
    hz, power = scipy.signal.welch(noise, RATE_HZ, nperseg=2048)
    for resonance_hz in (900.0, 2600.0):
        near = power[np.abs(hz - resonance_hz) < 60].mean()
        assert near > 2 * power[np.abs(hz - 1700.0) < 60].mean()


def test_noise_without_resonances_below_nyquist_is_white():
    noise = StructureNoise(100.0, (900.0,), 1.0, np.random.default_rng(1)).block(np.ones(100_000))
    _, power = scipy.signal.welch(noise, 100.0, nperseg=256)
    assert power[2:-2].max() / power[2:-2].min() < 2.0


def test_load_is_heard():
    loud = machine(noise_ms2=1.0, load=Load(mean=0.5, swing=0.4, period_s=10.0))
    x = heard(loud, 60.0)[:, 0].reshape(-1, 4096)
    t = (np.arange(len(x)) + 0.5) * 4096 / RATE_HZ
    assert np.corrcoef(x.std(axis=1), loud.running.load_at(t))[0, 1] > 0.9

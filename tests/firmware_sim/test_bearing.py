from __future__ import annotations

import numpy as np
import pytest

from firmware_sim.machines.bearing import Bearing
from firmware_sim.machines.fault import Fault
from firmware_sim.machines.machine import Load
from tests.firmware_sim.builders import BEARING_6205, RATE_HZ, SHAFT_HZ, envelope, heard, machine, prominence

BAND = (1700.0, 3700.0)


def test_orders_are_those_that_the_rig_of_the_6205_publishes():
    orders = BEARING_6205.orders()
    # CWRU Bearing Data Center, drive end: inner ring, outer ring, cage train, rolling element (spin x 2).
    assert orders["BPFI"] == pytest.approx(5.415, abs=6e-4)
    assert orders["BPFO"] == pytest.approx(3.585, abs=6e-4)
    assert orders["FTF"] == pytest.approx(0.398, abs=6e-4)
    assert orders["BSF"] == pytest.approx(4.714, abs=6e-4)


def test_orders_with_a_contact_angle():
    # A worked example: ratio = d/D cos(phi) = 0.2 exactly.
    angle = float(np.degrees(np.arccos(0.8)))
    orders = Bearing(elements=10, ball_mm=10.0, pitch_mm=40.0, angle_deg=angle).orders()
    assert orders == pytest.approx({"BPFO": 4.0, "BPFI": 6.0, "BSF": 3.84, "FTF": 0.4})


def test_every_element_passes_both_races():
    orders = BEARING_6205.orders()
    assert orders["BPFO"] + orders["BPFI"] == pytest.approx(9.0)
    assert orders["BPFO"] == pytest.approx(9 * orders["FTF"])


def grown(kind: str, seconds: float = 8.0, **more: object) -> np.ndarray:
    fault = Fault(kind, 1.0, 1e-6, start_s=-1.0)
    return heard(machine(fault, bearing=BEARING_6205, noise_ms2=0.5, **more), seconds)[:, 0]


@pytest.mark.parametrize(
    ("kind", "order"), [("outer_race", "BPFO"), ("inner_race", "BPFI"), ("ball", "BSF"), ("cage", "FTF")]
)
def test_the_envelope_peaks_at_the_fault_frequency(kind, order):
    hz, lines = envelope(grown(kind), BAND)
    expected = BEARING_6205.orders()[order] * SHAFT_HZ
    assert prominence(hz, lines, expected) > 8.0
    assert prominence(hz, lines, 2 * expected) > 3.0
    others = {name: value * SHAFT_HZ for name, value in BEARING_6205.orders().items() if name != order}
    for name, other_hz in others.items():
        if (kind, name) != ("ball", "FTF"):  # a ball's blows do swing at cage rate: see below
            assert prominence(hz, lines, expected) > 2.0 * prominence(hz, lines, other_hz), name


def test_the_largest_line_of_an_outer_race_envelope_is_bpfo():
    hz, lines = envelope(grown("outer_race"), BAND)
    audible = (hz > 5.0) & (hz < 600.0)
    assert hz[audible][np.argmax(lines[audible])] == pytest.approx(3.5848 * SHAFT_HZ, rel=0.01)


def test_the_load_zone_modulates_an_inner_race_at_shaft_rate_and_a_ball_at_cage_rate():
    hz, lines = envelope(grown("inner_race"), BAND)
    bpfi = 5.4152 * SHAFT_HZ
    for at_hz in (SHAFT_HZ, bpfi - SHAFT_HZ, bpfi + SHAFT_HZ):
        assert prominence(hz, lines, at_hz) > 5.0
    hz, lines = envelope(grown("ball"), BAND)
    assert prominence(hz, lines, 0.39831 * SHAFT_HZ, reach=0.02) > 5.0
    hz, lines = envelope(grown("outer_race"), BAND)
    assert prominence(hz, lines, SHAFT_HZ) < 4.0, "the outer race stands still in the load zone"


def test_slip_blurs_the_high_harmonics_but_not_the_fundamental():
    steady = heard(machine(Fault("outer_race", 1.0, 1e-6, start_s=-1.0), bearing=Bearing(
        elements=9, ball_mm=7.94, pitch_mm=39.04, resonance_hz=2700.0, slip=0.0)), 8.0)[:, 0]  # fmt: skip
    slipping = heard(machine(Fault("outer_race", 1.0, 1e-6, start_s=-1.0), bearing=BEARING_6205), 8.0)[:, 0]
    bpfo = 3.5848 * SHAFT_HZ

    def decay(x: np.ndarray) -> float:
        hz, lines = envelope(x, BAND)
        first = lines[np.abs(hz - bpfo) < 1.0].max()
        return float(lines[np.abs(hz - 8 * bpfo) < 8.0].max() / first)

    assert decay(slipping) < 0.6 * decay(steady)


def test_blows_follow_the_shaft_when_its_speed_wanders():
    wandering = machine(
        Fault("outer_race", 1.0, 1e-6, start_s=-1.0), bearing=Bearing(
            elements=9, ball_mm=7.94, pitch_mm=39.04, resonance_hz=2700.0, slip=0.0),
        load=Load(swing=0.3, droop=0.1, wander=0.05, period_s=5.0),
    )  # fmt: skip
    x = heard(wandering, 10.0)[:, 0]
    # A blow begins where the signal leaves silence: the ring of the one before has died away by then.
    quiet = np.convolve(np.abs(x) > 0.1, np.ones(10), "full")[: len(x)] == 0
    starts = np.flatnonzero(quiet[:-1] & ~quiet[1:]) + 1
    turns = wandering.running.angle_at(starts / RATE_HZ) / (2 * np.pi)
    steps = np.diff(turns) * 3.5848
    assert len(steps) > 800
    assert np.abs(steps - 1.0).max() < 0.05
    assert np.diff(starts).std() / np.diff(starts).mean() > 0.01, "in time the blows are uneven"


def test_the_ring_has_the_resonance_and_damping_of_the_structure():
    x = grown("cage", 4.0)
    hz, power = np.fft.rfftfreq(len(x), 1 / RATE_HZ), np.abs(np.fft.rfft(x)) ** 2
    smooth = np.convolve(power, np.ones(200), "same")
    assert hz[np.argmax(smooth)] == pytest.approx(2700.0, rel=0.03)


def test_early_stage_shows_in_the_envelope_long_before_the_rms_doubles():
    fault = Fault("outer_race", 1.0, 60.0, start_s=10.0)
    x = heard(machine(fault, bearing=BEARING_6205, noise_ms2=1.2, velocity_mm_s=(1.3, 0.5), load=Load()), 70.0)[:, 0]
    healthy_rms = x[: int(10 * RATE_HZ)].std()
    seconds = x.reshape(-1, int(2 * RATE_HZ))
    doubled = next(i for i, part in enumerate(seconds) if part.std() > 2 * healthy_rms)
    seen = [prominence(*envelope(part, BAND), 3.5848 * SHAFT_HZ) > 6.0 for part in seconds]
    assert not any(seen[:5]), "no sign of it while healthy"
    first = seen.index(True)
    assert all(seen[first + 1 :])
    assert 2 * (doubled - first) >= 10, f"seen from {2 * first} s, doubled at {2 * doubled} s"
    assert seconds[-1].std() > 4 * healthy_rms

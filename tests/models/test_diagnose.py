import numpy as np
import pytest

from models.bundle.manifest import InputSpec
from models.signal.diagnose import (
    PointFacts,
    diagnose,
    learn_healthy,
    match_orders,
    plain_match,
    velocity_and_zone,
)
from models.signal.healthy_orders import HealthyOrder
from models.signal.monitor import Monitor
from tests.models.builders import RATE_HZ, WINDOW, blows, healthy_windows, manifest, no_network

SHAFT_HZ = 29.0
ORDERS = {"BPFO": 3.585, "BPFI": 5.415, "BSF": 4.714, "FTF": 0.398}
FACTS = PointFacts(SHAFT_HZ, ORDERS, (2.8, 7.1, 18.0), "ISO 20816-3, group 2, flexible")


def alarmed(windows: np.ndarray) -> tuple[Monitor, object]:
    m = Monitor(manifest(), no_network, ["p"])
    m.process(healthy_windows(32), [0] * 32)
    return m, m.process(windows, [0] * len(windows))[-1]


@pytest.mark.parametrize("fault", ["BPFO", "BPFI"])
def test_names_the_fault_whose_order_stands_in_the_envelope(fault: str) -> None:
    windows = healthy_windows(6, seed=3) + blows(6, ORDERS[fault] * SHAFT_HZ, 1.2)
    m, result = alarmed(windows)
    found = diagnose(windows[-1], result, m, FACTS)
    assert found.fault == fault
    assert found.orders[0].frequency_hz == pytest.approx(ORDERS[fault] * SHAFT_HZ, rel=0.03)
    assert found.orders[0].confidence > 0.6
    assert fault in found.summary
    assert "bearing" in found.check_first


def test_drivers_are_in_the_band_where_the_fault_rings() -> None:
    windows = healthy_windows(6, seed=3) + blows(6, 104.0, 1.2)
    m, result = alarmed(windows)
    drivers = diagnose(windows[-1], result, m, FACTS).drivers
    driver = next(d for d in drivers if d.label.endswith("Hz"))
    assert driver.axis == "x"
    assert 0 < driver.share <= 1
    assert driver.ratio > 1.5
    low, high = (float(f) for f in driver.label.removesuffix(" Hz").split("-"))
    assert low < 2600 < high * 1.2


def test_unknown_stays_unknown() -> None:
    source = InputSpec(quantity="acceleration", units="g", axes=["x"], rate_hz=RATE_HZ, window=WINDOW, hop=WINDOW)
    named = sum(plain_match(match_orders(w, source, FACTS)) is not None for w in healthy_windows(200, seed=11))
    assert named <= 4  # of 200 windows of plain noise


def test_without_facts_no_fault_is_named() -> None:
    windows = healthy_windows(6, seed=3) + blows(6, ORDERS["BPFO"] * SHAFT_HZ, 1.2)
    m, result = alarmed(windows)
    found = diagnose(windows[-1], result, m, PointFacts())
    assert found.fault is None
    assert found.orders == []
    assert found.zone is None
    assert "healthy level" in found.summary


def test_velocity_rms_of_a_pure_tone_and_its_zone() -> None:
    t = np.arange(WINDOW) / RATE_HZ
    hz, velocity_mm_s = 80.0, 10.0  # RMS
    acceleration_g = np.sqrt(2) * velocity_mm_s * 1e-3 * 2 * np.pi * hz / 9.80665 * np.sin(2 * np.pi * hz * t)
    window = acceleration_g.astype(np.float32)[:, None]
    m, result = alarmed(window[None])
    found = diagnose(window, result, m, FACTS)
    assert found.velocity_rms_mm_s == pytest.approx(velocity_mm_s, rel=0.02)
    assert found.zone == "C"
    assert found.zone_source == "ISO 20816-3, group 2, flexible"


@pytest.mark.parametrize(("low", "high"), [(300.0, 500.0), (1000.0, 1300.0), (2500.0, 3000.0)])
def test_noise_added_in_a_known_band_is_what_drives_the_score(low: float, high: float) -> None:
    rng = np.random.default_rng(8)
    spectrum = np.fft.rfft(rng.standard_normal((6, WINDOW, 1)), axis=1)
    hz = np.fft.rfftfreq(WINDOW, 1 / RATE_HZ)
    spectrum[:, (hz < low) | (hz > high)] = 0
    added = np.fft.irfft(spectrum, WINDOW, axis=1)
    healthy = healthy_windows(6, seed=3)
    windows = (healthy + added / added.std() * healthy.std() * 0.7).astype(np.float32)
    m, result = alarmed(windows)
    drivers = diagnose(windows[-1], result, m, PointFacts()).drivers
    first = next(d for d in drivers if d.label.endswith("Hz") and not d.label.startswith("envelope"))
    found_low, found_high = (float(f) for f in first.label.removesuffix(" Hz").split("-"))
    assert found_low < high
    assert found_high > low
    assert first.ratio > 1.5
    assert sum(d.share for d in drivers) <= 1.0 + 1e-6


def test_a_fault_no_deeper_than_the_healthy_signal_is_not_named() -> None:
    source = InputSpec(quantity="acceleration", units="g", axes=["x"], rate_hz=RATE_HZ, window=WINDOW, hop=WINDOW)
    window = (healthy_windows(1, seed=3) + blows(1, ORDERS["BPFO"] * SHAFT_HZ, 1.2))[0]
    found = match_orders(window, source, FACTS)
    assert plain_match(found) is not None
    depth = {match.fault: match.depth for match in found}
    same = {fault: HealthyOrder([0.0], [depth[fault]]) for fault in depth}
    assert plain_match(match_orders(window, source, FACTS, same)) is None


def test_an_old_mark_is_not_named_and_a_new_fault_beside_it_is() -> None:
    mark = blows(1, ORDERS["BPFO"] * SHAFT_HZ, 1.2)[0]
    m, result = alarmed(healthy_windows(6, seed=3))
    healthy = healthy_windows(1, seed=5)[0] + mark
    learn_healthy(m, 0, healthy, FACTS)
    still = diagnose(healthy_windows(1, seed=6)[0] + mark, result, m, FACTS)
    assert still.fault is None
    known = next(match for match in still.orders if match.fault == "BPFO")
    assert known.healthy_depth == pytest.approx(known.depth, rel=0.3)
    assert known.prominence < 2.0  # of what was added; without a healthy signal it stands out plainly:
    assert match_orders(healthy, m.manifest.input, FACTS)[0].prominence > 4.0
    new = healthy_windows(1, seed=7)[0] + mark + blows(1, ORDERS["BPFI"] * SHAFT_HZ, 1.2)[0]
    assert diagnose(new, result, m, FACTS).ranking[0] == "BPFI"


def test_nothing_is_learnt_from_a_stretch_too_short_or_without_facts() -> None:
    m, _ = alarmed(healthy_windows(6, seed=3))
    learn_healthy(m, 0, np.zeros((100, 1), np.float32), FACTS)
    learn_healthy(m, 0, healthy_windows(1, seed=5)[0], PointFacts())
    assert m.healthy_orders(0) == {}


def velocity_of(
    hz: float, *, seconds: float = 4.0, rate_hz: float = RATE_HZ, units: str = "m/s2", shaft_hz: float = 29.0
) -> tuple[float | None, str | None]:
    """Of a tone of 10 mm/s RMS on a thousand times its size of rest value, as a sensor of these units shows it."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    velocity_m_s = np.sqrt(2) * 10e-3 * np.sin(2 * np.pi * hz * t)
    shown = {
        "m/s2": 2 * np.pi * hz * velocity_m_s, "g": 2 * np.pi * hz * velocity_m_s / 9.80665, "m/s": velocity_m_s,
        "mm/s": 1e3 * velocity_m_s,
    }[units]  # fmt: skip
    source = InputSpec(quantity="any", units=units, axes=["x"], rate_hz=rate_hz, window=256, hop=256)
    samples = (shown + 1e3 * np.abs(shown).max()).astype(np.float32)[:, None]
    return velocity_and_zone(samples, source, PointFacts(shaft_hz, {}, (2.8, 7.1, 18.0)))


@pytest.mark.parametrize("units", ["m/s2", "g", "m/s", "mm/s"])
def test_velocity_is_the_same_whatever_the_sensor_measures(units: str) -> None:
    velocity, zone = velocity_of(80.0, units=units)
    assert velocity == pytest.approx(10.0, rel=0.01)
    assert zone == "C"


def test_slow_shafts_are_judged_from_2_hz_on() -> None:
    """ISO 20816-3: 10 to 1000 Hz, below 600 r/min 2 to 1000 Hz; the shaft's own line is what such a machine shows."""
    assert velocity_of(4.0, shaft_hz=4.0)[0] == pytest.approx(10.0, rel=0.02)
    assert velocity_of(4.0, shaft_hz=29.0)[0] == pytest.approx(0.0, abs=0.1)


def test_what_cannot_be_resolved_is_not_known_rather_than_good() -> None:
    assert velocity_of(25.0, seconds=0.04) == (None, None)
    assert velocity_of(4.0, seconds=0.5, shaft_hz=4.0) == (None, None)
    velocity, zone = velocity_of(80.0, rate_hz=1000.0)
    assert velocity == pytest.approx(10.0, rel=0.01)
    assert zone is None, "the band up to 1000 Hz is not all there"

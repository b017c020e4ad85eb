"""Order matching on signals whose fault is known, those of the simulator among them."""

import numpy as np
import pytest

from models.bundle.manifest import InputSpec
from models.errors import SignalError
from models.signal.bearing import bearing_orders
from models.signal.diagnose import PointFacts, match_orders, plain_match
from models.signal.orders import gumbel_tail, odds_against_chance, order_evidence

RATE_HZ, SHAFT_HZ = 10_000.0, 29.95
ORDERS = {"BPFI": 5.415, "BPFO": 3.585, "BSF": 4.714, "FTF": 0.398}
SOURCE = InputSpec(quantity="acceleration", units="g", axes=["x"], rate_hz=RATE_HZ, window=1024, hop=256)


def struck(fault: str, seed: int, strength: float = 3.0, seconds: float = 5.0) -> np.ndarray:
    """Ringing blows in noise, with one percent of slip, in and out of the load zone as the fault's kind has it."""
    rng = np.random.default_rng(seed)
    n = int(seconds * RATE_HZ)
    x = rng.standard_normal(n)
    times = np.cumsum(1 + 0.01 * rng.standard_normal(int(seconds * ORDERS[fault] * SHAFT_HZ))) / (
        ORDERS[fault] * SHAFT_HZ
    )
    turning = {"BPFI": SHAFT_HZ, "BSF": ORDERS["FTF"] * SHAFT_HZ}.get(fault, 0.0)
    blows = np.zeros(n)
    at = (times * RATE_HZ).astype(int)
    keep = at < n
    blows[at[keep]] = strength * (1 + 0.9 * np.cos(2 * np.pi * turning * times[keep])) / 2
    t = np.arange(60) / RATE_HZ
    return (x + np.convolve(blows, 4 * np.exp(-t * 800) * np.sin(2 * np.pi * 3100 * t))[:n]).astype(np.float32)


@pytest.mark.parametrize("fault", ["BPFI", "BPFO", "BSF"])
def test_the_struck_order_stands_out_and_no_other(fault: str) -> None:
    evidence = {e.fault: e for e in order_evidence(struck(fault, 1), RATE_HZ, SHAFT_HZ, ORDERS)}
    ranked = sorted((e for e in evidence.values() if e.fault != "FTF"), key=lambda e: -e.z)
    assert ranked[0].fault == fault
    assert ranked[0].z > 2 * max(ranked[1].z, 1.0)
    assert ranked[0].frequency_hz == pytest.approx(ORDERS[fault] * SHAFT_HZ, rel=0.015)
    assert len(ranked[0].harmonics) >= 1


def test_inner_race_blows_show_sidebands_at_shaft_rate() -> None:
    (inner,) = [e for e in order_evidence(struck("BPFI", 2), RATE_HZ, SHAFT_HZ, ORDERS) if e.fault == "BPFI"]
    beside = min(abs(hz - (inner.frequency_hz + SHAFT_HZ)) for hz in inner.sidebands)
    assert beside < 1.0


def test_noise_is_seldom_named_with_confidence() -> None:
    rng = np.random.default_rng(5)
    facts = PointFacts(SHAFT_HZ, ORDERS)
    sure = 0
    for _ in range(60):
        noise = rng.standard_normal((20_000, 1)).astype(np.float32)
        sure += match_orders(noise, SOURCE, facts)[0].confidence > 0.8
    assert sure <= 6


def test_a_stretch_too_short_gives_no_guess() -> None:
    assert match_orders(np.zeros((100, 1), np.float32), SOURCE, PointFacts(SHAFT_HZ, ORDERS)) == []
    with pytest.raises(SignalError, match="expected a positive shaft rate and 256 samples or more, got 0 Hz"):
        order_evidence(np.zeros(1000, np.float32), RATE_HZ, 0.0, ORDERS)


def test_chance_follows_gumbel_and_odds_are_bounded() -> None:
    assert gumbel_tail(0.0) == pytest.approx(0.5)
    draws = np.random.default_rng(0).gumbel(size=400_000)
    z = (draws - np.median(draws)) / draws.std()
    assert gumbel_tail(3.0) == pytest.approx(float((z > 3.0).mean()), rel=0.05)
    assert odds_against_chance(0.5) == 1.0
    assert odds_against_chance(0.05) == pytest.approx(2.456, rel=1e-3)  # Sellke, Bayarri & Berger 2001, table 1: 0.407


def test_orders_of_the_two_bearings_of_the_cwru_rig() -> None:
    drive, fan = bearing_orders(9, 7.94, 39.04), bearing_orders(8, 6.746, 28.5)
    assert [drive[k] for k in ORDERS] == pytest.approx(list(ORDERS.values()), rel=2e-3)
    assert [fan[k] for k in ORDERS] == pytest.approx([4.947, 3.053, 3.987, 0.382], rel=2e-3)
    with pytest.raises(SignalError, match=r"expected 3 balls or more.*got 2 balls"):
        bearing_orders(2, 1.0, 2.0)


def test_a_sideband_of_the_inner_race_is_not_taken_for_another_fault() -> None:
    """Two turns of the shaft apart, by geometry: an inner-race fault has deep lines at the outer race's order, too."""
    near = {"BPFO": 3.978, "BPFI": 6.022, "BSF": 4.69, "FTF": 0.398}
    rng = np.random.default_rng(3)
    n = int(5 * RATE_HZ)
    times = np.cumsum(1 + 0.01 * rng.standard_normal(int(5 * near["BPFI"] * SHAFT_HZ))) / (near["BPFI"] * SHAFT_HZ)
    blows = np.zeros(n)
    zone = 0.1 + 0.9 * np.maximum(0.0, np.cos(2 * np.pi * SHAFT_HZ * times)) ** 1.5
    at = (times * RATE_HZ).astype(int)
    blows[at[at < n]] = 6.0 * zone[at < n]
    ring = np.exp(-np.arange(60) / RATE_HZ * 800) * np.sin(2 * np.pi * 3100 * np.arange(60) / RATE_HZ)
    x = (rng.standard_normal(n) + np.convolve(blows, 4 * ring)[:n]).astype(np.float32)[:, None]
    named = plain_match(match_orders(x, SOURCE, PointFacts(SHAFT_HZ, near)))
    assert named is None or named.fault == "BPFI"
    assert max(order_evidence(x[:, 0], RATE_HZ, SHAFT_HZ, near), key=lambda e: e.z).fault == "BPFO"  # by lines alone


def test_a_cage_line_alone_names_no_element() -> None:
    facts = PointFacts(SHAFT_HZ, ORDERS)
    named = [plain_match(match_orders(struck("FTF", seed, 9.0)[:, None], SOURCE, facts)) for seed in range(6)]
    assert all(match is None or match.fault == "FTF" for match in named)

"""The trend of a score: what it says of histories whose truth is known."""

import numpy as np
import pytest

from models.errors import SignalError
from models.signal.trend import MAX_BINS, MIN_SCORES, Outlook, outlook

STEP_S = 60.0


def history(rng: np.random.Generator, n: int, *, healthy: int, drift: float, walk: float, noise: float) -> np.ndarray:
    """A log score that drifts from step `healthy` on; the second row is what is seen."""
    steps = np.where(np.arange(n) < healthy, 0.0, drift) + walk * rng.standard_normal(n)
    truth = -2.0 + np.cumsum(steps)
    return np.stack([truth, truth + noise * rng.standard_normal(n)])


def asked(logs: np.ndarray, **options: float) -> Outlook:
    return outlook(np.arange(len(logs)) * STEP_S, np.exp(logs), **options)


@pytest.mark.parametrize(("walk", "noise"), [(0.0, 0.1), (0.02, 0.0), (0.02, 0.1)])
def test_false_rises_are_rare(walk: float, noise: float) -> None:
    rng = np.random.default_rng(1)
    rising = 0
    for _ in range(200):
        n = int(rng.integers(MIN_SCORES, 600))
        rising += asked(history(rng, n, healthy=n, drift=0.0, walk=walk, noise=noise)[1]).state == "rising"
    assert rising <= 16  # 8 %: a walk without drift does go up for a while


@pytest.mark.parametrize("noise", [0.02, 0.1])
def test_a_steady_rise_is_foretold(noise: float) -> None:
    rng = np.random.default_rng(2)
    inside = said = 0
    for _ in range(60):
        healthy = int(rng.integers(20, 150))
        truth, seen = history(rng, healthy + 400, healthy=healthy, drift=0.01, walk=0.0, noise=noise)
        end = int(np.argmax(truth >= -1e-9))
        now = healthy + int(0.6 * (end - healthy))
        result = asked(seen[:now])
        if result.state == "rising":
            said += 1
            assert result.low_s is not None
            inside += result.low_s <= (end - now + 1) * STEP_S <= (result.high_s or np.inf)
    assert said >= 50
    assert inside / said >= 0.75


def test_a_wandering_rise_has_an_interval_that_reaches_over_the_truth_most_of_the_time() -> None:
    rng = np.random.default_rng(3)
    inside = said = 0
    for _ in range(150):
        healthy = int(rng.integers(0, 100))
        truth, seen = history(rng, 3000, healthy=healthy, drift=0.01, walk=0.03, noise=0.0)
        end = int(np.argmax(truth >= 0))
        now = healthy + int(0.7 * (end - healthy))
        result = asked(seen[:now]) if now > MIN_SCORES else Outlook("too_short", 0.8)
        if result.state == "rising":
            said += 1
            inside += (result.low_s or np.inf) <= (end - now + 1) * STEP_S <= (result.high_s or np.inf)
    assert said >= 40
    assert inside / said >= 0.6  # below the nominal 0.8: only histories that look like a rise are asked


def test_what_has_been_reached_and_what_is_too_short() -> None:
    assert asked(np.full(50, 0.1)).state == "reached"
    assert asked(np.full(3, 0.1)).state == "reached"
    assert asked(np.full(MIN_SCORES - 1, -1.0)).state == "too_short"
    assert asked(np.full(50, -1.0)).state == "no_trend"
    empty = np.empty(0)
    assert outlook(empty, empty) == Outlook("too_short", 0.8)
    assert asked(np.linspace(-2, -0.1, 50), limit=np.exp(-0.5)).state == "reached"


def test_a_fall_is_no_trend() -> None:
    assert asked(np.linspace(-0.1, -3, 300)).state == "no_trend"


def test_order_repeats_gaps_and_length_do_not_matter() -> None:
    rng = np.random.default_rng(4)
    logs = history(rng, 5000, healthy=3000, drift=0.0006, walk=0.0, noise=0.05)[1]
    times, scores = np.arange(5000) * STEP_S, np.exp(logs)
    expected = outlook(times, scores)
    assert expected.state == "rising"
    mixed = rng.permutation(5000)
    assert outlook(times[mixed], scores[mixed]) == expected
    scores_with_gaps = np.append(scores, [np.nan, np.inf, -1.0])
    assert outlook(np.append(times, [1e9, 1e9, 1e9]), scores_with_gaps) == expected
    assert outlook(np.repeat(times, 2), np.repeat(scores, 2)) == expected
    assert expected.since_s is not None
    assert abs(expected.since_s - 3000 * STEP_S) < 500 * STEP_S
    assert 5000 / MAX_BINS > 20  # so that the bins were used


def test_the_rate_is_that_of_the_score() -> None:
    result = outlook(np.arange(40) * 86_400.0, 0.01 * 1.1 ** np.arange(40.0))
    assert result.state == "rising"
    assert result.per_day == pytest.approx(1.1, rel=1e-3)
    assert result.remaining_s == pytest.approx((np.log(100) / np.log(1.1) - 39) * 86_400, rel=0.1)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"limit": 0.0}, "limit: expected a number over 0, got 0"),
        ({"limit": np.nan}, "limit: expected a number over 0, got nan"),
        ({"coverage": 1.0}, "coverage: expected over 0 and under 1, got 1"),
    ],
)
def test_what_cannot_be_asked(options: dict[str, float], text: str) -> None:
    with pytest.raises(SignalError, match=text):
        asked(np.zeros(20), **options)


def test_times_and_scores_of_different_lengths() -> None:
    with pytest.raises(SignalError, match=r"one shape \(n,\), got \(3,\), \(4,\)"):
        outlook(np.zeros(3), np.zeros(4))

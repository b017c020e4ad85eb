"""Counting what a bundle does, and the local rules by which a candidate is given up."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.behaviour import MIN_WINDOWS, Meter, bin_of, unfit
from edge_agent.fetch import Pace
from models.bundle.manifest import Budgets
from models.contract.messages import CHUNK_BYTES, SCORE_BINS, Behaviour
from models.signal.monitor import Result

BUDGETS = Budgets(window_us=100.0, memory_kb=50.0)


def result(score: float | None, point: int = 0, change: str | None = None) -> Result:
    return Result(point, "ok", score, score, change, np.zeros(1, np.float32), None)  # type: ignore[arg-type]


def meter(scores: list[float], sha256: str = "aa" * 32) -> Meter:
    made = Meter(sha256, 1)
    for score in scores:
        made.observe(result(score), 5.0)
    return made


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (-1.0, 0), (0.0, 0), (1e-300, 0), (2.0 ** (-43 / 6) * 1.0001, 1), (0.9999, 43), (1.0, 44), (1.1, 44),
        (2.0 ** (1 / 6) * 1.0001, 45), (2.0, 50), (8.9, 62), (9.1, 63), (1e300, 63), (float("inf"), 63),
    ],
)  # fmt: skip
def test_bins_are_six_an_octave_with_an_edge_at_the_limit(score: float, expected: int) -> None:
    assert bin_of(score) == expected


def test_every_finite_score_lies_within_its_bin() -> None:
    for score in np.geomspace(0.0075, 8.9, 500):
        low = 2.0 ** ((bin_of(score) - 44) / 6)
        assert low * (1 - 1e-9) <= score < low * 2.0 ** (1 / 6) * (1 + 1e-9)


def test_what_is_counted() -> None:
    made = Meter("aa" * 32, 2)
    assert made.behaviour() is None
    made.observe(result(None), 1.0)
    assert made.behaviour() is None, "a point that warms up has no score"
    for score, point, change in ((0.5, 0, None), (1.0, 1, None), (1.5, 1, "raised"), (0.2, 1, "cleared")):
        made.observe(result(score, point, change), 7.0)
    made.took(0.001, 10)
    told = made.behaviour(12.0)
    assert told is not None
    assert (told.windows, told.flagged, told.alarms, told.since_s) == (4, 1, 1, 7.0)
    assert (sum(told.scores), len(told.scores)) == (4, SCORE_BINS)
    assert told.window_us == pytest.approx(100.0)
    assert told.memory_kb == 12.0
    assert made.scored == [1, 3]


def test_counts_go_on_after_a_restart() -> None:
    before = meter([0.5, 2.0])
    before.took(0.002, 2)
    told = before.behaviour()
    assert isinstance(told, Behaviour)
    after = Meter("aa" * 32, 1)
    after.restore(told, [2])
    after.observe(result(0.5), 9.0)
    again = after.behaviour()
    assert again is not None
    assert (again.windows, again.flagged, again.since_s, after.scored) == (3, 1, 5.0, [3])
    assert again.window_us == pytest.approx(1000.0)


class TestUnfit:
    def test_nothing_speaks_against_a_calm_one(self) -> None:
        assert unfit(meter([0.5] * 100), meter([0.5] * 100), BUDGETS, 50.0) is None

    @pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf")])
    def test_one_score_that_is_no_number_is_enough(self, score: float) -> None:
        reason, text = unfit(meter([0.5, score]), meter([]), BUDGETS, None) or ("", "")
        assert reason == "shadow_scores"
        assert str(score) in text

    def test_memory_and_latency(self) -> None:
        assert (unfit(meter([]), meter([]), BUDGETS, 50.1) or ("",))[0] == "shadow_memory"
        slow = meter([0.5] * MIN_WINDOWS)
        slow.took(MIN_WINDOWS * 101e-6, MIN_WINDOWS)
        assert (unfit(slow, meter([]), BUDGETS, None) or ("",))[0] == "shadow_latency"
        few = meter([0.5] * (MIN_WINDOWS - 1))
        few.took(1.0, 1)
        assert unfit(few, meter([]), BUDGETS, None) is None, "no mean of few windows"

    def test_flagging_nearly_all_while_the_champion_is_calm(self) -> None:
        wolf, calm, loud = meter([2.0] * 18 + [0.5] * 2), meter([0.5] * 20), meter([2.0] * 3 + [0.5] * 17)
        assert (unfit(wolf, calm, BUDGETS, None) or ("",))[0] == "shadow_flags"
        assert unfit(wolf, loud, BUDGETS, None) is None, "the champion sees something, too"
        assert unfit(meter([2.0] * 17 + [0.5] * 3), calm, BUDGETS, None) is None
        assert unfit(wolf, meter([0.5] * 19), BUDGETS, None) is None, "not on few windows of the champion"


class TestPace:
    def test_without_a_cap_everything_may_go(self) -> None:
        assert all(Pace().take(10**9, 0.0) for _ in range(10))

    @pytest.mark.parametrize("bytes_s", [1000.0, 50_000.0, 10**7])
    def test_over_time_no_more_than_the_cap_and_one_burst(self, bytes_s: float) -> None:
        pace, sent = Pace(bytes_s), 0
        for tick in range(1000):
            while pace.take(CHUNK_BYTES, tick / 10):
                sent += CHUNK_BYTES
        assert sent <= 100 * bytes_s + max(CHUNK_BYTES, bytes_s) + CHUNK_BYTES
        assert sent >= 0.85 * 100 * bytes_s - CHUNK_BYTES

"""How much is asked of an operator: against figures that can be counted on paper, and by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_hub.alarms.floods import FLOOD_COUNT, SPAN_S, load


def test_nothing_and_little() -> None:
    assert load(np.array([]), 0.0, 6000.0).alarms == 0
    few = load(np.array([10.0, 700.0, 5999.0, 6000.0]), 0.0, 6000.0)  # the last lies outside
    assert (few.alarms, few.mean_per_10_min, few.peak_per_10_min, few.flood_share, few.floods) == (3, 0.3, 1, 0.0, 0)


def test_ten_are_no_flood_and_eleven_are() -> None:
    ten = np.linspace(1000.0, 1090.0, 10)
    assert load(ten, 0.0, 6000.0).flood_share == 0.0
    flood = load(np.append(ten, 1100.0), 0.0, 6000.0)
    assert flood.peak_per_10_min == 11
    assert flood.floods == 1
    assert flood.flood_share == pytest.approx((1600.0 - 1100.0) / 6000.0)  # until the first is ten minutes old


def test_two_floods_apart() -> None:
    one = np.linspace(0.0, 10.0, 11)
    both = load(np.concatenate([one, one + 3000.0]), 0.0, 6000.0)
    assert both.floods == 2
    assert both.flood_share == pytest.approx(2 * 590.0 / 6000.0)


def test_a_flood_ends_with_the_span() -> None:
    assert load(np.full(11, 5900.0), 0.0, 6000.0).flood_share == pytest.approx(100.0 / 6000.0)


def test_a_span_of_no_time() -> None:
    with pytest.raises(ValueError, match="expected since_s < until_s, got 5 and 5"):
        load(np.array([]), 5.0, 5.0)


@given(st.lists(st.integers(0, 4000), max_size=60))
def test_second_by_second(times: list[int]) -> None:
    announced = np.array(times, np.float64)
    got = load(announced, 0.0, 4000.0)
    middles = np.arange(4000) + 0.5  # nothing happens between whole seconds
    inside = announced[announced < 4000]
    counts = np.array([np.count_nonzero((inside <= m) & (inside > m - SPAN_S)) for m in middles])
    flooded = counts > FLOOD_COUNT
    assert got.flood_share == pytest.approx(flooded.mean())
    assert got.floods == np.count_nonzero(flooded & ~np.append([False], flooded[:-1]))
    assert got.peak_per_10_min == counts.max(initial=0)

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import SignalError
from models.signal.windows import Ring, cut_windows


def ramp(start: int, n: int, axes: int = 2) -> np.ndarray:
    return np.repeat(np.arange(start, start + n, dtype=np.float32)[:, None], axes, axis=1)


@given(st.lists(st.integers(1, 70), max_size=30), st.integers(4, 32), st.integers(1, 32))
@settings(deadline=None)
def test_a_ring_cuts_what_cutting_the_whole_would(pushes: list[int], window: int, hop: int) -> None:
    hop = min(hop, window)
    ring = Ring(2, window, hop, capacity=512)
    got, at = [], 0
    for n in pushes:
        ring.push(ramp(at, n))
        at += n
        got.extend(ring.take())
    want = cut_windows(ramp(0, at), window, hop)
    assert len(got) == len(want)
    assert all(np.array_equal(g, w) for g, w in zip(got, want, strict=True))
    assert ring.overwritten == 0


def test_taken_windows_stay_as_they_were() -> None:
    ring = Ring(1, 4, 2)
    ring.push(ramp(0, 8, 1))
    windows = ring.take()
    ring.push(ramp(100, 8, 1))
    ring.take()
    np.testing.assert_array_equal(windows[0, :, 0], [0, 1, 2, 3])


def test_what_does_not_fit_is_counted_and_the_newest_is_kept() -> None:
    ring = Ring(1, 4, 4, capacity=16)
    ring.push(ramp(0, 12, 1))
    ring.push(ramp(12, 10, 1))
    assert ring.overwritten == 6
    assert len(ring) == 16
    assert ring.take()[-1][-1, 0] == 21
    ring.push(ramp(0, 40, 1))
    assert ring.overwritten == 6 + 24
    assert len(ring) == 16


def test_nothing_spans_a_reset() -> None:
    ring = Ring(1, 4, 1)
    ring.push(ramp(0, 3, 1))
    ring.reset()
    ring.push(ramp(50, 4, 1))
    windows = ring.take()
    assert len(windows) == 1
    assert windows[0, 0, 0] == 50


def test_samples_must_have_axes() -> None:
    with pytest.raises(SignalError, match=r"expected \(n, axes\), got shape \(5,\)"):
        cut_windows(np.zeros(5, np.float32), 2, 1)


@given(st.lists(st.integers(1, 60), max_size=40), st.integers(1, 80))
@settings(deadline=None)
def test_history_is_the_last_samples_whatever_was_taken(pushes: list[int], wanted: int) -> None:
    ring = Ring(1, 16, 8, capacity=128, history=64)
    at = 0
    for n in pushes:
        ring.push(ramp(at, n, 1))
        at += n
        ring.take()
        recent = ring.recent(wanted)[:, 0]
        assert len(recent) >= min(wanted, at, 64)
        np.testing.assert_array_equal(recent, np.arange(at - len(recent), at))


def test_history_does_not_span_a_reset() -> None:
    ring = Ring(1, 4, 2, history=32)
    ring.push(ramp(0, 30, 1))
    ring.take()
    ring.reset()
    ring.push(ramp(100, 5, 1))
    np.testing.assert_array_equal(ring.recent(50)[:, 0], np.arange(100, 105))

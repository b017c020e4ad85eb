"""The parts of the ladder that need no TensorFlow: ranges, rounding that compensates, comparing two ways to score."""

import numpy as np
import pytest

from cloud_hub.data.representative import grouped
from cloud_hub.evaluate.metrics import partial_auc, roc_auc
from cloud_hub.training.quantising.correct import compensated, rounded_weights, weight_scales
from cloud_hub.training.quantising.fidelity import (
    MAX_AUC_LOSS,
    compare_auc,
    judge,
    make_probe,
    mean_squared,
    unit_scores,
    verdict,
)
from cloud_hub.training.quantising.perturb import KINDS, at_auc, directions, moments_of
from cloud_hub.training.quantising.ranges import least_squares_range, nudged, percentile_range, rounded
from models.errors import SignalError


def low_rank(count: int, features: int, seed: int, rank: int = 4) -> np.ndarray:
    """Rows near a plane of few dimensions, (count, features)."""
    mixing = np.random.default_rng(99).standard_normal((rank, features))
    rng = np.random.default_rng(seed)
    noise = 0.3 * rng.standard_normal((count, features))
    return (rng.standard_normal((count, rank)) @ mixing + noise).astype(np.float32)


def projection(features: int, rank: int = 4) -> np.ndarray:
    rows = low_rank(2000, features, 1, rank)
    return np.linalg.svd(rows - rows.mean(0), full_matrices=False)[2][:rank]


@pytest.mark.parametrize(("low", "high"), [(-3.0, 5.0), (0.0, 7.0), (2.0, 9.0), (-4.0, -1.0)])
def test_zero_is_always_a_code(low: float, high: float) -> None:
    scale, zero = nudged(low, high)
    assert -128 <= zero <= 127
    assert rounded(np.zeros(1, np.float32), low, high)[0] == 0.0
    inside = np.linspace(min(low, 0), max(high, 0), 999, dtype=np.float32)
    assert np.abs(rounded(inside, low, high) - inside).max() <= 0.5001 * scale + 0.5 * scale  # the ends are nudged


def test_least_squares_is_never_worse_than_the_whole_range_or_a_percentile() -> None:
    rng = np.random.default_rng(0)
    for values in (rng.standard_t(2, 20_000), rng.standard_normal(20_000), np.maximum(0, rng.standard_normal(5000))):
        flat = values.astype(np.float32)

        def error(low: float, high: float, flat: np.ndarray = flat) -> float:
            return float(np.square(flat - rounded(flat, low, high)).mean())

        found = error(*least_squares_range(flat, rng))
        assert found <= error(flat.min(), flat.max())
        assert found <= 1.02 * error(*percentile_range(flat))


def test_compensated_rounding_beats_rounding_on_what_the_layer_sees() -> None:
    rng = np.random.default_rng(2)
    inputs = low_rank(1000, 40, 3).astype(np.float64)
    weights = rng.standard_normal((16, 40)).astype(np.float32)
    weights[:, 0] *= 12  # coarse grids, so that there is something to make up for
    errors = [
        np.square((inputs - inputs.mean(0)) @ (w - weights).T.astype(np.float64)).mean()
        for w in (compensated(weights, inputs), rounded_weights(weights))
    ]
    assert errors[0] < 0.5 * errors[1]


def test_compensated_weights_stay_on_the_grid_that_the_converter_finds() -> None:
    rng = np.random.default_rng(4)
    weights = rng.standard_normal((8, 30)).astype(np.float32)
    done = compensated(weights, low_rank(500, 30, 5).astype(np.float64))
    np.testing.assert_allclose(weight_scales(done), weight_scales(weights), rtol=1e-6)
    np.testing.assert_allclose(rounded_weights(done), done, rtol=1e-5, atol=1e-7)


def test_a_dead_layer_is_rounded_without_trouble() -> None:
    done = compensated(np.zeros((3, 5), np.float32), np.zeros((10, 5)))
    assert np.isfinite(done).all()


def test_compare_auc_counts_pairs_that_change_their_order() -> None:
    healthy, faulty = np.array([1.0, 2.0, 3.0]), np.array([2.5, 4.0])
    other = (healthy, np.array([1.5, 4.0]))  # 2.5 was over two healthy scores, is now over one
    change = compare_auc((healthy, faulty), other)
    assert change.shift == pytest.approx(1 / 6)
    assert change.flips == pytest.approx(1 / 6)
    assert change.bound > change.shift
    same = compare_auc((healthy, faulty), (healthy * 3, faulty * 3))
    assert (same.shift, same.bound, same.flips) == (0.0, 0.0, 0.0)


def test_the_interval_of_the_difference_holds_the_truth() -> None:
    """Of paired samples of two scores with known AUCs, about one in twenty bounds lies under the true difference."""
    rng = np.random.default_rng(6)
    truth = compare_auc(*_two_scores(rng, 3000)).shift
    missed = [compare_auc(*_two_scores(rng, 150)).bound < truth for _ in range(200)]
    assert np.mean(missed) < 0.11


def _two_scores(rng: np.random.Generator, count: int):
    healthy, faulty = rng.standard_normal(count), rng.standard_normal(count) + 1.2
    return (healthy, faulty), (healthy + 0.5 * rng.standard_normal(count), faulty + 0.5 * rng.standard_normal(count))


def test_made_up_faults_are_as_mild_as_asked() -> None:
    rng = np.random.default_rng(7)
    rows, basis = low_rank(600, 20, 8), projection(20)
    units = rows[:, None]

    def score(u: np.ndarray) -> np.ndarray:
        return unit_scores(mean_squared(), u, u @ basis.T @ basis)

    for kind in ("band", "tilt", "noise", "stretch"):
        delta = directions(kind, units, moments_of(rows), 20, rng)
        assert delta.shape == units.shape
        found = roc_auc(score(units), score(at_auc(score, units, delta, 0.85, 8.0)))
        assert found == pytest.approx(0.85, abs=0.01), kind


def test_the_bands_of_a_window_repeat_with_its_frames() -> None:
    rng = np.random.default_rng(9)
    rows = low_rank(100, 30, 10)
    flat = moments_of(rows)
    delta = directions("band", rows[:, None], flat, 10, rng)[:, 0] / flat.spread
    np.testing.assert_allclose(delta[:, :10], delta[:, 10:20], atol=1e-5)
    np.testing.assert_allclose(delta[:, :10], delta[:, 20:], atol=1e-5)


def probe_of(rows: np.ndarray, basis: np.ndarray):
    def network(x: np.ndarray) -> np.ndarray:
        return (x @ basis.T @ basis).astype(np.float32)

    rng = np.random.default_rng(11)
    return make_probe(network, rows[:, None], rows, rows.shape[1], None, mean_squared(), rng), network


def test_the_verdict_is_about_ranking_not_about_the_size_of_the_error() -> None:
    rows, basis = low_rank(400, 20, 12), projection(20)
    probe, network = probe_of(rows, basis)
    assert set(probe.sets) == {"healthy", *KINDS}
    same = judge(probe, network)
    assert (same.auc_shift_bound, same.flips, same.output_error) == (0.0, 0.0, 0.0)
    assert same.kendall == pytest.approx(1.0)
    # Everything further from the input by the same factor: a great error that changes no order.
    doubled = judge(probe, lambda x: x - 1.5 * (x - network(x)))
    assert doubled.output_error > 0.2
    assert verdict(doubled) == ""
    noise = np.random.default_rng(13)
    worse = judge(probe, lambda x: network(x) + 0.6 * noise.standard_normal(x.shape, dtype=np.float32))
    assert worse.auc_shift_bound > MAX_AUC_LOSS
    assert "of pairs change" in verdict(worse) or "AUC may differ by 0." in verdict(worse)


def test_a_network_that_saturates_on_faults_alone_does_not_pass() -> None:
    """Healthy rows are left as they are: only rows beyond what is healthy are reconstructed differently."""
    rows, basis = low_rank(400, 20, 14), projection(20)
    probe, network = probe_of(rows, basis)
    top = np.abs(rows @ basis.T).max(axis=0)

    def saturated(x: np.ndarray) -> np.ndarray:
        return (np.clip(x @ basis.T, -top, top) @ basis).astype(np.float32)

    np.testing.assert_allclose(saturated(rows), network(rows), atol=1e-5)
    assert verdict(judge(probe, saturated)) != ""


def test_grouped_rows_are_those_near_each_other() -> None:
    rng = np.random.default_rng(15)
    centres = rng.standard_normal((20, 8)) * 10
    rows = np.repeat(centres, 12, axis=0) + 0.1 * rng.standard_normal((240, 8))
    groups = grouped(rows.astype(np.float32), rng)
    assert groups.shape == (40, 6, 8)
    assert groups.std(axis=1).max() < 1.0
    assert len(np.unique(groups.reshape(-1, 8), axis=0)) == 240  # each row once


def test_partial_auc() -> None:
    healthy, faulty = np.arange(100.0), np.arange(100.0) + 1000
    assert partial_auc(healthy, faulty, 0.1) == pytest.approx(1.0)
    rng = np.random.default_rng(16)
    a, b = rng.standard_normal(4000), rng.standard_normal(4000)
    assert partial_auc(a, b, 0.1) == pytest.approx(0.5, abs=0.02)
    b += 1
    assert partial_auc(a, b, 1.0) == pytest.approx(roc_auc(a, b), abs=1e-9)
    # By hand: two of four faulty scores over all four healthy, then the curve is flat up to one false alarm in four.
    assert partial_auc(np.array([0.0, 1, 2, 9]), np.array([10.0, 11, 0.5, 1.5]), 0.25) == pytest.approx(
        0.5 * (1 + (0.125 - 0.03125) / (0.25 - 0.03125))
    )
    with pytest.raises(SignalError, match="got 0 healthy and 3 faulty"):
        partial_auc(np.array([]), np.arange(3.0), 0.1)
    with pytest.raises(SignalError, match="over 0 and at most 1, got 0"):
        partial_auc(a, b, 0.0)

"""The shrunken Gaussian, without TensorFlow: distances, robustness, shrinkage, states."""

import numpy as np

from cloud_hub.training.density import (
    fit_density,
    folds,
    group_energy,
    left_out_distances,
    mixture_gain,
    pick_shrinkage,
    robust_moments,
)

RNG = np.random.default_rng(4)
MIX = RNG.normal(0, 1, (6, 6))
ROWS = RNG.standard_normal((600, 6)) @ MIX
ALL = [np.arange(6)]


def test_the_residual_is_the_mahalanobis_distance() -> None:
    density = fit_density(ROWS, ALL, 1e-6)
    got = np.square(density.distances(ROWS)).sum(axis=1)
    mean, covariance = robust_moments(ROWS)
    off = ROWS - mean
    wanted = np.einsum("kf,fg,kg->k", off, np.linalg.inv(covariance), off)
    assert np.corrcoef(got, wanted)[0, 1] > 0.9999


def test_features_of_other_groups_do_not_matter() -> None:
    groups = [np.array([0, 1, 2]), np.array([3, 4, 5])]
    density = fit_density(ROWS, groups, 0.1)
    moved = ROWS.copy()
    moved[:, 3:] += 5.0
    before, after = (group_energy(density.distances(rows), groups) for rows in (ROWS, moved))
    np.testing.assert_allclose(before[:, 0], after[:, 0])
    assert (after[:, 1] > before[:, 1]).mean() > 0.95


def test_a_short_disturbance_hardly_moves_the_estimate() -> None:
    spoilt = ROWS.copy()
    spoilt[100:112] += 30.0
    mean, covariance = robust_moments(spoilt)
    clean_mean, clean = robust_moments(ROWS)
    plain = np.cov(spoilt, rowvar=False)
    assert np.trace(covariance) < 2.5 * np.trace(clean)
    assert np.trace(plain) > 3 * np.trace(clean)
    assert np.abs(mean - clean_mean).max() < 1.0


def test_few_rows_are_shrunken_more_than_many() -> None:
    wide = np.random.default_rng(1).standard_normal((3000, 40)) @ np.random.default_rng(2).normal(0, 1, (40, 40))
    every = [np.arange(40)]
    assert pick_shrinkage(wide[:80], every, 0) > pick_shrinkage(wide, every, 0)


def test_left_out_rows_are_farther_than_rows_that_were_fitted() -> None:
    few = ROWS[:60]
    fitted = group_energy(fit_density(few, ALL, 0.05).distances(few), ALL)
    assert np.median(left_out_distances(few, ALL, 0.05, 0)) > np.median(fitted)


def test_folds_keep_their_distance() -> None:
    for kept, block in folds(100, 5):
        assert np.abs(kept[:, None] - block[None]).min() > 5
    assert sorted(np.concatenate([block for _, block in folds(100, 5)])) == list(range(100))


def test_two_states_are_seen_and_one_is_not_split() -> None:
    rng = np.random.default_rng(7)
    one = rng.standard_normal((800, 5))
    two = one + np.where(rng.random(800) < 0.5, 4.0, -4.0)[:, None]
    groups = [np.arange(5)]
    assert mixture_gain(two, groups, 0.1, 2, 0, seed=1) > 0.1
    both = fit_density(two, groups, 0.1, states=2, seed=1)
    single = fit_density(two, groups, 0.1)
    between = np.zeros((1, 5))
    near = two[:1]
    ratios = [np.linalg.norm(d.distances(between)) / np.linalg.norm(d.distances(near)) for d in (both, single)]
    assert ratios[0] > 2 * ratios[1]

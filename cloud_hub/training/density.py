"""A shrunken Gaussian of healthy features, as the linear residual network that ships it. numpy only.

With covariance S, shrunken towards a multiple of the identity (Ledoit & Wolf 2004), the Mahalanobis distance is
z' (S + lam I)^-1 z = |A z|^2 / lam with A = sqrt(lam) (S + lam I)^(-1/2). A network that gives y = (I - A) z leaves the
residual z - y = A z: its energy *is* the distance, up to a factor that calibration takes out. How much to shrink is
chosen by the likelihood of healthy rows that were left out.

"Healthy" records hold disturbances too: mean and covariance are an M-estimate (Maronna 1976), in which rows far out
count by their distance's inverse.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from models.signal.arrays import F64, Ints

FOLDS = 4
_SHRINKAGES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_CLUSTER_ROUNDS = 50
_REWEIGHTINGS = 8
_PRIOR_ROWS = 1.0  # per feature
_LEAST_VARIANCE = 1e-4  # of standardised features


@dataclass(frozen=True, slots=True)
class Density:
    """Healthy states `centres` (states, features), all with one spread: `root` (features, features) is A."""

    centres: F64
    root: F64

    def distances(self, z: F64) -> F64:
        """Residuals z - y of the nearest state, (k, features)."""
        residuals = np.stack([(z - centre) @ self.root for centre in self.centres])
        nearest = np.square(residuals).sum(axis=2).argmin(axis=0)
        picked: F64 = residuals[nearest, np.arange(len(z))]
        return picked


def folds(rows: int, guard: int) -> Iterator[tuple[Ints, Ints]]:
    """Contiguous blocks to leave out, and what remains with `guard` rows cut on either side: windows overlap."""
    every = np.arange(rows)
    for block in np.array_split(every, FOLDS):
        kept = np.concatenate([every[: max(0, block[0] - guard)], every[block[-1] + 1 + guard :]])
        yield kept, block


def pick_shrinkage(z: F64, groups: list[Ints], guard: int) -> float:
    """The shrinkage under which left-out rows (k, features) are likeliest, the same for all groups."""
    losses = np.zeros(len(_SHRINKAGES))
    for kept, left_out in folds(len(z), guard):
        for group in groups:
            known, unknown = z[kept][:, group], z[left_out][:, group]
            values, vectors = np.linalg.eigh(_covariance(known))
            squares = np.square((unknown - known.mean(axis=0)) @ vectors).mean(axis=0)
            mean = max(float(values.mean()), 1e-9)
            for i, shrinkage in enumerate(_SHRINKAGES):
                spread = np.maximum(values, 0.0) + shrinkage * mean
                losses[i] += float((squares / spread + np.log(spread)).sum())
    return _SHRINKAGES[int(np.argmin(losses))]


def fit_density(z: F64, groups: list[Ints], shrinkage: float, states: int = 1, seed: int = 0) -> Density:
    """Fit on healthy rows (k, features). Features of different groups are taken for independent."""
    features = z.shape[1]
    centres, owner = _clusters(z, states, seed)
    if states == 1:
        centres = np.concatenate([robust_moments(z[:, group])[0] for group in groups])[None][:, _inverse(groups)]
    centred = z - centres[owner]
    root = np.zeros((features, features))
    for group in groups:
        _, covariance = robust_moments(centred[:, group])
        spread = np.sqrt(np.maximum(np.diag(covariance), _LEAST_VARIANCE))
        values, vectors = np.linalg.eigh(covariance / np.outer(spread, spread))
        values = np.maximum(values, 0.0)
        ridge = shrinkage * max(float(values.mean()), 1e-9)
        whitened = (vectors * np.sqrt(ridge / (values + ridge))) @ vectors.T
        root[np.ix_(group, group)] = whitened / spread[:, None]
    return Density(centres, root)


def fit_machines(z: F64, shrinkage: float, states: int, seed: int = 0) -> list[tuple[F64, F64]]:
    """Healthy states each with a spread of its own, as several machines have: (centre (features,), root (features,
    features)) of each, the root scaled so that the state's own rows have a mean square residual of 1.

    A state's covariance is drawn towards the one that all states share, the more the fewer rows it has (regularised
    discriminant analysis, Friedman 1989): `_PRIOR_ROWS` rows per feature count as much as the shared one.
    """
    features = z.shape[1]
    fitted = []
    for centre, covariance, _ in _drawn_states(z, states, seed):
        spread = np.sqrt(np.maximum(np.diag(covariance), _LEAST_VARIANCE))
        values, vectors = np.linalg.eigh(covariance / np.outer(spread, spread))
        values = np.maximum(values, 0.0)
        ridge = shrinkage * max(float(values.mean()), 1e-9)
        root = (vectors * np.sqrt(ridge / (values + ridge))) @ vectors.T / spread[:, None]
        # The expectation under the drawn covariance, not the mean over the rows: few rows lie too near their centre.
        level = float(np.trace(root.T @ covariance @ root)) / features
        fitted.append((centre, root / np.sqrt(max(level, 1e-9))))
    return fitted


def machines_in(z: F64, shrinkage: float, most: int, seed: int = 0) -> int:
    """Under how many states, 1 to `most`, left-out rows are likeliest: a mixture of Gaussians, each with its spread."""
    found = []
    for states in range(1, most + 1):
        total = 0.0
        for kept, left_out in folds(len(z), 0):
            parts = []
            for centre, covariance, share in _drawn_states(z[kept], states, seed):
                values, vectors = np.linalg.eigh(covariance)
                spread = np.maximum(values, 0.0) + shrinkage * max(float(values.mean()), 1e-9)
                squares = np.square((z[left_out] - centre) @ vectors) / spread
                parts.append(np.log(share) - 0.5 * (squares.sum(axis=1) + np.log(spread).sum()))
            total += float(np.logaddexp.reduce(np.stack(parts), axis=0).sum())
        found.append(total)
    return 1 + int(np.argmax(found))


def _drawn_states(z: F64, states: int, seed: int) -> Iterator[tuple[F64, F64, float]]:
    """Centre, covariance drawn towards the shared one, and share of the rows of each state that has rows."""
    centres, owner = _clusters(z, states, seed)
    shared = _covariance(z - centres[owner])
    for state, centre in enumerate(centres):
        rows = z[owner == state] - centre
        if len(rows):
            own = len(rows) / (len(rows) + _PRIOR_ROWS * z.shape[1])
            yield centre, own * (rows.T @ rows / len(rows)) + (1.0 - own) * shared, len(rows) / len(z)


def robust_moments(rows: F64) -> tuple[F64, F64]:
    """Mean (features,) and covariance (features, features) of rows (k, features), rows far out counting less."""
    size = rows.shape[1]
    usual = size + 2.0 * np.sqrt(2.0 * size)  # two standard deviations of chi-squared over its mean
    weights = np.ones(len(rows))
    # From the medians: from the plain moments, a tenth of rows far out would hold the estimate where they are.
    mean = np.median(rows, axis=0)
    deviation = 1.4826 * np.median(np.abs(rows - mean), axis=0)
    covariance = np.diag(np.square(np.where(deviation > 0.0, deviation, rows.std(axis=0))))
    for _ in range(_REWEIGHTINGS):
        ridge = 1e-3 * max(float(np.trace(covariance)) / size, _LEAST_VARIANCE) * np.eye(size)
        off = rows - mean
        distances = np.einsum("kf,fg,kg->k", off, np.linalg.inv(covariance + ridge), off, optimize=True)
        weights = np.minimum(1.0, np.sqrt(usual / np.maximum(distances, 1e-12)))
        mean = weights @ rows / weights.sum()
        off = (rows - mean) * weights[:, None]
        covariance = off.T @ off / np.square(weights).sum()
    return mean, covariance


def _inverse(groups: list[Ints]) -> Ints:
    """Where each feature stands when the groups follow each other."""
    return np.argsort(np.concatenate(groups))


def left_out_distances(z: F64, groups: list[Ints], shrinkage: float, guard: int) -> F64:
    """Root mean square residual of each group for rows that its model has not seen: (k, groups).

    Mean and scale too are taken without the block left out, so what a level wanders from block to block is in it.
    """
    out = np.empty((len(z), len(groups)))
    for kept, left_out in folds(len(z), guard):
        mean, scale = z[kept].mean(axis=0), np.maximum(z[kept].std(axis=0), 1e-6)
        density = fit_density((z[kept] - mean) / scale, groups, shrinkage)
        residual = density.distances((z[left_out] - mean) / scale)
        out[left_out] = group_energy(residual, groups)
    return out


def group_energy(residual: F64, groups: list[Ints]) -> F64:
    """Root mean square of residuals (k, features) over each group: (k, groups)."""
    return np.stack([np.sqrt(np.square(residual[:, group]).mean(axis=1)) for group in groups], axis=1)


def mixture_gain(z: F64, groups: list[Ints], shrinkage: float, states: int, guard: int, seed: int) -> float:
    """How much nearer left-out rows are to the nearest of several states than to the one: share of mean energy saved.

    Both are measured with the spread of the single state, so that they can be compared.
    """
    one, many = 0.0, 0.0
    for kept, left_out in folds(len(z), guard):
        single = fit_density(z[kept], groups, shrinkage)
        centres, _ = _clusters(z[kept], states, seed)
        one += float(np.square(single.distances(z[left_out])).sum())
        many += float(np.square(Density(centres, single.root).distances(z[left_out])).sum())
    return 1.0 - many / max(one, 1e-12)


def _covariance(rows: F64) -> F64:
    return np.atleast_2d(np.cov(rows, rowvar=False))


def _clusters(z: F64, states: int, seed: int) -> tuple[F64, Ints]:
    """k-means with k-means++ seeding (Arthur & Vassilvitskii 2007): centres and each row's owner."""
    if states == 1:
        return z.mean(axis=0, keepdims=True), np.zeros(len(z), np.int64)
    rng = np.random.default_rng(seed)
    centres = z[rng.integers(len(z), size=1)]
    for _ in range(states - 1):
        far = np.square(z[:, None] - centres[None]).sum(axis=2).min(axis=1)
        centres = np.vstack([centres, z[rng.choice(len(z), p=far / far.sum())]])
    owner = np.zeros(len(z), np.int64)
    for _ in range(_CLUSTER_ROUNDS):
        found = np.stack([np.square(z - centre).sum(axis=1) for centre in centres]).argmin(axis=0)
        if np.array_equal(found, owner):
            break
        owner = found
        centres = np.stack(
            [z[owner == i].mean(axis=0) if (owner == i).any() else centre for i, centre in enumerate(centres)]
        )
    return centres, owner

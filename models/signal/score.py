"""From features to raw scores: normalise, run the network, weigh what it could not explain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

import numpy as np

from models.bundle.manifest import Manifest, RemainingLifeScore, ResidualScore, ScoreGroup, ScoreSpec, StackedScore
from models.errors import SignalError
from models.signal.arrays import F32, F64
from models.signal.features import FeatureExtractor

Network = Callable[[F32], F32]
"""Real numbers in, (k, features), real numbers out, (k, outputs); quantising and running int8 is its own affair."""


@dataclass(frozen=True, slots=True)
class Scored:
    """`raw`: (k,), higher is worse, not yet calibrated. `contributions`: (k, features), not negative; each row sums to
    raw ** 2.
    """

    raw: F64
    contributions: F32


class Scorer:
    """One bundle's way from windows to raw scores."""

    def __init__(self, manifest: Manifest, network: Network) -> None:
        self.manifest = manifest
        self.extract = FeatureExtractor(manifest.features, manifest.input)
        self._network = network
        self._mean = np.asarray(manifest.normalisation.mean, np.float32)
        self._gain = (1.0 / np.asarray(manifest.normalisation.scale)).astype(np.float32)
        self._clip = np.float32(manifest.normalisation.clip)
        features = len(self.extract.infos)
        if features != len(self._mean):
            raise SignalError(
                f"bundle {manifest.slot}/{manifest.version}: its feature spec gives {features} features, its "
                f"normalisation has {len(self._mean)}"
            )
        self._kind = _kind_of(manifest.score, features)

    @property
    def calibrates(self) -> bool:
        """Whether points learn their own limit; an absolute score needs none."""
        return not isinstance(self._kind, _RemainingLife)

    @property
    def mean(self) -> F32:
        """The training set's feature means, (features,)."""
        return self._mean

    def score(self, features: F32, shift: F32 | None = None) -> Scored:
        """Raw scores of features (k, features).

        `shift`: (features,) or (k, features), what a point's own healthy level adds to the training set's mean.
        """
        z = features - self._mean
        if shift is not None:
            z -= shift
        z *= self._gain
        return self._kind.score(z, self._network(np.clip(z, -self._clip, self._clip)))


class _Residual:
    """One reconstruction, all features together."""

    def __init__(self, weights: F64) -> None:
        self._weights = (weights / weights.sum()).astype(np.float32)

    def score(self, z: F32, y: F32) -> Scored:
        z -= y
        np.square(z, out=z)
        z *= self._weights
        return Scored(np.sqrt(z.sum(axis=1, dtype=np.float64)), z)


class _Stacked:
    """See `StackedScore`. Features are kept in the order of the groups, so that a group's sum is one `reduceat`."""

    def __init__(self, spec: StackedScore, features: int) -> None:
        groups = spec.groups or [ScoreGroup(name="all", features=list(range(features)), scale=1.0)]
        self._members = spec.members
        self._nearest = spec.join == "nearest"
        self._order = np.concatenate([np.asarray(group.features, np.int64) for group in groups])
        sizes = [len(group.features) for group in groups]
        self._starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        self._sizes = np.asarray(sizes)
        weights = np.asarray(spec.weights, np.float64).reshape(spec.members, features)[:, self._order]
        sums = np.add.reduceat(weights, self._starts, axis=1)
        if not self._nearest:
            sums = np.broadcast_to(sums.sum(axis=0), sums.shape)
        scale = np.array([group.scale for group in groups])
        gain = 1.0 / (np.maximum(sums, 1e-30) * scale**2)
        self._weights = (weights * np.repeat(gain, sizes, axis=1)).astype(np.float32)

    def score(self, z: F32, y: F32) -> Scored:
        rows, features = z.shape
        residual = z[:, None, :] - y.reshape(rows, self._members, features)
        np.square(residual, out=residual)
        parts: F32 = residual[:, :, self._order]
        parts *= self._weights
        energy = np.add.reduceat(parts, self._starts, axis=2, dtype=np.float64)  # (rows, members, groups)
        every = np.arange(rows)
        if self._nearest:
            nearest = energy.argmin(axis=1)  # (rows, groups)
            joined = energy.min(axis=1)
        else:
            joined = energy.sum(axis=1)
        worst = joined.argmax(axis=1)
        inside = np.repeat(np.arange(len(self._sizes)), self._sizes)[None, :] == worst[:, None]
        of_worst: F32 = parts[every, nearest[every, worst]] if self._nearest else parts.sum(axis=1)
        contributions = np.zeros((rows, features), np.float32)
        contributions[:, self._order] = of_worst * inside
        return Scored(np.sqrt(joined[every, worst]), contributions)


class _RemainingLife:
    """See `RemainingLifeScore`. No feature's part in it can be told: contributions are equal shares."""

    def __init__(self, spec: RemainingLifeScore) -> None:
        self._horizon = spec.horizon

    def score(self, z: F32, y: F32) -> Scored:
        raw = self._horizon / np.maximum(y[:, 0].astype(np.float64), self._horizon / 1000.0)
        share = (np.square(raw) / z.shape[1]).astype(np.float32)
        return Scored(raw, np.repeat(share[:, None], z.shape[1], axis=1))


def _kind_of(spec: ScoreSpec, features: int) -> _Residual | _Stacked | _RemainingLife:
    match spec:
        case ResidualScore():
            return _Residual(np.asarray(spec.weights, np.float64))
        case StackedScore():
            return _Stacked(spec, features)
        case RemainingLifeScore():
            return _RemainingLife(spec)
    assert_never(spec)

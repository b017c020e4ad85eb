"""From features to raw scores: normalise, run the network, weigh what it could not explain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from models.bundle.manifest import Manifest
from models.errors import SignalError
from models.signal.arrays import F32, F64
from models.signal.features import FeatureExtractor

Network = Callable[[F32], F32]
"""Real numbers in, real numbers out, both (k, features); quantising and running int8 is its own affair."""


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
        weights = np.asarray(manifest.score.weights, np.float64)
        if len(self.extract.infos) != len(weights):
            raise SignalError(
                f"bundle {manifest.slot}/{manifest.version}: its feature spec gives {len(self.extract.infos)} "
                f"features, its score weighs {len(weights)}"
            )
        self._weights = (weights / weights.sum()).astype(np.float32)

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
        clipped = np.clip(z, -self._clip, self._clip)
        z -= self._network(clipped)
        np.square(z, out=z)
        z *= self._weights
        return Scored(np.sqrt(z.sum(axis=1, dtype=np.float64)), z)

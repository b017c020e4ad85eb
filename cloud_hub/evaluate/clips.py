"""Scoring a bundle on clips of log-mel frames, with the plain scores beside it that it has to beat.

Frames become statistics, normalised features, the int8 network's output and a raw score by the code that a gateway runs
on sound; only the step from sound to frames is left out. Clips are pooled and no point calibrates itself, as the
benchmark does it, so scores are raw.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from cloud_hub.data.clips import Clips
from cloud_hub.errors import DataError
from cloud_hub.evaluate.metrics import partial_auc, roc_auc
from models.bundle.manifest import FeatureSpec, LogMel
from models.signal.arrays import F32, F64
from models.signal.mel import ClipStatistics
from models.signal.score import Network, Scorer

if TYPE_CHECKING:
    from models.bundle.archive import Bundle

CLIP_MAHALANOBIS = "Mahalanobis on clip statistics"
MEAN_LEVEL = "mean level"
MAX_FPR = 0.1


class ClipBaselines(msgspec.Struct, frozen=True, kw_only=True):
    """The plain scores of clips, fitted on healthy ones: travels with a bundle, so that it can be compared anywhere.

    Mahalanobis distance of mean and standard deviation of each band over the frames, in floating point, its covariance
    shrunken as Ledoit & Wolf 2004 say; and how far the mean level of a clip is from that of healthy ones. `mean`,
    `scale`: little-endian float32 (2 * mels,). `precision`: the lower triangle of the inverse covariance of
    standardised statistics, float32, row by row.
    """

    mels: int
    mean: bytes
    scale: bytes
    precision: bytes

    def mahalanobis(self, x: F32) -> F64:
        """Distances (clips,) of clips (clips, frames, mels), about 1 when healthy."""
        size = 2 * self.mels
        precision = np.zeros((size, size))
        precision[np.tril_indices(size)] = np.frombuffer(self.precision, "<f4")
        precision += np.tril(precision, -1).T
        z = (_mean_and_deviation(x) - np.frombuffer(self.mean, "<f4")) / np.frombuffer(self.scale, "<f4")
        distance: F64 = np.sqrt(np.maximum(np.einsum("kf,fg,kg->k", z, precision, z, optimize=True) / size, 0.0))
        return distance

    def mean_level(self, x: F32) -> F64:
        """Distance in decibels (clips,) of each clip's mean level from the healthy mean level."""
        healthy = float(np.frombuffer(self.mean, "<f4")[: self.mels].mean(dtype=np.float64))
        level: F64 = np.abs(x.mean(axis=(1, 2), dtype=np.float64) - healthy)
        return level


def fit_clip_baselines(healthy: F32) -> ClipBaselines:
    """Fit on healthy clips (clips, frames, mels)."""
    statistics = _mean_and_deviation(healthy)
    mean, scale = statistics.mean(axis=0), np.maximum(statistics.std(axis=0), 1e-6)
    precision = np.linalg.inv(_ledoit_wolf((statistics - mean) / scale))
    return ClipBaselines(
        mels=healthy.shape[2],
        mean=mean.astype("<f4").tobytes(),
        scale=scale.astype("<f4").tobytes(),
        precision=precision[np.tril_indices(len(precision))].astype("<f4").tobytes(),
    )


def _mean_and_deviation(x: F32) -> F64:
    return np.concatenate([x.mean(axis=1), x.std(axis=1)], axis=1).astype(np.float64)


def _ledoit_wolf(z: F64) -> F64:
    """Covariance of centred rows (k, features), shrunken towards a multiple of the identity (Ledoit & Wolf 2004)."""
    rows, features = z.shape
    covariance = z.T @ z / rows
    level = np.trace(covariance) / features
    distance = np.square(covariance - level * np.eye(features)).sum()
    noise = (np.square(np.square(z).sum(axis=1)).sum() / rows - np.square(covariance).sum()) / rows
    share = float(np.clip(noise / max(distance, 1e-12), 0.0, 1.0))
    shrunken: F64 = (1.0 - share) * covariance + max(share, 1e-6) * level * np.eye(features)
    return shrunken


class ClipRow(msgspec.Struct, frozen=True, kw_only=True):
    """Quality of one way to score clips."""

    auc: float
    pauc: float


class ClipsResult(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle on labelled clips. `scores`: raw scores of the int8 network, in the order of the clips."""

    bundle: str
    clips_name: str
    auc: float
    pauc: float
    """Up to a false-positive rate of 0.1, standardised: 0.5 is chance."""
    clips: int
    anomalous: int
    baselines: dict[str, ClipRow]
    """In floating point, without a network."""
    scores: list[float]


class _Evaluated(msgspec.Struct):
    clip_baselines: ClipBaselines | None = None


def evaluate_clips(bundle: Bundle, network: Network, clips: Clips) -> ClipsResult:
    """Score labelled clips.

    Args:   network: the bundle's int8 network.
    Raises: DataError: a bundle that does not hear log-mel clips, or clips of another number of bands.
    """
    manifest = bundle.manifest
    where = f"{manifest.slot}/{manifest.version}"
    block = log_mel_block(manifest.features, where)
    if clips.x.shape[2] != block.mels:
        raise DataError(f"{clips.name}, X: {where} takes clips of {block.mels} bands, got {clips.x.shape[2]}")
    if clips.y is None:
        raise DataError(f"{clips.name}: labels y are needed")
    raw = Scorer(manifest, network).score(clip_features(clips.x, block)).raw
    faulty = clips.y == 1
    found = msgspec.json.decode(bundle.evaluation, type=_Evaluated).clip_baselines
    scores = (
        {} if found is None else {CLIP_MAHALANOBIS: found.mahalanobis(clips.x), MEAN_LEVEL: found.mean_level(clips.x)}
    )
    return ClipsResult(
        bundle=where,
        clips_name=clips.name,
        auc=roc_auc(raw[~faulty], raw[faulty]),
        pauc=partial_auc(raw[~faulty], raw[faulty], MAX_FPR),
        clips=len(raw),
        anomalous=int(faulty.sum()),
        baselines={
            name: ClipRow(auc=roc_auc(s[~faulty], s[faulty]), pauc=partial_auc(s[~faulty], s[faulty], MAX_FPR))
            for name, s in scores.items()
        },
        scores=raw.tolist(),
    )


def log_mel_block(spec: FeatureSpec, where: str) -> LogMel:
    """The one block of a spec that clips can be scored with. Raises: DataError: the spec has other features."""
    block = spec.blocks[0]
    if len(spec.blocks) != 1 or not isinstance(block, LogMel):
        kinds = ", ".join(type(one).__name__ for one in spec.blocks)
        raise DataError(f"{where}: expected a bundle of the melspectrum family, its features are {kinds}")
    return block


def clip_features(x: F32, block: LogMel, batch: int = 256) -> F32:
    """Features (clips, features) of clips (clips, frames, mels): from the frames on what a gateway computes."""
    statistics = ClipStatistics(block.statistics, block.mels)
    return np.concatenate([statistics(x[at : at + batch]) for at in range(0, len(x), batch)])

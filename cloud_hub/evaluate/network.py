"""A bare network against labelled clips, as the MLPerf Tiny anomaly-detection benchmark scores it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from cloud_hub.data.clips import Clips, clip_windows
from cloud_hub.data.representative import check_width
from cloud_hub.errors import DataError
from cloud_hub.evaluate.metrics import partial_auc, roc_auc
from models.signal.arrays import F32, F64
from models.signal.score import Network

MAX_FALSE = 0.1
_CLIPS_AT_ONCE = 32


class NetworkResult(msgspec.Struct, frozen=True, kw_only=True):
    """`auc`, `pauc` (false-alarm rate up to 0.1, McClish) over clips. `scores`: of each clip, in the file's order."""

    model: str
    kind: str
    auc: float
    pauc: float
    clips: int
    anomalous: int
    scores: list[float]


def clip_scores(network: Network, x: F32) -> F64:
    """Mean over a clip's windows of the mean squared reconstruction error (Banbury et al. 2021).

    The residual is that of the real-valued input against the real-valued output, whatever the network computes in.

    Args: x: (clips, frames, mels). Returns: (clips,).
    """
    scores = []
    for start in range(0, len(x), _CLIPS_AT_ONCE):
        windows = clip_windows(x[start : start + _CLIPS_AT_ONCE])
        rows = windows.reshape(-1, windows.shape[2])
        squares = np.square(rows - network(rows)).mean(axis=1, dtype=np.float64)
        scores.append(squares.reshape(windows.shape[:2]).mean(axis=1))
    return np.concatenate(scores)


def clips_auc(network: Network, clips: Clips) -> float:
    """ROC AUC over labelled clips."""
    return roc_auc(*_sides(clip_scores(network, clips.x), clips))


def evaluate_network(network: Network, ends: tuple[int, int], kind: str, model: str, clips: Clips) -> NetworkResult:
    """Score a network that reconstructs windows of clips.

    Args:   ends: features in and out. clips: with labels.
    Raises: DataError: the network does not fit the clips, or says something that is no number.
    """
    if ends[0] != ends[1]:
        raise DataError(f"{model}: expected as many outputs as inputs, it has {ends[0]} inputs and {ends[1]} outputs")
    check_width(Path(clips.name), clips.x, ends[0])
    scores = clip_scores(network, clips.x)
    if not np.isfinite(scores).all():
        bad = int((~np.isfinite(scores)).sum())
        raise DataError(f"{model}: its score is no number for {bad} of {len(scores)} clips")
    healthy, faulty = _sides(scores, clips)
    return NetworkResult(
        model=model,
        kind=kind,
        auc=roc_auc(healthy, faulty),
        pauc=partial_auc(healthy, faulty, MAX_FALSE),
        clips=len(scores),
        anomalous=len(faulty),
        scores=scores.tolist(),
    )


def _sides(scores: F64, clips: Clips) -> tuple[F64, F64]:
    if clips.y is None:
        raise DataError(f"{clips.name}: expected labels y, it was read without")
    return scores[clips.y == 0], scores[clips.y == 1]

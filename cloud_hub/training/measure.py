"""What a model is worth: ROC AUC of float, int8 and baseline side by side; false alarms on held-out healthy data."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from cloud_hub.evaluate.metrics import roc_auc
from cloud_hub.training.prepare import PointData
from models.bundle.manifest import Manifest
from models.errors import SignalError
from models.signal.arrays import F32, F64
from models.signal.calibrate import limit_of
from models.signal.monitor import Monitor
from models.signal.score import Network


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """Area under the ROC curve of each way to score the same windows, healthy against faulty."""

    real: float = msgspec.field(name="float")
    int8: float
    baseline: float


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """What travels in a bundle as `evaluation.json`. Scores are calibrated: 1.0 is the limit."""

    faults: str
    """Where the faulty windows come from: `synthetic`, or names of recordings."""
    auc: Quality
    baseline_name: str
    windows_healthy: int
    windows_faulty: int
    false_alarms: int
    healthy_over_limit: float
    """Share of held-out healthy windows over the limit, before n-of-m."""
    faulty_over_limit: float
    int8_correlation: float
    """Of log scores, int8 against float, over all windows."""
    scores_healthy: list[float]
    scores_faulty: list[float]
    float_healthy: list[float]
    float_faulty: list[float]
    baseline_healthy: list[float]
    baseline_faulty: list[float]


def scores_like_gateway(
    manifest: Manifest, network: Network, points: Sequence[PointData], windows: Sequence[F32]
) -> tuple[F64, int]:
    """Calibrated scores of each point's windows, after calibration on its history as a gateway would do it.

    Returns: all scores in order, and how many alarms were raised.
    """
    manifest = calibrated_on(manifest, min(len(point.history) for point in points))
    monitor = Monitor(manifest, network, [point.point for point in points])
    scores: list[float] = []
    alarms = 0
    for i, (point, rows) in enumerate(zip(points, windows, strict=True)):
        warmup = point.history[: manifest.calibration.windows]
        monitor.process(warmup, [i] * len(warmup))
        for result in monitor.process(np.ascontiguousarray(rows), [i] * len(rows)):
            if result.score is None:
                raise SignalError(f"point {point.point}: not calibrated by {len(warmup)} windows")
            scores.append(result.score)
            alarms += result.change == "raised"
    return np.array(scores), alarms


def calibrated_on(manifest: Manifest, available: int) -> Manifest:
    """The manifest, with its calibration shortened to the windows that there are."""
    windows = max(8, min(manifest.calibration.windows, available))
    return msgspec.structs.replace(manifest, calibration=msgspec.structs.replace(manifest.calibration, windows=windows))


def baseline_scores(
    fit: Callable[[F32], Callable[[F32], F64]], manifest: Manifest, points: Sequence[PointData], windows: Sequence[F32]
) -> F64:
    """The classical baseline, fitted and limited per point on the same history as the network is calibrated on."""
    scores = []
    for point, rows in zip(points, windows, strict=True):
        score = fit(point.history)
        limit = limit_of(score(point.history), manifest.calibration)
        scores.append(score(np.ascontiguousarray(rows)) / limit)
    return np.concatenate(scores)


def evaluate(
    manifest: Manifest,
    networks: tuple[Network, Network],
    fit_baseline: Callable[[F32], Callable[[F32], F64]],
    baseline_name: str,
    points: Sequence[PointData],
    faulty: Sequence[F32],
    faults: str,
) -> Evaluation:
    """Score held-out healthy and faulty windows in all three ways.

    Args: networks: float, int8. faulty: (k, window, axes) for each point.
    """
    healthy = [point.held_out for point in points]
    as_float, as_int8 = (
        (scores_like_gateway(manifest, n, points, healthy), scores_like_gateway(manifest, n, points, faulty)[0])
        for n in networks
    )
    base = tuple(baseline_scores(fit_baseline, manifest, points, rows) for rows in (healthy, faulty))
    (float_healthy, _), float_faulty = as_float
    (int8_healthy, false_alarms), int8_faulty = as_int8
    logs = [
        np.log(np.concatenate(pair) + 1e-12) for pair in ((float_healthy, float_faulty), (int8_healthy, int8_faulty))
    ]
    return Evaluation(
        faults=faults,
        auc=Quality(
            real=roc_auc(float_healthy, float_faulty),
            int8=roc_auc(int8_healthy, int8_faulty),
            baseline=roc_auc(base[0], base[1]),
        ),
        baseline_name=baseline_name,
        windows_healthy=len(int8_healthy),
        windows_faulty=len(int8_faulty),
        false_alarms=false_alarms,
        healthy_over_limit=float((int8_healthy > 1).mean()),
        faulty_over_limit=float((int8_faulty > 1).mean()),
        int8_correlation=float(np.corrcoef(logs[0], logs[1])[0, 1]),
        scores_healthy=int8_healthy.round(4).tolist(),
        scores_faulty=int8_faulty.round(4).tolist(),
        float_healthy=float_healthy.round(4).tolist(),
        float_faulty=float_faulty.round(4).tolist(),
        baseline_healthy=base[0].round(4).tolist(),
        baseline_faulty=base[1].round(4).tolist(),
    )

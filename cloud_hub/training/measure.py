"""What a model is worth: ROC AUC of float, int8 and baselines side by side; false alarms on held-out healthy data."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from cloud_hub.evaluate.clips import ClipBaselines
from cloud_hub.evaluate.metrics import roc_auc
from cloud_hub.training.budget import Memory
from cloud_hub.training.checks import Leak, Rate, poisson_rate
from cloud_hub.training.pick_rows import HeadRow, Steadiness
from cloud_hub.training.prepare import PointData
from cloud_hub.training.quantising.fidelity import compare_auc
from models.bundle.manifest import Manifest
from models.errors import SignalError
from models.families import Family
from models.signal.arrays import F32, F64
from models.signal.baselines import fit_mahalanobis
from models.signal.calibrate import classical_limit
from models.signal.features import FeatureExtractor
from models.signal.monitor import Monitor
from models.signal.score import Network

MAHALANOBIS = "Mahalanobis"
_SHOWN = 2000  # scores kept for plots


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
    baselines: dict[str, float] = {}
    """AUC of every classical score, by name."""
    doubts: dict[str, float] = {}
    """How much better each of them may look than int8 by chance: see `auc_doubt`."""
    head: str = "autoencoder"
    heads: list[HeadRow] = []
    steadiness: Steadiness | None = None
    rung: str = ""
    """How the network was quantised."""
    windows_healthy: int
    windows_faulty: int
    false_alarms: int
    false_alarm_rate: Rate | None = None
    over_limit_axes: dict[str, float] = {}
    """Of held-out healthy windows over the limit: each axis' share of their scores, largest first."""
    healthy_over_limit: float
    """Share of held-out healthy windows over the limit, before n-of-m."""
    faulty_over_limit: float
    int8_correlation: float
    """Of log scores, int8 against float, over all windows."""
    leaks: list[Leak] = []
    memory: Memory | None = None
    scores_healthy: list[float]
    scores_faulty: list[float]
    float_healthy: list[float]
    float_faulty: list[float]
    baseline_healthy: list[float]
    baseline_faulty: list[float]
    clip_baselines: ClipBaselines | None = None
    """Of bundles trained from clips: plain scores to compare with on any other clips."""


def scores_like_gateway(
    manifest: Manifest, network: Network, points: Sequence[PointData], windows: Sequence[F32]
) -> tuple[list[F64], int]:
    """Calibrated scores of each point's windows, after calibration on its history as a gateway would do it.

    Returns: scores of each point in order, and how many alarms were raised.
    """
    manifest = calibrated_on(manifest, min(len(point.history) for point in points))
    monitor = Monitor(manifest, network, [point.point for point in points])
    scores: list[F64] = []
    alarms = 0
    for i, (point, rows) in enumerate(zip(points, windows, strict=True)):
        warmup = point.history[: manifest.calibration.windows]
        monitor.process(warmup, [i] * len(warmup))
        results = monitor.process(np.ascontiguousarray(rows), [i] * len(rows))
        found = [result.score for result in results if result.score is not None]
        if len(found) != len(rows):
            raise SignalError(f"point {point.point}: not calibrated by {len(warmup)} windows")
        scores.append(np.array(found, np.float64))
        alarms += sum(result.change == "raised" for result in results)
    return scores, alarms


def axes_over_limit(
    manifest: Manifest, network: Network, points: Sequence[PointData], windows: Sequence[F32]
) -> dict[str, float]:
    """Which axes take healthy windows over the limit, after calibration on each point's history: each axis' share of
    their scores, largest first; empty when no window is over it.
    """
    manifest = calibrated_on(manifest, min(len(point.history) for point in points))
    monitor = Monitor(manifest, network, [point.point for point in points])
    axis_of = np.array([info.axis for info in monitor.scorer.extract.infos])
    shares = np.zeros(len(manifest.input.axes))
    for i, (point, rows) in enumerate(zip(points, windows, strict=True)):
        warmup = point.history[: manifest.calibration.windows]
        monitor.process(warmup, [i] * len(warmup))
        for result in monitor.process(np.ascontiguousarray(rows), [i] * len(rows)):
            if result.score is not None and result.contributions is not None and result.score > 1.0:
                parts = result.contributions / max(float(result.contributions.sum()), 1e-30)
                shares += np.bincount(axis_of, parts, len(shares))
    total = float(shares.sum())
    order = np.argsort(-shares)
    return {manifest.input.axes[axis]: round(float(shares[axis]) / total, 4) for axis in order if shares[axis] > 0.0}


def calibrated_on(manifest: Manifest, available: int) -> Manifest:
    """The manifest, with its calibration shortened to the windows that there are."""
    windows = max(8, min(manifest.calibration.windows, available))
    return msgspec.structs.replace(manifest, calibration=msgspec.structs.replace(manifest.calibration, windows=windows))


def baseline_scores(
    fit: Callable[[F32], Callable[[F32], F64]], manifest: Manifest, points: Sequence[PointData], windows: Sequence[F32]
) -> F64:
    """A classical score, fitted and limited per point on the same history as the network is calibrated on."""
    scores = []
    for point, rows in zip(points, windows, strict=True):
        score = fit(point.history)
        limit = classical_limit(score(point.history), manifest.calibration)
        scores.append(score(np.ascontiguousarray(rows)) / limit)
    return np.concatenate(scores)


def evaluate(
    manifest: Manifest,
    networks: tuple[Network, Network],
    family: Family,
    points: Sequence[PointData],
    faulty: Sequence[F32],
    faults: str,
) -> tuple[Evaluation, list[F64]]:
    """Score held-out healthy and faulty windows in all ways.

    Args:    networks: float, int8. faulty: (k, window, axes) for each point.
    Returns: the evaluation, and the int8 scores of each point's held-out windows.
    """
    healthy = [point.held_out for point in points]
    (float_healthy, float_faulty), (int8_healthy, int8_faulty) = (
        tuple(np.concatenate(scores_like_gateway(manifest, n, points, rows)[0]) for rows in (healthy, faulty))
        for n in networks
    )
    held_out, false_alarms = scores_like_gateway(manifest, networks[1], points, healthy)
    extract = FeatureExtractor(manifest.features, manifest.input)
    classical = {
        family.baseline_name: family.fit_baseline,
        MAHALANOBIS: lambda rows: fit_mahalanobis(rows, extract),
    }
    base = {
        name: tuple(baseline_scores(fit, manifest, points, rows) for rows in (healthy, faulty))
        for name, fit in classical.items()
    }
    logs = [
        np.log(np.concatenate(pair) + 1e-12) for pair in ((float_healthy, float_faulty), (int8_healthy, int8_faulty))
    ]
    hop_s = manifest.input.hop / manifest.input.rate_hz
    main = base[family.baseline_name]
    evaluation = Evaluation(
        faults=faults,
        auc=Quality(
            real=roc_auc(float_healthy, float_faulty),
            int8=roc_auc(int8_healthy, int8_faulty),
            baseline=roc_auc(*main),
        ),
        baseline_name=family.baseline_name,
        baselines={name: roc_auc(*pair) for name, pair in base.items()},
        doubts={name: auc_doubt(pair, (int8_healthy, int8_faulty)) for name, pair in base.items()},
        windows_healthy=len(int8_healthy),
        windows_faulty=len(int8_faulty),
        false_alarms=false_alarms,
        false_alarm_rate=poisson_rate(false_alarms, len(int8_healthy) * hop_s),
        over_limit_axes=axes_over_limit(manifest, networks[1], points, healthy) if false_alarms else {},
        healthy_over_limit=float((int8_healthy > 1).mean()),
        faulty_over_limit=float((int8_faulty > 1).mean()),
        int8_correlation=float(np.corrcoef(logs[0], logs[1])[0, 1]),
        scores_healthy=shown(int8_healthy),
        scores_faulty=shown(int8_faulty),
        float_healthy=shown(float_healthy),
        float_faulty=shown(float_faulty),
        baseline_healthy=shown(main[0]),
        baseline_faulty=shown(main[1]),
    )
    return evaluation, held_out


def auc_doubt(first: Sequence[F64], second: Sequence[F64]) -> float:
    """How much better the first (healthy, faulty) scores' AUC may look by chance than the second's of the same windows:
    the one-sided 95 % interval of a paired difference (DeLong et al. 1988). Few windows cannot tell a tie from a win.
    """
    if min(len(first[0]), len(first[1])) < 2 or [len(s) for s in first] != [len(s) for s in second]:
        return 0.0
    change = compare_auc((first[0], first[1]), (second[0], second[1]))
    return change.bound - abs(change.shift)


def shown(scores: F64) -> list[float]:
    """Scores for plots: all of them, or as many as fit, evenly spread and in order."""
    if len(scores) > _SHOWN:
        scores = scores[np.linspace(0, len(scores) - 1, _SHOWN).astype(int)]
    rounded: list[float] = scores.round(4).tolist()
    return rounded

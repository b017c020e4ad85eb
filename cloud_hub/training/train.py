"""The whole way from recordings to a checked bundle."""

from __future__ import annotations

import importlib.metadata
import io
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from cloud_hub.data.recording import Recording
from cloud_hub.errors import DataError, GateError
from cloud_hub.runtime import Int8Model
from cloud_hub.training.documents import model_card, sbom
from cloud_hub.training.fit import Fitted, fit
from cloud_hub.training.ladder import Quantised, climb
from cloud_hub.training.measure import Evaluation, calibrated_on, evaluate
from cloud_hub.training.prepare import Prepared, prepare
from cloud_hub.training.stress import is_slow, stress_windows
from models import __version__
from models.bundle.archive import Bundle, pack_bundle, read_bundle
from models.bundle.manifest import Budgets, Manifest, Provenance, ResidualScore
from models.bundle.replay import ReplayReport, replay_golden
from models.families import Family
from models.signal.arrays import F32, F64
from models.signal.score import Network, Scorer
from models.signal.windows import cut_windows

MAX_AUC_LOSS = 0.005
_GOLDEN = 8
_GOLDEN_TOLERANCE = 0.02
_LIBRARIES = ("numpy", "scipy", "tensorflow-cpu", "tensorflow", "keras", "ai-edge-litert")

Say = Callable[[str, float], None]
"""Progress for people: (what is being done, share done 0 to 1)."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to train. `accept`: why a model that fails a gate shall ship all the same; recorded in the manifest."""

    family: Family
    slot: str
    version: str
    title: str
    quantity: str
    seed: int
    created_s: int
    accept: str | None = None


@dataclass(frozen=True, slots=True)
class Trained:
    """A checked bundle and everything that its report shows."""

    data: bytes
    bundle: Bundle
    evaluation: Evaluation
    replay: ReplayReport
    quantised: Quantised
    losses: dict[str, list[float]]
    prepared: Prepared
    gates: list[str]
    """Texts of gates that failed and were accepted."""


def train(order: Order, healthy: list[Recording], faulty: list[Recording], say: Say) -> Trained:
    """Prepare, fit, quantise, evaluate, check, pack, replay.

    Args:   faulty: labelled recordings to evaluate on; without any, made-up faults are used. Never trained on.
    Raises: DataError: the data will not do. GateError: the model fails a gate and no reason to accept it was given.
    """
    say("cutting windows, computing features", 0.0)
    prepared = prepare(healthy, order.family, order.quantity)
    fitted = fit(
        prepared,
        order.family,
        order.seed,
        lambda epoch, epochs, loss: say(
            f"training, epoch {epoch}, held-out loss {loss:.4f}", 0.05 + 0.65 * epoch / epochs
        ),
    )
    say("quantising to int8", 0.72)
    quantised = climb(
        fitted.keras_model, prepared.z_train, prepared.normalisation.clip, order.seed, weights=fitted.weights
    )
    model = quantised.model
    int8 = Int8Model(model)
    manifest = _manifest(order, prepared, fitted, int8, healthy)
    say("comparing int8, float and baseline", 0.8)
    rows, faults = _faulty_windows(prepared, faulty, order)
    evaluation = evaluate(
        manifest,
        (fitted.network, int8.network()),
        order.family.fit_baseline,
        order.family.baseline_name,
        prepared.points,
        rows,
        faults,
    )
    failed = gates(evaluation)
    if failed and order.accept is None:
        raise GateError("the model is refused: " + "; ".join(failed) + ". To ship it all the same: --accept REASON")
    say("packing and replaying golden vectors", 0.95)
    data = _pack(manifest, model, int8.network(), prepared, rows, evaluation)
    bundle = read_bundle(data, f"{order.slot}/{order.version}")
    replay = replay_golden(bundle, int8.network())
    say("done", 1.0)
    return Trained(data, bundle, evaluation, replay, quantised, fitted.history, prepared, failed)


def gates(evaluation: Evaluation) -> list[str]:
    """What speaks against shipping a model, as texts; empty when nothing does."""
    auc = evaluation.auc
    failed = []
    if auc.real - auc.int8 > MAX_AUC_LOSS:
        failed.append(f"int8 loses {auc.real - auc.int8:.4f} of AUC against float, at most {MAX_AUC_LOSS} is allowed")
    if auc.int8 < auc.baseline:
        failed.append(f"its AUC {auc.int8:.4f} is under that of plain {evaluation.baseline_name}, {auc.baseline:.4f}")
    if evaluation.false_alarms:
        failed.append(f"{evaluation.false_alarms} false alarms on held-out healthy data")
    return failed


def _faulty_windows(prepared: Prepared, faulty: list[Recording], order: Order) -> tuple[list[F32], str]:
    """Faulty windows for each point, and where they come from."""
    if not faulty:
        rng = np.random.default_rng(order.seed + 1)
        slow = is_slow(list(prepared.features.blocks))
        return [
            stress_windows(np.concatenate([p.held_out] * 3), prepared.source, slow=slow, rng=rng)
            for p in prepared.points
        ], "synthetic"
    source = prepared.source
    by_point: dict[str, list[F32]] = {point.point: [] for point in prepared.points}
    for recording in faulty:
        if abs(recording.rate_hz - source.rate_hz) > 0.005 * source.rate_hz or recording.axes != tuple(source.axes):
            raise DataError(
                f"{recording.name}: {recording.rate_hz:g} Hz, axes {', '.join(recording.axes)}; trained on "
                f"{source.rate_hz:g} Hz, {', '.join(source.axes)}"
            )
        point = recording.point if recording.point in by_point else prepared.points[0].point
        by_point[point].append(cut_windows(recording.samples, source.window, source.hop))
    empty = np.empty((0, source.window, len(source.axes)), np.float32)
    rows = [np.concatenate(parts) if parts else empty for parts in by_point.values()]
    return rows, ", ".join(recording.name for recording in faulty)[:500]


def _manifest(order: Order, prepared: Prepared, fitted: Fitted, int8: Int8Model, healthy: list[Recording]) -> Manifest:
    family = order.family
    manifest = Manifest(
        slot=order.slot,
        version=order.version,
        family=family.name,
        title=order.title,
        input=prepared.source,
        features=prepared.features,
        normalisation=prepared.normalisation,
        network=int8.spec,
        score=ResidualScore(weights=fitted.weights.round(6).tolist()),
        calibration=family.calibration,
        decision=family.decision,
        budgets=Budgets(window_us=family.window_budget_us, memory_kb=family.memory_budget_kb),
        golden_tolerance=_GOLDEN_TOLERANCE,
        provenance=Provenance(
            created_s=order.created_s,
            data={recording.name: recording.sha256 for recording in healthy},
            windows_train=len(prepared.z_train),
            windows_validation=len(prepared.z_held_out),
            code=f"millwright {__version__}",
            libraries=_libraries(),
            seed=order.seed,
            accepted=order.accept,
        ),
    )
    return calibrated_on(manifest, min(len(point.history) for point in prepared.points))


def _libraries() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # tensorflow or tensorflow-cpu: one of them is installed
    return versions


def _pack(
    manifest: Manifest,
    model: bytes,
    network: Network,
    prepared: Prepared,
    faulty: Sequence[F32],
    evaluation: Evaluation,
) -> bytes:
    scorer = Scorer(manifest, network)
    pool = np.concatenate([*(p.held_out for p in prepared.points), *faulty])
    pick = np.unique(np.linspace(0, len(pool) - 1, _GOLDEN).astype(int))
    windows = np.ascontiguousarray(pool[pick])
    features = scorer.extract(windows)
    members = {
        "model.tflite": model,
        "golden/windows.npy": _npy(windows.astype("<f4")),
        "golden/features.npy": _npy(features.astype("<f4")),
        "golden/scores.npy": _npy(scorer.score(features).raw.astype("<f8")),
        "evaluation.json": msgspec.json.encode(evaluation),
        "card.md": model_card(manifest, evaluation).encode(),
        "sbom.json": sbom(manifest),
    }
    return pack_bundle(manifest, members)


def _npy(array: F32 | F64) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()

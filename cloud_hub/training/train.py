"""The whole way from recordings to a checked bundle."""

from __future__ import annotations

import importlib.metadata
import io
import math
import platform
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np

from cloud_hub.data.recording import Recording
from cloud_hub.errors import DataError, GateError
from cloud_hub.runtime import Int8Model
from cloud_hub.training.budget import measure_memory
from cloud_hub.training.checks import leaks
from cloud_hub.training.documents import model_card, sbom
from cloud_hub.training.heads import FittedHead
from cloud_hub.training.ladder import Quantised, Rung, best_rung, int8_rungs, rung_row
from cloud_hub.training.measure import MAHALANOBIS, Evaluation, auc_doubt, calibrated_on, evaluate
from cloud_hub.training.pick import made_up, pick_head, pipeline_auc, steadiness
from cloud_hub.training.prepare import Prepared, prepare
from models import __version__
from models.bundle.archive import Bundle, pack_bundle, read_bundle
from models.bundle.manifest import Budgets, Manifest, NetworkSpec, Provenance, RemainingLifeScore, Tensor
from models.bundle.replay import ReplayReport, replay_golden
from models.families import Family
from models.signal.arrays import F32, F64
from models.signal.score import Network, Scorer
from models.signal.windows import cut_windows

MAX_AUC_LOSS = 0.005
MAX_FALSE_ALARMS_PER_DAY = 1.0
MAX_SEED_SPREAD = 0.03
_NAMED_AXES = 3  # in the text of a gate
_GOLDEN = 8
_GOLDEN_TOLERANCE = 0.02
_LIBRARIES = ("numpy", "scipy", "tensorflow-cpu", "tensorflow", "keras", "ai-edge-litert")

Say = Callable[[str, float], None]
"""Progress for people: (what is being done, share done 0 to 1)."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to train. `accept`: why a model that fails a gate shall ship all the same; recorded in the manifest.
    `seeds`: how often the head that ships is trained anew, to see how steady it is.
    """

    family: Family
    slot: str
    version: str
    title: str
    quantity: str
    seed: int
    created_s: int
    accept: str | None = None
    seeds: int = 5


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
    picked = pick_head(
        prepared,
        order.family,
        order.seed,
        lambda head: manifest_for(order, prepared, head, None, healthy),
        lambda what, share: say(what, 0.05 + 0.55 * share),
    )
    head = picked.head
    say("quantising to int8", 0.62)
    quantised = quantise(order, prepared, head, healthy)
    model = quantised.model
    int8 = Int8Model(model)
    manifest = manifest_for(order, prepared, head, int8.spec, healthy)
    say("comparing int8, float and baselines", 0.7)
    rows, faults = _faulty_windows(prepared, faulty, order)
    networks = (head.network, int8.network())
    evaluation, held_out = evaluate(manifest, networks, order.family, prepared.points, rows, faults)
    say("training again with other seeds", 0.75)
    again = steadiness(
        prepared,
        order.family,
        head.head,
        range(order.seed, order.seed + order.seeds),
        lambda one: manifest_for(order, prepared, one, None, healthy),
    )
    evaluation = msgspec.structs.replace(
        evaluation,
        head=head.head,
        heads=picked.rows,
        steadiness=again,
        rung=quantised.rung,
        leaks=leaks(healthy, faulty, prepared.points, held_out),
        memory=measure_memory(model, manifest.budgets.memory_kb),
    )
    failed = gates(evaluation)
    say("packing and replaying golden vectors", 0.95)
    pool = np.concatenate([*(p.held_out for p in prepared.points), *rows])
    card = model_card(manifest, evaluation)
    data = pack(manifest, model, int8.network(), pool, msgspec.json.encode(evaluation), card)
    bundle = read_bundle(data, f"{order.slot}/{order.version}")
    replay = replay_golden(bundle, int8.network())
    if failed and order.accept is None:
        raise GateError("the model is refused: " + "; ".join(failed) + ". To ship it all the same: --accept REASON")
    say("done", 1.0)
    return Trained(data, bundle, evaluation, replay, quantised, head.losses, prepared, failed)


def quantise(order: Order, prepared: Prepared, head: FittedHead, healthy: list[Recording]) -> Quantised:
    """The first int8 rung that loses next to no AUC on made-up faults in the gateway's own code; else the best."""
    faulty = made_up(prepared, order.family, order.seed + 1)
    goal = pipeline_auc(manifest_for(order, prepared, head, None, healthy), head.network, prepared, faulty)
    weights = np.ones(1) if isinstance(head.score, RemainingLifeScore) else np.asarray(head.score.weights)
    tried: list[Rung] = []
    models: list[bytes] = []
    clip = prepared.normalisation.clip
    for name, data in int8_rungs(head.keras_model, prepared.z_train, clip, order.seed, weights=weights):
        int8 = Int8Model(data)
        manifest = manifest_for(order, prepared, head, int8.spec, healthy)
        tried.append(rung_row(name, data, goal - pipeline_auc(manifest, int8.network(), prepared, faulty)))
        models.append(data)
        if tried[-1].passed:
            break
    return best_rung(tried, models)


def gates(evaluation: Evaluation) -> list[str]:
    """What speaks against shipping a model, as texts; empty when nothing does."""
    auc = evaluation.auc
    failed = []
    float_scores = evaluation.float_healthy, evaluation.float_faulty
    int8_scores = evaluation.scores_healthy, evaluation.scores_faulty
    plain_scores = evaluation.baseline_healthy, evaluation.baseline_faulty
    if auc.real - auc.int8 > MAX_AUC_LOSS + _doubt(float_scores, int8_scores):
        failed.append(f"int8 loses {auc.real - auc.int8:.4f} of AUC against float, at most {MAX_AUC_LOSS} is allowed")
    if auc.baseline - auc.int8 > _doubt(plain_scores, int8_scores):
        failed.append(
            f"its AUC {auc.int8:.4f} on {_source(evaluation)} is under that of plain {evaluation.baseline_name}, "
            f"{auc.baseline:.4f}"
        )
    plain = evaluation.baselines.get(MAHALANOBIS, 0.0)
    if plain - auc.int8 > MAX_AUC_LOSS + evaluation.doubts.get(MAHALANOBIS, 0.0):
        failed.append(
            f"its AUC {auc.int8:.4f} on {_source(evaluation)} is under that of the plain Mahalanobis distance, "
            f"{plain:.4f}"
        )
    rate = evaluation.false_alarm_rate
    if rate is not None and rate.low_per_day > MAX_FALSE_ALARMS_PER_DAY:
        failed.append(
            f"{rate.events} false alarms in {rate.hours:.3g} h of held-out healthy data: more than "
            f"{rate.low_per_day:.3g} a day (95 % interval), {MAX_FALSE_ALARMS_PER_DAY:g} is allowed"
            + _wandered(evaluation)
        )
    steady = evaluation.steadiness
    if steady is not None:
        # Few held-out windows alone make the AUC wander: about a binomial share's deviation (Hanley & McNeil 1982).
        allowed = MAX_SEED_SPREAD + _alone(steady.mean, evaluation.windows_healthy)
        if steady.spread > allowed:
            failed.append(f"its AUC spreads by {steady.spread:.3f} over seeds, at most {allowed:.3f} is allowed")
    failed += [f"{leak.check}: {leak.finding}" for leak in evaluation.leaks if leak.serious]
    return failed + (evaluation.memory.failed() if evaluation.memory else [])


def _source(evaluation: Evaluation) -> str:
    return "made-up faults" if evaluation.faults == "synthetic" else "the faulty recordings"


def _wandered(evaluation: Evaluation) -> str:
    """Which axes the false alarms come from, and what helps: the held-out part is the end of each recording."""
    if not evaluation.over_limit_axes:
        return ""
    largest = list(evaluation.over_limit_axes.items())[:_NAMED_AXES]
    named = ", ".join(f"{axis} {share:.0%}" for axis, share in largest)
    return (
        f" (the end of the recording differs from what came before, by {named}; train on a longer record in which the "
        "machine has been through its warm-up and usual loads, or without these axes by --axes)"
    )


def _doubt(first: tuple[list[float], list[float]], second: tuple[list[float], list[float]]) -> float:
    """`auc_doubt` of scores that are kept for plots."""
    (a, b), (c, d) = ([np.asarray(scores, np.float64) for scores in pair] for pair in (first, second))
    return auc_doubt((a, b), (c, d))


def _alone(auc: float, healthy: int) -> float:
    """About a standard deviation of an AUC on so few healthy windows (Hanley & McNeil 1982)."""
    return math.sqrt(auc * (1.0 - auc) / max(1, healthy))


def _faulty_windows(prepared: Prepared, faulty: list[Recording], order: Order) -> tuple[list[F32], str]:
    """Faulty windows for each point, and where they come from."""
    if not faulty:
        return made_up(prepared, order.family, order.seed + 1), "synthetic"
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


def manifest_for(
    order: Order, prepared: Prepared, head: FittedHead, network: NetworkSpec | None, healthy: list[Recording]
) -> Manifest:
    """The manifest of a head. `network`: None before it is quantised."""
    family = order.family
    least = max(family.calibration.least_limit, head.least_limit)
    features = len(prepared.normalisation.mean)
    unknown = Tensor(size=features, scale=1.0, zero_point=0)
    manifest = Manifest(
        slot=order.slot,
        version=order.version,
        family=family.name,
        title=order.title,
        input=prepared.source,
        features=prepared.features,
        normalisation=prepared.normalisation,
        network=network or NetworkSpec(input=unknown, output=unknown),
        score=head.score,
        calibration=msgspec.structs.replace(family.calibration, least_limit=least),
        decision=family.decision,
        budgets=Budgets(window_us=family.window_budget_us, memory_kb=family.memory_budget_kb),
        golden_tolerance=_GOLDEN_TOLERANCE,
        provenance=Provenance(
            created_s=order.created_s,
            data={recording.name: recording.sha256 for recording in healthy},
            windows_train=len(prepared.z_train),
            windows_validation=len(prepared.z_held_out),
            code=f"millwright {__version__}",
            libraries=libraries(),
            seed=order.seed,
            accepted=order.accept,
        ),
    )
    if not prepared.points:  # trained from clips, which say nothing of how long a point may take to calibrate
        return manifest
    return calibrated_on(manifest, min(len(point.history) for point in prepared.points))


def libraries() -> dict[str, str]:
    """Versions of what a bundle is made with."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # tensorflow or tensorflow-cpu: one of them is installed
    return versions


def pack(manifest: Manifest, model: bytes, network: Network, windows: F32, evaluation: bytes, card: str) -> bytes:
    """The bundle's bytes, with golden vectors from some of the windows (k, window, axes).

    Args: evaluation: a JSON object. card: Markdown.
    """
    scorer = Scorer(manifest, network)
    pick = np.unique(np.linspace(0, len(windows) - 1, _GOLDEN).astype(int))
    golden = np.ascontiguousarray(windows[pick])
    features = scorer.extract(golden)
    members = {
        "model.tflite": model,
        "golden/windows.npy": _npy(golden.astype("<f4")),
        "golden/features.npy": _npy(features.astype("<f4")),
        "golden/scores.npy": _npy(scorer.score(features).raw.astype("<f8")),
        "evaluation.json": evaluation,
        "card.md": card.encode(),
        "sbom.json": sbom(manifest),
    }
    return pack_bundle(manifest, members)


def _npy(array: F32 | F64) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()

"""Training from clips of log-mel frames, where there are no samples: the MLPerf Tiny benchmark's arrays.

From the frames on a clip goes the way of a gateway's window: the same statistics, normalisation, network and score. A
head is chosen and judged on clips that were held out; what ships is that head fitted anew on all clips, because at 160
of them a quarter is dear.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

import msgspec
import numpy as np

from cloud_hub.data.clips import Clips
from cloud_hub.errors import DataError, GateError
from cloud_hub.evaluate.clips import CLIP_MAHALANOBIS, MEAN_LEVEL, clip_features, fit_clip_baselines, log_mel_block
from cloud_hub.evaluate.metrics import roc_auc
from cloud_hub.runtime import Int8Model
from cloud_hub.training.budget import measure_memory
from cloud_hub.training.checks import Leak, poisson_rate
from cloud_hub.training.documents import model_card
from cloud_hub.training.heads import FittedHead, fit_head
from cloud_hub.training.ladder import Quantised, Rung, best_rung, int8_rungs, rung_row
from cloud_hub.training.measure import Evaluation, Quality, shown
from cloud_hub.training.pick import CLEARLY_BETTER
from cloud_hub.training.pick_rows import HeadRow, Steadiness
from cloud_hub.training.prepare import HELD_OUT, Prepared
from cloud_hub.training.stress_clips import stress_clips
from cloud_hub.training.train import Order, Say, Trained, gates, manifest_for, pack
from models.bundle.archive import read_bundle
from models.bundle.manifest import FeatureSpec, InputSpec, LogMel, Manifest, Normalisation
from models.bundle.replay import replay_golden
from models.families import Head
from models.families.melspectrum import FRAMES, RATE_HZ, log_mel, samples_of
from models.signal.arrays import F32, F64, Ints
from models.signal.calibrate import limit_of
from models.signal.decide import DecisionState, decide
from models.signal.features import FeatureExtractor
from models.signal.mel import mel_edges_hz, mel_filters
from models.signal.score import Network, Scorer

MIN_CLIPS = 32
UNITS = "FS"
_SCALE_FLOOR = 0.02  # of a feature's typical spread, as for recordings
_GOLDEN_GAINS_DB = (0.0, 1.0, -4.0)
_FAULTS_PER_CLIP = 3


def train_clips(order: Order, clips: Clips, say: Say) -> Trained:
    """Prepare, pick a head, judge it in int8, fit it anew on all clips, check, pack, replay.

    Raises: DataError: clips that will not do. GateError: the model fails a gate and no reason to accept it was given.
    """
    say("computing the clips' statistics", 0.0)
    clips, copies = _without_copies(clips)
    if len(clips.x) < MIN_CLIPS:
        left_out = f" and {copies} copies of them" if copies else ""
        raise DataError(f"{clips.name}, X: expected at least {MIN_CLIPS} healthy clips, got {len(clips.x)}{left_out}")
    source, spec = clip_input(clips.x.shape[1], clips.x.shape[2], order.quantity)
    block = log_mel_block(spec, order.slot)
    features = clip_features(clips.x, block)
    early, late = _split(len(features), order.seed)
    prepared = _prepared(features, early, late, source, spec)
    broken_x = stress_clips(np.concatenate([clips.x[late]] * _FAULTS_PER_CLIP), np.random.default_rng(order.seed))
    broken = clip_features(broken_x, block)
    picked, rows = _pick(order, prepared, clips, (features[late], broken), say)

    say("quantising to int8", 0.6)
    judged, quantised = _quantise(order, prepared, picked, clips, (features[late], broken))
    say("comparing int8, float and baselines", 0.65)
    evaluation = _evaluate(
        _manifest(order, prepared, picked, judged, clips),
        (picked.network, judged.network()),
        (features[early], features[late], broken),
        (clips.x[early], clips.x[late], broken_x),
    )
    say("training again with other seeds", 0.7)
    evaluation = msgspec.structs.replace(
        evaluation,
        head=picked.head,
        heads=rows,
        rung=quantised.rung,
        steadiness=_steadiness(order, picked.head, (features, clips), source, spec),
        leaks=[_told(copies)],
        clip_baselines=fit_clip_baselines(clips.x),
    )
    say("fitting on all clips", 0.9)
    whole = _prepared(features, np.arange(len(features)), late, source, spec)
    final = fit_head(picked.head, whole, order.family, order.seed)
    if final is None:  # a mixture that the whole set no longer asks for
        whole, final = prepared, picked
    model = dict(_rungs(final, whole, order.seed, quantised.rung))[quantised.rung]
    int8 = Int8Model(model)
    manifest = _manifest(order, whole, final, int8, clips)
    evaluation = msgspec.structs.replace(evaluation, memory=measure_memory(model, manifest.budgets.memory_kb))
    failed = gates(evaluation)
    say("packing and replaying golden vectors", 0.95)
    golden = golden_windows(clips.x, source, order.seed)
    card = model_card(manifest, evaluation)
    data = pack(manifest, model, int8.network(), golden, msgspec.json.encode(evaluation), card)
    bundle = read_bundle(data, f"{order.slot}/{order.version}")
    replay = replay_golden(bundle, int8.network())
    if failed and order.accept is None:
        raise GateError("the model is refused: " + "; ".join(failed) + ". To ship it all the same: --accept REASON")
    say("done", 1.0)
    return Trained(data, bundle, evaluation, replay, quantised, final.losses, whole, failed)


def clip_input(frames: int, mels: int, quantity: str) -> tuple[InputSpec, FeatureSpec]:
    """What a gateway hears to compute such clips: sound at the benchmark's rate, as many frames, at most `FRAMES`."""
    window = samples_of(min(frames, FRAMES))
    source = InputSpec(
        quantity=quantity, units=UNITS, axes=["sound"], rate_hz=RATE_HZ, window=window, hop=max(1, window // 4)
    )
    return source, FeatureSpec(detrend="none", blocks=[log_mel(RATE_HZ, mels)])


def golden_windows(x: F32, source: InputSpec, seed: int) -> F32:
    """Sound whose mean spectrum is that of the clips, so that a gateway can replay what it was never sent.

    Gaussian noise shaped by the clips' mean energy per band, divided by its filter's area; three levels.

    Returns: (3, window, 1).
    """
    block = log_mel(source.rate_hz, x.shape[2])
    filters = mel_filters(source.rate_hz, block.n_fft, block.mels, block.low_hz, block.high_hz)
    energy = 10.0 ** (x.mean(axis=(0, 1), dtype=np.float64) / 10.0) / filters.sum(axis=0)  # per bin of the FFT
    centres = mel_edges_hz(block.mels, block.low_hz, block.high_hz)[1:-1]
    rng = np.random.default_rng(seed)
    hz = np.fft.rfftfreq(source.window, 1.0 / source.rate_hz)
    # A Hann taper of n_fft samples takes 3 n_fft / 8 of the energy of white noise of unit variance.
    gain = np.sqrt(np.interp(hz, centres, energy) / (0.375 * block.n_fft))
    windows = []
    for gain_db in _GOLDEN_GAINS_DB:
        noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(source.window)) * gain, source.window)
        windows.append(noise * 10.0 ** (gain_db / 20.0))
    return np.stack(windows)[:, :, None].astype(np.float32)


# ------------------------------------------------------------------------------------------------------------ parts


def _split(count: int, seed: int) -> tuple[Ints, Ints]:
    """Clips to fit on and clips to hold out. At random: files are often sorted by machine, and an order in time that
    would forbid it is not known.
    """
    shuffled = np.random.default_rng(seed).permutation(count)
    border = count - round(count * HELD_OUT)
    return shuffled[:border].astype(np.int64), shuffled[border:].astype(np.int64)


def _prepared(features: F32, early: Ints, late: Ints, source: InputSpec, spec: FeatureSpec) -> Prepared:
    rows = features[early].astype(np.float64)
    mean, spread = rows.mean(axis=0), rows.std(axis=0)
    scale = np.maximum(spread, _SCALE_FLOOR * max(float(np.median(spread)), 1e-9))
    return Prepared(
        source=source,
        features=spec,
        names=FeatureExtractor(spec, source).names,
        normalisation=Normalisation(mean=mean.tolist(), scale=scale.tolist()),
        points=[],
        z_train=((features[early] - mean) / scale).astype(np.float32),
        z_held_out=((features[late] - mean) / scale).astype(np.float32),
        groups=None,
        guard=0,
    )


def _made_up(x: F32, block: LogMel, seed: int) -> F32:
    """Features of clips with made-up faults, several for each healthy clip."""
    return clip_features(stress_clips(np.concatenate([x] * _FAULTS_PER_CLIP), np.random.default_rng(seed)), block)


def _manifest(order: Order, prepared: Prepared, head: FittedHead, int8: Int8Model | None, clips: Clips) -> Manifest:
    manifest = manifest_for(order, prepared, head, int8.spec if int8 else None, [])
    changed = msgspec.structs.replace(manifest.provenance, data={clips.name: clips.sha256})
    return msgspec.structs.replace(manifest, provenance=changed)


def _pick(
    order: Order, prepared: Prepared, clips: Clips, rows: tuple[F32, F32], say: Say
) -> tuple[FittedHead, list[HeadRow]]:
    """Fit every head of the family, and take the first that none is clearly better than on made-up faults.

    Args: rows: features of held-out healthy clips, and of made-up faulty ones.
    """
    found: list[tuple[FittedHead, float]] = []
    for at, name in enumerate(order.family.heads):
        say(f"fitting {name}", 0.05 + 0.5 * at / len(order.family.heads))
        head = fit_head(name, prepared, order.family, order.seed)
        if head is not None:
            healthy, faulty = _scores(_manifest(order, prepared, head, None, clips), head.network, rows)
            found.append((head, roc_auc(healthy, faulty)))
    best = max(auc for _, auc in found)
    chosen = next(head for head, auc in found if auc >= best - CLEARLY_BETTER)
    return chosen, [HeadRow(head=head.head, auc=auc, shipped=head is chosen) for head, auc in found]


def _rungs(head: FittedHead, prepared: Prepared, seed: int, last: str) -> Iterator[tuple[str, bytes]]:
    """The int8 rungs up to `last`, built when asked for."""
    weights = np.asarray(getattr(head.score, "weights"), np.float64)  # noqa: B009 - never a remaining life
    clip = prepared.normalisation.clip
    for name, data in int8_rungs(head.keras_model, prepared.z_train, clip, seed, weights=weights):
        yield name, data
        if name == last:
            return


def _quantise(
    order: Order, prepared: Prepared, head: FittedHead, clips: Clips, rows: tuple[F32, F32]
) -> tuple[Int8Model, Quantised]:
    """The first rung that loses next to no AUC on made-up faults, else the one that loses least."""
    goal = roc_auc(*_scores(_manifest(order, prepared, head, None, clips), head.network, rows))
    tried: list[Rung] = []
    found: list[bytes] = []
    for name, data in _rungs(head, prepared, order.seed, ""):
        int8 = Int8Model(data)
        loss = goal - roc_auc(*_scores(_manifest(order, prepared, head, int8, clips), int8.network(), rows))
        tried.append(rung_row(name, data, loss))
        found.append(data)
        if tried[-1].passed:
            break
    taken = best_rung(tried, found)
    return Int8Model(taken.model), taken


def _scores(manifest: Manifest, network: Network, rows: tuple[F32, ...]) -> tuple[F64, ...]:
    scorer = Scorer(manifest, network)
    return tuple(scorer.score(part).raw for part in rows)


def _evaluate(
    manifest: Manifest, networks: tuple[Network, Network], features: tuple[F32, F32, F32], x: tuple[F32, F32, F32]
) -> Evaluation:
    """Held-out healthy clips against made-up faults, in all ways.

    Args: networks: float, int8. features, x: of the clips fitted on, of healthy ones held out, of faulty ones.
    """
    as_float, as_int8 = (_scores(manifest, network, features) for network in networks)
    plain = fit_clip_baselines(x[0])
    classical = {
        CLIP_MAHALANOBIS: tuple(plain.mahalanobis(part) for part in x),
        MEAN_LEVEL: tuple(plain.mean_level(part) for part in x),
    }
    as_float, as_int8, main = (_limited(s, manifest) for s in (as_float, as_int8, classical[CLIP_MAHALANOBIS]))
    logs = [np.log(np.concatenate(s[1:]) + 1e-12) for s in (as_float, as_int8)]
    _, healthy, faulty = as_int8
    state, alarms = DecisionState(), 0
    for score in healthy.tolist():
        state, change = decide(state, score, manifest.decision)
        alarms += change == "raised"
    clip_s = manifest.input.window / manifest.input.rate_hz
    return Evaluation(
        faults="synthetic",
        auc=Quality(real=roc_auc(*as_float[1:]), int8=roc_auc(healthy, faulty), baseline=roc_auc(*main[1:])),
        baseline_name=CLIP_MAHALANOBIS,
        baselines={name: roc_auc(*scores[1:]) for name, scores in classical.items()},
        windows_healthy=len(healthy),
        windows_faulty=len(faulty),
        false_alarms=alarms,
        false_alarm_rate=poisson_rate(alarms, len(healthy) * clip_s),
        healthy_over_limit=float((healthy > 1).mean()),
        faulty_over_limit=float((faulty > 1).mean()),
        int8_correlation=float(np.corrcoef(logs[0], logs[1])[0, 1]),
        scores_healthy=shown(healthy),
        scores_faulty=shown(faulty),
        float_healthy=shown(as_float[1]),
        float_faulty=shown(as_float[2]),
        baseline_healthy=shown(main[1]),
        baseline_faulty=shown(main[2]),
    )


def _limited(scores: tuple[F64, ...], manifest: Manifest) -> tuple[F64, F64, F64]:
    """Scores with 1.0 as the limit, drawn from held-out healthy clips: those fitted on score too low."""
    limit = limit_of(scores[1], manifest.calibration)
    return scores[0] / limit, scores[1] / limit, scores[2] / limit


def _steadiness(order: Order, head: Head, data: tuple[F32, Clips], source: InputSpec, spec: FeatureSpec) -> Steadiness:
    """The same kind of head on other splits, with other seeds and other made-up faults."""
    features, clips = data
    block = log_mel_block(spec, order.slot)
    aucs = []
    for seed in range(order.seed, order.seed + order.seeds):
        early, late = _split(len(features), seed)
        prepared = _prepared(features, early, late, source, spec)
        fitted = fit_head(head, prepared, order.family, seed)
        if fitted is not None:
            rows = features[late], _made_up(clips.x[late], block, seed)
            aucs.append(roc_auc(*_scores(_manifest(order, prepared, fitted, None, clips), fitted.network, rows)))
    return Steadiness(seeds=list(range(order.seed, order.seed + len(aucs))), auc=aucs)


def _without_copies(clips: Clips) -> tuple[Clips, int]:
    """Each clip once, and how many copies were left out: a copy may be on both sides of the split, and adds nothing."""
    digests = [hashlib.sha256(clip.tobytes()).digest() for clip in clips.x]
    first = sorted({digest: i for i, digest in reversed(list(enumerate(digests)))}.values())
    copies = len(digests) - len(first)
    return (clips if not copies else replace(clips, x=clips.x[first])), copies


def _told(copies: int) -> Leak:
    return Leak(check="clips", finding=f"{copies} copies of other clips left out" if copies else "no clip comes twice")

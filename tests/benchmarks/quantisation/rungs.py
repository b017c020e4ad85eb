"""AUC of a network in float, through the plain converter, and on each rung of the ladder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

from cloud_hub.data.load import Options, load
from cloud_hub.evaluate.clips import clip_features, log_mel_block
from cloud_hub.evaluate.metrics import roc_auc
from cloud_hub.evaluate.network import clip_scores
from cloud_hub.runtime import TfliteModel
from cloud_hub.training.clips import clip_input
from cloud_hub.training.fit import import_tensorflow
from cloud_hub.training.heads import fit_head
from cloud_hub.training.ladder import INT8_RUNGS, RUNG_AUC_LOSS, climb, int8_rungs
from cloud_hub.training.pick import made_up, pick_head, pipeline_auc
from cloud_hub.training.prepare import Prepared, prepare
from cloud_hub.training.quantising.convert import calibrated_float, to_int8
from cloud_hub.training.train import Order, manifest_for
from models.families import Head, family_named
from models.signal.arrays import F32, F64
from models.signal.score import Network, Scorer
from tests.benchmarks.quantisation.stand_ins import StandIn

SEED = 1
_PLAIN_ROWS = 300
NAIVE = "plain converter"


class Rungs(msgspec.Struct, frozen=True, kw_only=True):
    """AUC: in float, through the plain converter, on each rung that was built, and of the one picked."""

    name: str
    float_auc: float
    naive: float
    rungs: dict[str, float]
    picked: str


def order_for(family: str, quantity: str) -> Order:
    """An order whose gates do not stop the benchmark."""
    return Order(
        family=family_named(family), slot="bench", version="1", title="benchmark", quantity=quantity, seed=SEED,
        created_s=0, accept="made to be compared", seeds=1,
    )  # fmt: skip


def family_rungs(name: str, family: str, quantity: str, source: str, options: Options) -> Rungs:
    """A family's picked head on one recording: every rung, on made-up faults that no rung was picked on."""
    order = order_for(family, quantity)
    recordings = load([source], options)
    prepared = prepare(recordings, order.family, quantity)
    head = pick_head(
        prepared, order.family, SEED, lambda h: manifest_for(order, prepared, h, None, recordings), _silent
    ).head
    picking, judging = (made_up(prepared, order.family, SEED + i) for i in (1, 7))

    def auc(network: Network, faulty: list[F32]) -> float:
        return pipeline_auc(manifest_for(order, prepared, head, None, recordings), network, prepared, faulty)

    weights = np.asarray(getattr(head.score, "weights"), np.float64)  # noqa: B009 - never a remaining life
    clip = prepared.normalisation.clip
    naive = TfliteModel(to_int8(calibrated_float(head.keras_model, _some(prepared.z_train, clip)))).network()
    goal = auc(head.network, picking)
    rungs: dict[str, float] = {}
    losses: dict[str, float] = {}
    for rung, data in int8_rungs(head.keras_model, prepared.z_train, clip, SEED, weights=weights):
        network = TfliteModel(data).network()
        rungs[rung], losses[rung] = auc(network, judging), goal - auc(network, picking)
    return Rungs(
        name=f"{name}, {head.head}",
        float_auc=auc(head.network, judging),
        naive=auc(naive, judging),
        rungs=rungs,
        picked=_picked(losses),
    )


def network_rungs(name: str, model: Any, stand_in: StandIn) -> Rungs:
    """A network of 5 x 128 frames on labelled clips; it is quantised with the healthy ones, without labels."""
    windows = np.lib.stride_tricks.sliding_window_view(stand_in.healthy, 5, axis=1).transpose(0, 1, 3, 2)
    units = np.ascontiguousarray(windows[:, ::10]).reshape(len(stand_in.healthy), -1, 640)
    rows = units.reshape(-1, 640)

    def auc(network: Network) -> float:
        scores = clip_scores(network, stand_in.x)
        return roc_auc(scores[stand_in.y == 0], scores[stand_in.y == 1])

    found: dict[str, float] = {}

    def never(network: Network) -> float:
        found[INT8_RUNGS[len(found)]] = auc(network)
        return 1.0  # fails every rung, so that all are built

    climb(model, units, None, SEED, period=128, check=never)
    picked = climb(model, units, None, SEED, period=128).rung

    def exact(x: F32) -> F32:
        return np.asarray(model(x, training=False), np.float32)

    naive = TfliteModel(to_int8(calibrated_float(model, _some(rows, None)))).network()
    return Rungs(name=name, float_auc=auc(exact), naive=auc(naive), rungs=found, picked=picked)


class Heads(msgspec.Struct, frozen=True, kw_only=True):
    """AUC on a stand-in's labelled clips: of each way to score, in float, and of the network of frames in int8."""

    name: str
    clips: int
    picked: str
    aucs: dict[str, float]


def frames_network(healthy: F32, epochs: int = 12) -> Any:
    """The benchmark's autoencoder of 5 x 128 frames (640-128x4-8-128x4-640, batch normalisation), trained on clips."""
    tf = import_tensorflow()
    tf.keras.utils.set_random_seed(SEED)
    x = inputs = tf.keras.Input((640,))
    for width in (128, 128, 128, 128, 8, 128, 128, 128, 128):
        x = tf.keras.layers.Activation("relu")(tf.keras.layers.BatchNormalization()(tf.keras.layers.Dense(width)(x)))
    model = tf.keras.Model(inputs, tf.keras.layers.Dense(640)(x))
    rng = np.random.default_rng(SEED)
    optimizer = tf.keras.optimizers.Adam(1e-3)
    optimizer.build(model.trainable_variables)

    @tf.function  # type: ignore[untyped-decorator]
    def step(rows: Any) -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(rows, training=True) - rows))
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)

    for _ in range(epochs * 100):
        clip = rng.integers(len(healthy), size=512)
        start = rng.integers(healthy.shape[1] - 4, size=512)
        step(tf.constant(healthy[clip[:, None], start[:, None] + np.arange(5)].reshape(512, 640)))
    return model


def clip_heads(stand_in: StandIn, shipped: tuple[str, F64], plain: dict[str, F64]) -> Heads:
    """Every head of the family fitted on all healthy clips, beside the network of frames and the plain scores.

    Args: shipped: head and scores of the bundle's int8 network on the labelled clips. plain: other scores of them.
    """

    def auc(scores: F64) -> float:
        return roc_auc(scores[stand_in.y == 0], scores[stand_in.y == 1])

    aucs = {"bundle, int8": auc(shipped[1])} | {name: auc(scores) for name, scores in plain.items()}
    model = frames_network(stand_in.healthy)
    aucs["frames, float"] = auc(clip_scores(lambda x: np.asarray(model(x, training=False), np.float32), stand_in.x))
    rows = np.lib.stride_tricks.sliding_window_view(stand_in.healthy[:, :5], 5, axis=1).transpose(0, 1, 3, 2)
    naive = to_int8(calibrated_float(model, _some(np.ascontiguousarray(rows).reshape(-1, 640), None)))
    aucs["frames, int8"] = auc(clip_scores(TfliteModel(naive).network(), stand_in.x))
    return Heads(name=stand_in.name, clips=len(stand_in.healthy), picked=shipped[0], aucs=aucs)


def head_aucs(stand_in: StandIn, prepared: Prepared, heads: tuple[Head, ...]) -> Iterator[tuple[str, float]]:
    """AUC of each head in float on the labelled clips: (name, AUC) of those that have something to add."""
    order = order_for("melspectrum", "sound")
    block = log_mel_block(clip_input(stand_in.healthy.shape[1], stand_in.healthy.shape[2], "sound")[1], "bench")
    features = clip_features(stand_in.x, block)
    for name in heads:
        head = fit_head(name, prepared, order.family, SEED)
        if head is not None:
            raw = Scorer(manifest_for(order, prepared, head, None, []), head.network).score(features).raw
            yield name, roc_auc(raw[stand_in.y == 0], raw[stand_in.y == 1])


def _some(rows: F32, clip: float | None) -> F32:
    few = rows[np.random.default_rng(SEED).permutation(len(rows))[:_PLAIN_ROWS]]
    return few if clip is None else np.clip(few, -clip, clip).astype(np.float32)


def _picked(losses: dict[str, float]) -> str:
    """As `train` picks: the first that loses little, else the one that loses least."""
    passed = [name for name, loss in losses.items() if loss <= RUNG_AUC_LOSS]
    return passed[0] if passed else min(losses, key=losses.__getitem__)


def _silent(_what: str, _share: float) -> None:
    """Progress that nobody wants."""

"""From whole lives to a checked bundle of the family `remaining_life`.

The network is several small regressors and their mean. Each is trained without a part of the units of its own, so that
every unit has predictions of one that has not seen it: they judge the network, and give its interval (cross-conformal,
Vovk 2015; the interval of one member is wider than the mean of all needs, so it errs on the safe side).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from cloud_hub.data.lives import Lives
from cloud_hub.errors import DataError, GateError
from cloud_hub.evaluate.intervals import Known
from cloud_hub.runtime import Int8Model
from cloud_hub.training.budget import Memory, measure_memory
from cloud_hub.training.fit import import_tensorflow
from cloud_hub.training.ladder import int8_rungs
from cloud_hub.training.train import Order, Say, libraries, pack
from models import __version__
from models.bundle.archive import Bundle, read_bundle
from models.bundle.manifest import Budgets, InputSpec, Manifest, Normalisation, Provenance, RemainingLifeScore
from models.bundle.replay import ReplayReport, replay_golden
from models.families.remaining_life import CAP, HORIZON, MEMBERS
from models.signal.arrays import F32, F64, Bools, Ints
from models.signal.features import FeatureExtractor
from models.signal.windows import cut_windows

YOUNGEST = 30
"""Cycles that a unit must have run; younger windows are filled up in front (`padded`)."""
MIN_UNITS = 12
RUNG_RMSE_LOSS = 0.1  # cycles: a dearer rung of int8 is tried beyond this
MAX_RMSE_LOSS = 0.5  # cycles that int8 may lose against float
_MIN_CORRELATION = 0.2
_EPOCHS = 25
_BATCH = 256
_LEARNING_RATE = 2e-3
_HUBER = 0.1  # of the cap: from there on errors count by their size
_RIDGE = 10.0
_FILL = 5  # cycles whose mean fills up a young unit's window


class LifeEvaluation(msgspec.Struct, frozen=True, kw_only=True):
    """RMSE in cycles against min(true, cap), each unit counting alike, of predictions by members that have not seen the
    unit. `rmse_int8_loss`: RMSE of int8 less that of float, over all training windows; `rung`: how it was quantised.
    `residuals`: for rising predictions `predicted`, what the truth, not capped, was above them; `owners`: of
    which unit.
    """

    cap: float
    units: int
    windows: int
    rmse_unseen: float
    rmse_unseen_ridge: float
    rmse_unseen_constant: float
    rmse_int8_loss: float
    rung: str
    memory: Memory
    predicted: list[float]
    residuals: list[float]
    owners: list[int]

    def known(self) -> Known:
        """What intervals are made of."""
        return Known(np.array(self.predicted), np.array(self.residuals), np.array(self.owners, np.int64))


@dataclass(frozen=True, slots=True)
class TrainedLife:
    """A checked bundle. `float_network`: (k, features) clipped and normalised, to cycles (k,)."""

    data: bytes
    bundle: Bundle
    evaluation: LifeEvaluation
    replay: ReplayReport
    float_network: Any
    sensors: list[int]
    gates: list[str]


def padded(samples: F32, window: int) -> F32:
    """A unit's samples (n, sensors), filled up in front by the mean of its first cycles as far as a window that ends at
    cycle `YOUNGEST` needs.
    """
    missing = max(0, window - YOUNGEST)
    return np.concatenate([np.repeat(samples[:_FILL].mean(axis=0, keepdims=True), missing, axis=0), samples])


def train_lives(order: Order, lives: Lives, say: Say) -> TrainedLife:
    """Choose sensors, fit, quantise, check, pack, replay.

    Raises: DataError: too few or too short lives. GateError: int8 loses too much, or ridge regression is better.
    """
    units = list(lives.units.values())
    window, hop = order.family.window_for(1.0)
    if len(units) < MIN_UNITS:
        raise DataError(f"{lives.name}: expected at least {MIN_UNITS} units run to failure, got {len(units)}")
    short = [number for number, rows in lives.units.items() if len(rows) < YOUNGEST + 2]
    if short:
        raise DataError(f"{lives.name}: unit {short[0]}: expected at least {YOUNGEST + 2} cycles")
    sensors = telling_sensors(units)
    if not sensors:
        raise DataError(f"{lives.name}: no sensor follows the remaining life (correlation of {_MIN_CORRELATION})")
    source = InputSpec(
        quantity=order.quantity,
        units=order.family.quantities[order.quantity][0],
        axes=[lives.sensors[i] for i in sensors],
        rate_hz=1.0,
        window=window,
        hop=hop,
    )
    spec = order.family.features_for(source)
    cut = [cut_windows(padded(rows[:, sensors], window), window, hop) for rows in units]
    windows = np.concatenate(cut)
    owner: Ints = np.repeat(np.arange(len(units)), [len(c) for c in cut])
    left: F64 = np.concatenate([np.arange(len(c))[::-1] for c in cut]).astype(np.float64)
    capped = np.minimum(left, CAP)
    features = FeatureExtractor(spec, source)(windows)
    mean, scale = features.mean(axis=0, dtype=np.float64), np.maximum(features.std(axis=0, dtype=np.float64), 1e-9)
    norm = Normalisation(mean=mean.tolist(), scale=scale.tolist())
    z = np.clip((features - mean) / scale, -norm.clip, norm.clip).astype(np.float32)
    fold = np.random.default_rng(order.seed).permutation(len(units))[owner] % MEMBERS
    model, members = _fit(order, z, capped, fold, say)
    say("quantising to int8", 0.9)
    weight = 1.0 / np.bincount(owner)[owner]
    rung, data, int8_loss = _quantised(model, z, norm.clip, order.seed, (capped, weight))
    int8 = Int8Model(data)
    network = int8.network()
    unseen = members[np.arange(len(z)), fold]
    order_of = np.argsort(unseen)[:: max(1, len(unseen) // 2000)]
    evaluation = LifeEvaluation(
        cap=CAP,
        units=len(units),
        windows=len(windows),
        rmse_unseen=_rmse(unseen - capped, weight),
        rmse_unseen_ridge=_rmse(_ridge_unseen(z, capped, fold) - capped, weight),
        rmse_unseen_constant=_rmse(np.average(capped, weights=weight) - capped, weight),
        rmse_int8_loss=int8_loss,
        rung=rung,
        memory=measure_memory(data, order.family.memory_budget_kb),
        predicted=unseen[order_of].round(2).tolist(),
        residuals=(left - unseen)[order_of].round(2).tolist(),
        owners=owner[order_of].tolist(),
    )
    failed = life_gates(evaluation)
    if failed and order.accept is None:
        raise GateError("the model is refused: " + "; ".join(failed) + ". To ship it all the same: --accept REASON")
    manifest = Manifest(
        slot=order.slot,
        version=order.version,
        family=order.family.name,
        title=order.title,
        input=source,
        features=spec,
        normalisation=norm,
        network=int8.spec,
        score=RemainingLifeScore(horizon=HORIZON, unit="cycles"),
        calibration=order.family.calibration,
        decision=order.family.decision,
        budgets=Budgets(window_us=order.family.window_budget_us, memory_kb=order.family.memory_budget_kb),
        golden_tolerance=0.02,
        provenance=Provenance(
            created_s=order.created_s,
            data={lives.name: lives.sha256},
            windows_train=len(windows),
            windows_validation=len(windows),
            code=f"millwright {__version__}",
            libraries=libraries(),
            seed=order.seed,
            accepted=order.accept,
        ),
    )
    say("packing and replaying golden vectors", 0.97)
    # Near the end of life one step of int8 is a large share of what is left: no ground to compare runtimes on.
    golden = windows[network(z)[:, 0] > 2 * HORIZON]
    packed = pack(manifest, data, network, golden, msgspec.json.encode(evaluation), _card(manifest, evaluation))
    bundle = read_bundle(packed, f"{order.slot}/{order.version}")
    replay = replay_golden(bundle, network)
    return TrainedLife(packed, bundle, evaluation, replay, lambda x: _predict(model, x)[:, 0], sensors, failed)


def telling_sensors(units: list[F32]) -> list[int]:
    """Sensors whose rank correlates with the (capped) remaining life over all cycles of all units."""
    from scipy.stats import rankdata

    left = np.concatenate([np.minimum(np.arange(len(rows))[::-1], CAP) for rows in units])
    samples = np.concatenate(units)
    told = []
    for i in range(samples.shape[1]):
        spread = samples[:, i].std(dtype=np.float64)
        if spread <= 1e-6 * max(1.0, float(np.abs(samples[:, i]).max())):
            continue
        if abs(float(np.corrcoef(rankdata(samples[:, i]), rankdata(left))[0, 1])) >= _MIN_CORRELATION:
            told.append(i)
    return told


def life_gates(evaluation: LifeEvaluation) -> list[str]:
    """What speaks against shipping, as texts."""
    failed = []
    if evaluation.rmse_int8_loss > MAX_RMSE_LOSS:
        failed.append(
            f"int8 loses {evaluation.rmse_int8_loss:.2f} cycles of RMSE against float, at most {MAX_RMSE_LOSS} allowed"
        )
    if evaluation.rmse_unseen > evaluation.rmse_unseen_ridge:
        failed.append(
            f"its RMSE {evaluation.rmse_unseen:.2f} on unseen units is over that of ridge regression, "
            f"{evaluation.rmse_unseen_ridge:.2f}"
        )
    if evaluation.rmse_unseen > evaluation.rmse_unseen_constant:
        failed.append(
            f"its RMSE {evaluation.rmse_unseen:.2f} on unseen units is over that of a constant, "
            f"{evaluation.rmse_unseen_constant:.2f}"
        )
    return failed + evaluation.memory.failed()


def ridge(z: F32, target: F64) -> F64:
    """Ridge regression with an intercept: coefficients (features + 1,), the intercept last."""
    a = np.concatenate([z, np.ones((len(z), 1))], axis=1).astype(np.float64)
    return np.linalg.solve(a.T @ a + _RIDGE * np.eye(a.shape[1]), a.T @ target).astype(np.float64)


def _ridge_unseen(z: F32, target: F64, fold: Ints) -> F64:
    out = np.empty(len(z))
    for k in range(MEMBERS):
        seen: Bools = fold != k
        beta = ridge(z[seen], target[seen])
        out[~seen] = z[~seen] @ beta[:-1] + beta[-1]
    return out


def _rmse(error: F64, weight: F64) -> float:
    return float(np.sqrt(np.average(np.square(error), weights=weight)))


def _predict(model: Any, z: F32) -> F64:  # noqa: ANN401 - a Keras model
    return np.concatenate([np.asarray(model(z[i : i + 8192]), np.float64) for i in range(0, len(z), 8192)])


def _quantised(
    model: Any,  # noqa: ANN401 - a Keras model
    z: F32,
    clip: float,
    seed: int,
    truth: tuple[F64, F64],
) -> tuple[str, bytes, float]:
    """The first rung of int8 that loses at most `RUNG_RMSE_LOSS`, else the best: (rung, `.tflite`, RMSE lost).

    Args: truth: the target and weight of each row of z.
    """
    target, weight = truth
    goal = _rmse(_predict(model, z)[:, 0] - target, weight)
    best = ("", b"", np.inf)
    for rung, data in int8_rungs(model, z, clip, seed, weights=np.ones(1)):
        loss = _rmse(Int8Model(data).network()(z)[:, 0].astype(np.float64) - target, weight) - goal
        if loss < best[2]:
            best = (rung, data, loss)
        if loss <= RUNG_RMSE_LOSS:
            break
    return best


def _fit(order: Order, z: F32, capped: F64, fold: Ints, say: Say) -> tuple[Any, F64]:
    """The network of (features,) to cycles (1,), and each member's cycles (k, MEMBERS)."""
    tf = import_tensorflow()
    keras = tf.keras
    keras.backend.clear_session()
    keras.utils.set_random_seed(order.seed)
    model = order.family.build_network(keras, z.shape[1], order.seed)
    steps = _EPOCHS * -(-len(z) // _BATCH)
    rate = keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, steps)

    def masked(seen_and_target: Any, predicted: Any) -> Any:  # noqa: ANN401 - tensors
        seen, target = seen_and_target[:, :MEMBERS], seen_and_target[:, MEMBERS:]
        off = tf.abs(predicted - target)
        # Huber 1964: some units are hard to tell long before their end, and squares would let them rule the rest.
        loss = tf.where(off < _HUBER, tf.square(off), 2 * _HUBER * off - _HUBER**2)
        return tf.reduce_sum(seen * loss, axis=-1) / MEMBERS

    model.compile(keras.optimizers.Adam(rate), masked)
    seen = (fold[:, None] != np.arange(MEMBERS)).astype(np.float32)
    target = np.repeat((capped / CAP - 0.5)[:, None], MEMBERS, axis=1).astype(np.float32)
    told = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: say(
            f"training, epoch {epoch + 1}, loss {logs['loss']:.4f}", 0.85 * (epoch + 1) / _EPOCHS
        )
    )
    both = np.concatenate([seen, target], axis=1)
    model.fit(z, both, batch_size=_BATCH, epochs=_EPOCHS, verbose=0, callbacks=[told])
    members = (_predict(model, z) + 0.5) * CAP
    joined = keras.layers.Dense(1, name="cycles_left")
    whole = keras.Model(model.input, joined(model.output))
    joined.set_weights([np.full((MEMBERS, 1), CAP / MEMBERS, np.float32), np.array([CAP / 2], np.float32)])
    return whole, members


def _card(manifest: Manifest, evaluation: LifeEvaluation) -> str:
    return f"""# {manifest.title}

Slot `{manifest.slot}`, version `{manifest.version}`, family `{manifest.family}`.

**What it listens to.** {", ".join(manifest.input.axes)}, one sample per cycle, windows of \
{manifest.input.window} cycles.

**What it says.** Cycles left, at most about {evaluation.cap:g} (more cannot be told apart); the score is
{HORIZON:g} / cycles left, so 1.0 means {HORIZON:g} cycles. Points do not calibrate.

**How good it is.** RMSE in cycles against the capped truth, on units that the judged member has not seen
({evaluation.units} units, {evaluation.windows} windows).

| network | ridge regression | constant | lost by int8 |
|---|---|---|---|
| {evaluation.rmse_unseen:.2f} | {evaluation.rmse_unseen_ridge:.2f} | {evaluation.rmse_unseen_constant:.2f} | \
{evaluation.rmse_int8_loss:.2f} |

**What it cannot say.** It knows machines of the kind, the failures and the operating conditions of its training data
only.
"""

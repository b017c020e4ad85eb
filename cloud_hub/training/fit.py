"""Fitting a family's network: a denoising autoencoder of normalised healthy features, stopped by held-out loss."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cloud_hub.errors import SettingsError
from cloud_hub.training.prepare import Prepared
from models.families import Family
from models.signal.arrays import F32, F64
from models.signal.score import Network

Progress = Callable[[int, int, float], None]
"""Called after each epoch with (epoch, epochs, held-out loss)."""

EPOCHS = 200
_PATIENCE = 25
_BATCH = 64
_STEPS = 32  # batches in an epoch, whatever the amount of data
_NOISE = 0.3
_LEARNING_RATE = 2e-3
_WEIGHT_SHRINKAGE = 0.5


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained network. `history`: losses per epoch. `weights`: (features,), how much each residual counts."""

    keras_model: Any
    network: Network
    weights: F64
    history: dict[str, list[float]]


def import_tensorflow() -> Any:  # noqa: ANN401 - a module without types
    """TensorFlow, quiet, deterministic, on the CPU threads that there are. Raises: SettingsError: it is not here."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what goes wrong comes as an exception
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    try:
        import tensorflow as tf
    except ModuleNotFoundError as error:
        if error.name != "tensorflow":
            raise
        raise SettingsError(
            "there is no TensorFlow here: this hub was installed with the extra hub-light and trains nothing; train "
            "where the extra hub is installed, and publish the bundle here"
        ) from error
    return tf


def fit(prepared: Prepared, family: Family, seed: int, progress: Progress | None = None) -> Fitted:
    """Train on the prepared windows. Same data, seed, library versions and processor give the same network."""
    tf = import_tensorflow()
    tf.keras.backend.clear_session()  # names are numbered per session, and they end up in the `.tflite`
    tf.keras.utils.set_random_seed(seed)
    clip = prepared.normalisation.clip
    target = np.clip(prepared.z_train, -clip, clip)
    held_out = np.clip(prepared.z_held_out, -clip, clip)
    model = family.build_network(tf.keras, target.shape[1], seed)
    network = float_network(model)
    losses = _descend(tf, model, target, held_out, np.random.default_rng(seed), progress)
    residual = np.concatenate([target - network(target), held_out - network(held_out)])
    variance = residual.var(axis=0, dtype=np.float64)
    weights = 1.0 / np.maximum(_WEIGHT_SHRINKAGE * variance.mean() + (1 - _WEIGHT_SHRINKAGE) * variance, 1e-6)
    return Fitted(model, network, weights / weights.mean(), losses)


def _descend(
    tf: Any,  # noqa: ANN401 - TensorFlow has no types
    model: Any,  # noqa: ANN401
    target: F32,
    held_out: F32,
    rng: np.random.Generator,
    progress: Progress | None,
) -> dict[str, list[float]]:
    """Adam until the held-out loss has not improved for `_PATIENCE` epochs; the best weights are kept.

    One graph call an epoch: for networks this small `Model.fit` spends ten times longer around the steps than in them.
    """
    optimizer = tf.keras.optimizers.Adam(_LEARNING_RATE)
    optimizer.build(model.trainable_variables)

    @tf.function  # type: ignore[untyped-decorator]
    def epoch(noisy: Any, clean: Any) -> Any:  # noqa: ANN401 - tensors, (steps, batch, features)
        total = tf.constant(0.0)
        for step in tf.range(tf.shape(clean)[0]):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(model(noisy[step], training=True) - clean[step]))
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply(gradients, model.trainable_variables)
            total += loss
        return total / tf.cast(tf.shape(clean)[0], tf.float32)

    losses: dict[str, list[float]] = {"loss": [], "val_loss": []}
    best, best_weights, waited = np.inf, model.get_weights(), 0
    for number in range(1, EPOCHS + 1):
        clean = target[rng.integers(len(target), size=(_STEPS, _BATCH))]
        noisy = clean + rng.standard_normal(clean.shape, dtype=np.float32) * np.float32(_NOISE)
        losses["loss"].append(float(epoch(tf.constant(noisy), tf.constant(clean))))
        loss = float(np.mean(np.square(np.asarray(model(held_out, training=False)) - held_out)))
        losses["val_loss"].append(loss)
        if loss < best:
            best, best_weights, waited = loss, model.get_weights(), 0
        else:
            waited += 1
        if progress is not None:
            progress(number, EPOCHS, loss)
        if waited >= _PATIENCE:
            break
    model.set_weights(best_weights)
    return losses


def float_network(model: Any) -> Network:  # noqa: ANN401 - a Keras model
    """The unquantised network as a function of arrays."""

    def run(x: F32) -> F32:
        return np.asarray(model(x, training=False), np.float32)

    return run

"""Makes the small networks in data/: `python -m tests.edge_agent.make_models`. Needs TensorFlow; the tests do not.

dense8.tflite is full int8, 8 -> 4 -> 8, trained a little to give its input back; dense8_float.tflite is its float
version, which an agent must refuse.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

DATA = Path(__file__).parent / "data"


def make() -> None:
    """Train, convert, write."""
    import tensorflow as tf

    tf.keras.utils.set_random_seed(7)
    rng = np.random.default_rng(7)
    x = rng.normal(0.0, 1.0, (2048, 8)).astype(np.float32)
    network = tf.keras.Sequential(
        [tf.keras.Input((8,)), tf.keras.layers.Dense(4, activation="relu"), tf.keras.layers.Dense(8)]
    )
    network.compile("adam", "mse")
    network.fit(x, x, epochs=5, batch_size=64, verbose=0)
    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    (DATA / "dense8_float.tflite").write_bytes(converter.convert())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]

    def samples() -> Iterator[list[np.ndarray]]:
        yield from ([row[None]] for row in np.clip(x[:256] * 2.0, -8.0, 8.0))

    converter.representative_dataset = samples
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    (DATA / "dense8.tflite").write_bytes(converter.convert())


if __name__ == "__main__":
    make()

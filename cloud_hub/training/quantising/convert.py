"""From a Keras model to a calibrated float graph, and from that to int8 or 16x8 TFLite.

int8: weights per channel, activations per tensor, int8 at both ends. 16x8: int16 activations, int8 weights.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cloud_hub.training.fit import import_tensorflow
from models.signal.arrays import F32


def calibrated_float(model: Any, rows: F32) -> bytes:  # noqa: ANN401 - a Keras model
    """The converter's float graph, batch normalisation folded and activations fused, ranges min to max over `rows`.

    Args:    rows: (k, features), float32.
    Returns: a float `.tflite` whose activations carry ranges.
    """
    tf = import_tensorflow()

    def dataset() -> Iterator[list[F32]]:
        for row in rows:
            yield [row[None]]

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = dataset
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    converter._experimental_calibrate_only = True  # noqa: SLF001 - the only door to the graph between the two steps
    with quiet(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Statistics for quantized inputs were expected")
        converted: bytes = converter.convert()
    return converted


def to_int8(calibrated: bytes) -> bytes:
    """Quantise a calibrated float graph by the ranges that it carries. Returns: the `.tflite` file, full int8."""
    tf = import_tensorflow()
    from tensorflow.lite.python.convert import mlir_quantize

    with quiet():
        converted: bytes = mlir_quantize(calibrated, input_data_type=tf.int8, output_data_type=tf.int8)
    return converted


def to_int16x8(calibrated: bytes, rows: F32) -> bytes:
    """Quantise a float graph with int16 activations and int8 weights, int16 at both ends; ranges min to max over rows.

    This mode exists only in the older of the converter's two quantisers, which observes the ranges itself.
    """
    tf = import_tensorflow()
    from tensorflow.lite.python.optimize.calibrator import Calibrator, add_intermediate_tensors

    def dataset() -> Iterator[list[F32]]:
        for row in rows:
            yield [row[None]]

    with quiet():
        converted: bytes = Calibrator(add_intermediate_tensors(calibrated)).calibrate_and_quantize(
            dataset, tf.int16, tf.int16, False, tf.int16, tf.int64
        )
    return converted


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the converter's chatter, written by C++ straight to the descriptors, from the user's terminal.

    When the conversion fails it is part of what went wrong, so it is then written out after all.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as sink:
        saved = os.dup(1), os.dup(2)
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, copy in zip((1, 2), saved, strict=True):
                os.dup2(copy, descriptor)
                os.close(copy)
            if failed:
                sink.seek(0)
                Path("/dev/stderr").write_bytes(sink.read())

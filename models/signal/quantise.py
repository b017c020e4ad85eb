"""Between real numbers and the int8 that a network speaks: real = scale * (q - zero_point)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from models.bundle.manifest import NetworkSpec
from models.signal.arrays import F32, I8


def quantise(x: F32, scale: float, zero_point: int, out: I8 | None = None) -> I8:
    """Quantise with rounding to nearest (ties to even) and saturation, never wrapping.

    Args:    x: any shape, finite. out: an int8 array of the same shape to fill, to spare an allocation.
    Returns: int8, the shape of x.
    Source:  TensorFlow Lite 8-bit quantisation specification, "Quantization scheme".
    """
    q: F32 = np.rint(x * np.float32(1.0 / scale))
    q += np.float32(zero_point)
    np.clip(q, -128.0, 127.0, out=q)
    if out is None:
        return q.astype(np.int8)
    np.copyto(out, q, casting="unsafe")
    return out


def dequantise(q: I8, scale: float, zero_point: int) -> F32:
    """The real numbers that `q` stands for. Returns: float32, the shape of q."""
    return (q.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)


class Int8Network:
    """A real-valued network made of an int8 one: quantise, run, dequantise.

    `invoke` maps int8 (k, inputs) to int8 (k, outputs); each runtime brings its own.
    """

    def __init__(self, spec: NetworkSpec, invoke: Callable[[I8], I8]) -> None:
        self._spec = spec
        self._invoke = invoke

    def __call__(self, x: F32) -> F32:
        """Args: x: (k, inputs). Returns: (k, outputs)."""
        ends = self._spec
        q = quantise(x, ends.input.scale, ends.input.zero_point)
        return dequantise(self._invoke(q), ends.output.scale, ends.output.zero_point)

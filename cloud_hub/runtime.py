"""Running TFLite networks on the hub, with the runtime that gateways use: the only file that imports LiteRT."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cloud_hub.errors import DataError
from models.bundle.manifest import NetworkSpec, Tensor
from models.signal.arrays import F32, I8
from models.signal.quantise import Int8Network, quantise
from models.signal.score import Network

_BATCH = 4096
_KINDS = {np.float32: "float32", np.int8: "int8", np.int16: "int16x8"}


class Int8Model:
    """An int8 `.tflite` with one input and one output, both (batch, features)."""

    def __init__(self, model: bytes) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_content=model, num_threads=1)
        self._input = self._interpreter.get_input_details()[0]
        self._output = self._interpreter.get_output_details()[0]
        self._batch = -1
        self.spec = NetworkSpec(input=_tensor(self._input), output=_tensor(self._output))

    def invoke(self, q: I8) -> I8:
        """Run one batch (k, inputs) of int8; returns (k, outputs)."""
        if len(q) != self._batch:
            self._interpreter.resize_tensor_input(self._input["index"], list(q.shape))
            self._interpreter.allocate_tensors()
            self._batch = len(q)
        self._interpreter.set_tensor(self._input["index"], q)
        self._interpreter.invoke()
        result: I8 = self._interpreter.get_tensor(self._output["index"])
        return result

    def network(self) -> Int8Network:
        """As a network of real numbers."""
        return Int8Network(self.spec, self.invoke)


class TfliteModel:
    """Any `.tflite` with one input and one output, both (batch, features): float32, int8, or int16 beside int8 weights.

    Raises: DataError: not such a file; the text says what it is instead.
    """

    def __init__(self, model: bytes, name: str = "network") -> None:
        from ai_edge_litert.interpreter import Interpreter

        try:
            self._interpreter = Interpreter(model_content=model, num_threads=1)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise DataError(f"{name}: not a .tflite file that the runtime can run: {error}") from error
        ends = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        if [len(end) for end in ends] != [1, 1]:
            raise DataError(
                f"{name}: expected one input and one output, it has {len(ends[0])} inputs and {len(ends[1])} outputs"
            )
        self._input, self._output = ends[0][0], ends[1][0]
        for what, end in (("input", self._input), ("output", self._output)):
            if len(end["shape"]) != 2 or end["dtype"] not in _KINDS or _KINDS[end["dtype"]] != self.kind:
                raise DataError(
                    f"{name}, {what}: expected (batch, features) of float32, int8 or int16, the same at both ends, got "
                    f"{end['dtype'].__name__} {tuple(int(n) for n in end['shape'])}"
                )
        self._batch = int(self._input["shape"][0])

    @property
    def kind(self) -> str:
        """`float32`, `int8` or `int16x8`."""
        return _KINDS.get(self._input["dtype"], "other")

    @property
    def inputs(self) -> int:
        """Features in."""
        return int(self._input["shape"][1])

    @property
    def outputs(self) -> int:
        """Features out."""
        return int(self._output["shape"][1])

    def network(self) -> Network:
        """As a network of real numbers, run in batches."""
        return self._run

    def _run(self, x: F32) -> F32:
        parts = [self._invoke(x[i : i + _BATCH]) for i in range(0, len(x), _BATCH)]
        return np.concatenate(parts) if parts else np.empty((0, self.outputs), np.float32)

    def _invoke(self, x: F32) -> F32:
        if len(x) != self._batch:
            self._interpreter.resize_tensor_input(self._input["index"], list(x.shape))
            self._interpreter.allocate_tensors()
            self._batch = len(x)
        self._interpreter.set_tensor(self._input["index"], _encoded(x, self._input))
        self._interpreter.invoke()
        return _decoded(self._interpreter.get_tensor(self._output["index"]), self._output)


def _encoded(x: F32, details: dict[str, Any]) -> F32 | I8 | npt.NDArray[np.int16]:
    if details["dtype"] is np.float32:
        return np.ascontiguousarray(x, np.float32)
    scale, zero_point = details["quantization"]
    if details["dtype"] is np.int8:
        return quantise(x, scale, zero_point)
    ends = np.iinfo(np.int16)
    q: F32 = np.rint(x * np.float32(1.0 / scale)) + np.float32(zero_point)
    return np.clip(q, ends.min, ends.max).astype(np.int16)


def _decoded(q: npt.NDArray[Any], details: dict[str, Any]) -> F32:
    if details["dtype"] is np.float32:
        return np.asarray(q, np.float32)
    scale, zero_point = details["quantization"]
    return (q.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)


def _tensor(details: dict[str, Any]) -> Tensor:
    scale, zero_point = details["quantization"]
    if details["dtype"] is not np.int8 or not scale:
        raise ValueError(f"tensor {details['name']}: expected quantised int8, got {details['dtype'].__name__}")
    return Tensor(size=int(details["shape"][-1]), scale=float(scale), zero_point=int(zero_point))

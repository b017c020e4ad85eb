"""Running a bundle's int8 network on the hub, with the runtime that gateways use: the only file that imports LiteRT."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.bundle.manifest import NetworkSpec, Tensor
from models.signal.arrays import I8
from models.signal.quantise import Int8Network


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


def _tensor(details: dict[str, Any]) -> Tensor:
    scale, zero_point = details["quantization"]
    if details["dtype"] is not np.int8 or not scale:
        raise ValueError(f"tensor {details['name']}: expected quantised int8, got {details['dtype'].__name__}")
    return Tensor(size=int(details["shape"][-1]), scale=float(scale), zero_point=int(zero_point))

"""A calibrated float graph opened up: run it tap by tap, change weights, biases and ranges, close it again.

What is quantised is this graph and no longer the Keras model: batch normalisation is folded into the weights and each
activation into its layer, so what is measured and trained here is what the int8 kernels will compute.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cloud_hub.training.fit import import_tensorflow
from models.signal.arrays import F32

Range = tuple[float, float]
Tap = Callable[[int, Any], Any]
"""Called with (tensor number, tensor), returns what goes on in its place."""

_ACTIVATIONS = {0: "none", 1: "relu", 3: "relu6"}
_ELEMENTWISE = {"ADD": "add", "SUB": "subtract", "MUL": "multiply"}
_SINGLE = {"RELU": "relu", "RELU6": "relu6", "TANH": "tanh", "LOGISTIC": "sigmoid"}


class NotInterpretedError(Exception):
    """A rung needs to run the graph layer by layer, and it has an operator that we do not know; the text names it."""


@dataclass(frozen=True, slots=True)
class Node:
    """One operator. `inputs`, `output`: tensor numbers; a dense layer has (activations, weights, bias or -1)."""

    kind: str
    inputs: tuple[int, ...]
    output: int
    activation: str

    @property
    def dense(self) -> bool:
        """Whether it is a matrix product."""
        return self.kind == "FULLY_CONNECTED"

    @property
    def side_by_side(self) -> bool:
        """Whether it puts rows of its inputs next to each other: the members of one network."""
        return self.kind == "CONCATENATION"


@dataclass(frozen=True, slots=True)
class FloatGraph:
    """`constants`: weights (outputs, inputs) and biases by tensor number. `ranges`: of each activation tensor."""

    model: Any
    nodes: tuple[Node, ...]
    constants: dict[int, F32]
    ranges: dict[int, Range]
    source: int
    sink: int

    def changed(self, constants: dict[int, F32], ranges: dict[int, Range]) -> FloatGraph:
        """The same graph with some constants and ranges replaced."""
        return replace(self, constants={**self.constants, **constants}, ranges={**self.ranges, **ranges})

    def joined(self) -> FloatGraph:
        """The same graph with one range for what is put side by side: int8 kernels copy codes, so all share a scale."""
        ranges = dict(self.ranges)
        for node in reversed(self.nodes):
            if node.side_by_side:
                ends = [ranges[number] for number in (*node.inputs, node.output) if number in ranges]
                one = min(low for low, _ in ends), max(high for _, high in ends)
                ranges.update({number: one for number in (*node.inputs, node.output) if number in ranges})
        return replace(self, ranges=ranges)

    def foreign(self) -> list[str]:
        """Operators that `run` does not know: such a graph can be quantised as it is, but not changed on the way."""
        kinds = {
            node.kind if node.activation in _ACTIVATE else f"{node.kind} with its activation"
            for node in self.nodes
            if not (node.dense or node.kind in _ELEMENTWISE or node.kind in _SINGLE or node.side_by_side)
            or node.activation not in _ACTIVATE
        }
        return sorted(kinds)

    def run(self, x: Any, on_activation: Tap, constants: dict[int, Any] | None = None) -> Any:  # noqa: ANN401 - tensors
        """Run a batch through the graph in float.

        Args:    x: (k, inputs). on_activation: sees the input and every node's output. constants: instead of its own.
        Returns: the output, (k, outputs), a tensor that gradients flow through.
        """
        tf = import_tensorflow()
        values: dict[int, Any] = dict(self.constants if constants is None else constants)
        values[self.source] = on_activation(self.source, x)
        for node in self.nodes:
            values[node.output] = on_activation(
                node.output, _ACTIVATE[node.activation](tf, pre_activation(node, values))
            )
        return values[self.sink]

    def dump(self) -> bytes:
        """The flatbuffer with the present constants and ranges, for `to_int8`."""
        from tensorflow.lite.tools import flatbuffer_utils

        graph = self.model.subgraphs[0]
        for number, value in self.constants.items():
            data = np.ascontiguousarray(value, "<f4").tobytes()
            self.model.buffers[graph.tensors[number].buffer].data = np.frombuffer(data, np.uint8)
        for number, (low, high) in self.ranges.items():
            quantization = graph.tensors[number].quantization
            quantization.min, quantization.max = [low], [high]
        return bytes(flatbuffer_utils.convert_object_to_bytearray(self.model))


_ACTIVATE: dict[str, Callable[[Any, Any], Any]] = {
    "none": lambda _tf, x: x,
    "relu": lambda tf, x: tf.nn.relu(x),
    "relu6": lambda tf, x: tf.nn.relu6(x),
}


def pre_activation(node: Node, values: dict[int, Any]) -> Any:  # noqa: ANN401 - a tensor
    """What a node gives before its fused activation."""
    tf = import_tensorflow()
    first = values[node.inputs[0]]
    if node.dense:
        y = tf.matmul(first, values[node.inputs[1]], transpose_b=True)
        bias = node.inputs[2] if len(node.inputs) > 2 else -1
        return y if bias < 0 else y + values[bias]
    if node.side_by_side:
        return tf.concat([values[number] for number in node.inputs], axis=-1)
    if node.kind in _ELEMENTWISE:
        return getattr(tf, _ELEMENTWISE[node.kind])(first, values[node.inputs[1]])
    return getattr(tf.nn, _SINGLE[node.kind])(first)


def open_graph(calibrated: bytes) -> FloatGraph:
    """Read what `calibrated_float` wrote."""
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(calibrated))
    graph = model.subgraphs[0]
    _unshare_buffers(model)
    constants, ranges = {}, {}
    for number, tensor in enumerate(graph.tensors):
        data = model.buffers[tensor.buffer].data
        if data is not None and len(data) and tensor.type == 0:  # float32
            constants[number] = np.frombuffer(bytes(data), "<f4").reshape(tensor.shape)
        elif tensor.quantization is not None and tensor.quantization.min is not None:
            ranges[number] = (float(tensor.quantization.min[0]), float(tensor.quantization.max[0]))
    nodes = tuple(
        Node(
            str(flatbuffer_utils.opcode_to_name(model, op.opcodeIndex)),
            tuple(int(i) for i in op.inputs),
            int(op.outputs[0]),
            _ACTIVATIONS.get(getattr(op.builtinOptions, "fusedActivationFunction", 0), "other"),
        )
        for op in graph.operators
    )
    return FloatGraph(model, nodes, constants, ranges, int(graph.inputs[0]), int(graph.outputs[0]))


def _unshare_buffers(model: Any) -> None:  # noqa: ANN401 - a flatbuffer object
    """Give each tensor a buffer of its own: the converter lets equal constants share one, ours are about to differ."""
    taken: set[int] = set()
    for tensor in model.subgraphs[0].tensors:
        if tensor.buffer in taken and model.buffers[tensor.buffer].data is not None:
            own = type(model.buffers[0])()
            own.data = model.buffers[tensor.buffer].data.copy()
            model.buffers.append(own)
            tensor.buffer = len(model.buffers) - 1
        taken.add(tensor.buffer)

"""Making a network easier to quantise without training it: equalisation, compensated rounding, bias correction.

Sources: equalisation across layers and bias correction, Nagel et al., "Data-free quantization through weight
equalization and bias correction" (2019), with the strength of Xiao et al., "SmoothQuant" (2023), since weights have a
scale per channel here and activations one per tensor. Rounding that makes up for its own error, column by column:
Frantar et al., "GPTQ" (2023), after Hassibi & Stork's optimal brain surgeon (1993).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cloud_hub.training.fit import import_tensorflow
from cloud_hub.training.quantising.graph import FloatGraph, Node, pre_activation
from cloud_hub.training.quantising.ranges import nudged
from models.signal.arrays import F32, F64

WEIGHT_TOP = 127
_DAMPING = 0.01
_LEAST_FACTOR = 0.01  # a channel that hardly ever fires may yet fire where a fault is


def rounding_tap(graph: FloatGraph) -> Callable[[int, Any], Any]:
    """A tap for `FloatGraph.run` that rounds every activation as int8 will."""
    tf = import_tensorflow()

    def tap(number: int, tensor: Any) -> Any:  # noqa: ANN401 - tensors
        scale, zero = nudged(*graph.ranges[number])
        return (tf.clip_by_value(tf.round(tensor / scale) + zero, -128.0, 127.0) - zero) * scale

    return tap


def rounded_weights(weights: F32) -> F32:
    """Weights (outputs, inputs) on the grid that the converter will use: symmetric, one scale for each output."""
    scale = weight_scales(weights)
    return np.asarray(np.clip(np.rint(weights / scale), -WEIGHT_TOP, WEIGHT_TOP) * scale, np.float32)


def weight_scales(weights: F32) -> F32:
    """(outputs, 1)."""
    top: F32 = np.maximum(np.abs(weights).max(axis=1, keepdims=True), np.float32(1e-12))
    return top / np.float32(WEIGHT_TOP)


def equalised(graph: FloatGraph, seen: dict[int, F32], share: float) -> FloatGraph:
    """Scale each hidden channel so that channels of one tensor come closer to one range; the function is unchanged.

    Args: seen: activations (rows, channels) by tensor number. share: 0 leaves the activations as they are, 1 gives all
          channels of a tensor one range, at the cost of the next layer's weights.
    """
    constants: dict[int, F32] = {}
    ranges = {}
    current = dict(graph.constants)
    for first, second in _neighbours(graph):
        peaks = np.abs(seen[first.output]).max(axis=0).astype(np.float64)
        alive = peaks > 0
        if not alive.any():
            continue
        factor: F64 = np.ones_like(peaks)  # what the channel is divided by
        factor[alive] = np.power(np.maximum(peaks[alive] / peaks.max(), _LEAST_FACTOR), share)
        divide = factor.astype(np.float32)
        constants[first.inputs[1]] = current[first.inputs[1]] / divide[:, None]
        if len(first.inputs) > 2 and first.inputs[2] >= 0:
            constants[first.inputs[2]] = current[first.inputs[2]] / divide
        constants[second.inputs[1]] = current[second.inputs[1]] * divide
        current.update(constants)
        scaled = seen[first.output] / divide
        ranges[first.output] = (float(scaled.min()), float(scaled.max()))
    return graph.changed(constants, ranges)


def _neighbours(graph: FloatGraph) -> list[tuple[Node, Node]]:
    """Dense layers that feed exactly one other dense layer, with nothing between that a factor would not pass."""
    users: dict[int, list[Node]] = {}
    for node in graph.nodes:
        for number in node.inputs:
            users.setdefault(number, []).append(node)
    found = []
    for node in graph.nodes:
        after = users.get(node.output, [])
        if node.dense and node.activation in {"none", "relu"} and len(after) == 1 and node.output != graph.sink:
            follower = after[0]
            own = all(len(users[number]) == 1 for number in (*node.inputs[1:], *follower.inputs[1:]) if number >= 0)
            if follower.dense and follower.inputs[0] == node.output and own:
                found.append((node, follower))
    return found


def corrected(graph: FloatGraph, rows: F32, *, compensate: bool, round_activations: bool = True) -> FloatGraph:
    """Layer by layer, set biases so that the mean error of each pre-activation is zero over `rows`.

    Each layer sees what the quantised layers before it give, so that it corrects their error too.

    Args:    compensate: also round the weights so that the columns not yet rounded make up for the error so far.
             round_activations: to int8; 16 bits of activation need no simulation.
    Returns: a graph whose weights are on the int8 grid.
    """
    tf = import_tensorflow()
    tap = rounding_tap(graph) if round_activations else _pass_on
    exact: dict[int, Any] = dict(graph.constants)
    quantised: dict[int, Any] = dict(graph.constants)
    changed: dict[int, F32] = {}
    exact[graph.source] = tf.constant(rows)
    quantised[graph.source] = tap(graph.source, exact[graph.source])
    for node in graph.nodes:
        wanted = pre_activation(node, exact)
        if node.dense:
            number = node.inputs[1]
            inputs = np.asarray(quantised[node.inputs[0]], np.float64)
            weights = graph.constants[number]
            changed[number] = compensated(weights, inputs) if compensate else rounded_weights(weights)
            quantised[number] = changed[number]
        got = pre_activation(node, quantised)
        if node.dense and len(node.inputs) > 2 and node.inputs[2] >= 0:
            error = np.asarray(wanted - got, np.float32).mean(axis=0, dtype=np.float64)
            changed[node.inputs[2]] = (graph.constants[node.inputs[2]] + error).astype(np.float32)
            quantised[node.inputs[2]] = changed[node.inputs[2]]
            got = got + error.astype(np.float32)
        activate: Callable[[Any], Any] = {"none": tf.identity, "relu": tf.nn.relu, "relu6": tf.nn.relu6}[
            node.activation
        ]
        exact[node.output], quantised[node.output] = activate(wanted), tap(node.output, activate(got))
    return graph.changed(changed, {})


def _pass_on(_number: int, tensor: Any) -> Any:  # noqa: ANN401 - tensors
    return tensor


def compensated(weights: F32, inputs: F64) -> F32:
    """Round weights (outputs, n) for inputs (rows, n), error made up for by the columns that are still free.

    The greatest weight of each output stays at the end of its scale, so that the converter finds the same grid again.
    """
    centred = inputs - inputs.mean(axis=0)
    second = centred.T @ centred / len(inputs)
    second[np.diag_indices_from(second)] += _DAMPING * max(float(np.trace(second)) / len(second), 1e-12)
    order = np.argsort(-np.diag(second))  # the columns that matter most first, while all others can still make up
    second = second[np.ix_(order, order)]
    upper = np.linalg.cholesky(np.linalg.inv(second)).T  # its row j: how column j's error passes to those after it
    scale = weight_scales(weights)[:, 0].astype(np.float64)
    top = np.abs(weights).argmax(axis=1)
    left = weights[:, order].astype(np.float64)
    codes = np.empty_like(left)
    rows = np.arange(len(weights))
    for j in range(left.shape[1]):
        code = np.clip(np.rint(left[:, j] / scale), -WEIGHT_TOP, WEIGHT_TOP)
        pinned = top == order[j]
        code[pinned] = np.copysign(WEIGHT_TOP, weights[rows[pinned], top[pinned]])
        codes[:, j] = code
        error = (left[:, j] - code * scale) / upper[j, j]
        left[:, j + 1 :] -= error[:, None] * upper[j, j + 1 :]
    out = np.empty_like(codes)
    out[:, order] = codes * scale[:, None]
    return out.astype(np.float32)

"""Quantisation-aware fine-tuning without labels: the rounded network learns to say what the float network says.

Rounding is in the forward pass and passed over in the backward one (straight-through, Bengio et al. 2013; Jacob et al.,
"Quantization and training of neural networks for efficient integer-arithmetic-only inference", 2018). The teacher is
the float graph itself (Hinton et al. 2015), so that any rows will do, and rows beside the healthy ones should be among
them: what counts is that the two agree where faults are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cloud_hub.training.fit import import_tensorflow
from cloud_hub.training.quantising.correct import WEIGHT_TOP, weight_scales
from cloud_hub.training.quantising.graph import FloatGraph
from cloud_hub.training.quantising.ranges import nudged
from models.signal.arrays import F32, F64

STEPS = 1500
_BATCH = 256
_RATE = 0.005  # of a weight's own int8 step, for each update
_RANGE_UNIT = 0.1  # of a range's logarithm, against that
_AVERAGE = 0.99  # of the weights over updates: single ones flutter between two codes
_HELD_OUT = 0.2


@dataclass(frozen=True, slots=True)
class _Part:
    """A tensor being trained, as its start plus `moved` units where `free`; weights end on the grid of `unit`."""

    start: Any
    unit: Any
    free: Any
    moved: Any
    weight: bool


def finetuned(
    graph: FloatGraph, teacher: FloatGraph, rows: F32, weights: F64, seed: int, steps: int = STEPS
) -> FloatGraph:
    """Train weights, biases and ranges of the rounded graph against the teacher's outputs.

    The loss is the squared error of the output, weighed as the score weighs it, over the score, plus the spread of the
    log ratio of the two scores within a batch: a ratio that is the same for all rows changes no ranking.

    Args:    rows: (k, inputs); a fifth of them is held out. weights: (outputs,), of the residual's squares.
    Returns: a graph whose weights are on the int8 grid; the one given when training made the held-out loss no smaller.
             Same arguments and library versions, same result.
    """
    tf = import_tensorflow()
    tf.keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    parts, ends = _parts(tf, graph), _ends(tf, graph)
    target = np.asarray(teacher.run(rows, lambda _, t: t), np.float32)
    members = target.shape[1] // rows.shape[1]  # reconstructions side by side
    share = tf.constant(weights / weights.sum(), tf.float32)
    floor = 1e-3 * float((np.square(np.tile(rows, (1, members)) - target) @ (weights / weights.sum())).mean())
    variables = [part.moved for part in (*parts.values(), *(e for pair in ends.values() for e in pair))]
    optimizer = tf.keras.optimizers.Adam(tf.keras.optimizers.schedules.CosineDecay(_RATE, steps))
    optimizer.build(variables)

    def loss_of(x: Any, wanted: Any) -> Any:  # noqa: ANN401 - tensors
        constants = {**graph.constants, **{number: _value(tf, part) for number, part in parts.items()}}
        got = graph.run(x, lambda number, tensor: _rounded(tf, tensor, ends[number]), constants)
        error = tf.linalg.matvec(tf.square(got - wanted), share)
        seen = tf.tile(x, [1, members])
        score = tf.linalg.matvec(tf.square(seen - wanted), share) + floor
        ratio = tf.math.log(tf.linalg.matvec(tf.square(seen - got), share) + floor) - tf.math.log(score)
        return tf.reduce_mean(error / score) + tf.math.reduce_variance(ratio)

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def step(x: Any, wanted: Any) -> None:  # noqa: ANN401 - tensors
        with tf.GradientTape() as tape:
            loss = loss_of(x, wanted)
        optimizer.apply(tape.gradient(loss, variables), variables)

    order = rng.permutation(len(rows))
    held_out, train = np.split(order, [max(1, round(_HELD_OUT * len(rows)))])
    before = float(loss_of(tf.constant(rows[held_out]), tf.constant(target[held_out])))
    average = [np.zeros(variable.shape, np.float64) for variable in variables]
    for number in range(steps):
        pick = train[rng.integers(len(train), size=min(_BATCH, len(train)))]
        step(tf.constant(rows[pick]), tf.constant(target[pick]))
        keep = min(_AVERAGE, number / (number + 1.0))
        average = [keep * a + (1 - keep) * v.numpy() for a, v in zip(average, variables, strict=True)]
    for variable, value in zip(variables, average, strict=True):
        variable.assign(value.astype(np.float32))
    if float(loss_of(tf.constant(rows[held_out]), tf.constant(target[held_out]))) >= before:
        return graph
    return graph.changed(
        {number: np.asarray(_value(tf, part), np.float32) for number, part in parts.items()},
        {number: (float(_end(tf, low)), float(_end(tf, high))) for number, (low, high) in ends.items()},
    )


def _parts(tf: Any, graph: FloatGraph) -> dict[int, _Part]:  # noqa: ANN401 - TensorFlow has no types
    parts: dict[int, _Part] = {}
    for node in graph.nodes:
        if not node.dense:
            continue
        matrix = graph.constants[node.inputs[1]]
        # The greatest weight of each output spans its grid: were it to move, the converter would choose another one.
        free = np.ones_like(matrix)
        free[np.arange(len(matrix)), np.abs(matrix).argmax(axis=1)] = 0
        parts[node.inputs[1]] = _part(tf, matrix, weight_scales(matrix), free, weight=True)
        if len(node.inputs) > 2 and node.inputs[2] >= 0:
            bias = graph.constants[node.inputs[2]]
            step = np.full_like(bias, nudged(*graph.ranges[node.output])[0])
            parts[node.inputs[2]] = _part(tf, bias, step, np.ones_like(bias), weight=False)
    return parts


def _part(tf: Any, start: F32, unit: F32, free: F32, *, weight: bool) -> _Part:  # noqa: ANN401 - TensorFlow has no types
    return _Part(tf.constant(start), tf.constant(unit), tf.constant(free), tf.Variable(tf.zeros_like(start)), weight)


def _ends(tf: Any, graph: FloatGraph) -> dict[int, tuple[_Part, _Part]]:  # noqa: ANN401 - TensorFlow has no types
    """Both ends of each range, as logarithms of a factor, so that neither changes its sign."""
    made = {}
    for number, (low, high) in graph.ranges.items():
        pair = [
            _part(tf, *(np.array(v, np.float32) for v in (e, _RANGE_UNIT, 1.0)), weight=False)
            for e in (min(low, 0.0), max(high, 1e-6))
        ]
        made[number] = (pair[0], pair[1])
    return made


def _end(tf: Any, part: _Part) -> Any:  # noqa: ANN401 - TensorFlow has no types
    return part.start * tf.exp(part.unit * part.moved)


def _value(tf: Any, part: _Part) -> Any:  # noqa: ANN401 - TensorFlow has no types
    value = part.start + part.unit * part.free * part.moved
    if not part.weight:
        return value
    code = tf.clip_by_value(value / part.unit, -float(WEIGHT_TOP), float(WEIGHT_TOP))
    return _round(tf, code) * part.unit


def _rounded(tf: Any, tensor: Any, ends: tuple[_Part, _Part]) -> Any:  # noqa: ANN401 - TensorFlow has no types
    """What int8 makes of a tensor; gradients reach the tensor within the range and the range's ends everywhere."""
    low, high = (_end(tf, part) for part in ends)
    scale = (high - low) / 255.0
    zero = _round(tf, -128.0 - low / scale)
    return (_round(tf, tf.clip_by_value(tensor / scale + zero, -128.0, 127.0)) - zero) * scale


def _round(tf: Any, x: Any) -> Any:  # noqa: ANN401 - TensorFlow has no types
    return x + tf.stop_gradient(tf.round(x) - x)

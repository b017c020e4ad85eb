"""Model families, one file each: its windows, its features, its network, its decision defaults, its baseline.

A family is added by adding a file here that defines `FAMILY`; nothing else changes. TensorFlow is never imported: the
hub hands its Keras to `build_network`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, Literal

from models.bundle.manifest import CalibrationSpec, DecisionSpec, FeatureSpec, InputSpec
from models.errors import BundleSpecError
from models.signal.arrays import F32, F64

Head = Literal["autoencoder", "mahalanobis", "ensemble", "mixture", "machines"]

Baseline = Callable[[F32], F64]
"""Windows (k, window, axes) to raw scores (k,), higher is worse: what a network has to beat."""


@dataclass(frozen=True, slots=True)
class Family:
    """One way to watch machines.

    `window_for(rate_hz)`: (window, hop) in samples. `features_for(input)`: the feature spec for that input.
    `build_network(keras, features, seed)`: an uncompiled Keras model, (features,) to (features,).
    `fit_baseline(healthy windows)`: the classical score for the same windows; `baseline_name` is for tables.
    `quantities`: the physical quantities it is meant for, with the units each may have.
    `heads`: the ways to score that the hub tries, simplest first; the best on healthy-only grounds ships: see
    `cloud_hub.training.heads`. `groups_for(input)`: axes by name of the group that they are scored with, None for all
    features together. `group_z`: how many spreads from the median a group's limit is, by name (3 where not named).
    `slow`: process signals rather than vibration, for made-up faults. `fit_features(spec, healthy windows)`: fills in
    what the spec takes from the data.
    """

    name: str
    title: str
    quantities: dict[str, tuple[str, ...]]
    window_for: Callable[[float], tuple[int, int]]
    features_for: Callable[[InputSpec], FeatureSpec]
    build_network: Callable[[Any, int, int], Any]
    baseline_name: str
    fit_baseline: Callable[[F32], Baseline]
    calibration: CalibrationSpec
    decision: DecisionSpec
    window_budget_us: float
    memory_budget_kb: float
    heads: tuple[Head, ...] = ("mahalanobis", "autoencoder", "ensemble")
    groups_for: Callable[[InputSpec], dict[str, list[int]] | None] = lambda _source: None
    group_z: Mapping[str, float] = field(default_factory=dict)
    slow: bool = False
    fit_features: Callable[[FeatureSpec, F32], FeatureSpec] = lambda spec, _windows: spec


def families() -> dict[str, Family]:
    """All families of this release, by name."""
    found = {}
    for module in iter_modules(__path__):
        family: Family = import_module(f"{__name__}.{module.name}").FAMILY
        found[family.name] = family
    return found


def family_named(name: str) -> Family:
    """One family. Raises: BundleSpecError: no such family in this release."""
    known = families()
    if name not in known:
        raise BundleSpecError(f"family: expected one of {', '.join(sorted(known))}, got {name!r}")
    return known[name]


def linear_members(keras: Any, kernels: Sequence[F32], biases: Sequence[F32]) -> Any:  # noqa: ANN401 - Keras is the hub's
    """Linear reconstructions side by side, (features,) to (members * features,): member m gives z @ kernel + bias.

    With kernel I - A and bias mu @ A the residual of a member is (z - mu) @ A, so any quadratic distance ships as a
    plain int8 layer whose residual keeps growing where an int8 output of the distance itself would saturate.
    """
    inputs = keras.Input((kernels[0].shape[0],), name="features")
    outputs = []
    for i, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
        layer = keras.layers.Dense(kernel.shape[1], name=f"member_{i}")
        outputs.append(layer(inputs))
        layer.set_weights([kernel, bias])
    whole = outputs[0] if len(outputs) == 1 else keras.layers.Concatenate(name="members")(outputs)
    return keras.Model(inputs, whole, name="linear_members")


def dense_autoencoder(keras: Any, features: int, hidden: Sequence[int], seed: int) -> Any:  # noqa: ANN401 - Keras is the hub's
    """A dense autoencoder with ReLU between linear ends; its layers are all int8 kernels of TFLite.

    Source: the shape of the MLPerf Tiny anomaly-detection reference (Banbury et al. 2021), smaller.
    """
    initializers = keras.initializers
    x = inputs = keras.Input((features,), name="features")
    for i, width in enumerate((*hidden, *reversed(hidden[:-1]))):
        init = initializers.HeNormal(seed=seed + i)
        x = keras.layers.Dense(width, activation="relu", kernel_initializer=init, name=f"dense_{i}")(x)
    init = initializers.GlorotUniform(seed=seed + 1000)
    return keras.Model(
        inputs, keras.layers.Dense(features, kernel_initializer=init, name="reconstruction")(x), name="autoencoder"
    )

"""Remaining life of machines that run to failure over and over: a few sensors, one sample per cycle, to cycles left.

It is not trained on healthy data like the other families but on whole lives: see `cloud_hub.training.remaining_life`.
"""

from __future__ import annotations

from typing import Any

from models.bundle.manifest import CalibrationSpec, DecisionSpec, FeatureSpec, SegmentMeans
from models.families import Family
from models.signal.baselines import fit_t2_q

WINDOW = 50
SEGMENTS = 10
MEMBERS = 8
CAP = 130.0
"""More cycles left than this is "healthy": wear cannot be seen yet. The usual piecewise-linear target (Heimes 2008)."""
HORIZON = 30.0
"""Cycles left at which the score is 1.0."""


def _build_network(keras: Any, features: int, seed: int) -> Any:  # noqa: ANN401 - Keras is the hub's
    """(features,) to (MEMBERS,): as many small regressors side by side, each to share of `CAP` left less a half."""
    inputs = keras.Input((features,), name="features")
    noisy = keras.layers.GaussianNoise(0.1, seed=seed)(inputs)
    outputs = []
    for member in range(MEMBERS):
        x = noisy
        for layer, width in enumerate((64, 32)):
            x = keras.layers.Dense(
                width,
                activation="relu",
                kernel_initializer=keras.initializers.GlorotUniform(seed=seed + 10 * member + layer),
                kernel_regularizer=keras.regularizers.L2(1e-4),
                name=f"member_{member}_{layer}",
            )(x)
        init = keras.initializers.GlorotUniform(seed=seed + 10 * member + 9)
        outputs.append(keras.layers.Dense(1, kernel_initializer=init, name=f"member_{member}_left")(x))
    return keras.Model(inputs, keras.layers.Concatenate(name="members")(outputs), name="remaining_life")


FAMILY = Family(
    name="remaining_life",
    title="remaining life from whole lives",
    quantities={"process": ("mixed",)},
    window_for=lambda _rate_hz: (WINDOW, 1),
    features_for=lambda _source: FeatureSpec(detrend="none", blocks=[SegmentMeans(segments=SEGMENTS)]),
    build_network=_build_network,
    baseline_name="PCA T2+Q",
    fit_baseline=fit_t2_q,
    calibration=CalibrationSpec(windows=8, z=5.0, min_spread=0.1, shift_weight=0.0),
    decision=DecisionSpec(n=3, m=5, warn_level=0.6, alarm_level=1.0, clear_level=0.8, clear_windows=12),
    window_budget_us=10_000.0,
    memory_budget_kb=4_096.0,
    heads=(),
)

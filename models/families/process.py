"""Slow signals of a machine's process together: temperatures, pressures, flows, currents, about one sample a second."""

from __future__ import annotations

from typing import Any

from models.bundle.manifest import CalibrationSpec, DecisionSpec, FeatureSpec, InputSpec, Moments
from models.families import Family, dense_autoencoder
from models.signal.baselines import fit_t2_q

_WINDOW = 32
_HOP = 4


def _features_for(_source: InputSpec) -> FeatureSpec:
    return FeatureSpec(detrend="none", blocks=[Moments()])


def _build_network(keras: Any, features: int, seed: int) -> Any:  # noqa: ANN401 - Keras is the hub's
    return dense_autoencoder(keras, features, (32, 16, max(2, features // 4)), seed)


FAMILY = Family(
    name="process",
    title="slow process signals together",
    quantities={"process": ("mixed",), "temperature": ("degC", "K"), "pressure": ("bar", "Pa"), "current": ("A",), "unknown": ("unknown",)},
    window_for=lambda _rate_hz: (_WINDOW, _HOP),
    features_for=_features_for,
    build_network=_build_network,
    baseline_name="PCA T2+Q",
    fit_baseline=fit_t2_q,
    calibration=CalibrationSpec(windows=64, z=5.0, min_spread=0.15, shift_weight=0.0),
    decision=DecisionSpec(n=6, m=8, warn_level=0.85, alarm_level=1.0, clear_level=0.9, clear_windows=12),
    window_budget_us=10_000.0,
    memory_budget_kb=4_096.0,
)

"""Slow signals of a machine's process together: temperatures, pressures, flows, currents, about one sample a second.

Signals of one physical kind are scored together and the worst kind counts: a valve that closes moves pressure and flow
by many of their spreads and leaves eight other signals alone, and one sum over all would drown it. Decision and alarm
share were fixed on healthy data: see DECISIONS.md, "How slow signals alarm and clear".
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from msgspec import structs

from models.bundle.manifest import CalibrationSpec, DecisionSpec, FeatureSpec, InputSpec, Levels
from models.families import Family, dense_autoencoder
from models.signal.arrays import F32
from models.signal.baselines import fit_t2_q

_SPAN = 16
_WINDOW = 64  # of which the last samples are judged; those before tell where drifting signals come from
_KINDS = {
    "vibration": r"acc|vib|veloc|displac|shock",
    "electrical": r"curr|volt|amp|power|torque|watt|phase",
    "hydraulic": r"press|flow|level|volume|valve|pump|suction",
    "thermal": r"temp|therm|heat|cool",
    "speed": r"speed|rpm|freq|rotat",
}
# How far each kind may be from its median, in spreads of some minutes of training: over longer times healthy heat
# wanders far, currents and voltages hardly at all. See DECISIONS.md, 26.
_SPREADS = {"electrical": 1.85, "hydraulic": 4.0, "vibration": 6.75, "thermal": 4.25}


def kind_of(axis: str) -> str:
    """The physical kind of a signal, by its name; `other` when the name does not tell."""
    return next((kind for kind, words in _KINDS.items() if re.search(words, axis.lower())), "other")


def _groups_for(source: InputSpec) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for at, axis in enumerate(source.axes):
        groups.setdefault(kind_of(axis), []).append(at)
    return groups


def _features_for(source: InputSpec) -> FeatureSpec:
    drifting = [at for at, axis in enumerate(source.axes) if kind_of(axis) == "thermal"]
    return FeatureSpec(detrend="none", blocks=[Levels(span=_SPAN, floors=[1e-6] * len(source.axes), drifting=drifting)])


def _fit_features(spec: FeatureSpec, healthy: F32) -> FeatureSpec:
    """Floors of half the usual deviation within a span; of a signal that hardly ever moves, its mean deviation."""
    deviation = healthy[:, -_SPAN:].std(axis=1, dtype=np.float64)  # (k, axes)
    usual = np.median(deviation, axis=0)
    usual = np.where(usual > 0.0, usual, deviation.mean(axis=0))
    floors = np.maximum(0.5 * usual, 1e-6).tolist()
    blocks = [structs.replace(block, floors=floors) if isinstance(block, Levels) else block for block in spec.blocks]
    return structs.replace(spec, blocks=blocks)


def _build_network(keras: Any, features: int, seed: int) -> Any:  # noqa: ANN401 - Keras is the hub's
    return dense_autoencoder(keras, features, (32, 16, max(2, features // 4)), seed)


FAMILY = Family(
    name="process",
    title="slow process signals together",
    quantities={
        "process": ("mixed",),
        "temperature": ("degC", "K"),
        "pressure": ("bar", "Pa"),
        "current": ("A",),
        "unknown": ("unknown",),
    },
    window_for=lambda _rate_hz: (_WINDOW, 1),
    features_for=_features_for,
    build_network=_build_network,
    baseline_name="PCA T2+Q",
    fit_baseline=fit_t2_q,
    calibration=CalibrationSpec(windows=256, z=2.0, min_spread=0.1, shift_weight=0.0, least_limit=1.0),
    decision=DecisionSpec(
        n=4,
        m=6,
        warn_level=0.85,
        alarm_level=1.0,
        clear_level=0.9,
        clear_windows=4,
        clear_of_peak=0.6,
        peak_windows=32,
        rearm=1.3,
    ),
    window_budget_us=10_000.0,
    memory_budget_kb=4_096.0,
    groups_for=_groups_for,
    slow=True,
    group_z=_SPREADS,
    fit_features=_fit_features,
)

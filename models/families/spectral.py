"""Vibration: energies in logarithmic bands, the envelope's spectrum, and the shape of the signal."""

from __future__ import annotations

from typing import Any

from models.bundle.manifest import CalibrationSpec, DecisionSpec, EnvelopeBands, FeatureSpec, InputSpec, LogBands, Shape
from models.families import Family, dense_autoencoder
from models.signal.baselines import fit_rms

_WINDOW = 4096
_LOWEST_BINS = 4  # below this the Hann taper's main lobe reaches to zero frequency


def _features_for(source: InputSpec) -> FeatureSpec:
    nyquist_hz = source.rate_hz / 2
    low_hz = _LOWEST_BINS * source.rate_hz / source.window
    return FeatureSpec(
        detrend="constant",
        blocks=[
            LogBands(bands=48, low_hz=low_hz, high_hz=nyquist_hz * 0.9),
            # The upper half of the range, where bearing blows ring, up to modulation at a tenth of it.
            EnvelopeBands(
                carrier_low_hz=nyquist_hz / 4,
                carrier_high_hz=nyquist_hz * 0.75,
                bands=16,
                low_hz=2 * source.rate_hz / source.window,
                high_hz=nyquist_hz / 10,
            ),
            Shape(),
        ],
    )


def _build_network(keras: Any, features: int, seed: int) -> Any:  # noqa: ANN401 - Keras is the hub's
    return dense_autoencoder(keras, features, (64, 32, 12), seed)


FAMILY = Family(
    name="spectral",
    title="vibration spectra and envelope",
    quantities={
        "acceleration": ("g", "m/s2"),
        "velocity": ("mm/s", "m/s"),
        "sound": ("Pa",),
        "current": ("A",),
        "unknown": ("unknown",),
    },
    window_for=lambda _rate_hz: (_WINDOW, _WINDOW // 4),
    features_for=_features_for,
    build_network=_build_network,
    baseline_name="RMS",
    fit_baseline=fit_rms,
    calibration=CalibrationSpec(windows=64, z=5.0, min_spread=0.08, shift_weight=0.0),
    decision=DecisionSpec(n=6, m=8, warn_level=0.85, alarm_level=1.0, clear_level=0.9, clear_windows=12),
    window_budget_us=20_000.0,
    memory_budget_kb=8_192.0,
)

"""Sound as log-mel frames, the input of the MLPerf Tiny anomaly-detection benchmark, scored clip by clip.

The benchmark's network reconstructs five frames of 128 bands and averages 196 squared errors. Here a window is the
whole clip (200 frames, 6.4 s at 16 kHz) and the network sees what the frames come to: the mean level of each band,
which carries the spectrum; the loudest tenth, for what comes now and then; and how fast levels move, per group of bands
and for the spectrum's shape as a whole. Means over 200 frames wander far less than five frames do, and how a sound
moves (a beat, a rattle, a knock once a turn) is in no single short window. All but the means is kept coarse on purpose:
128 noisy numbers more would drown them when there are as few as 160 clips.
"""

from __future__ import annotations

from typing import Any

from models.bundle.manifest import CalibrationSpec, ClipStatistic, DecisionSpec, FeatureSpec, InputSpec, LogMel
from models.families import Family, dense_autoencoder
from models.signal.baselines import fit_rms

RATE_HZ = 16_000.0
N_FFT = 1024
HOP = 512
MELS = 128
FRAMES = 200

STATISTICS = (
    ClipStatistic(kind="mean", size=MELS),
    ClipStatistic(kind="high", size=16),
    ClipStatistic(kind="change", size=16),
    ClipStatistic(kind="cepstral_change", size=12),
)


def samples_of(frames: int) -> int:
    """How many samples a run of frames spans."""
    return N_FFT + (frames - 1) * HOP


def log_mel(rate_hz: float, mels: int) -> LogMel:
    """The benchmark's frames, with as many bands as given; groups of bands that do not divide them become one each."""
    statistics = [ClipStatistic(kind=one.kind, size=_fitting(one, mels)) for one in STATISTICS]
    return LogMel(n_fft=N_FFT, hop=HOP, mels=mels, high_hz=rate_hz / 2, statistics=statistics)


def _fitting(statistic: ClipStatistic, mels: int) -> int:
    if statistic.size == MELS:
        return mels
    if statistic.kind.startswith("cepstral"):
        return min(statistic.size, mels)
    return max(size for size in range(1, statistic.size + 1) if mels % size == 0)


def _features_for(source: InputSpec) -> FeatureSpec:
    return FeatureSpec(detrend="none", blocks=[log_mel(source.rate_hz, MELS)])


def _window_for(_rate_hz: float) -> tuple[int, int]:
    window = samples_of(FRAMES)
    return window, window // 4


def _build_network(keras: Any, features: int, seed: int) -> Any:  # noqa: ANN401 - Keras is the hub's
    return dense_autoencoder(keras, features, (128, 64, 16), seed)


FAMILY = Family(
    name="melspectrum",
    title="sound as log-mel clips",
    quantities={"sound": ("FS", "Pa")},
    window_for=_window_for,
    features_for=_features_for,
    build_network=_build_network,
    baseline_name="RMS",
    fit_baseline=fit_rms,
    calibration=CalibrationSpec(windows=64, z=5.0, min_spread=0.08, shift_weight=0.0),
    decision=DecisionSpec(n=4, m=6, warn_level=0.85, alarm_level=1.0, clear_level=0.9, clear_windows=8),
    window_budget_us=100_000.0,
    memory_budget_kb=8_192.0,
    # Several machines first: left-out clips say how many there are, and a tie on made-up faults does not undo that.
    heads=("machines", "mahalanobis", "mixture", "ensemble"),
)

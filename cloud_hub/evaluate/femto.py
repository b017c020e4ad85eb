"""Bearings run to failure (PRONOSTIA, IEEE PHM 2012 challenge: Nectoux et al. 2012).

Each bearing: an int8 bundle of the `spectral` family from its first bursts alone, every burst in the gateway's code,
and RMS and kurtosis beside it, with limits by the same rule on the same bursts and the same n of m. What counts is the
first alarm that lasts, that is, stands until the end; an alarm in the first third is a false one.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

from cloud_hub.data.recording import Recording
from cloud_hub.errors import DataError
from cloud_hub.evaluate.series import bundle_of, spans_of
from cloud_hub.runtime import Int8Model
from models.bundle.manifest import Manifest
from models.errors import SignalError
from models.families import family_named
from models.signal.arrays import F32, F64, Bools
from models.signal.calibrate import classical_limit
from models.signal.decide import DecisionState, decide
from models.signal.monitor import Monitor, Result
from models.signal.windows import cut_windows

RATE_HZ = 25_600.0
TRAINED_ON = 0.15
_WINDOW, _HOP = 2048, 512  # a burst has 2560 samples
_WHERE = "the PRONOSTIA data of the IEEE PHM 2012 challenge, as .npz with acc (bursts, 2560, 2) in g and t_s"


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """What one way to score says over a life; times in s from the first burst, None where there was no alarm."""

    first_alarm_s: float | None
    lasting_alarm_s: float | None
    before_end_s: float | None
    alarms: int
    alarms_in_first_third: int


class BearingRow(Course, frozen=True, kw_only=True):
    """One bearing, with the classical scores beside ours."""

    name: str
    life_s: float
    trained_on_s: float
    rms: Course
    kurtosis: Course


class FemtoResult(msgspec.Struct, frozen=True, kw_only=True):
    """All bearings of the folder."""

    bearings: list[BearingRow]


@dataclass(frozen=True, slots=True)
class _Scored:
    """A bearing through a bundle of its own first bursts: the windows after them, and what the gateway says of each."""

    times: F64
    learnt: int
    history: F32
    windows: F32
    results: Sequence[Result]
    manifest: Manifest
    per_burst: int


def evaluate_femto(folder: Path) -> FemtoResult:
    """Run every bearing of a folder that is, or holds, `femto`. Raises: DataError: none is there, or one is broken."""
    folder = folder / "femto" if (folder / "femto").is_dir() else folder
    files = sorted(folder.glob("*.npz"))
    if not files:
        raise DataError(f"{folder}: no .npz files; expected {_WHERE}")
    return FemtoResult(bearings=[run_bearing(path) for path in files])


def run_bearing(path: Path) -> BearingRow:
    """One bearing through a bundle of its own."""
    scored = _scored(path)
    history, windows, results = scored.history, scored.windows, scored.results
    times, learnt, manifest, per_burst = scored.times, scored.learnt, scored.manifest, scored.per_burst
    later = times[learnt:]
    ours = _course(np.array([result.verdict == "alarm" for result in results]), per_burst, later)
    rms, kurtosis = (
        _course(_alarmed(score, history, windows, manifest), per_burst, later) for score in (_rms, _kurtosis)
    )
    return BearingRow(
        name=path.stem,
        life_s=float(times[-1]),
        trained_on_s=float(times[learnt - 1]),
        rms=rms,
        kurtosis=kurtosis,
        **{name: getattr(ours, name) for name in Course.__struct_fields__},
    )


def burst_scores(path: Path) -> tuple[F64, F64]:
    """A bearing's score after what it was trained on: times (bursts,) in s, and the median over each burst's windows.

    Raises: DataError: the file is broken.
    """
    scored = _scored(path)
    scores = np.array([result.score for result in scored.results], np.float64).reshape(-1, scored.per_burst)
    return scored.times[scored.learnt :], np.median(scores, axis=1)


def _scored(path: Path) -> _Scored:
    bursts, times = _read(path)
    learnt = max(8, round(TRAINED_ON * len(bursts)))
    family = replace(family_named("spectral"), window_for=lambda _rate_hz: (_WINDOW, _HOP))
    recordings = [
        Recording(f"{path.name}:{i}", path.stem, burst, RATE_HZ, ("horizontal", "vertical"), "g", "0" * 64)
        for i, burst in enumerate(bursts[:learnt])
    ]
    bundle, history = bundle_of(recordings, family, "acceleration")
    manifest = bundle.manifest
    monitor = Monitor(manifest, Int8Model(bundle.model).network(), [path.stem])
    monitor.process(history, [0] * len(history))
    windows = np.concatenate([cut_windows(burst, _WINDOW, _HOP) for burst in bursts[learnt:]])
    results = monitor.process(np.ascontiguousarray(windows), [0] * len(windows))
    if any(result.score is None for result in results):
        raise SignalError(f"{path.name}: not calibrated by {len(history)} windows")
    per_burst = len(windows) // (len(bursts) - learnt)
    return _Scored(times, learnt, history, windows, results, manifest, per_burst)


def _alarmed(score: Callable[[F32], F64], history: F32, windows: F32, manifest: Manifest) -> Bools:
    """Whether the point is in alarm after each window, by a classical score with the bundle's own rule."""
    limit = classical_limit(score(history), manifest.calibration)
    state, out = DecisionState(), np.zeros(len(windows), bool)
    for i, value in enumerate((score(windows) / limit).tolist()):
        state, _ = decide(state, value, manifest.decision)
        out[i] = state.verdict == "alarm"
    return out


def _rms(windows: F32) -> F64:
    """Of the worst axis, (k,)."""
    worst: F64 = windows.std(axis=1, dtype=np.float64).max(axis=1)
    return worst


def _kurtosis(windows: F32) -> F64:
    """Of the worst axis, (k,)."""
    x = windows - windows.mean(axis=1, keepdims=True)
    square = np.square(x, dtype=np.float64)
    worst: F64 = (np.square(square).mean(axis=1) / np.maximum(np.square(square.mean(axis=1)), 1e-30)).max(axis=1)
    return worst


def _course(standing: Bools, per_burst: int, times: F64) -> Course:
    """`times`: (bursts,), s; an alarm is known at the burst in which it is raised."""
    spans = spans_of(standing)
    starts = [float(times[span.start // per_burst]) for span in spans]
    lasting = starts[-1] if spans and spans[-1].end == len(standing) else None
    third = float(times[-1]) / 3.0
    return Course(
        first_alarm_s=starts[0] if starts else None,
        lasting_alarm_s=lasting,
        before_end_s=None if lasting is None else float(times[-1]) - lasting,
        alarms=len(spans),
        alarms_in_first_third=sum(start <= third for start in starts),
    )


def _read(path: Path) -> tuple[F32, F64]:
    """Bursts (n, 2560, 2) in g, and their times in s from the first."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            bursts, times = archive["acc"].astype(np.float32), archive["t_s"].astype(np.float64)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read: {error}; expected {_WHERE}") from error
    if bursts.ndim != 3 or bursts.shape[1] < _WINDOW or bursts.shape[2] != 2 or times.shape != (len(bursts),):
        raise DataError(f"{path}: acc has shape {bursts.shape}, t_s {times.shape}; expected {_WHERE}")
    if len(bursts) < 60 or not np.isfinite(bursts).all() or (np.diff(times) <= 0).any():
        raise DataError(f"{path}: expected at least 60 bursts of numbers in order of time, got {len(bursts)}")
    return bursts, times - times[0]

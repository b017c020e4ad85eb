"""Checks between training and publishing that are about the data rather than about the network."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from cloud_hub.data.recording import Recording
from cloud_hub.training.prepare import PointData
from models.signal.arrays import F64
from models.signal.spectrum import amplitude_spectrum

_CONFIDENCE = 0.95
_TOP_SHARE = 0.1  # of the frequency range
_SAME_RATE_DB = 25.0
_SPECTRUM_SAMPLES = 65_536
_POSITION_RHO = 0.7
_FILE_SHARE = 0.5


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """Events in a time, per day, with the exact Poisson interval of 95 % (Garwood 1936)."""

    events: int
    hours: float
    low_per_day: float
    high_per_day: float


class Leak(msgspec.Struct, frozen=True, kw_only=True):
    """One way in which a score could depend on how data were recorded. `serious`: it makes the evaluation worthless."""

    check: str
    finding: str
    serious: bool = False


def poisson_rate(events: int, seconds: float) -> Rate:
    """The rate of events with its interval. `seconds` > 0."""
    from scipy.stats import chi2

    tail = (1.0 - _CONFIDENCE) / 2.0
    days = seconds / 86_400.0
    low = chi2.ppf(tail, 2 * events) / 2.0 if events else 0.0
    high = chi2.ppf(1.0 - tail, 2 * events + 2) / 2.0
    return Rate(events=events, hours=seconds / 3600.0, low_per_day=float(low / days), high_per_day=float(high / days))


def leaks(
    healthy: Sequence[Recording], faulty: Sequence[Recording], points: Sequence[PointData], scores: Sequence[F64]
) -> list[Leak]:
    """What was looked for, and what was found.

    Args: scores: calibrated scores of each point's held-out windows, in time order.
    """
    return [
        _same_files(healthy, faulty),
        _real_rate(healthy),
        _file(points, scores),
        _position(points, scores),
    ]


def _same_files(healthy: Sequence[Recording], faulty: Sequence[Recording]) -> Leak:
    """The same bytes may not be called healthy and faulty."""
    both = {r.sha256 for r in healthy} & {r.sha256 for r in faulty}
    names = sorted({r.name for r in [*healthy, *faulty] if r.sha256 in both})
    if names:
        return Leak(check="file", finding=f"healthy and faulty at once: {', '.join(names[:5])}", serious=True)
    return Leak(check="file", finding="no file is both healthy and faulty")


def _real_rate(recordings: Sequence[Recording]) -> Leak:
    """A file that was resampled from a lower rate has an empty top: a network then tells files, not faults. Only healthy
    files are held against each other: a fault may well change the top of the spectrum.
    """
    levels = {}
    for recording in recordings:
        x = recording.samples[:_SPECTRUM_SAMPLES, 0]
        if len(x) < 256:
            continue
        _, power = amplitude_spectrum(x, recording.rate_hz)
        top = power[-max(8, round(len(power) * _TOP_SHARE)) :]
        levels[recording.name] = 10 * math.log10(float(np.median(top)) / max(float(power.mean()), 1e-30) + 1e-12)
    if len(levels) < 2:
        return Leak(check="rate", finding="one recording: nothing to compare")
    low, high = min(levels, key=levels.__getitem__), max(levels, key=levels.__getitem__)
    gap = levels[high] - levels[low]
    text = f"level of the top tenth of the spectrum differs by {gap:.0f} dB between files ({low} is the lowest)"
    return Leak(check="rate", finding=text, serious=gap > _SAME_RATE_DB and bool(recordings[0].rate_hz > 100))


def _file(points: Sequence[PointData], scores: Sequence[F64]) -> Leak:
    """How much of the healthy scores' variance is between points rather than within them."""
    logs = [np.log(np.maximum(s, 1e-12)) for s in scores if len(s) > 1]
    if len(logs) < 2:
        return Leak(check="point", finding="one point: nothing to compare")
    total = float(np.concatenate(logs).var())
    within = float(np.average([part.var() for part in logs], weights=[len(part) for part in logs]))
    share = 1.0 - within / max(total, 1e-12)
    worst = points[int(np.argmax([part.mean() for part in logs]))].point
    note = f": {worst} is scored highest, look at it" if share > _FILE_SHARE else ""
    return Leak(check="point", finding=f"{share:.0%} of the variance of healthy scores is between points{note}")


def _position(points: Sequence[PointData], scores: Sequence[F64]) -> Leak:
    """Scores that rise or fall with the place in the record tell of drift; a split in time then overstates nothing, but
    a random one would.
    """
    from scipy.stats import spearmanr

    found = {
        point.point: float(spearmanr(np.arange(len(s)), s).statistic)
        for point, s in zip(points, scores, strict=True)
        if len(s) > 8 and float(np.std(s)) > 0
    }
    if not found:
        return Leak(check="position", finding="too few held-out windows to tell")
    worst = max(found, key=lambda name: abs(found[name]))
    drift = abs(found[worst]) > _POSITION_RHO
    text = f"rank correlation of healthy scores with their place in the record: {found[worst]:+.2f} at {worst}"
    return Leak(check="position", finding=text + (": the machine drifts, train on more time" if drift else ""))

"""From windows to features, as the manifest's feature spec says: one function for training and for the gateway.

The work is done in blocks of rows with buffers that are kept, because batched single-precision FFTs otherwise spend
more time in page faults on fresh temporaries than in arithmetic (measured: 45 us a window instead of 19.5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

import numpy as np

from models.bundle.manifest import (
    EnvelopeBands,
    FeatureBlock,
    FeatureSpec,
    InputSpec,
    Levels,
    LogBands,
    LogMel,
    Moments,
    SegmentMeans,
    Shape,
)
from models.errors import SignalError
from models.signal.arrays import C64, F32
from models.signal.envelope import EnvelopePlan
from models.signal.mel import ClipStatistics, MelPlan, mel_edges_hz
from models.signal.spectrum import band_mean_square, hann, log_band_edges, rfft32, squares_in_place

_BLOCK_BYTES = 1 << 19  # of samples at a time: with its spectra, about what a second-level cache holds


@dataclass(frozen=True, slots=True)
class FeatureInfo:
    """What one feature is. Frequencies in Hz where it is a band.

    `power`: a change of the feature by 1 / power is a factor of ten in what people read off an instrument: 2 for log10
    of an energy (amplitude), 1 for log10 of a ratio, None where the feature is no logarithm.
    """

    axis: int
    kind: str
    name: str
    low_hz: float | None = None
    high_hz: float | None = None
    power: float | None = None


@dataclass(slots=True)
class _Work:
    """What the blocks of a spec share while one batch of rows, (k, n), is computed."""

    first: int
    """Number of the first row; rows are axis after axis, window after window."""
    rows: F32
    """As they came."""
    mean: F32
    slope: F32
    x: F32
    """Detrended."""
    plain: C64
    """Spectrum of x; without meaning unless a block of the spec needs it."""
    squares: F32
    """Squared parts of the spectrum of x times the Hann taper; likewise."""


class _LogBandsPlan:
    def __init__(self, block: LogBands, source: InputSpec) -> None:
        self._edges = log_band_edges(block.low_hz, block.high_hz, block.bands, source.rate_hz, source.window)
        taper = hann(source.window).astype(np.float64)
        self._scale = 2.0 / (source.window * float(np.sum(taper**2)))
        self._floor = np.float32(block.floor)
        self._hz = self._edges * (source.rate_hz / source.window)
        self.size = block.bands

    def describe(self, axis: int, name: str) -> list[FeatureInfo]:
        return [
            FeatureInfo(axis, "log_bands", f"{name} {low:.0f}-{high:.0f} Hz", float(low), float(high), power=2.0)
            for low, high in zip(self._hz, self._hz[1:], strict=False)
        ]

    def fill(self, work: _Work, out: F32) -> None:
        energy = band_mean_square(work.squares, self._edges, self._scale)
        energy += self._floor
        np.log10(energy, out=out)


class _EnvelopeBandsPlan:
    def __init__(self, block: EnvelopeBands, source: InputSpec) -> None:
        carrier_hz = (block.carrier_low_hz, block.carrier_high_hz)
        self._plan = EnvelopePlan(carrier_hz, source.rate_hz, source.window, block.high_hz)
        points, rate_hz = self._plan.points, self._plan.rate_hz
        self._edges = log_band_edges(block.low_hz, block.high_hz, block.bands, rate_hz, points)
        self._taper = hann(points)
        self._scale = 2.0 / (points * float(np.sum(self._taper.astype(np.float64) ** 2)))
        self._floor = np.float32(block.floor)
        self._hz = self._edges * (rate_hz / points)
        self.size = block.bands

    def describe(self, axis: int, name: str) -> list[FeatureInfo]:
        return [
            FeatureInfo(axis, "envelope_bands", f"{name} envelope {low:.0f}-{high:.0f} Hz", float(low), float(high))
            for low, high in zip(self._hz, self._hz[1:], strict=False)
        ]

    def fill(self, work: _Work, out: F32) -> None:
        squared = self._plan.squared_envelope(work.plain)
        mean = squared.mean(axis=-1, keepdims=True)
        squared -= mean
        squared /= mean + np.float32(1e-30)  # relative depth of modulation: independent of the signal's level
        squared *= self._taper
        energy = band_mean_square(squares_in_place(rfft32(squared)), self._edges, self._scale)
        energy += self._floor
        np.log10(energy, out=out)


class _ShapePlan:
    size = 3

    def __init__(self, block: Shape) -> None:
        self._floor = np.float32(block.floor)

    def describe(self, axis: int, name: str) -> list[FeatureInfo]:
        return [
            FeatureInfo(axis, "rms", f"{name} RMS", power=2.0),
            FeatureInfo(axis, "crest", f"{name} crest factor", power=1.0),
            FeatureInfo(axis, "kurtosis", f"{name} kurtosis", power=1.0),
        ]

    def fill(self, work: _Work, out: F32) -> None:
        square = np.square(work.x)
        mean_square = square.mean(axis=-1) + self._floor
        np.log10(mean_square, out=out[:, 0])
        np.log10(square.max(axis=-1) / mean_square + self._floor, out=out[:, 1])
        out[:, 1] *= np.float32(0.5)  # crest factor is an amplitude ratio
        np.square(square, out=square)
        np.log10(square.mean(axis=-1) / np.square(mean_square) + self._floor, out=out[:, 2])


class _MomentsPlan:
    size = 3

    def __init__(self, n: int) -> None:
        self._n = np.float32(n)

    def describe(self, axis: int, name: str) -> list[FeatureInfo]:
        return [
            FeatureInfo(axis, "mean", f"{name} mean"),
            FeatureInfo(axis, "slope", f"{name} slope"),
            FeatureInfo(axis, "deviation", f"{name} deviation"),
        ]

    def fill(self, work: _Work, out: F32) -> None:
        out[:, 0] = work.mean[:, 0]
        out[:, 1] = work.slope[:, 0] * self._n
        residual = work.rows - work.mean - work.slope * _ramp(work.rows.shape[1])
        out[:, 2] = np.sqrt(np.square(residual).mean(axis=-1))


class _LevelsPlan:
    size = 2

    def __init__(self, block: Levels, source: InputSpec) -> None:
        if len(block.floors) != len(source.axes):
            raise SignalError(f"levels: expected a floor for each of {len(source.axes)} axes, got {len(block.floors)}")
        self._span = block.span
        self._floor_squares = np.square(np.asarray(block.floors, np.float32))
        self._drifting = np.zeros(len(source.axes), bool)
        self._drifting[block.drifting] = True

    def describe(self, axis: int, name: str) -> list[FeatureInfo]:
        what = "change" if self._drifting[axis] else "mean"
        return [FeatureInfo(axis, what, f"{name} {what}"), FeatureInfo(axis, "spread", f"{name} spread", power=1.0)]

    def fill(self, work: _Work, out: F32) -> None:
        axes = (work.first + np.arange(len(work.rows))) % len(self._floor_squares)
        late = work.rows[:, -self._span :]
        mean = late.mean(axis=-1)
        np.log10(np.square(late - mean[:, None]).mean(axis=-1) + self._floor_squares[axes], out=out[:, 1])
        out[:, 1] *= np.float32(0.5)
        drifting = np.flatnonzero(self._drifting[axes])
        if len(drifting):
            mean[drifting] -= work.rows[drifting, : -self._span].mean(axis=-1)
        out[:, 0] = mean


class _SegmentMeansPlan:
    def __init__(self, block: SegmentMeans, source: InputSpec) -> None:
        self.size = block.segments
        if source.window % block.segments:
            raise SignalError(
                f"segment_means: expected a number of segments that divides the window of {source.window} samples, "
                f"got {block.segments}"
            )

    def describe(self, axis: int, name: str) -> list[FeatureInfo]:
        return [FeatureInfo(axis, "mean", f"{name} mean {i + 1}/{self.size}") for i in range(self.size)]

    def fill(self, work: _Work, out: F32) -> None:
        work.rows.reshape(len(work.rows), self.size, -1).mean(axis=2, out=out)


class _LogMelPlan:
    def __init__(self, block: LogMel, source: InputSpec) -> None:
        self._frames = MelPlan(
            source.window,
            source.rate_hz,
            n_fft=block.n_fft,
            hop=block.hop,
            mels=block.mels,
            low_hz=block.low_hz,
            high_hz=block.high_hz,
            floor=block.floor,
            min_frames=2,
        )
        self._statistics = ClipStatistics(block.statistics, block.mels)
        self._edges = mel_edges_hz(block.mels, block.low_hz, block.high_hz)
        self.size = self._statistics.size

    def describe(self, axis: int, name: str) -> list[FeatureInfo]:
        return [
            FeatureInfo(axis, f"mel_{kind}", f"{name} {kind.replace('_', ' ')} {index}")
            if bands is None
            else FeatureInfo(
                axis,
                f"mel_{kind}",
                f"{name} {kind} {self._edges[bands[0]]:.0f}-{self._edges[bands[1] + 2]:.0f} Hz",
                float(self._edges[bands[0]]),
                float(self._edges[bands[1] + 2]),
                power=20.0 if kind in ("mean", "high") else None,  # decibels
            )
            for kind, index, bands in self._statistics.parts
        ]

    def fill(self, work: _Work, out: F32) -> None:
        out[:] = self._statistics(self._frames(work.x))


_Plan = _LogBandsPlan | _EnvelopeBandsPlan | _ShapePlan | _MomentsPlan | _LevelsPlan | _LogMelPlan | _SegmentMeansPlan


def _plan(block: FeatureBlock, source: InputSpec) -> _Plan:  # noqa: PLR0911 - one for each kind
    match block:
        case LogMel():
            return _LogMelPlan(block, source)
        case LogBands():
            return _LogBandsPlan(block, source)
        case EnvelopeBands():
            return _EnvelopeBandsPlan(block, source)
        case Shape():
            return _ShapePlan(block)
        case Moments():
            return _MomentsPlan(source.window)
        case Levels():
            return _LevelsPlan(block, source)
        case SegmentMeans():
            return _SegmentMeansPlan(block, source)
    assert_never(block)


def _ramp(n: int) -> F32:
    return (np.arange(n, dtype=np.float64) - (n - 1) / 2).astype(np.float32)


class FeatureExtractor:
    """Computes the features of a spec for one kind of input. Not thread-safe: it keeps its buffers.

    Raises (when made): SignalError: bands or carriers that do not fit the rate and window.
    """

    def __init__(self, spec: FeatureSpec, source: InputSpec) -> None:
        self._n = n = source.window
        self._axes = len(source.axes)
        self._detrend = spec.detrend
        self._line = _ramp(n)
        self._line_square = np.float32(np.sum(self._line.astype(np.float64) ** 2))
        self._taper = hann(n)
        self._plans = [_plan(block, source) for block in spec.blocks]
        self._width = sum(plan.size for plan in self._plans)
        infos = [info for axis, name in enumerate(source.axes) for p in self._plans for info in p.describe(axis, name)]
        self.infos: tuple[FeatureInfo, ...] = tuple(infos)
        self.names: tuple[str, ...] = tuple(info.name for info in infos)
        self._rows = max(1, _BLOCK_BYTES // (4 * n))
        self._x: F32 = np.empty((self._rows, n), np.float32)
        self._tapered: F32 = np.empty((self._rows, n), np.float32)
        self._spectrum = np.empty((self._rows, n // 2 + 1), np.complex64)
        self._tapered_spectrum = np.empty((self._rows, n // 2 + 1), np.complex64)
        self._needs_plain = any(isinstance(plan, _EnvelopeBandsPlan) for plan in self._plans)
        self._needs_tapered = any(isinstance(plan, _LogBandsPlan) for plan in self._plans)
        self._needs_slope = spec.detrend == "linear" or any(isinstance(plan, _MomentsPlan) for plan in self._plans)

    def __call__(self, windows: F32) -> F32:
        """Features of windows.

        Args:    windows: (k, window, axes), finite, in the units of the spec.
        Returns: (k, features) float32: for each axis in turn, the blocks of the spec in turn.
        Raises:  SignalError: another shape.
        """
        if windows.ndim != 3 or windows.shape[1:] != (self._n, self._axes):
            raise SignalError(f"windows: expected (k, {self._n}, {self._axes}), got {windows.shape}")
        # Contiguous, so that sums are taken in the same order whatever the batch: (k * axes, window).
        rows = np.ascontiguousarray(windows.transpose(0, 2, 1)).reshape(-1, self._n)
        out = np.empty((len(rows), self._width), np.float32)
        for start in range(0, len(rows), self._rows):
            work = self._prepare(start, rows[start : start + self._rows])
            at = 0
            for plan in self._plans:
                plan.fill(work, out[start : start + self._rows, at : at + plan.size])
                at += plan.size
        return out.reshape(len(windows), self._axes * self._width)

    def _prepare(self, first: int, rows: F32) -> _Work:
        count = len(rows)
        x = self._x[:count]
        mean = rows.mean(axis=1, keepdims=True)
        if self._detrend == "none":
            np.copyto(x, rows)
        else:
            np.subtract(rows, mean, out=x)
        slope = np.zeros((count, 1), np.float32)
        if self._needs_slope:
            slope[:, 0] = ((rows - mean) @ self._line) / self._line_square
        if self._detrend == "linear":
            x -= slope * self._line
        plain = self._spectrum[:count]
        if self._needs_plain:
            plain = rfft32(x, plain)
        squares: F32 = self._tapered[:0]
        if self._needs_tapered:
            np.multiply(x, self._taper, out=self._tapered[:count])
            squares = squares_in_place(rfft32(self._tapered[:count], self._tapered_spectrum[:count]))
        return _Work(first, rows, mean, slope, x, plain, squares)

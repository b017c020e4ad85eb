"""Log-mel frames as the MLPerf Tiny anomaly-detection benchmark has them, and what a clip of frames comes to.

The benchmark's frames are those of librosa (McFee et al. 2015) with its defaults: a periodic Hann taper as long as the
FFT, power spectra, a mel filter bank in Slaney's scale (Slaney 1998: linear up to 1 kHz, logarithmic above) whose
triangles have unit area, then 20 / power * log10(energy + eps), power 2: decibels of full scale. librosa centres its
frames and pads the ends of the recording; the benchmark then keeps frames 50 to 249, none of which touches the padding.
Here a frame begins where its samples begin and nothing is padded: frame i of a window is samples i * hop to
i * hop + n_fft, which is what the benchmark's inner frames are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.bundle.manifest import ClipStatistic
from models.errors import SignalError
from models.signal.arrays import F32, F64
from models.signal.spectrum import hann, rfft32, squares_in_place

_LINEAR_HZ = 200.0 / 3.0  # of a mel, up to the break
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _LINEAR_HZ
_LOG_STEP = np.log(6.4) / 27.0  # per mel, above the break


def hz_to_mel(hz: F64) -> F64:
    """Slaney's mel scale."""
    above = _BREAK_MEL + np.log(np.maximum(hz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    return np.where(hz < _BREAK_HZ, hz / _LINEAR_HZ, above)


def mel_to_hz(mel: F64) -> F64:
    """The inverse of `hz_to_mel`."""
    above = _BREAK_HZ * np.exp(_LOG_STEP * (np.maximum(mel, _BREAK_MEL) - _BREAK_MEL))
    return np.where(mel < _BREAK_MEL, mel * _LINEAR_HZ, above)


def mel_edges_hz(mels: int, low_hz: float, high_hz: float) -> F64:
    """Corners of the triangles, (mels + 2,): band i rises from edge i to edge i + 1 and falls to edge i + 2."""
    ends = hz_to_mel(np.array([low_hz, high_hz]))
    return mel_to_hz(np.linspace(ends[0], ends[1], mels + 2))


def mel_filters(rate_hz: float, n_fft: int, mels: int, low_hz: float, high_hz: float) -> F32:
    """Triangles of unit area (in Hz, up to a factor of 2 as librosa has it) over the bins of a real FFT.

    Returns: (n_fft // 2 + 1, mels).
    Raises:  SignalError: the bands do not fit below the Nyquist frequency, or one holds no bin.
    """
    if not 0.0 <= low_hz < high_hz <= rate_hz / 2 * (1 + 1e-9):
        raise SignalError(f"mel bands {low_hz:g} to {high_hz:g} Hz: expected 0 <= low < high <= {rate_hz / 2:g} Hz")
    edges = mel_edges_hz(mels, low_hz, high_hz)
    bins = np.arange(n_fft // 2 + 1)[:, None] * (rate_hz / n_fft)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins - low) / (centre - low), (high - bins) / (high - centre)
    filters = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (high - low))
    empty = np.flatnonzero(filters.max(axis=0) == 0)
    if len(empty):
        raise SignalError(
            f"{mels} mel bands from {low_hz:g} to {high_hz:g} Hz do not fit an FFT of {n_fft} at {rate_hz:g} Hz: band "
            f"{empty[0]} holds no bin of {rate_hz / n_fft:g} Hz"
        )
    return filters.astype(np.float32)


class MelPlan:
    """Computes the log-mel frames of signals of `n` samples. Keeps its buffers, so it is not thread-safe.

    Raises (when made): SignalError: fewer samples than `min_frames` frames have, or bands that do not fit.
    """

    def __init__(
        self,
        n: int,
        rate_hz: float,
        *,
        n_fft: int = 1024,
        hop: int = 512,
        mels: int = 128,
        low_hz: float = 0.0,
        high_hz: float | None = None,
        floor: float = float(np.finfo(np.float64).eps),
        min_frames: int = 1,
    ) -> None:
        if n < n_fft + (min_frames - 1) * hop:
            raise SignalError(
                f"log-mel: {min_frames} frames of {n_fft} samples, one every {hop}, take "
                f"{n_fft + (min_frames - 1) * hop} samples, the window has {n}"
            )
        self.frames = 1 + (n - n_fft) // hop
        self.mels = mels
        self._n_fft, self._hop = n_fft, hop
        self._taper = hann(n_fft)
        self._filters = mel_filters(rate_hz, n_fft, mels, low_hz, rate_hz / 2 if high_hz is None else high_hz)
        self._floor = np.float32(floor)
        self._tapered: F32 = np.empty((self.frames, n_fft), np.float32)
        self._spectrum = np.empty((self.frames, n_fft // 2 + 1), np.complex64)
        self._power: F32 = np.empty((self.frames, n_fft // 2 + 1), np.float32)

    def __call__(self, rows: F32) -> F32:
        """Decibels, (k, frames, mels), of signals (k, n).

        A signal at a time: its spectra fit the cache, and its matrix product has one shape whatever the batch, so a
        window's features do not depend on what else is in it.
        """
        out = np.empty((len(rows), self.frames, self.mels), np.float32)
        for i, row in enumerate(rows):
            energy: F32 = out[i]
            pieces = np.lib.stride_tricks.sliding_window_view(row, self._n_fft)[:: self._hop][: self.frames]
            np.multiply(pieces, self._taper, out=self._tapered)
            squares = squares_in_place(rfft32(self._tapered, self._spectrum))
            np.add(squares[:, ::2], squares[:, 1::2], out=self._power)
            np.matmul(self._power, self._filters, out=energy)
            energy += self._floor
            np.log10(energy, out=energy)
            energy *= np.float32(10.0)
        return out


_HIGH_SHARE = 0.1
_LEAST_DB = 1e-3  # below a clip has no movement: silence


class ClipStatistics:
    """What the frames of a clip come to: one row of features per clip, whatever the number of frames.

    `size`: features. `parts`: for each feature the statistic's kind, its index in it, and the first and last band that
    it is made of (None: of all, a cepstral coefficient).

    Raises (when made): SignalError: a size that does not divide the bands, or more coefficients than bands.
    """

    def __init__(self, statistics: Sequence[ClipStatistic], mels: int) -> None:
        self._statistics = tuple(statistics)
        self._mels = mels
        self.parts: list[tuple[str, int, tuple[int, int] | None]] = []
        coefficients = 0
        for statistic in self._statistics:
            size = statistic.size
            if statistic.kind.startswith("cepstral"):
                if size > mels:
                    raise SignalError(f"log-mel, {statistic.kind}: {size} coefficients of {mels} bands")
                coefficients = max(coefficients, size)
                self.parts += [(statistic.kind, i, None) for i in range(size)]
            else:
                if mels % size:
                    raise SignalError(
                        f"log-mel, {statistic.kind}: expected a size that divides {mels} bands, got {size}"
                    )
                run = mels // size
                self.parts += [(statistic.kind, i, (i * run, (i + 1) * run - 1)) for i in range(size)]
        self.size = len(self.parts)
        self._cosines = _cosine_transform(mels, coefficients)

    def __call__(self, frames: F32) -> F32:
        """Features (k, size) of decibels (k, frames, mels), at least 2 frames.

        Raises: SignalError: another shape.
        """
        if frames.ndim != 3 or frames.shape[1] < 2 or frames.shape[2] != self._mels:
            raise SignalError(f"log-mel clips: expected (k, at least 2, {self._mels}), got {frames.shape}")
        cepstra = frames @ self._cosines
        out = []
        for statistic in self._statistics:
            match statistic.kind:
                case "mean":
                    found = _pooled(frames.mean(axis=1), statistic.size)
                case "high":
                    most = max(1, int(frames.shape[1] * _HIGH_SHARE))
                    largest = np.partition(frames, -most, axis=1)[:, -most:]
                    largest.sort(axis=1)  # one order of summation, whatever the partition left
                    found = _pooled(largest.mean(axis=1), statistic.size)
                case "deviation":
                    found = _pooled(_log_deviation(frames), statistic.size)
                case "change":
                    found = _pooled(_log_change(frames), statistic.size)
                case "cepstral_deviation":
                    found = _log_deviation(cepstra[:, :, : statistic.size])
                case "cepstral_change":
                    found = _log_change(cepstra[:, :, : statistic.size])
            out.append(found)
        return np.concatenate(out, axis=1).astype(np.float32, copy=False)


def _cosine_transform(mels: int, coefficients: int) -> F32:
    """The first columns of the orthonormal DCT-II, (mels, coefficients) (Ahmed, Natarajan & Rao 1974)."""
    columns: F64 = np.cos(np.pi * (np.arange(mels)[:, None] + 0.5) * np.arange(coefficients) / mels) * np.sqrt(
        2.0 / mels
    )
    columns[:, :1] *= np.sqrt(0.5)
    cosines: F32 = columns.astype(np.float32)
    return cosines


def _pooled(bands: F32, size: int) -> F32:
    if bands.shape[1] == size:
        return bands
    pooled: F32 = bands.reshape(len(bands), size, -1).mean(axis=2)
    return pooled


def _log_deviation(frames: F32) -> F32:
    return _decibels(frames.std(axis=1))


def _log_change(frames: F32) -> F32:
    steps = np.diff(frames, axis=1)
    return _decibels(np.sqrt(np.square(steps).mean(axis=1)))


def _decibels(movement: F32) -> F32:
    """20 log10, so that all statistics wander alike: the floor under spreads is relative to the others."""
    found: F32 = np.log10(np.maximum(movement, np.float32(_LEAST_DB)))
    found *= np.float32(20.0)
    return found

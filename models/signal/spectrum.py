"""Spectra of windows, and their energy in bands.

All spectra here are one-sided and scaled so that the sum over all bins is the mean square of the windowed signal, made
good for the window's own loss (Heinzel, Rüdiger & Schilling 2002, section 9: normalisation by S2, the sum of squares).
"""

from __future__ import annotations

import numpy as np

from models.errors import SignalError
from models.signal.arrays import C64, F32, F64, Ints

_SINGLE_PRECISION_FFT = np.lib.NumpyVersion(np.__version__) >= "2.0.0"


def hann(n: int) -> F32:
    """Periodic Hann window, (n,): sums of overlapped spectra stay flat (Harris 1978)."""
    return (0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(n) / n)).astype(np.float32)


def log_band_edges(low_hz: float, high_hz: float, bands: int, rate_hz: float, n: int) -> Ints:
    """Edges, as bins of an n-point real FFT, of logarithmically spaced half-open bands.

    Edges are rounded to bins; a band narrower than one bin is widened to one, pushing the next ones up.

    Returns: (bands + 1,), strictly increasing.
    Raises:  SignalError: the bands do not fit below the Nyquist frequency at this resolution.
    """
    spacing_hz = rate_hz / n
    if not 0.0 < low_hz < high_hz <= rate_hz / 2 * (1 + 1e-9):
        raise SignalError(f"bands {low_hz:g} to {high_hz:g} Hz: expected 0 < low < high <= {rate_hz / 2:g} Hz")
    edges = np.maximum(np.rint(np.geomspace(low_hz, high_hz, bands + 1) / spacing_hz), 1).astype(np.int64)
    steps = np.arange(bands + 1)
    edges = np.maximum.accumulate(edges - steps) + steps  # the smallest strictly increasing sequence above it
    if edges[-1] > n // 2 + 1:
        raise SignalError(
            f"{bands} bands from {low_hz:g} to {high_hz:g} Hz do not fit {n} samples at {rate_hz:g} Hz: "
            f"the resolution is {spacing_hz:g} Hz"
        )
    return edges


def rfft32(x: F32, out: C64 | None = None) -> C64:
    """Real FFT over the last axis in single precision, into `out` where this numpy can (2.0 and later)."""
    if _SINGLE_PRECISION_FFT:
        # The stubs know only of double precision.
        return np.fft.rfft(x, axis=-1, out=out)  # type: ignore[arg-type,return-value]
    return np.fft.rfft(x, axis=-1).astype(np.complex64)


def squares_in_place(spectrum: C64) -> F32:
    """The squares of real and imaginary parts, interleaved, (..., 2 * bins), in the spectrum's own memory."""
    parts: F32 = spectrum.view(np.float32)
    np.square(parts, out=parts)
    return parts


def band_mean_square(squares: F32, edges: Ints, scale: float) -> F32:
    """Mean square within each band.

    Args:    squares: (..., 2 * bins) of `squares_in_place`. edges: (bands + 1,) bins.
             scale: 2 / (n * sum(taper ** 2)) for a one-sided spectrum of n samples.
    Returns: (..., bands).

    Squares on the float view and one `reduceat` are several times faster than a matrix product, measured.
    """
    sums: F32 = np.add.reduceat(squares[..., : 2 * int(edges[-1])], 2 * edges[:-1], axis=-1)
    sums *= np.float32(scale)
    return sums


def amplitude_spectrum(x: F32, rate_hz: float) -> tuple[F64, F64]:
    """Hann-windowed one-sided mean-square spectrum of one signal (n,), in double precision, for diagnosis and plots.

    Returns: (frequencies in Hz, mean square per bin), both (n // 2 + 1,).
    """
    n = len(x)
    taper = hann(n).astype(np.float64)
    spectrum = np.fft.rfft((x - x.mean(dtype=np.float64)) * taper)
    power = np.abs(spectrum) ** 2 * (2.0 / (n * np.sum(taper**2)))
    return np.fft.rfftfreq(n, 1.0 / rate_hz).astype(np.float64), power.astype(np.float64)

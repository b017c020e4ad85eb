"""The squared envelope of a carrier band, by the Hilbert transform in the frequency domain.

A bearing fault strikes at its fault frequency and each blow rings at a structural resonance: the fault frequency is not
in the spectrum of the signal but in that of its envelope around the resonance (Randall & Antoni 2011, section 5).
Keeping only the positive-frequency bins of the carrier band *is* the band-passed analytic signal; moving them down to
zero before the inverse transform changes its phase but not its magnitude, and lets the envelope be computed at the low
rate that its bandwidth needs.
"""

from __future__ import annotations

import numpy as np

from models.errors import SignalError
from models.signal.arrays import C64, F32, F64


def good_size(n: int) -> int:
    """The smallest product of 2, 3 and 5 that is even and at least n: sizes that FFTs are fast at."""
    best = 1 << (n - 1).bit_length()
    for fives in (1, 5, 25):
        for threes in (1, 3, 9):
            twos = -(-n // (fives * threes))
            best = min(best, fives * threes << max(1, (twos - 1).bit_length()))
    return best


class EnvelopePlan:
    """How to get the squared envelope of one carrier band from the real FFT of a window of n samples.

    The envelope has `points` samples at `rate_hz` (its own). Squaring doubles the bandwidth: there are as many points
    as it takes to keep what folds back away from the lines up to `lines_hz` (all lines, when it is not given).
    """

    def __init__(self, carrier_hz: tuple[float, float], rate_hz: float, n: int, lines_hz: float | None = None) -> None:
        low_hz, high_hz = carrier_hz
        if not 0.0 <= low_hz < high_hz <= rate_hz / 2 * (1 + 1e-9):
            raise SignalError(f"carrier {low_hz:g} to {high_hz:g} Hz: expected low < high <= {rate_hz / 2:g} Hz")
        self.low_bin = max(1, round(low_hz / rate_hz * n))
        self.high_bin = min(n // 2 + 1, round(high_hz / rate_hz * n) + 1)
        width = self.high_bin - self.low_bin
        if width < 2:
            raise SignalError(f"carrier {low_hz:g} to {high_hz:g} Hz is narrower than two bins of {rate_hz / n:g} Hz")
        lines = width if lines_hz is None else min(width, round(lines_hz / rate_hz * n) + 2)
        self.points = good_size(max(width + lines, 2 * lines))
        self.rate_hz = rate_hz * self.points / n
        self._gain = np.float32((2.0 * self.points / n) ** 2)
        self._band: C64 = np.zeros((0, self.points), np.complex64)

    def squared_envelope(self, spectrum: C64) -> F32:
        """Squared envelope of the carrier band.

        Args:    spectrum: (k, n // 2 + 1), the real FFT of unwindowed, detrended samples.
        Returns: (k, points), float32, in squared units of the signal.
        """
        if len(self._band) < len(spectrum):
            self._band = np.zeros((len(spectrum), self.points), np.complex64)
        band = self._band[: len(spectrum)]
        band[:, : self.high_bin - self.low_bin] = spectrum[:, self.low_bin : self.high_bin]
        analytic = np.fft.ifft(band, axis=-1)
        squared: F32 = np.square(analytic.real)
        squared += np.square(analytic.imag)
        squared *= self._gain
        return squared.astype(np.float32, copy=False)


def envelope_spectrum(x: F32, rate_hz: float, carrier_hz: tuple[float, float]) -> tuple[F64, F64]:
    """Spectrum of the squared envelope of one signal (n,), for diagnosis and plots.

    Returns: (frequencies in Hz, amplitude relative to the mean squared envelope).
    Raises:  SignalError: the carrier band does not fit.
    """
    plan = EnvelopePlan(carrier_hz, rate_hz, len(x))
    centred = (x - x.mean(dtype=np.float64)).astype(np.float32)
    spectrum = np.fft.rfft(centred)[None].astype(np.complex64)
    squared = plan.squared_envelope(spectrum)[0].astype(np.float64)
    mean = squared.mean()
    taper = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(plan.points) / plan.points)
    lines = np.abs(np.fft.rfft((squared - mean) * taper)) * (2.0 / taper.sum())
    return np.fft.rfftfreq(plan.points, 1.0 / plan.rate_hz).astype(np.float64), lines / max(float(mean), 1e-30)

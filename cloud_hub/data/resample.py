"""Bringing recordings to one sampling rate, so that a model cannot tell files apart by how they were sampled.

Every recording goes through one filter that is the same in Hz whatever the recording's own rate: flat up to
`PASS_SHARE` of the new Nyquist frequency, closed from the new Nyquist frequency on (nothing folds back). What a
recorder's own anti-alias filter shapes, near half the recording's own rate, is cut away when the new rate is low
enough; `carried_to_hz` says up to where a set of recordings can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache

import numpy as np
from scipy.signal import firwin, kaiserord, resample_poly

from cloud_hub.data.recording import Recording
from cloud_hub.errors import DataError
from models.signal.arrays import F32, F64

PASS_SHARE = 0.9  # of the new Nyquist frequency: where the bands of the spectral family end
_STOP_DB = 80.0
_MAX_FACTOR = 4096  # of the up and down factors: longer filters would be asked for by rates with a typing error
_RATE_TOLERANCE = 1e-4  # far below any effect of speed; 25,600 Hz to 10,240 Hz is exact anyway
_RECORDER_SHARE = 0.85  # of a recorder's Nyquist frequency: what its anti-alias filter leaves alone


def carried_to_hz(rates_hz: Iterable[float]) -> float:
    """The highest frequency that recordings at all these rates carry unshaped by their recorders' filters, in Hz.

    Raises: DataError: no rates.
    """
    rates = list(rates_hz)
    if not rates:
        raise DataError("resample: no recordings")
    return _RECORDER_SHARE * min(rates) / 2


def resample(recording: Recording, rate_hz: float, *, speed: float = 1.0) -> Recording:
    """The recording at another, lower or equal, rate.

    The ends, where the filter reaches beyond the recording, are cut off. A recording that is at the rate already goes
    through the filter too: it must not keep what the others lose.

    Args:   speed: play the recording this many times faster (1.03: all frequencies 3 % up), as if the machine had
            turned faster.
    Raises: DataError: the recording's rate is lower than the one asked for, in no usable ratio to it, or too short.
    """
    if not rate_hz > 0 or not speed > 0:
        raise DataError(f"resample: expected a rate and a speed above 0, got {rate_hz:g} Hz and {speed:g}")
    played_hz = recording.rate_hz * speed
    if recording.rate_hz < rate_hz * (1 - _RATE_TOLERANCE):
        raise DataError(
            f"{recording.name}: sampled at {recording.rate_hz:g} Hz, below the {rate_hz:g} Hz asked for: what lies "
            "between is not in it and cannot be made up"
        )
    ratio = Fraction(rate_hz / played_hz).limit_denominator(_MAX_FACTOR)
    if ratio == 0 or abs(float(ratio) * played_hz / rate_hz - 1) > _RATE_TOLERANCE:
        raise DataError(f"{recording.name}: {played_hz:g} Hz cannot be brought to {rate_hz:g} Hz by whole factors")
    taps = _low_pass(played_hz * ratio.numerator, rate_hz)
    margin = math.ceil(len(taps) / 2 / ratio.denominator)
    out = resample_poly(  # type: ignore[call-overload]  # its stubs know windows only as lists
        recording.samples.astype(np.float64), ratio.numerator, ratio.denominator, axis=0, window=taps
    )
    if len(out) <= 2 * margin:
        raise DataError(f"{recording.name}: {len(recording.samples)} samples are too short to be resampled")
    samples: F32 = np.ascontiguousarray(out[margin : len(out) - margin], np.float32)
    return replace(recording, samples=samples, rate_hz=float(rate_hz))


@lru_cache(maxsize=32)
def _low_pass(between_hz: float, rate_hz: float) -> F64:
    """Linear-phase FIR at the rate between up- and downsampling (Kaiser 1974), unit gain at 0 Hz."""
    stop_hz = rate_hz / 2
    pass_hz = PASS_SHARE * stop_hz
    count, beta = kaiserord(_STOP_DB, (stop_hz - pass_hz) / (between_hz / 2))
    taps: F64 = firwin(count | 1, (stop_hz + pass_hz) / 2, window=("kaiser", beta), fs=between_hz)
    return taps

"""Broadband noise as it reaches a sensor: white noise through a structure with resonances."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from firmware_sim.machines.running import F64, TAU

_FLOOR = 1.0
_RESONANCE_GAIN = 2.5  # of the first resonance at its peak over the floor; less of the next ones
_TAP_S = 0.02
_MAX_TAPS = 512


class StructureNoise:
    """White noise through a floor and damped resonances (a sum of single-degree-of-freedom impulse responses: Ewins
    2000, "Modal Testing", section 2.4), as a finite filter, so that a block continues the one before it.

    resonances_hz: none for noise without colour; those at or above half the sampling rate are left out.
    rms: of the output when the drive is 1. sharp: leave out the floor, so that only the resonances sound.
    """

    def __init__(
        self,
        rate_hz: float,
        resonances_hz: Sequence[float],
        rms: float,
        rng: np.random.Generator,
        *,
        damping: float = 0.08,
        sharp: bool = False,
    ) -> None:
        taps = max(2, min(_MAX_TAPS, round(_TAP_S * rate_hz)))
        lag = np.arange(taps) / rate_hz
        response = np.zeros(taps)
        audible = [hz for hz in resonances_hz if hz < rate_hz / 2]
        response[0] = 0.0 if sharp and audible else _FLOOR
        for rank, hz in enumerate(audible, 1):
            peak = rate_hz / (2 * damping * TAU * hz)  # gain at resonance of the response as it stands
            response += (
                _RESONANCE_GAIN / np.sqrt(rank) / peak * np.exp(-damping * TAU * hz * lag) * np.sin(TAU * hz * lag)
            )
        self._response: F64 = response * (rms / np.sqrt(np.sum(response**2)))
        self._rng = rng
        self._history: F64 = rng.standard_normal(taps - 1)

    def block(self, drive: F64) -> F64:
        """The next samples. `drive`: (n,), the level at which the source sounds, ahead of the structure."""
        fresh = self._rng.standard_normal(len(drive)) * drive
        driven = np.concatenate([self._history, fresh])
        self._history = driven[len(fresh) :]
        return np.convolve(driven, self._response, "valid")

"""Machines and scenarios for the tests, each as small as its test needs."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.signal

from firmware_sim.machines.bearing import Bearing
from firmware_sim.machines.fault import Fault
from firmware_sim.machines.gear import Gear
from firmware_sim.machines.impeller import Impeller
from firmware_sim.machines.machine import Acceleration, Load, Machine, MachineSpec
from models.contract.frames import Frame, decode_frame

RATE_HZ = 8192.0
SHAFT_HZ = 25.0
STEADY = Load(swing=0.0, droop=0.0, wander=0.0)
BEARING_6205 = Bearing(elements=9, ball_mm=7.94, pitch_mm=39.04, resonance_hz=2700.0)


def machine(*faults: Fault, seed: int = 1, **spec: Any) -> Machine:
    """A quiet steady pump, with the given changes."""
    quiet: dict[str, Any] = {
        "id": "M-1", "kind": "pump", "shaft_hz": SHAFT_HZ, "load": STEADY, "velocity_mm_s": (), "noise_ms2": 0.0,
        "line_hz": 0.0,
    }  # fmt: skip
    return Machine(MachineSpec(**{**quiet, **spec}), faults, seed)


def everything(*faults: Fault, seed: int = 1) -> Machine:
    """A machine with every part there is, under changing load."""
    return machine(
        *faults, seed=seed, load=Load(), velocity_mm_s=(1.0, 0.4, 0.2), noise_ms2=0.8, line_hz=50.0,
        bearing=BEARING_6205, gear=Gear(teeth=31, pinion_teeth=17), impeller=Impeller(vanes=6),
    )  # fmt: skip


def heard(on: Machine, seconds: float, axes: tuple[str, ...] = ("radial",), rate_hz: float = RATE_HZ) -> np.ndarray:
    """What an accelerometer feels, (n, axes)."""
    return accelerometer(on, axes, rate_hz).block(round(seconds * rate_hz))


def accelerometer(on: Machine, axes: tuple[str, ...] = ("radial",), rate_hz: float = RATE_HZ) -> Acceleration:
    return on.acceleration("drive-end", axes, rate_hz, "m/s2")


def spectrum(x: np.ndarray, rate_hz: float = RATE_HZ) -> tuple[np.ndarray, np.ndarray]:
    """SciPy's amplitude spectrum: (Hz, RMS per line)."""
    hz, power = scipy.signal.periodogram(x, rate_hz, window="flattop", scaling="spectrum")
    return hz, np.sqrt(power)


def line(x: np.ndarray, at_hz: float, rate_hz: float = RATE_HZ) -> float:
    """RMS of the line near a frequency."""
    hz, rms = spectrum(x, rate_hz)
    return float(rms[np.abs(hz - at_hz) < 0.5].max())


def envelope(x: np.ndarray, band_hz: tuple[float, float], rate_hz: float = RATE_HZ) -> tuple[np.ndarray, np.ndarray]:
    """SciPy's spectrum of the squared envelope of a band: (Hz, amplitude)."""
    sos = scipy.signal.butter(4, band_hz, "bandpass", fs=rate_hz, output="sos")
    squared = np.abs(scipy.signal.hilbert(scipy.signal.sosfiltfilt(sos, x))) ** 2
    hz, power = scipy.signal.periodogram(squared - squared.mean(), rate_hz, window="hann", scaling="spectrum")
    return hz, np.sqrt(power)


def prominence(hz: np.ndarray, amplitude: np.ndarray, at_hz: float, reach: float = 0.01) -> float:
    """The largest line within `reach` of a frequency, over the median of its neighbourhood."""
    near = np.abs(hz - at_hz) <= reach * at_hz
    around = (np.abs(hz - at_hz) <= 0.2 * at_hz) & ~near
    return float(amplitude[near].max() / np.median(amplitude[around]))


def frames_of(outgoing: Any) -> list[Frame]:
    return [decode_frame(o.payload) for o in outgoing]

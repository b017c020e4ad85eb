"""Gears: mesh harmonics, and the sidebands that wear and cracks raise around them.

Meshing teeth give lines at the mesh frequency (teeth times shaft rate) and its multiples; whatever repeats once a turn
modulates them, which puts sidebands at shaft rate around each line (Randall 1982, "A new method of modeling gear
faults"). Wear is spread over the gear: it raises the second and third mesh harmonics more than the first. A crack is on
one tooth: once a turn, for about the time that tooth meshes, amplitude rises and phase lags (McFadden 1986, "Detecting
fatigue cracks in gears by amplitude and phase demodulation of the meshing vibration").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
import numpy as np

from firmware_sim.machines.fault import Fault, severity_of
from firmware_sim.machines.running import F64
from firmware_sim.machines.spec import NotNegative, Spec

_GAIN = {"radial": 1.0, "tangential": 0.9, "axial": 0.5}
_MESH = ((1, 1.0, 0.0), (2, 0.4, 1.0), (3, 0.15, 2.2))  # harmonic, share, phase
_WEAR = {1: 0.8, 2: 2.5, 3: 3.0}  # gain of each harmonic at severity 1, against its healthy level
_RUNOUT = 0.12  # a healthy gear is not quite round either
_WEAR_RUNOUT = 0.5
_CRACK_DEPTH = 3.0
_CRACK_LAG_RAD = 1.2
_CRACK_TEETH = 1.5  # the standard deviation of the crack's place in the mesh, in teeth


_Teeth = Annotated[int, msgspec.Meta(ge=5, le=1000)]


class Gear(Spec, frozen=True, kw_only=True):
    """The gear on the measured shaft and the pinion that drives it. `mesh_ms2`: peak of the first harmonic."""

    teeth: _Teeth
    pinion_teeth: _Teeth
    mesh_ms2: NotNegative = 2.0


class GearMesh:
    """The meshing of one pair of gears at one sensor."""

    def __init__(self, gear: Gear, faults: Sequence[Fault]) -> None:
        self._gear = gear
        self._faults = faults

    def add_to(self, out: dict[str, F64], t: F64, angle: F64, load: F64) -> None:
        """Add acceleration (m/s²) to each axis. `angle`: of the measured shaft; `load`: relative to its mean."""
        gear = self._gear
        wear = severity_of(self._faults, "gear_wear", t)
        crack = severity_of(self._faults, "gear_crack", t)
        pinion_angle = angle * (gear.teeth / gear.pinion_teeth)
        uneven = 1.0 + _RUNOUT * np.cos(angle) + 0.6 * _RUNOUT * np.cos(pinion_angle + 0.5)
        if wear is not None:
            uneven += _WEAR_RUNOUT * wear * (np.cos(angle + 0.3) + 0.5 * np.cos(2 * angle))
        lag: F64 | float = 0.0
        if crack is not None:
            meeting = _once_a_turn(angle, gear.teeth)
            uneven += _CRACK_DEPTH * crack * meeting
            lag = _CRACK_LAG_RAD * np.minimum(crack, 1.0) * meeting
        mesh = np.zeros_like(t)
        for k, share, phase in _MESH:
            level: F64 | float = share if wear is None else share * (1.0 + _WEAR[k] * wear)
            mesh += level * np.cos(k * (gear.teeth * angle - lag) + phase)
        mesh *= gear.mesh_ms2 * (0.3 + 0.7 * load) * uneven
        for axis in out:
            out[axis] += _GAIN[axis] * mesh


def _once_a_turn(angle: F64, teeth: int) -> F64:
    """A pulse of height 1 each time the cracked tooth meshes: von Mises, so smooth and periodic."""
    width = 2 * np.pi * _CRACK_TEETH / teeth
    pulse: F64 = np.exp((np.cos(angle) - 1.0) / width**2)
    return pulse

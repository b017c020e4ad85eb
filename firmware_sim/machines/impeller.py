"""Pumps and fans: pressure pulses at vane-pass rate, and cavitation.

Each vane that passes the tongue gives a pulse: lines at vanes times shaft rate (Guelich 2014, "Centrifugal Pumps",
section 10.7). Collapsing bubbles give broadband noise at high frequency whose strength swings at vane-pass rate, which
is how cavitation is told from other noise (Cudina 2003, "Detection of cavitation phenomenon in a centrifugal pump using
audible sound"; Brennen 1994, "Hydrodynamics of Pumps", chapter 6).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
import numpy as np

from firmware_sim.machines.fault import Fault, of_kinds, severity_of
from firmware_sim.machines.noise import StructureNoise
from firmware_sim.machines.running import F64
from firmware_sim.machines.spec import NotNegative, Spec

_GAIN = {"radial": 1.0, "tangential": 0.9, "axial": 0.6}
_CAVITATION_MS2 = 9.0  # RMS at severity 1
_CAVITATION_DEPTH = 0.7
_BUBBLES_HZ = (2400.0, 3600.0, 6000.0)


class Impeller(Spec, frozen=True, kw_only=True):
    """`vanes` (or blades); `pulse_ms2`: peak of the first vane-pass line at mean load."""

    vanes: Annotated[int, msgspec.Meta(ge=1, le=200)]
    pulse_ms2: NotNegative = 0.5


class ImpellerFlow:
    """The flow through one impeller at one sensor."""

    def __init__(
        self,
        impeller: Impeller,
        rate_hz: float,
        faults: Sequence[Fault],
        rng: np.random.Generator,
    ) -> None:
        self._impeller = impeller
        self._faults = of_kinds(faults, ["cavitation"])
        self._bubbles = (
            StructureNoise(rate_hz, _BUBBLES_HZ, _CAVITATION_MS2, rng, damping=0.2, sharp=True)
            if self._faults
            else None
        )

    def add_to(self, out: dict[str, F64], t: F64, angle: F64, load: F64) -> None:
        """Add acceleration (m/s²) to each axis. `load`: relative to its mean."""
        passing = self._impeller.vanes * angle
        sound = self._impeller.pulse_ms2 * load * (np.cos(passing) + 0.35 * np.cos(2 * passing + 0.8))
        if self._bubbles is not None:
            severity = severity_of(self._faults, "cavitation", t)
            # Drawn while the fault still waits, too: what comes then does not depend on when blocks begin.
            level = np.zeros_like(t) if severity is None else severity * (1.0 + _CAVITATION_DEPTH * np.cos(passing))
            sound += self._bubbles.block(level)
        for axis in out:
            out[axis] += _GAIN[axis] * sound

"""Rolling-element bearings: fault orders from geometry, and what a localised fault does to the vibration.

Each passage over the fault is a blow that rings at a structural resonance; the time between blows varies by one or two
percent because the elements slip, which is why the fault frequency stands in the envelope's spectrum rather than in the
spectrum (McFadden & Smith 1984; Randall & Antoni 2011, sections 2 and 3). A fault on the inner race passes through the
load zone once a turn, one on an element once a turn of the cage.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from firmware_sim.machines.faults import Fault
from firmware_sim.machines.running import F64, TAU, Running

_RING_LENGTH_DECAYS = 6.0


@dataclass(frozen=True, slots=True)
class Geometry:
    """`elements` of diameter `ball_mm` on a pitch circle of `pitch_mm`, at `angle_deg` of contact."""

    elements: int
    ball_mm: float
    pitch_mm: float
    angle_deg: float = 0.0

    def orders(self) -> dict[str, float]:
        """Fault frequencies as multiples of shaft rate, outer race at rest. BSF is twice the spin: both races are hit.

        Source: Randall & Antoni 2011, equations 1 to 4.
        """
        ratio = self.ball_mm / self.pitch_mm * math.cos(math.radians(self.angle_deg))
        return {
            "BPFO": self.elements / 2 * (1 - ratio),
            "BPFI": self.elements / 2 * (1 + ratio),
            "BSF": self.pitch_mm / self.ball_mm * (1 - ratio**2),
            "FTF": (1 - ratio) / 2,
        }


_ORDER_OF = {"outer_race": "BPFO", "inner_race": "BPFI", "ball": "BSF", "cage": "FTF"}
BEARING_FAULTS = tuple(_ORDER_OF)


class BearingFault:
    """The blows of one fault, as acceleration (m/s²) at the sensor, one block after another.

    `blow_ms2`: peak acceleration at severity 1.
    """

    def __init__(
        self,
        geometry: Geometry,
        fault: Fault,
        running: Running,
        rate_hz: float,
        rng: np.random.Generator,
        resonance_hz: float,
        *,
        damping: float = 0.05,
        slip: float = 0.015,
        blow_ms2: float = 60.0,
    ) -> None:
        orders = geometry.orders()
        self._step = TAU / orders[_ORDER_OF[fault.kind]]
        self._cage = orders["FTF"]
        self._fault = fault
        self._running = running
        self._rate_hz = rate_hz
        self._rng = rng
        self._slip = slip
        self._blow = blow_ms2
        self._omega = TAU * resonance_hz
        self._decay = damping * self._omega
        self._length = math.ceil(_RING_LENGTH_DECAYS / self._decay * rate_hz)
        self._next_angle = float(rng.uniform(0.0, self._step))
        self._tail: F64 = np.zeros(self._length)

    def block(self, start: int, n: int) -> F64:
        """Samples start .. start + n of the absolute sample clock. Blocks follow each other without gaps."""
        times, angles = self._blows_until((start + n) / self._rate_hz, start / self._rate_hz)
        out = np.zeros(n + self._length)
        out[: self._length] += self._tail
        if len(times):
            position = times * self._rate_hz - start
            first = np.ceil(position).astype(np.int64)
            lag = (first - position)[:, None] + np.arange(self._length)
            lag /= self._rate_hz
            ring = np.exp(-self._decay * lag) * np.sin(self._omega * lag)
            strength = self._blow * self._fault.at(times) * self._load_zone(angles)
            keep = first < len(out) - self._length + 1
            np.add.at(out, first[keep, None] + np.arange(self._length), strength[keep, None] * ring[keep])
        self._tail = out[n:].copy()
        return out[:n]

    def _blows_until(self, end_s: float, start_s: float) -> tuple[F64, F64]:
        """Times and shaft angles of the blows before `end_s`, in order, drawn one after the other."""
        end_angle = float(self._running.angle_at(np.array([end_s]))[0])
        angles = []
        while self._next_angle < end_angle:
            angles.append(self._next_angle)
            self._next_angle += self._step * (1.0 + self._slip * float(self._rng.standard_normal()))
        if not angles:
            return np.empty(0), np.empty(0)
        # The angle is smooth: a few Newton steps invert it to far below a sample.
        wanted = np.array(angles)
        hz = self._running.shaft_hz * TAU
        times = np.full(len(wanted), start_s) + (wanted - self._running.angle_at(np.array([start_s]))) / hz
        for _ in range(4):
            times += (wanted - self._running.angle_at(times)) / hz
        return times, wanted

    def _load_zone(self, angles: F64) -> F64:
        match self._fault.kind:
            case "inner_race":
                turn = angles
            case "ball" | "cage":
                turn = angles * self._cage
            case _:
                return np.ones_like(angles)
        return 0.3 + 0.7 * np.maximum(0.0, np.cos(turn)) ** 1.5

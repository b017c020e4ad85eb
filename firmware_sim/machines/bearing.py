"""Rolling-element bearings: fault orders from geometry, and what a localised fault does to the vibration.

Each passage over the fault is a blow that rings at a structural resonance (McFadden & Smith 1984, "Model for the
vibration produced by a single point defect in a rolling element bearing"). The time between blows varies by one or two
percent because the elements slip, and the errors add up, which is why the fault frequency stands in the envelope's
spectrum rather than in the signal's own (Randall & Antoni 2011, "Rolling element bearing diagnostics - a tutorial",
sections 2 and 3). A fault on the inner race passes through the load zone once a turn of the shaft, one on an element
once a turn of the cage; blows are as strong as the load there (Stribeck's distribution for half a turn under load:
Harris 2001, "Rolling Bearing Analysis", chapter 7).
"""

from __future__ import annotations

import math
from typing import Annotated

import msgspec
import numpy as np

from firmware_sim.machines.fault import Fault, Kind
from firmware_sim.machines.running import F64, TAU, Running
from firmware_sim.machines.spec import NotNegative, Positive, Share, Spec

_RING_DECAYS = 7.0  # time constants after which a ring has died
_STRENGTH_SCATTER = 0.1
_STRIBECK_EXPONENT = 1.5  # point contact; also used for rollers, whose 1.1 makes no audible difference
_OUT_OF_ZONE = 0.1  # centrifugal force keeps some contact outside the load zone
_CAGE_SOFTNESS = 0.4  # cages are of brass or plastic
_ORDER_OF: dict[Kind, str] = {"outer_race": "BPFO", "inner_race": "BPFI", "ball": "BSF", "cage": "FTF"}
BEARING_FAULTS = tuple(_ORDER_OF)


class Bearing(Spec, frozen=True, kw_only=True):
    """`elements` of diameter `ball_mm` on a pitch circle of `pitch_mm`, at `angle_deg` of contact.

    resonance_hz: what the blows excite, with its damping ratio. blow_ms2: peak acceleration of a blow at severity 1 and
    mean load. slip: standard deviation of the angle between blows, relative to its mean.
    """

    elements: Annotated[int, msgspec.Meta(ge=3, le=200)]
    ball_mm: Positive
    pitch_mm: Positive
    angle_deg: Annotated[float, msgspec.Meta(ge=0, lt=90)] = 0.0
    resonance_hz: Positive = 2700.0
    damping: Annotated[float, msgspec.Meta(gt=0.001, lt=0.7)] = 0.05
    blow_ms2: NotNegative = 60.0
    slip: Share = 0.012

    def orders(self) -> dict[str, float]:
        """Fault frequencies as multiples of shaft rate, outer race at rest (Randall & Antoni 2011, equations 1 to 4).

        BSF is twice the element's spin: an element strikes both races in each of its turns.
        """
        ratio = self.ball_mm / self.pitch_mm * math.cos(math.radians(self.angle_deg))
        return {
            "BPFO": self.elements / 2 * (1 - ratio),
            "BPFI": self.elements / 2 * (1 + ratio),
            "BSF": self.pitch_mm / self.ball_mm * (1 - ratio**2),
            "FTF": (1 - ratio) / 2,
        }


class BearingFault:
    """The blows of one fault, as acceleration (m/s²) at the bearing, one block after another."""

    def __init__(
        self, bearing: Bearing, fault: Fault, running: Running, rate_hz: float, rng: np.random.Generator
    ) -> None:
        self._bearing = bearing
        self._fault = fault
        self._running = running
        self._rate_hz = rate_hz
        self._rng = rng
        orders = bearing.orders()
        self._step = TAU / orders[_ORDER_OF[fault.kind]]
        self._cage_order = orders["FTF"]
        self._omega = TAU * bearing.resonance_hz
        self._decay = bearing.damping * self._omega
        self._ring_samples = math.ceil(_RING_DECAYS / self._decay * rate_hz) + 1
        self._next_angle = float(rng.uniform(0.0, self._step))
        self._count = 0
        self._tail: F64 = np.zeros(self._ring_samples)

    def block(self, start: int, n: int) -> F64:
        """Samples start .. start + n of the absolute sample clock. Blocks follow each other without gaps."""
        out = np.zeros(n + self._ring_samples)
        out[: self._ring_samples] += self._tail
        angles, strengths = self._draw_until((start + n) / self._rate_hz)
        if len(angles) and self._fault.active((start + n) / self._rate_hz):
            times = self._running.time_at(angles, start / self._rate_hz)
            self._ring(out, times * self._rate_hz - start, strengths * self._strength_at(times, angles))
        self._tail = out[n:].copy()
        return out[:n]

    def _draw_until(self, end_s: float) -> tuple[F64, F64]:
        """Shaft angles and relative strengths of the blows before `end_s`, drawn one after the other."""
        end_angle = float(self._running.angle_at(np.array([end_s]))[0])
        angles, strengths = [], []
        while self._next_angle < end_angle:
            slip, scatter = self._rng.standard_normal(2)
            # An element strikes the outer and the inner race in turn, and the inner one is the softer sound.
            softer = 0.7 if self._fault.kind == "ball" and self._count % 2 else 1.0
            angles.append(self._next_angle)
            strengths.append(softer * max(0.0, 1.0 + _STRENGTH_SCATTER * float(scatter)))
            self._next_angle += self._step * max(0.1, 1.0 + self._bearing.slip * float(slip))
            self._count += 1
        return np.array(angles), np.array(strengths)

    def _strength_at(self, times: F64, angles: F64) -> F64:
        load = self._running.load_at(times) / self._running.mean
        peak = self._bearing.blow_ms2 * (0.5 + 0.5 * load) * self._fault.at(times)
        match self._fault.kind:
            case "inner_race":
                zone = _load_zone(angles)
            case "ball":
                zone = _load_zone(angles * self._cage_order)
            case "cage":
                zone = np.full_like(angles, _CAGE_SOFTNESS)
            case _:
                zone = np.ones_like(angles)  # the outer race stands still, and faults begin where the load is
        return peak * zone

    def _ring(self, out: F64, position: F64, strength: F64) -> None:
        """Add one damped oscillation for each blow. `position`: of the blows, in samples from the block's start."""
        first = np.clip(np.ceil(position), 0, len(out) - self._ring_samples).astype(np.int64)
        steps = np.arange(self._ring_samples)
        lag = ((first - position)[:, None] + steps) / self._rate_hz
        ring = strength[:, None] * np.exp(-self._decay * lag) * np.sin(self._omega * lag)
        np.add.at(out, first[:, None] + steps, ring)


def _load_zone(turn: F64) -> F64:
    """Relative load where the fault is, after `turn` radians: from `_OUT_OF_ZONE` to 1."""
    return _OUT_OF_ZONE + (1.0 - _OUT_OF_ZONE) * np.maximum(0.0, np.cos(turn)) ** _STRIBECK_EXPONENT

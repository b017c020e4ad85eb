"""One machine: how it runs, its parts, its faults, and what a sensor on it feels."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Annotated, Final, Literal, Protocol

import msgspec
import numpy as np

from firmware_sim.machines.bearing import BEARING_FAULTS, Bearing, BearingFault
from firmware_sim.machines.fault import Fault, of_kinds
from firmware_sim.machines.gear import Gear, GearMesh
from firmware_sim.machines.impeller import Impeller, ImpellerFlow
from firmware_sim.machines.noise import StructureNoise
from firmware_sim.machines.process import ProcessValues
from firmware_sim.machines.running import F64, Running, random_phases
from firmware_sim.machines.shaft import ShaftLines
from firmware_sim.machines.spec import NotNegative, Positive, Spec
from models.contract.ids import Id

_NOISE_GAIN = {"radial": 1.0, "tangential": 0.9, "axial": 0.7}
_BLOW_GAIN = {"radial": 1.0, "tangential": 0.8, "axial": 0.45}
UNITS: Final[dict[str, float]] = {"m/s2": 1.0, "g": 1.0 / 9.80665}
"""Units of acceleration, as factors from m/s² (standard gravity: ISO 80000-3)."""


class Load(Spec, frozen=True, kw_only=True):
    """Load and speed over time: see `running.Running`."""

    mean: Annotated[float, msgspec.Meta(ge=0.1, le=1.5)] = 0.7
    swing: Annotated[float, msgspec.Meta(ge=0, le=0.5)] = 0.1
    period_s: Annotated[float, msgspec.Meta(ge=1, le=1e6)] = 30.0
    droop: Annotated[float, msgspec.Meta(ge=0, le=0.1)] = 0.01
    wander: Annotated[float, msgspec.Meta(ge=0, le=0.05)] = 0.002


class MachineSpec(Spec, frozen=True, kw_only=True):
    """One machine as a scenario gives it.

    shaft_hz: of the shaft that is measured. velocity_mm_s: RMS of 1x, 2x, ... noise_ms2: RMS of the broadband noise at
    mean load. line_hz: of the motor's supply, 0 without hum.
    """

    id: Id
    kind: Literal["pump", "fan", "gearbox", "motor"]
    shaft_hz: Annotated[float, msgspec.Meta(ge=0.1, le=1000)]
    load: Load = Load()
    velocity_mm_s: Annotated[tuple[NotNegative, ...], msgspec.Meta(max_length=10)] = (1.0, 0.35, 0.15)
    noise_ms2: NotNegative = 0.8
    resonances_hz: Annotated[tuple[Positive, ...], msgspec.Meta(max_length=8)] = (900.0, 2600.0)
    line_hz: Annotated[float, msgspec.Meta(ge=0, le=400)] = 50.0
    bearing: Bearing | None = None
    gear: Gear | None = None
    impeller: Impeller | None = None

    def orders(self) -> dict[str, float]:
        """Known frequencies as multiples of the measured shaft's rate, by the names that diagnosis knows."""
        orders = self.bearing.orders() if self.bearing is not None else {}
        if self.gear is not None:
            orders["GMF"] = float(self.gear.teeth)
        if self.impeller is not None:
            orders["VPF"] = float(self.impeller.vanes)
        return orders


class Source(Protocol):
    """What a sensor measures, block after block without gaps."""

    position: int

    def block(self, n: int) -> F64:
        """The next n samples, (n, axes), in the sensor's units."""


class Machine:
    """A machine and the faults that may befall it. Sensors on it share its load, its shaft angle and its blows."""

    def __init__(self, spec: MachineSpec, faults: Sequence[Fault], seed: int) -> None:
        self.spec = spec
        self.faults = tuple(faults)
        self._seed = seed
        rng = self._stream("running")
        load = spec.load
        self.running = Running(
            spec.shaft_hz, load.mean, load.swing, load.period_s, load.droop, load.wander,
            random_phases(rng), random_phases(rng),
        )  # fmt: skip

    def acceleration(self, point: str, axes: Sequence[str], rate_hz: float, units: str) -> Acceleration:
        """An accelerometer at `point`. Sensors at different points hear noise of their own."""
        return Acceleration(self, point, axes, rate_hz, UNITS[units])

    def process(self, point: str, axes: Sequence[str], rate_hz: float) -> Process:
        """Transmitters of slow values at `point`."""
        rng = self._stream("process", point)
        return Process(ProcessValues(self.spec.kind, axes, self.running, self.faults, rate_hz, rng), rate_hz)

    def parts_at(self, point: str, axes: Sequence[str], rate_hz: float) -> _Parts:
        """The parts of the machine as heard at one sensor, each with generators of its own."""
        spec = self.spec
        bearing = spec.bearing
        return _Parts(
            ShaftLines(spec.shaft_hz, spec.velocity_mm_s, spec.line_hz, self.faults),
            GearMesh(spec.gear, self.faults) if spec.gear is not None else None,
            ImpellerFlow(
                spec.impeller, rate_hz, self.faults, self._stream("bubbles", point)
            ) if spec.impeller is not None else None,
            [
                StructureNoise(rate_hz, spec.resonances_hz, spec.noise_ms2, self._stream("noise", point, axis))
                for axis in axes
            ],
            [
                BearingFault(bearing, fault, self.running, rate_hz, self._stream("blows", str(i)))
                for i, fault in enumerate(of_kinds(self.faults, BEARING_FAULTS))
            ] if bearing is not None else [],
        )  # fmt: skip

    def _stream(self, *names: str) -> np.random.Generator:
        """A generator by name, so that another machine, sensor or axis in a scenario changes nothing elsewhere."""
        return np.random.default_rng([self._seed, zlib.crc32("/".join((self.spec.id, *names)).encode())])


class _Parts(msgspec.Struct, frozen=True):
    shaft: ShaftLines
    gear: GearMesh | None
    impeller: ImpellerFlow | None
    noises: list[StructureNoise]
    blows: list[BearingFault]


class Acceleration:
    """What an accelerometer feels. `position`: samples given so far; sample k is at k / rate_hz."""

    def __init__(self, machine: Machine, point: str, axes: Sequence[str], rate_hz: float, unit: float) -> None:
        self.position = 0
        self._running = machine.running
        self._parts = machine.parts_at(point, axes, rate_hz)
        self._axes = axes
        self._rate_hz = rate_hz
        self._unit = unit

    def block(self, n: int) -> F64:
        """The next n samples, (n, axes)."""
        running, parts = self._running, self._parts
        t = np.arange(self.position, self.position + n) / self._rate_hz
        angle = running.angle_at(t)
        load = running.load_at(t) / running.mean
        out = {axis: np.zeros(n) for axis in self._axes}
        parts.shaft.add_to(out, t, angle, load, running.speed_at(t) / running.shaft_hz)
        if parts.gear is not None:
            parts.gear.add_to(out, t, angle, load)
        if parts.impeller is not None:
            parts.impeller.add_to(out, t, angle, load)
        for axis, noise in zip(self._axes, parts.noises, strict=True):
            out[axis] += _NOISE_GAIN[axis] * noise.block(0.7 + 0.3 * load)
        for fault in parts.blows:
            blows = fault.block(self.position, n)
            for axis in self._axes:
                out[axis] += _BLOW_GAIN[axis] * blows
        self.position += n
        return np.stack([out[axis] for axis in self._axes], axis=1) * self._unit


class Process:
    """Slow values as a source."""

    def __init__(self, values: ProcessValues, rate_hz: float) -> None:
        self.position = 0
        self._values = values
        self._rate_hz = rate_hz

    def block(self, n: int) -> F64:
        """The next n samples, (n, axes)."""
        t = np.arange(self.position, self.position + n) / self._rate_hz
        self.position += n
        return self._values.block(t)

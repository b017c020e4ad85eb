"""One sensor node on one machine: block after block of signal through the board, out as frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from firmware_sim.board import Board, Outgoing
from firmware_sim.machines.bearing import BEARING_FAULTS, BearingFault, Geometry
from firmware_sim.machines.faults import Fault
from firmware_sim.machines.process import ProcessValues
from firmware_sim.machines.rotor import Rotor, StructureNoise
from firmware_sim.machines.running import F64, Running, random_phases
from firmware_sim.scenario import MachineSpec

_AXIAL_SHARE_OF_BLOWS = 0.45


class Node:
    """A machine and its sensor. `next_sample`: the absolute sample that comes next."""

    def __init__(self, spec: MachineSpec, faults: Sequence[Fault], seed: int, start_us: int) -> None:
        self.spec = spec
        streams = [np.random.default_rng(s) for s in np.random.SeedSequence([seed, *spec.id.encode()]).spawn(5)]
        load = spec.load
        self._running = Running(
            spec.shaft_hz, load.mean, load.swing, load.period_s, load.droop, load.wander, random_phases(streams[0])
        )
        self._rotor = Rotor(spec.harmonics_ms2, spec.teeth, spec.mesh_ms2, spec.vanes, spec.vane_ms2, tuple(faults))
        self._process = ProcessValues(self._running, tuple(faults), streams[1])
        resonances = spec.resonances_hz
        self._noise = [StructureNoise(spec.rate_hz, resonances, spec.noise_ms2, rng) for rng in streams[1].spawn(2)]
        self._hiss = StructureNoise(spec.rate_hz, resonances[-1:], 1.0, streams[2])
        self._bearing_faults = [
            BearingFault(
                Geometry(b.elements, b.ball_mm, b.pitch_mm, b.angle_deg),
                fault,
                self._running,
                spec.rate_hz,
                rng,
                b.resonance_hz,
                blow_ms2=b.blow_ms2,
            )
            for fault, rng in zip(faults, streams[3].spawn(max(1, len(faults))), strict=False)
            if (b := spec.bearing) is not None and fault.kind in BEARING_FAULTS
        ]
        slow = spec.kind == "process"
        self.board = Board(spec.rate_hz, streams[4], spec.converter, spec.flaws, start_us, spec.port, slow)
        self.next_sample = 0

    @property
    def sim_s(self) -> float:
        """Simulated time of the next sample."""
        return self.next_sample / self.spec.rate_hz

    def values(self, n: int) -> F64:
        """The next n samples as the sensor feels them, (n, axes): m/s² radial and axial, or process values."""
        start = self.next_sample
        self.next_sample += n
        t = (start + np.arange(n)) / self.spec.rate_hz
        if self.spec.kind == "process":
            return self._process.block(t)
        angle, load = self._running.angle_at(t), self._running.load_at(t)
        level = 0.7 + 0.3 * load
        radial = self._rotor.radial(t, angle, load)
        axial = self._rotor.axial(t, angle, radial) + 0.7 * level * self._noise[1].block(n)
        radial += level * self._noise[0].block(n)
        if self._rotor.has("cavitation"):
            hiss = self._hiss.block(n) * self._rotor.cavitation(t, angle)
            radial += hiss
            axial += 0.6 * hiss
        for fault in self._bearing_faults:
            blows = fault.block(start, n)
            radial += blows
            axial += _AXIAL_SHARE_OF_BLOWS * blows
        return np.stack([radial, axial], axis=1)

    def frames(self) -> Iterator[Outgoing]:
        """The next frame's worth of payloads."""
        start = self.next_sample
        yield from self.board.frames(self.values(self.spec.frame), start)

"""One sensor node: its ports, each a sensor on a machine, behind one board and one path to the gateway."""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

import msgspec
import numpy as np

from firmware_sim.board import BoardSpec, Clocked, Converter, Framer
from firmware_sim.flaws import Flaws, Outgoing, RoughPath
from firmware_sim.machines.machine import Machine
from firmware_sim.machines.spec import Positive, Spec
from models.contract.frames import MAX_AXES, MAX_SAMPLES, FrameFlag
from models.contract.ids import Id


class PortSpec(Spec, frozen=True, kw_only=True):
    """One sensor position. `frame`: samples per frame. `units`: m/s2 or g; free text for process values.

    send: `counts` of the converter or float32 `values`; counts for acceleration and values for the rest unless given.
    """

    port: Annotated[int, msgspec.Meta(ge=0, le=255)] = 0
    machine: Id
    point: Id
    quantity: Literal["acceleration", "process"] = "acceleration"
    axes: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=MAX_AXES)] = ("radial", "axial")
    units: Annotated[str, msgspec.Meta(min_length=1, max_length=32)] = "m/s2"
    rate_hz: Positive = 8192.0
    frame: Annotated[int, msgspec.Meta(ge=1, le=MAX_SAMPLES)] = 512
    send: Literal["counts", "values"] | None = None

    @property
    def digital(self) -> bool:
        """Whether frames carry converter counts."""
        return self.send == "counts" or (self.send is None and self.quantity == "acceleration")


class NodeSpec(Spec, frozen=True, kw_only=True):
    """One node, and the gateway that it sends to."""

    id: Id
    gateway: Id
    port: Annotated[tuple[PortSpec, ...], msgspec.Meta(min_length=1, max_length=64)]
    board: BoardSpec = BoardSpec()
    flaws: Flaws = Flaws()


class Node:
    """The board as a whole: what all its ports share. `boots`: how often it has started; `booted_s`: when last."""

    def __init__(self, spec: NodeSpec, machines: Mapping[str, Machine], seed: int, start_us: int) -> None:
        self.spec = spec
        self.start_us = start_us
        self.counts: Counter[str] = Counter()
        self.boots = 0
        self.boot_id = 0
        self.booted_s = 0.0
        self._rng = np.random.default_rng([seed, zlib.crc32(f"board/{spec.id}".encode())])
        self._planned = sorted(spec.board.reboot_at_s)
        self.boot(0.0)
        self.ports = [Port(self, port, machines[port.machine], seed) for port in spec.port]

    def boot(self, at_s: float) -> None:
        """Begin anew: another boot id; every port's clock and sequence start over, at its next frame."""
        self.boots += 1
        self.boot_id = int(self._rng.integers(1, 2**32))
        self.booted_s = at_s

    def fails_at(self, sim_s: float) -> bool:
        """Whether the board restarts now; when it does, it is off until `booted_s`."""
        board = self.spec.board
        planned = bool(self._planned) and self._planned[0] <= sim_s
        if planned:
            self._planned.pop(0)
        if not planned and not (board.reboot > 0 and self._rng.random() < board.reboot):
            return False
        self.counts["reboots"] += 1
        self.boot(sim_s + board.off_s)
        return True


class Port:
    """One sensor position of a node. `due_s`: simulated time at which its next frame is complete."""

    def __init__(self, node: Node, spec: PortSpec, machine: Machine, seed: int) -> None:
        self.node = node
        self.spec = spec
        board = node.spec.board
        self._rate_hz = spec.rate_hz * (1.0 + board.clock_ppm * 1e-6)
        source = (
            machine.acceleration(spec.point, spec.axes, self._rate_hz, spec.units)
            if spec.quantity == "acceleration"
            else machine.process(spec.point, spec.axes, self._rate_hz)
        )
        self._signal = Clocked(source, self._rate_hz, spec.frame)
        streams = np.random.SeedSequence([seed, zlib.crc32(f"port/{node.spec.id}/{spec.port}".encode())]).spawn(3)
        noise, path, self._rng = (np.random.default_rng(s) for s in streams)
        self._converter = Converter(board, spec.port, spec.axes, spec.rate_hz, noise, digital=spec.digital)
        self._framer = Framer(spec.port, spec.rate_hz, self._converter.scale, digital=spec.digital)
        self.path = RoughPath(node.spec.flaws, path)
        self._boots = 0
        self._restart()

    @property
    def due_s(self) -> float:
        """When the last sample of the next frame is there."""
        return (self._signal.position + self.spec.frame) / self._rate_hz

    @property
    def ahead_s(self) -> float:
        """Simulated time before which this port's signal has been made already."""
        return self._signal.ahead_s

    def frames(self) -> Iterator[Outgoing]:
        """What leaves when the next frame is due: nothing while the node restarts, usually one frame."""
        if self._boots != self.node.boots or self.node.fails_at(self.due_s):
            self._restart()
            return
        position, counts = self._signal.position, self.node.counts
        t = (position + np.arange(self.spec.frame)) / self._rate_hz
        converted, flags = self._converter.convert(self._signal.read(self.spec.frame), t)
        if self._lost:
            flags |= FrameFlag.OVERRUN
        spoilt = self.path.spoils_values()
        if spoilt:
            converted[int(self._rng.integers(len(converted))), 0] = np.nan
        time_us = self.node.start_us + round(position / self._rate_hz * 1e6) if self.node.spec.board.utc else 0
        payload = self._framer.pack(converted, position, time_us, flags, as_values=spoilt)
        counts["frames"] += 1
        counts["saturated"] += FrameFlag.SATURATED in flags
        self._overrun()
        yield from self.path.carry(payload)

    def _overrun(self) -> None:
        """Decide whether samples are lost before the next frame, and let them go by."""
        chance = self.node.spec.board.overrun
        self._lost = chance > 0 and bool(self._rng.random() < chance)
        if self._lost:
            self.node.counts["overruns"] += 1
            self._signal.skip(int(self._rng.integers(1, self.spec.frame + 1)))

    def _restart(self) -> None:
        """Wait until the node is up again, then begin a new stream."""
        self._boots = self.node.boots
        self._lost = False
        self._signal.skip(math.ceil(self.node.booted_s * self._rate_hz) - self._signal.position)
        self._framer.boot(self.node.boot_id, self._signal.position)

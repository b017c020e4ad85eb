"""The sensor board: converter, clock and all the ways in which real boards and links misbehave.

A board turns acceleration or slow values into frames. Flaws are drawn from a generator of the board's own, so that the
machine's signal stays the same whatever the board does to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
import numpy as np

from firmware_sim.machines.running import F64
from models.contract.frames import FrameFlag, encode_counts, encode_values


class Flaws(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Chances per frame, 0 to 1, and lasting faults. All off by default."""

    drop: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    corrupt: float = 0.0
    cut_short: float = 0.0
    nan: float = 0.0
    overrun: float = 0.0
    reboot: float = 0.0
    unknown_node: float = 0.0
    stuck_axis: int | None = None
    clock_ppm: float = 0.0


class Converter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Analogue to digital: `full_scale` in the point's unit, `noise` RMS in the same unit."""

    full_scale: float = 160.0
    bits: int = 16
    noise: float = 0.02


@dataclass(slots=True)
class Counts:
    """What a board did, for the closing event."""

    frames: int = 0
    dropped: int = 0
    duplicated: int = 0
    reordered: int = 0
    damaged: int = 0
    reboots: int = 0
    overruns: int = 0


@dataclass(slots=True)
class Outgoing:
    """One payload as it leaves the board; `stray` when it bears a node id that nobody has configured."""

    payload: bytes
    stray: bool = False


@dataclass(slots=True)
class Board:
    """One sensor position's electronics.

    `start_us`: the node's UTC clock at simulated time 0. `slow`: values go out as float32 rather than counts.
    """

    rate_hz: float
    rng: np.random.Generator
    converter: Converter
    flaws: Flaws
    start_us: int
    port: int = 0
    slow: bool = False
    counts: Counts = field(default_factory=Counts)
    _boot_id: int = 0
    _seq: int = 0
    _boot_sample: int = 0
    _skipped: int = 0
    _first: bool = True
    _held: bytes | None = None

    def __post_init__(self) -> None:
        self._boot_id = int(self.rng.integers(1, 2**32))

    def frames(self, values: F64, start: int) -> Iterator[Outgoing]:
        """The frames of one block of values (n, axes) that begins at absolute sample `start`; usually one."""
        flaws = self.flaws
        if self._chance(flaws.reboot):
            self.reboot(start)
        flags = FrameFlag.FIRST_AFTER_BOOT if self._first else FrameFlag.NONE
        self._first = False
        if self._chance(flaws.overrun):
            lost = min(len(values) // 4, len(values) - 1)
            values, start = values[lost:], start + lost
            flags |= FrameFlag.OVERRUN
            self.counts.overruns += 1
        if flaws.stuck_axis is not None and flaws.stuck_axis < values.shape[1]:
            values = values.copy()
            values[:, flaws.stuck_axis] = 0.0
        payload = self._encode(values, start, flags)
        self._seq += 1
        self.counts.frames += 1
        if self._chance(flaws.drop):
            self.counts.dropped += 1
            return
        if self._chance(flaws.corrupt) or self._chance(flaws.cut_short):
            self.counts.damaged += 1
            payload = self._damage(payload)
        if self._chance(flaws.reorder) and self._held is None:
            self._held = payload
            self.counts.reordered += 1
            return
        yield Outgoing(payload, stray=self._chance(flaws.unknown_node))
        if self._held is not None:
            held, self._held = self._held, None
            yield Outgoing(held)
        if self._chance(flaws.duplicate):
            self.counts.duplicated += 1
            yield Outgoing(payload)

    def reboot(self, start: int) -> None:
        """Begin a new boot: new id, clock and sequence from zero."""
        self._boot_id = int(self.rng.integers(1, 2**32))
        self._seq = 0
        self._boot_sample = start
        self._first = True
        self.counts.reboots += 1

    def _encode(self, values: F64, start: int, flags: FrameFlag) -> bytes:
        clock = start - self._boot_sample
        elapsed_us = start / self.rate_hz * 1e6 * (1 + self.flaws.clock_ppm * 1e-6)
        time_us = self.start_us + int(elapsed_us)
        if self.slow:
            sent = values.astype(np.float32)
            if self._chance(self.flaws.nan):
                sent[0, 0] = np.nan
                self.counts.damaged += 1
            return encode_values(
                sent, boot_id=self._boot_id, seq=self._seq, clock=clock, rate_hz=self.rate_hz, time_us=time_us,
                port=self.port, flags=flags,
            )  # fmt: skip
        top = 2 ** (self.converter.bits - 1) - 1
        scale = self.converter.full_scale / top
        noisy = values + self.rng.standard_normal(values.shape) * self.converter.noise
        counts = np.rint(noisy / scale)
        if (np.abs(counts) > top).any():
            flags |= FrameFlag.SATURATED
        counts = np.clip(counts, -top - 1, top).astype(np.int16)
        return encode_counts(
            counts, scale, boot_id=self._boot_id, seq=self._seq, clock=clock, rate_hz=self.rate_hz, time_us=time_us,
            port=self.port, flags=flags,
        )  # fmt: skip

    def _damage(self, payload: bytes) -> bytes:
        if self.flaws.cut_short > 0 and (self.flaws.corrupt == 0 or self.rng.random() < 0.5):
            return payload[: int(self.rng.integers(0, len(payload)))]
        damaged = bytearray(payload)
        damaged[int(self.rng.integers(len(damaged)))] ^= 1 << int(self.rng.integers(8))
        return bytes(damaged)

    def _chance(self, chance: float) -> bool:
        return chance > 0 and bool(self.rng.random() < chance)

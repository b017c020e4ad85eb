"""The sensor board: converter, clocks, and the ways in which real boards fail.

A board samples at its own crystal's rate: nominal rate times (1 + clock_ppm / 1e6), while frames state the nominal one,
so that its sample clock runs away from UTC as a real one does. UTC stamps are right (nodes ask a time server).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
import numpy as np

from firmware_sim.machines.machine import Source
from firmware_sim.machines.running import F64
from firmware_sim.machines.spec import NotNegative, Positive, Share, Spec
from models.contract.frames import FrameFlag, encode_counts, encode_values

_BLOCK_S = 0.25  # signals are made in larger blocks than frames: several times faster


class Stuck(Spec, frozen=True, kw_only=True):
    """An axis that stays at its last value from `at_s` on. `noticed`: the board's own check flags a sensor fault."""

    port: Annotated[int, msgspec.Meta(ge=0, le=255)] = 0
    axis: str
    at_s: NotNegative = 0.0
    for_s: Positive = 1e9
    noticed: bool = False


class BoardSpec(Spec, frozen=True, kw_only=True):
    """One node's electronics; all simulated times in seconds.

    full_scale: in the port's units, +- (what is beyond saturates and is flagged). noise_density: units per root hertz.
    utc: whether frames bear UTC stamps. overrun: chance per frame that samples before it are lost. reboot: chance per
    frame of a restart, which takes `off_s`; `reboot_at_s`: restarts at given times.
    """

    full_scale: Positive = 160.0
    bits: Annotated[int, msgspec.Meta(ge=4, le=16)] = 16
    noise_density: NotNegative = 0.0005
    clock_ppm: Annotated[float, msgspec.Meta(ge=-2000, le=2000)] = 0.0
    utc: bool = True
    overrun: Share = 0.0
    reboot: Share = 0.0
    reboot_at_s: tuple[NotNegative, ...] = ()
    off_s: NotNegative = 2.0
    stuck: tuple[Stuck, ...] = ()


class Clocked:
    """A source read in any portions: made in blocks, and skipped where nobody listens.

    `position`: samples read or skipped so far. `ahead_s`: how far the source itself has been made.
    """

    def __init__(self, source: Source, rate_hz: float, frame: int) -> None:
        self._source = source
        self._rate_hz = rate_hz
        self._block = frame * max(1, int(_BLOCK_S * rate_hz / frame))
        self._ready: F64 | None = None
        self._used = 0
        self.position = 0

    @property
    def ahead_s(self) -> float:
        """Simulated time before which nothing can change any more."""
        return self._source.position / self._rate_hz

    def read(self, n: int) -> F64:
        """The next n samples, (n, axes), a fresh array."""
        parts = []
        wanted = n
        while wanted:
            if self._ready is None or self._used == len(self._ready):
                self._ready, self._used = self._source.block(self._block), 0
            part = self._ready[self._used : self._used + wanted]
            self._used += len(part)
            wanted -= len(part)
            parts.append(part)
        self.position += n
        return np.concatenate(parts)

    def skip(self, n: int) -> None:
        """Let n samples go by."""
        while n > 0:
            step = min(n, self._block)
            self.read(step)
            n -= step


class Converter:
    """Analogue to digital, for one port. `counts` or, for slow values, float32."""

    def __init__(
        self,
        spec: BoardSpec,
        port: int,
        axes: Sequence[str],
        rate_hz: float,
        rng: np.random.Generator,
        *,
        digital: bool,
    ) -> None:
        self._top = 2 ** (spec.bits - 1) - 1
        self.scale = spec.full_scale / self._top
        self._noise = spec.noise_density * float(np.sqrt(rate_hz / 2))
        self._stuck = [(stuck, list(axes).index(stuck.axis)) for stuck in spec.stuck if stuck.port == port]
        self._held: dict[int, float] = {}
        self._rng = rng
        self._digital = digital

    def convert(self, values: F64, t: F64) -> tuple[F64, FrameFlag]:
        """Values (n, axes) at times t as the converter gives them: whole counts, or units. Flags what it notices."""
        flags = FrameFlag.NONE
        if self._digital:
            values = np.rint((values + self._noise * self._rng.standard_normal(values.shape)) / self.scale)
            clipped = np.clip(values, -self._top - 1, self._top)
            if (np.abs(values) > self._top).any():
                flags |= FrameFlag.SATURATED
            values = clipped
        for at, (stuck, axis) in enumerate(self._stuck):
            frozen = (t >= stuck.at_s) & (t < stuck.at_s + stuck.for_s)
            if frozen.any():
                held = self._held.setdefault(at, float(values[int(np.argmax(frozen)), axis]))
                values[frozen, axis] = held
                if stuck.noticed:
                    flags |= FrameFlag.SENSOR_FAULT
        return values, flags


class Framer:
    """Numbers and packs the frames of one port.

    Its state is what a receiver follows: boot id, sequence number, sample clock since boot.
    """

    def __init__(self, port: int, rate_hz: float, scale: float, *, digital: bool) -> None:
        self._port = port
        self._rate_hz = rate_hz
        self._scale = scale
        self._digital = digital
        self._boot_id = 0
        self._boot_position = 0
        self._seq = 0

    def boot(self, boot_id: int, position: int) -> None:
        """The node has started: the next frame is its first, its clock is 0 at absolute sample `position`."""
        self._boot_id, self._boot_position, self._seq = boot_id, position, 0

    def pack(self, converted: F64, position: int, time_us: int, flags: FrameFlag, *, as_values: bool = False) -> bytes:
        """One frame of what the converter gave, beginning at absolute sample `position`.

        `as_values`: float32 although the port sends counts, for what counts cannot say.
        """
        if self._seq == 0:
            flags |= FrameFlag.FIRST_AFTER_BOOT
        seq, self._seq = self._seq, self._seq + 1
        clock = position - self._boot_position
        if self._digital and not as_values:
            return encode_counts(
                converted.astype(np.int16), self._scale, boot_id=self._boot_id, seq=seq, clock=clock,
                rate_hz=self._rate_hz, time_us=time_us, port=self._port, flags=flags,
            )  # fmt: skip
        values = converted * self._scale if self._digital else converted
        return encode_values(
            values.astype(np.float32), boot_id=self._boot_id, seq=seq, clock=clock, rate_hz=self._rate_hz,
            time_us=time_us, port=self._port, flags=flags,
        )  # fmt: skip

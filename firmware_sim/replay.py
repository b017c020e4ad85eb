"""Replaying recordings as frames of one node, so that a gateway cannot tell them from a live sensor.

Every recording is a new boot of the node: recordings do not join, and no window spans two of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from firmware_sim.board import Framer
from firmware_sim.errors import DataError
from firmware_sim.events import EventLog
from firmware_sim.link import Link
from firmware_sim.machines.machine import UNITS
from firmware_sim.machines.running import F64
from firmware_sim.pace import Pace
from firmware_sim.tapes import Tape
from models.contract.frames import MAX_AXES, MAX_SAMPLES, FrameFlag
from models.contract.ids import GatewayId, NodeId
from models.contract.topics import Frames, topic_of

_FRAME_S = 1.0 / 32
_TOP = 2**15 - 1
_MAX_PORTS = 256


@dataclass(frozen=True, slots=True)
class Playback:
    """How to replay. `as_axes`: the channels are axes of port 0; else each has a port of its own, in order.

    units: of the recordings; send_units: of the frames, where both are units of acceleration. frame: samples per frame,
    0 for about 31 ms, at least one. as_values: float32 instead of counts scaled to the recording's range.
    """

    gateway: GatewayId
    node: NodeId
    as_axes: bool = False
    units: str = "g"
    send_units: str = "g"
    frame: int = 0
    as_values: bool = False
    pause_s: float = 0.0


class Replay:
    """Recordings under way. `sent`: frames; `sim_s`: how much of all recordings has been played; `playing`: which."""

    def __init__(self, tapes: Sequence[Tape], playback: Playback, rng: np.random.Generator, start_s: float) -> None:
        self._tapes = tapes
        self._playback = playback
        self._rng = rng
        self._start_s = start_s
        self._factor = conversion(playback.units, playback.send_units)
        self._topic = topic_of(Frames(playback.gateway, playback.node))
        self.sent = 0
        self.sim_s = 0.0
        self.playing: Tape | None = None
        for tape in tapes:
            limit, what = (MAX_AXES, "axes") if playback.as_axes else (_MAX_PORTS, "ports")
            if len(tape.channels) > limit:
                raise DataError(f"{tape.file}: {len(tape.channels)} channels do not fit on {limit} {what}; choose some")

    def run(
        self, link: Link, events: EventLog, pace: Pace, stop: threading.Event, report: Callable[[Replay], None]
    ) -> None:
        """Play all, one after the other, with a pause of wall time between them. Raises: LinkError."""
        events.write("started", 0.0, title="replay", recordings=[tape.name for tape in self._tapes])
        for number, tape in enumerate(self._tapes):
            if number and self._playback.pause_s > 0:
                stop.wait(self._playback.pause_s)
            if stop.is_set():
                break
            self.playing = tape
            events.write(
                "recording_started", self.sim_s, name=tape.name, file=tape.file, start_s=tape.start_s,
                end_s=tape.end_s, rate_hz=tape.rate_hz, channels=tape.channels, units=self._playback.send_units,
            )  # fmt: skip
            before = self.sent
            whole = self._play(tape, link, pace, report)
            events.write(
                "recording_ended", self.sim_s, name=tape.name, file=tape.file, frames=self.sent - before, whole=whole
            )
        link.flush()
        events.write(
            "stopped", self.sim_s, frames=self.sent, sent=self.sent - link.dropped, dropped=link.dropped,
            behind_s=round(pace.behind_s, 3),
        )  # fmt: skip

    def _play(self, tape: Tape, link: Link, pace: Pace, report: Callable[[Replay], None]) -> bool:
        """Returns: whether the recording was played to its end."""
        samples = tape.samples * self._factor
        groups = [samples] if self._playback.as_axes else [samples[:, [i]] for i in range(samples.shape[1])]
        ports = [
            _Port(port, group, tape.rate_hz, as_values=self._playback.as_values) for port, group in enumerate(groups)
        ]
        boot_id = int(self._rng.integers(1, 2**32))
        for port in ports:
            port.framer.boot(boot_id, 0)
        frame = self._playback.frame or max(1, min(MAX_SAMPLES, round(_FRAME_S * tape.rate_hz)))
        began_s = self.sim_s
        pace.restart()
        pace.wait_until(0.0)
        for first in range(0, len(samples), frame):
            last = min(first + frame, len(samples))
            if not pace.wait_until(last / tape.rate_hz):
                return False
            time_us = round((self._start_s + began_s + first / tape.rate_hz) * 1e6)
            for port in ports:
                link.send(self._topic, port.pack(first, last, time_us))
                self.sent += 1
            self.sim_s = began_s + last / tape.rate_hz
            report(self)
        return True


class _Port:
    """One channel, or all of them as axes, scaled once for the whole recording."""

    def __init__(self, port: int, samples: F64, rate_hz: float, *, as_values: bool) -> None:
        largest = float(np.abs(samples).max())
        # Rounded up to float32, as frames carry it: the largest sample stays within the counts.
        scale = (
            1.0 if as_values or largest == 0.0 else float(np.nextafter(np.float32(largest / _TOP), np.float32(np.inf)))
        )
        self._samples = samples if as_values else np.rint(samples / scale)
        self.framer = Framer(port, rate_hz, scale, digital=not as_values)

    def pack(self, first: int, last: int, time_us: int) -> bytes:
        """The frame of samples first .. last."""
        return self.framer.pack(self._samples[first:last], first, time_us, FrameFlag.NONE)


def conversion(units: str, send_units: str) -> float:
    """The factor from one unit to the other. Raises: DataError: not both accelerations, and not the same."""
    if units == send_units:
        return 1.0
    if units not in UNITS or send_units not in UNITS:
        raise DataError(f"units: expected the same or two of {', '.join(UNITS)}, got {units!r} to {send_units!r}")
    return UNITS[send_units] / UNITS[units]

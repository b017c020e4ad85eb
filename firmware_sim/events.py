"""What happened when, as JSON lines: for tests, demos and people who compare a run with what was reported of it.

Each line has `event`, `time_s` (UTC, as the wall clock has it) and `sim_s` (simulated), and what belongs to the event:

    started             title, and seed and machines, or recordings
    fault_started       machine, point (the machine's first), points, fault, growth_s
    reboot              node, boot_id, up_s (simulated time at which it is up again)
    recording_started   name, file, start_s and end_s (in the file), rate_hz, units, channels
    recording_ended     name, file, frames, whole (false when it was stopped within)
    stopped             frames (made), sent, dropped (by the link), how many of each flaw, behind_s (see `pace`)
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

import msgspec

from firmware_sim.errors import LinkError


class EventLog:
    """Writes one JSON object a line, at once; to nowhere without a path. `clock`: UTC seconds. A context manager."""

    def __init__(self, path: Path | None, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self._file: TextIO | None = None
        if path is not None:
            try:
                self._file = path.open("w", encoding="utf-8")
            except OSError as error:
                raise LinkError(f"{path}: cannot be written: {error.strerror}") from error

    def write(self, event: str, sim_s: float, **details: object) -> None:
        """Note one event. Raises: LinkError."""
        if self._file is None:
            return
        record = {"event": event, "time_s": round(self._clock(), 3), "sim_s": round(sim_s, 3), **details}
        try:
            self._file.write(msgspec.json.encode(record).decode() + "\n")
            self._file.flush()
        except OSError as error:
            raise LinkError(f"{self._path}: cannot be written: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()

"""What happened when, as JSON lines: for tests, demos and people who compare a run with what was reported of it."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

import msgspec

from firmware_sim.errors import SimError


class EventLog:
    """Appends one JSON object a line; to nowhere without a path."""

    def __init__(self, path: Path | None) -> None:
        self._file: TextIO | None = None
        if path is not None:
            try:
                self._file = path.open("w", encoding="utf-8")
            except OSError as error:
                raise SimError(f"{path}: cannot be written: {error}") from error

    def write(self, event: str, time_s: float, sim_s: float, **details: object) -> None:
        """One event: wall time (UTC seconds), simulated time, and whatever belongs to it."""
        if self._file is not None:
            record = {"event": event, "time_s": round(time_s, 3), "sim_s": round(sim_s, 3), **details}
            self._file.write(msgspec.json.encode(record).decode() + "\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

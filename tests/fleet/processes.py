"""Processes that we started, told apart from others that come to have the same number; and waiting for something."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Process:
    """A process: its start time tells it from a later one with the same id."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """None when there is none, or it has ended and waits only for its parent."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] in {"Z", "X"} else cls(pid, int(fields[19]))

    @property
    def is_alive(self) -> bool:
        return Process.of(self.pid) == self

    def children(self) -> list[Process]:
        """Those that live."""
        try:
            listed = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text("ascii").split()
        except (FileNotFoundError, ProcessLookupError):
            return []
        return [child for child in map(Process.of, map(int, listed)) if child is not None]

    def kill(self) -> None:
        """At once; nothing when it has ended already."""
        if self.is_alive:
            try:
                os.kill(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                return


class TimeIsUpError(Exception):
    """What was waited for did not come."""


def wait_until(what: str, probe: Callable[[], T | None], timeout_s: float, every_s: float = 0.5) -> T:
    """The first answer that is neither None nor False.

    Raises: TimeIsUpError: none came.
    """
    until = time.monotonic() + timeout_s
    while True:
        answer = probe()
        if answer is not None and answer is not False:
            return answer
        if time.monotonic() > until:
            raise TimeIsUpError(f"waited {timeout_s:.0f} s for {what}; the last answer was {answer!r}")
        time.sleep(every_s)

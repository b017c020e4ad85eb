"""Simulated against wall time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Pace:
    """`speed`: simulated seconds in one second, 0 for as fast as possible. `stop` ends every wait.

    A simulation that cannot keep up falls behind and goes on from there at once: no frame is left out. `behind_s` is by
    how much wall time it was late at worst.
    """

    def __init__(self, speed: float, stop: threading.Event, clock: Callable[[], float] = time.monotonic) -> None:
        self.behind_s = 0.0
        self._speed = speed
        self._stop = stop
        self._clock = clock
        self._zero_s: float | None = None

    def restart(self) -> None:
        """Let simulated time 0 be at the next wait."""
        self._zero_s = None

    def wait_until(self, sim_s: float) -> bool:
        """Wait for simulated time `sim_s`. Returns: False when told to stop."""
        if self._zero_s is None:
            self._zero_s = self._clock()
        if self._speed > 0:
            left_s = self._zero_s + sim_s / self._speed - self._clock()
            self.behind_s = max(self.behind_s, -left_s)
            if left_s > 0:
                self._stop.wait(left_s)
        return not self._stop.is_set()

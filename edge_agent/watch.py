"""One bundle watching the points of one slot: rings, one batch per tick, results.

A champion and its candidate are two watches on the same samples; they may cut different windows from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.bundle.manifest import Manifest
from models.contract.frames import MAX_SAMPLES
from models.signal.arrays import F32
from models.signal.diagnose import PointFacts, learn_healthy
from models.signal.monitor import Monitor, Result
from models.signal.score import Network
from models.signal.windows import Ring

_HISTORY_S = 6.0  # some seventy turns of a cage at 1800 r/min: what faint orders need to stand out of chance
_MAX_HISTORY = 65_536


@dataclass(frozen=True, slots=True)
class Loaded:
    """A bundle that passed every check and may run: what is kept of it in memory. `memory_kb`: what its network took
    when it was tried out.
    """

    sha256: str
    manifest: Manifest
    network: Network
    memory_kb: float | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    """What one tick gave. `windows`: (k, window, axes); `rms`: (k, axes); `results`: k, in time order per point."""

    windows: F32
    rms: F32
    results: list[Result]


class Watch:
    """A loaded bundle at work. `windows_seen[i]` counts the windows of point i."""

    def __init__(self, loaded: Loaded, points: Sequence[str]) -> None:
        self.loaded = loaded
        self.monitor = Monitor(loaded.manifest, loaded.network, points)
        spec = loaded.manifest.input
        self._capacity = max(8 * spec.window, 16 * spec.hop, spec.window + MAX_SAMPLES)
        self.history = min(_MAX_HISTORY, max(spec.window, round(_HISTORY_S * spec.rate_hz)))
        self._rings = [Ring(len(spec.axes), spec.window, spec.hop, self._capacity, self.history) for _ in points]
        self._about_mean = loaded.manifest.features.detrend != "none"
        self.windows_seen = [0] * len(points)
        self._learnt_at = [0] * len(points)

    @property
    def hop_s(self) -> float:
        """Time from one window to the next."""
        return self.loaded.manifest.input.hop / self.loaded.manifest.input.rate_hz

    def has_room(self, point: int, samples: int) -> bool:
        """Whether a push would fit without overwriting windows that are due: else tick first."""
        return len(self._rings[point]) + samples <= self._capacity

    def push(self, point: int, samples: F32) -> None:
        """Append samples (n, axes) of a point."""
        self._rings[point].push(samples)

    def reset(self, point: int) -> None:
        """Forget the samples of a point: something is missing between them and the next."""
        self._rings[point].reset()

    def recent(self, point: int) -> F32:
        """The last stretch of a point, for diagnosis: (up to `history`, axes)."""
        return self._rings[point].recent(self.history)

    def learn(self, point: int, facts: PointFacts) -> None:
        """While a point calibrates: teach the monitor what its fault orders look like in a healthy signal.

        Each stretch of a full history once, and what there is when the calibration ends, unless most of it is known.
        """
        fresh = (self.windows_seen[point] - self._learnt_at[point]) * self.loaded.manifest.input.hop
        ended = self.monitor.warmup_left(point) == 0
        known = bool(self.monitor.healthy_orders(point))
        if fresh >= self.history or (ended and (fresh >= self.history / 2 or not known)):
            self._learnt_at[point] = self.windows_seen[point]
            learn_healthy(self.monitor, point, self.recent(point), facts)

    def forget(self, point: int) -> None:
        """Learn anew what is normal for a point."""
        self.monitor.recalibrate(point)
        self.reset(point)
        self._learnt_at[point] = self.windows_seen[point]

    def overwritten(self) -> int:
        """Samples that were lost because ticks came too late."""
        return sum(ring.overwritten for ring in self._rings)

    def tick(self, skip: frozenset[int] = frozenset()) -> Tick | None:
        """Process every window that is due, all points in one batch. None: nothing was due.

        Args:   skip: points whose windows are thrown away unseen.
        Raises: SignalError, RuntimeLoadError: the bundle cannot be run.
        """
        due = [(point, ring.take()) for point, ring in enumerate(self._rings)]
        due = [(point, windows) for point, windows in due if len(windows) and point not in skip]
        if not due:
            return None
        windows = due[0][1] if len(due) == 1 else np.concatenate([windows for _, windows in due])
        owners = [point for point, windows in due for _ in range(len(windows))]
        for point, cut in due:
            self.windows_seen[point] += len(cut)
        results = self.monitor.process(windows, owners)
        return Tick(windows, _rms(windows, about_mean=self._about_mean), results)


def _rms(windows: F32, *, about_mean: bool) -> F32:
    """Root mean square of each window and axis, (k, axes). About the mean where the features remove it too: an
    accelerometer's rest value is no vibration, but a temperature's level is what a trend of it should show.

    Along contiguous rows: over the middle axis of (k, window, axes) the same takes several times longer.
    """
    rows = np.ascontiguousarray(windows.transpose(0, 2, 1))
    if about_mean:
        rows = rows - rows.mean(axis=-1, keepdims=True)
    mean_square: F32 = np.einsum("kan,kan->ka", rows, rows) / np.float32(rows.shape[-1])
    return np.sqrt(mean_square)

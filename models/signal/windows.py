"""From a stream of samples to windows: runs of `window` samples, one beginning every `hop`."""

from __future__ import annotations

import numpy as np

from models.errors import SignalError
from models.signal.arrays import F32


def cut_windows(samples: F32, window: int, hop: int) -> F32:
    """All complete windows of one recording.

    Args:    samples: (n, axes).
    Returns: (k, window, axes), a read-only view, k = 0 when the recording is shorter than one window.
    Raises:  SignalError: samples are not (n, axes).
    """
    if samples.ndim != 2:
        raise SignalError(f"samples: expected (n, axes), got shape {samples.shape}")
    if len(samples) < window:
        return np.empty((0, window, samples.shape[1]), np.float32)
    view = np.lib.stride_tricks.sliding_window_view(samples, window, axis=0)[::hop]
    return view.transpose(0, 2, 1)


class Ring:
    """Holds the samples of one point that are not yet in a complete window, and the last `history` that were.

    The buffer is as long as a few windows; samples move to its front only when its end is reached, so that a push costs
    one copy. `take` must be called at least once every `capacity` samples: what does not fit is dropped, oldest first,
    and counted in `overwritten`.
    """

    def __init__(self, axes: int, window: int, hop: int, capacity: int | None = None, history: int = 0) -> None:
        self._window = window
        self._hop = hop
        self._capacity = capacity or max(8 * window, 16 * hop)
        self._history = history
        self._buffer = np.zeros((self._capacity + history, axes), np.float32)
        self._oldest = 0
        self._start = 0
        self._end = 0
        self.overwritten = 0

    def __len__(self) -> int:
        return self._end - self._start

    def reset(self) -> None:
        """Forget everything: after a gap, neither windows nor history may span it."""
        self._oldest = self._start = self._end = 0

    def push(self, samples: F32) -> None:
        """Append samples (n, axes), oldest first."""
        if len(samples) > self._capacity:
            self.overwritten += len(samples) - self._capacity + len(self)
            self.reset()
            samples = samples[-self._capacity :]
        spare = self._capacity - len(self)
        if len(samples) > spare:
            self.overwritten += len(samples) - spare
            self._start += len(samples) - spare
        if self._end + len(samples) > len(self._buffer):
            self._make_room(len(samples))
        self._buffer[self._end : self._end + len(samples)] = samples
        self._end += len(samples)

    def _make_room(self, samples: int) -> None:
        """Move what is kept to the front: samples not yet taken, and before them as much history as there is room."""
        history = min(self._history, self._start - self._oldest, len(self._buffer) - len(self) - samples)
        kept = self._buffer[self._start - history : self._end].copy()
        self._buffer[: len(kept)] = kept
        self._oldest, self._start, self._end = 0, history, len(kept)

    def take(self) -> F32:
        """All windows that are complete, oldest first: (k, window, axes), a copy that the caller may keep."""
        windows = cut_windows(self._buffer[self._start : self._end], self._window, self._hop)
        if len(windows):
            windows = windows.copy(order="C")  # even when hop == window makes the view contiguous already
            self._start += len(windows) * self._hop
        return windows

    def recent(self, n: int) -> F32:
        """The last n samples, or as many as there are without a gap: (n or fewer, axes), a copy."""
        return self._buffer[max(self._oldest, self._end - n) : self._end].copy()

"""What ingest counts, and the last messages that it did not take. Written by the worker, read by the API."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass

KEPT_REJECTIONS = 100
_SHOWN_CHARS = 500


@dataclass(frozen=True, slots=True)
class Rejection:
    """A message that was not taken. `reason` is a short stable word; topic and text are cut to what can be shown."""

    time_s: float
    topic: str
    reason: str
    text: str
    payload_bytes: int


@dataclass(frozen=True, slots=True)
class StatusView:
    """A moment of ingest. `counters` only grow. `store_error` is why storing fails right now, None when it does not."""

    counters: dict[str, int]
    rejections: tuple[Rejection, ...]
    queued: int
    last_commit_s: float | None
    store_error: str | None


class IngestStatus:
    """Counters by name, shared between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: Counter[str] = Counter()
        self._rejections: deque[Rejection] = deque(maxlen=KEPT_REJECTIONS)
        self._last_commit_s: float | None = None
        self._store_error: str | None = None

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a counter."""
        with self._lock:
            self._counters[name] += amount

    def set(self, name: str, value: int) -> None:
        """Set a counter that somebody else counts."""
        with self._lock:
            self._counters[name] = value

    def count_all(self, prefix: str, amounts: Mapping[str, int]) -> None:
        """Add to several counters, `prefix` before each name."""
        with self._lock:
            for name, amount in amounts.items():
                self._counters[f"{prefix}.{name}"] += amount

    def reject(self, time_s: float, topic: str, reason: str, text: str, payload_bytes: int) -> None:
        """Count and keep a rejection."""
        rejection = Rejection(time_s, _shown(topic), reason, _shown(text), payload_bytes)
        with self._lock:
            self._counters[f"rejected.{reason}"] += 1
            self._rejections.append(rejection)

    def committed(self, now_s: float) -> None:
        """A batch is in the database."""
        with self._lock:
            self._last_commit_s = now_s
            self._store_error = None

    def failed(self, error: str) -> None:
        """A batch could not be stored and will be tried again."""
        with self._lock:
            self._counters["store_failures"] += 1
            self._store_error = _shown(error)

    def view(self, queued: int = 0) -> StatusView:
        """The state right now; rejections newest first."""
        with self._lock:
            return StatusView(
                counters=dict(sorted(self._counters.items())),
                rejections=tuple(reversed(self._rejections)),
                queued=queued,
                last_commit_s=self._last_commit_s,
                store_error=self._store_error,
            )


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 3] + "..."

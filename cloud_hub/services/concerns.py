"""What people must see to before long: gathered from whatever watches over something that expires."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_log = logging.getLogger(__name__)
_COMPLAINT_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Concern:
    """`source`: identity, metadata or wants. `text`: what, when, and what to do."""

    source: str
    text: str


class Concerns:
    """Told by `set`, read by `view`, from any thread. Each text is logged when it is new, then once a day."""

    def __init__(self, now_s: Callable[[], float] = time.time) -> None:
        self._now_s = now_s
        self._lock = threading.Lock()
        self._said_s: dict[str, dict[str, float]] = {}

    def set(self, source: str, texts: Sequence[str]) -> None:
        """All that `source` has to tell now, in place of what it told before."""
        now_s = self._now_s()
        with self._lock:
            before = self._said_s.get(source, {})
            due = [text for text in texts if text not in before or now_s - before[text] >= _COMPLAINT_S]
            self._said_s[source] = {text: now_s if text in due else before[text] for text in texts}
        for text in due:
            _log.warning("%s: %s", source, text)

    def view(self) -> list[Concern]:
        """Everything that is to be seen to, by source."""
        with self._lock:
            return [Concern(source, text) for source, texts in sorted(self._said_s.items()) for text in texts]

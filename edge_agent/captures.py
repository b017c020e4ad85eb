"""Captures: raw samples of a point, sent up in chunks on request, each resent until the hub has stored it.

A chunk is contiguous in time; at a gap the one being filled goes as it is, and the next says `gap`. The number of
chunks is fixed at the start, so that the hub knows when it has them all; a capture with gaps holds less for that. One
whose point has fallen silent is given up after a while, since there is room for few; what it has so far goes up.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from edge_agent.config import PointSettings
from edge_agent.errors import CommandError
from models.contract.messages import CaptureChunk, encode
from models.signal.arrays import F32

CHUNK_DATA_BYTES = 32_768
MAX_CAPTURES = 8
MAX_CHUNKS = 100_000
MAX_HELD_BYTES = 8 * 2**20
MAX_IN_FLIGHT = 16
RESEND_S = 10.0
SILENT_S = 900.0
_LONGEST_RESEND_S = 160.0


@dataclass(slots=True)
class Capture:
    """One capture under way. `filling`: samples of the chunk at hand, `missed`: something is missing before them.
    `heard`: samples came since `heard_s`, the time of the last look that found some.
    """

    id: str
    point: int
    total: int
    per_chunk: int
    index: int = 0
    filling: list[F32] = field(default_factory=list)
    filled: int = 0
    began_s: float = 0.0
    missed: bool = False
    gap: bool = False
    heard: bool = True
    heard_s: float = 0.0


@dataclass(slots=True)
class _Held:
    payload: bytes
    sent_s: float | None = None


class Captures:
    """All captures of a gateway. Memory is bounded: while too much waits for receipts, samples are left out."""

    def __init__(self, gateway: str, points: tuple[PointSettings, ...]) -> None:
        self._gateway = gateway
        self._points = points
        self._captures: list[Capture] = []
        self._held: dict[tuple[str, int], _Held] = {}
        self._queue: deque[tuple[str, int]] = deque()
        self._bytes = 0
        self._resend_s = RESEND_S
        self.counters: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._captures)

    def begin(self, capture_id: str, point: int, seconds: int) -> None:
        """Begin one with the next samples of `point`. Raises: CommandError: too many, or too long."""
        settings = self._points[point]
        per_chunk = CHUNK_DATA_BYTES // (4 * len(settings.axes))
        total = -(-int(np.ceil(seconds * settings.rate_hz)) // per_chunk)
        if len(self._captures) >= MAX_CAPTURES:
            raise CommandError("capture_busy", f"capture {capture_id}: {MAX_CAPTURES} are under way already")
        if total > MAX_CHUNKS:
            text = f"capture {capture_id}: expected at most {MAX_CHUNKS} chunks, {seconds} s make {total}"
            raise CommandError("capture_long", text)
        self._captures.append(Capture(capture_id, point, total, per_chunk))

    def push(self, point: int, samples: F32, utc_s: float, *, gap: bool) -> None:
        """Samples (n, axes) of a point came."""
        for capture in [c for c in self._captures if c.point == point]:
            self._push(capture, samples, utc_s, gap=gap)

    def give_up(self, now_s: float) -> list[str]:
        """Let go of captures that got no samples for `SILENT_S`. Returns: why, for each. `now_s` is monotonic."""
        texts = []
        for capture in list(self._captures):
            if capture.heard:
                capture.heard, capture.heard_s = False, now_s
            elif now_s - capture.heard_s >= SILENT_S:
                if capture.filled:
                    self._finish_chunk(capture)
                self._captures.remove(capture)
                point = self._points[capture.point]
                texts.append(
                    f"capture {capture.id}: given up after {capture.index} of {capture.total} chunks: "
                    f"no frames of {point.machine}/{point.point} for {SILENT_S:g} s"
                )
        return texts

    def _push(self, capture: Capture, samples: F32, utc_s: float, *, gap: bool) -> None:
        capture.heard = True
        if self._bytes >= MAX_HELD_BYTES:
            self.counters["captures.samples_left_out"] += len(samples)
            capture.missed = True
            return
        if (gap or capture.missed) and (capture.index or capture.filled):
            if capture.filled:
                self._finish_chunk(capture)
            capture.gap = True
        capture.missed = False
        while len(samples) and capture.index < capture.total:
            if not capture.filled:
                capture.began_s = utc_s
            part = samples[: capture.per_chunk - capture.filled]
            capture.filling.append(part)
            capture.filled += len(part)
            samples = samples[len(part) :]
            if capture.filled == capture.per_chunk:
                self._finish_chunk(capture)
        if capture.index >= capture.total and capture in self._captures:
            self._captures.remove(capture)

    def _finish_chunk(self, capture: Capture) -> None:
        settings = self._points[capture.point]
        chunk = CaptureChunk(
            gateway=self._gateway,
            capture=capture.id,
            machine=settings.machine,
            point=settings.point,
            index=capture.index,
            total=capture.total,
            rate_hz=settings.rate_hz,
            axes=list(settings.axes),
            units=settings.units,
            time_s=capture.began_s,
            data=np.concatenate(capture.filling).astype("<f4", copy=False).tobytes(),
            gap=capture.gap,
        )
        payload = encode(chunk)
        self._held[capture.id, capture.index] = _Held(payload)
        self._queue.append((capture.id, capture.index))
        self._bytes += len(payload)
        capture.index += 1
        capture.filling, capture.filled, capture.gap = [], 0, False

    def due(self, now_s: float) -> list[tuple[tuple[str, int], bytes]]:
        """Chunks to be published now; at most `MAX_IN_FLIGHT` are under way. `now_s` is monotonic."""
        flying = [key for key, held in self._held.items() if held.sent_s is not None]
        late = [key for key in flying if now_s - (self._held[key].sent_s or 0.0) >= self._resend_s]
        if late:
            self.counters["captures.resent"] += len(late)
            self._resend_s = min(2 * self._resend_s, _LONGEST_RESEND_S)
        room = MAX_IN_FLIGHT - len(flying)
        fresh = [self._queue.popleft() for _ in range(min(max(room, 0), len(self._queue)))]
        return [(key, self._held[key].payload) for key in [*late, *fresh]]

    def mark_sent(self, key: tuple[str, int], now_s: float, *, sent: bool) -> None:
        """Note whether a chunk that was due could be handed to the network."""
        held = self._held.get(key)
        if held is None:
            return
        if sent:
            held.sent_s = now_s
        elif held.sent_s is None:
            self._queue.appendleft(key)

    def forget_in_flight(self) -> None:
        """After a reconnection everything unreceipted is due again."""
        for held in self._held.values():
            held.sent_s = None
        self._queue = deque(self._held)
        self._resend_s = RESEND_S

    def receipt(self, received: Iterable[tuple[str, int]]) -> None:
        """Let go of what the hub has stored."""
        self._resend_s = RESEND_S
        for key in received:
            held = self._held.pop(key, None)
            if held is not None:
                self._bytes -= len(held.payload)
                if held.sent_s is None:
                    self._queue.remove(key)

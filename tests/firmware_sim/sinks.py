"""Links and clocks that stand still, for tests that look at what was sent."""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec

from firmware_sim.pace import Pace
from models.contract.frames import Frame, decode_frame


class Sink:
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.dropped = 0
        self.sent: list[tuple[str, bytes]] = []
        self.closed = False

    def send(self, topic: str, payload: bytes) -> None:
        self.sent.append((topic, payload))

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    def frames(self, topic: str | None = None) -> list[Frame]:
        return [decode_frame(payload) for t, payload in self.sent if topic in (None, t)]


def at_once() -> Pace:
    return Pace(0, threading.Event())


def events_in(path: Path) -> list[dict]:
    return [msgspec.json.decode(text) for text in path.read_text().splitlines()]

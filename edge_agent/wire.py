"""What the agent needs from a broker, without naming one: a protocol, incoming messages, and a bounded inbox.

The network thread only ever puts into the inbox; the agent's own loop takes out, in batches. Frames have a lane of
their own so that a flood of them cannot push out a want or a receipt.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

MAX_CONTROL = 2_000
MAX_CONTROL_BYTES = 8 * 2**20
MAX_FRAMES = 20_000
MAX_FRAMES_BYTES = 12 * 2**20
WAKE_FRAMES = 64


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message as it came: untrusted. `retained`: the broker had it before we asked."""

    topic: str
    payload: bytes
    retained: bool = False


class Transport(Protocol):
    """A link to a broker that mends itself. No method blocks for the network."""

    inbox: Inbox

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us and the connection stands."""

    @property
    def connections(self) -> int:
        """How many times a connection was made: it grows by one at each reconnection."""

    def start(self) -> None:
        """Begin to connect, and to reconnect with growing pauses."""

    def subscribe(self, filters: Iterable[str], qos: int = 1) -> None:
        """Ask for messages, now and after each reconnection."""

    def unsubscribe(self, filters: Iterable[str]) -> None:
        """Ask no more."""

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> bool:
        """Hand a message to the network. False: not connected or too much is unsent, and it was not taken."""

    def close(self, farewell: tuple[str, bytes] | None = None) -> None:
        """Disconnect in good order, after a last retained message."""


class Lane:
    """A queue bounded in messages and bytes; what finds no room is dropped and counted. Not thread-safe by itself."""

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._items: deque[Incoming] = deque()
        self._bytes = 0
        self.dropped = 0

    def put(self, message: Incoming) -> None:
        """Append, or drop and count."""
        size = len(message.payload)
        if len(self._items) >= self._max_messages or self._bytes + size > self._max_bytes:
            self.dropped += 1
            return
        self._items.append(message)
        self._bytes += size

    def take(self, at_most: int) -> list[Incoming]:
        """The oldest messages."""
        taken = [self._items.popleft() for _ in range(min(at_most, len(self._items)))]
        self._bytes -= sum(len(message.payload) for message in taken)
        return taken

    def __len__(self) -> int:
        return len(self._items)


class Inbox:
    """Both lanes behind one lock. `frames_prefix`: topics that begin with it go to the frames' lane."""

    def __init__(self, frames_prefix: str) -> None:
        self._prefix = frames_prefix
        self._arrived = threading.Condition()
        self._control = Lane(MAX_CONTROL, MAX_CONTROL_BYTES)
        self._frames = Lane(MAX_FRAMES, MAX_FRAMES_BYTES)
        self._woken = False

    def put(self, message: Incoming) -> None:
        """Called by the network thread; never blocks for long, never raises."""
        with self._arrived:
            if message.topic.startswith(self._prefix):
                self._frames.put(message)
                if len(self._frames) != WAKE_FRAMES:
                    return
            else:
                self._control.put(message)
            self._arrived.notify()

    def wake(self) -> None:
        """Let a waiting `take` return at once."""
        with self._arrived:
            self._woken = True
            self._arrived.notify()

    def take(self, timeout_s: float, at_most: int = 256) -> tuple[list[Incoming], list[Incoming]]:
        """(control, frames), oldest first.

        Waits until a control message is there, or many frames, or the time is over: a few frames can wait for each
        other, since waking up for each costs more than the frame itself.
        """
        with self._arrived:
            if not self._control and len(self._frames) < WAKE_FRAMES and not self._woken:
                self._arrived.wait(timeout_s)
            self._woken = False
            return self._control.take(at_most), self._frames.take(at_most)

    def drops(self) -> dict[str, int]:
        """What found no room, by lane."""
        return {"inbox.control_dropped": self._control.dropped, "inbox.frames_dropped": self._frames.dropped}

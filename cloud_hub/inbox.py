"""Messages on their way in: read from the socket and split by the dozen, kept in a bounded queue. No paho in here.

paho reads a packet with three system calls and handles each message with a dozen calls of its own, which is what
receiving mostly costs: a client that only counts messages takes 70 microseconds for each, this one 14 (measured side by
side).
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

MAX_QUEUED = 20_000
MAX_QUEUED_BYTES = 256 * 2**20
_READ_AHEAD_BYTES = 65_536
_PUBLISH, _PUBACK = 0x30, b"\x40\x02"
_SHORTEST_PUBLISH = 2  # of its length: two bytes that say how long the topic is
_LAST_SHIFT = 21  # a length has four bytes at most


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message as it came. Untrusted."""

    topic: str
    payload: bytes
    retained: bool


class IncomingQueue(queue.Queue[Incoming]):
    """A queue bounded in messages and in bytes: 20,000 capture chunks would be more than the hub's memory.

    `put_some` and `get_some` take its lock once for many messages: message by message, that is a fifth of receiving.
    `on_taken` is called whenever something was taken out.
    """

    def __init__(self) -> None:
        super().__init__(MAX_QUEUED)
        self.bytes = 0
        self.on_taken: Callable[[], None] = lambda: None

    def fills(self, share: float) -> bool:
        """Whether this share of it is taken, in messages or in bytes."""
        return self.qsize() >= share * self.maxsize or self.bytes >= share * MAX_QUEUED_BYTES

    def get(self, block: bool = True, timeout: float | None = None) -> Incoming:  # noqa: FBT002 - as the base
        """One message; see `queue.Queue`."""
        item = super().get(block, timeout)
        self.on_taken()
        return item

    def _put(self, item: Incoming) -> None:
        super()._put(item)
        self.bytes += len(item.payload)

    def _get(self) -> Incoming:
        item = super()._get()
        self.bytes -= len(item.payload)
        return item

    def put_some(self, items: Iterable[Incoming]) -> int:
        """Put, without waiting, up to the first that there is no room for; how many went in."""
        taken = 0
        with self.mutex:
            for item in items:
                if self._qsize() >= self.maxsize or self.bytes + len(item.payload) > MAX_QUEUED_BYTES:
                    break
                self._put(item)
                taken += 1
            self.unfinished_tasks += taken
            self.not_empty.notify()
        return taken

    def get_some(self, messages: int, payload_bytes: int, timeout_s: float) -> list[Incoming]:
        """What is there, at most so many messages, no further one once there are so many bytes. Waits for the first
        one; none when none came in time.
        """
        until = time.monotonic() + timeout_s
        found: list[Incoming] = []
        size = 0
        with self.mutex:
            while not self._qsize():
                left = until - time.monotonic()
                if left <= 0.0:
                    return found
                self.not_empty.wait(left)
            while self._qsize() and len(found) < messages and size < payload_bytes:
                found.append(self._get())
                size += len(found[-1].payload)
            self.not_full.notify_all()
        self.on_taken()
        return found


class ReadAhead:
    """A socket that is read 64 KB at a time. paho asks for the one byte of a packet's type, then for each byte of its
    length: three system calls and more for every message, which is what receiving mostly costs.
    """

    def __init__(self, sock: Any) -> None:  # noqa: ANN401 - a socket, with TLS or without
        self._sock = sock
        self._ahead = b""
        self._at = 0

    def recv(self, size: int) -> bytes:
        """As a socket's: up to `size` bytes, none at the end. Raises: OSError (ssl.SSLWantReadError is one)."""
        if self._at == len(self._ahead):
            self._ahead, self._at = self._sock.recv(_READ_AHEAD_BYTES), 0
        data = self._ahead[self._at : self._at + size]
        self._at += len(data)
        return data

    def take_published(self) -> tuple[list[Incoming], list[bytes]]:
        """The whole messages of QoS 0 and 1 that come next, and the packet that acknowledges each. None when the next
        packet is another one, has not come whole, or is malformed: all that is paho's to read.
        """
        if self._at == len(self._ahead):
            try:
                self._ahead, self._at = self._sock.recv(_READ_AHEAD_BYTES), 0
            except OSError:  # paho reads next, and gets the same
                return [], []
        found, acknowledgements, self._at = split_published(self._ahead, self._at)
        return found, acknowledgements

    def pending(self) -> int:
        """Bytes that `recv` has without waiting, although the system sees none; paho asks before it waits."""
        inner = getattr(self._sock, "pending", None)
        return len(self._ahead) - self._at + (inner() if inner is not None else 0)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a socket has
        return getattr(self._sock, name)


def split_published(data: bytes, at: int = 0) -> tuple[list[Incoming], list[bytes], int]:
    """The PUBLISH packets of QoS 0 and 1 that stand whole and well-formed in `data` from `at` on, up to the first one
    that is no such packet; the PUBACK of each, empty at QoS 0; where that one begins. MQTT 3.1.1, sections 2.2 and 3.3.
    """
    found: list[Incoming] = []
    acknowledgements: list[bytes] = []
    end = len(data)
    while end - at > _SHORTEST_PUBLISH and data[at] & 0xF4 == _PUBLISH:
        start, length, shift = at + 2, data[at + 1] & 0x7F, 7
        while start < end and data[start - 1] & 0x80 and shift <= _LAST_SHIFT:
            length |= (data[start] & 0x7F) << shift
            start, shift = start + 1, shift + 7
        stop = start + length
        if data[start - 1] & 0x80 or stop > end or length < _SHORTEST_PUBLISH:
            break
        topic_end = start + 2 + (data[start] << 8 | data[start + 1])
        body = topic_end + (data[at] & 0x02)  # which happens to be QoS 1, and the bytes of its packet id
        if body > stop:
            break
        try:
            topic = data[start + 2 : topic_end].decode()
        except UnicodeDecodeError:
            break
        found.append(Incoming(topic, data[body:stop], bool(data[at] & 0x01)))
        acknowledgements.append(_PUBACK + data[topic_end:body] if body != topic_end else b"")
        at = stop
    return found, acknowledgements, at

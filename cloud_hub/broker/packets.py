"""MQTT packets as bytes: what a probe of brokers needs, no sockets anywhere.

MQTT 3.1.1 (OASIS standard of 29 October 2014), and the CONNECT of MQTT 5, to see whether a broker speaks it. The hub's
own link is paho-mqtt; a probe must see the bytes that a client library hides, such as the return codes of a SUBACK.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from models.errors import MessageError

MAX_PACKET_BYTES = 64 * 2**20
_LONGEST_LENGTH = 4  # bytes of the "remaining length"


class Kind(IntEnum):
    """Packet types, section 2.2.1."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet. `flags`: the low four bits of its first byte."""

    kind: int
    flags: int
    body: bytes

    @property
    def packet_id(self) -> int:
        """Of an acknowledgement."""
        return int.from_bytes(self.body[:2], "big")


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes, retained, when a client is gone without a word."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Published:
    """A PUBLISH, taken apart. `packet_id` is 0 at QoS 0."""

    topic: str
    payload: bytes
    qos: int
    retained: bool
    packet_id: int


def connect(
    client_id: str,
    *,
    clean: bool = True,
    keepalive_s: int = 60,
    will: Will | None = None,
    username: str | None = None,
    password: str | None = None,
    level: int = 4,
) -> bytes:
    """A CONNECT. `level`: 4 is MQTT 3.1.1, 5 is MQTT 5 (without properties)."""
    flags = 0x02 if clean else 0
    properties = b"\0" if level == 5 else b""
    payload = _text(client_id)
    if will is not None:
        flags |= 0x04 | 1 << 3 | 0x20
        payload += properties + _text(will.topic) + _bytes(will.payload)
    if username is not None:
        flags |= 0x80
        payload += _text(username)
        if password is not None:
            flags |= 0x40
            payload += _text(password)
    head = _text("MQTT") + bytes([level, flags]) + keepalive_s.to_bytes(2, "big") + properties
    return _packet(Kind.CONNECT, 0, head + payload)


def publish(topic: str, payload: bytes, *, packet_id: int = 0, retain: bool = False) -> bytes:
    """A PUBLISH: QoS 1 with a packet id, else QoS 0."""
    flags = (2 if packet_id else 0) | int(retain)
    middle = packet_id.to_bytes(2, "big") if packet_id else b""
    return _packet(Kind.PUBLISH, flags, _text(topic) + middle + payload)


def puback(packet_id: int) -> bytes:
    """A PUBACK."""
    return _packet(Kind.PUBACK, 0, packet_id.to_bytes(2, "big"))


def subscribe(packet_id: int, filters: Iterable[str], qos: int = 1) -> bytes:
    """A SUBSCRIBE to all filters at one QoS."""
    asked = b"".join(_text(f) + bytes([qos]) for f in filters)
    return _packet(Kind.SUBSCRIBE, 2, packet_id.to_bytes(2, "big") + asked)


def unsubscribe(packet_id: int, filters: Iterable[str]) -> bytes:
    """An UNSUBSCRIBE."""
    return _packet(Kind.UNSUBSCRIBE, 2, packet_id.to_bytes(2, "big") + b"".join(map(_text, filters)))


def pingreq() -> bytes:
    """A PINGREQ."""
    return _packet(Kind.PINGREQ, 0, b"")


def disconnect() -> bytes:
    """A DISCONNECT: a farewell, after which no will is published."""
    return _packet(Kind.DISCONNECT, 0, b"")


def published(packet: Packet) -> Published:
    """Take a PUBLISH apart. Raises: MessageError: it is cut short, or its topic is not UTF-8."""
    body, qos = packet.body, packet.flags >> 1 & 3
    length = int.from_bytes(body[:2], "big")
    end = 2 + length + (2 if qos else 0)
    if len(body) < end:
        raise MessageError(f"MQTT PUBLISH: expected at least {end} bytes, got {len(body)}")
    try:
        topic = body[2 : 2 + length].decode()
    except UnicodeDecodeError as error:
        raise MessageError(f"MQTT PUBLISH: expected a topic in UTF-8: {error}") from error
    packet_id = int.from_bytes(body[end - 2 : end], "big") if qos else 0
    return Published(topic, body[end:], qos, bool(packet.flags & 1), packet_id)


class Reader:
    """Cuts a stream of bytes into packets."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[Packet]:
        """The packets that are whole now. Raises: MessageError: not MQTT, or a packet over `MAX_PACKET_BYTES`."""
        self._held += data
        while (header := self._header()) is not None:
            start, length = header
            if len(self._held) < start + length:
                return
            first, body = self._held[0], bytes(self._held[start : start + length])
            del self._held[: start + length]
            yield Packet(first >> 4, first & 15, body)

    def _header(self) -> tuple[int, int] | None:
        """(where the body starts, its length), None while the header is not whole."""
        length = 0
        for index, byte in enumerate(self._held[1 : 1 + _LONGEST_LENGTH]):
            length |= (byte & 127) << 7 * index
            if byte < 128:
                if length > MAX_PACKET_BYTES:
                    raise MessageError(f"MQTT: expected packets of at most {MAX_PACKET_BYTES} bytes, got {length}")
                return 2 + index, length
        if len(self._held) > _LONGEST_LENGTH:
            raise MessageError(f"MQTT: expected a packet's length in {_LONGEST_LENGTH} bytes, got more")
        return None


def _packet(kind: Kind, flags: int, body: bytes) -> bytes:
    length, head = len(body), bytearray([kind << 4 | flags])
    while True:
        length, digit = length >> 7, length & 127
        head.append(digit | (128 if length else 0))
        if not length:
            return bytes(head) + body


def _bytes(data: bytes) -> bytes:
    return struct.pack(">H", len(data)) + data


def _text(text: str) -> bytes:
    return _bytes(text.encode())

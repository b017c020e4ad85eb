"""One client's dialogue with a broker, step by step, on a blocking socket: for probing, not for work."""

from __future__ import annotations

import itertools
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from cloud_hub.broker import packets
from cloud_hub.broker.packets import Kind, Packet, Published, Reader, Will
from cloud_hub.errors import LinkError
from models.errors import MessageError

_ACCEPTED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerAddress:
    """How to reach a broker. With `ca_file`, over TLS."""

    host: str
    port: int
    username: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    def open(self, timeout_s: float) -> socket.socket:
        """A connected socket. Raises: OSError."""
        plain = socket.create_connection((self.host, self.port), timeout_s)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.ca_file is None:
            return plain
        context = ssl.create_default_context(cafile=str(self.ca_file))
        if self.cert_file is not None:
            context.load_cert_chain(self.cert_file, self.key_file)
        return context.wrap_socket(plain, server_hostname=self.host)

    def password(self) -> str | None:
        """What the password file says. Raises: OSError."""
        return self.password_file.read_text(encoding="utf-8").strip() if self.password_file is not None else None


class Dialogue:
    """A connection that has been accepted. Messages that come while something else is awaited are kept in `got`.

    Every wait ends after `patience_s`: then the answer is "no", not an error. `LinkError` is for a connection that the
    broker refused, or has closed. `level` 5 speaks MQTT 5 as far as the CONNACK.
    """

    def __init__(
        self,
        address: BrokerAddress,
        client_id: str,
        patience_s: float,
        *,
        clean: bool = True,
        will: Will | None = None,
        level: int = 4,
    ) -> None:
        self._where = f"broker {address.host}:{address.port}"
        self._patience_s = patience_s
        self._reader = Reader()
        self._waiting: deque[Packet] = deque()
        self._ids = itertools.cycle(range(1, 65536))
        self.got: list[Published] = []
        try:
            self._socket = address.open(patience_s)
            password = address.password()
        except OSError as error:
            raise LinkError(f"{self._where}: {error}") from error
        try:
            self._introduce(
                packets.connect(
                    client_id, clean=clean, will=will, username=address.username, password=password, level=level
                ),
                level,
            )
        except BaseException:
            self._socket.close()
            raise

    def _introduce(self, hello: bytes, level: int) -> None:
        self._send(hello)
        answer = self._await(lambda p: p.kind == Kind.CONNACK)
        if answer is None or len(answer.body) < 2 or answer.body[1] != _ACCEPTED:
            said = "no answer" if answer is None else f"refused with {answer.body[1:2].hex() or 'nothing'}"
            raise LinkError(f"{self._where}: MQTT level {level}: {said}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.cut()

    def cut(self) -> None:
        """Go without a word: the broker publishes the will."""
        self._socket.close()

    def leave(self) -> None:
        """Go in good order. Raises: LinkError."""
        self._send(packets.disconnect())
        self._socket.close()

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        """Publish at QoS 1. Returns: whether the PUBACK came. Raises: LinkError: the broker hung up."""
        packet_id = self.send(topic, payload, retain=retain)
        return self._await(lambda p: p.kind == Kind.PUBACK and p.packet_id == packet_id) is not None

    def send(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        """Publish at QoS 1 without waiting. Returns: the packet id. Raises: LinkError."""
        packet_id = next(self._ids)
        self._send(packets.publish(topic, payload, packet_id=packet_id, retain=retain))
        return packet_id

    def forget_acknowledgements(self) -> None:
        """Drop what came and was not a message: for who has sent much without waiting."""
        self._waiting.clear()

    def subscribe(self, *filters: str) -> list[int] | None:
        """Subscribe at QoS 1. Returns: what was granted per filter (128 is a refusal), None for no answer."""
        packet_id = next(self._ids)
        self._send(packets.subscribe(packet_id, filters))
        answer = self._await(lambda p: p.kind == Kind.SUBACK and p.packet_id == packet_id)
        return list(answer.body[2:]) if answer is not None else None

    def unsubscribe(self, *filters: str) -> bool:
        """Unsubscribe. Returns: whether it was acknowledged."""
        packet_id = next(self._ids)
        self._send(packets.unsubscribe(packet_id, filters))
        return self._await(lambda p: p.kind == Kind.UNSUBACK and p.packet_id == packet_id) is not None

    def take(self, topic: str, patience_s: float | None = None) -> Published | None:
        """The next message of a topic that has not been taken, None when none comes."""
        self._until(lambda: any(one.topic == topic for one in self.got), patience_s)
        for one in self.got:
            if one.topic == topic:
                self.got.remove(one)
                return one
        return None

    def take_many(self, topics: Iterable[str], patience_s: float | None = None) -> dict[str, bytes]:
        """The payloads of these topics, as many as come."""
        wanted = set(topics)
        self._until(lambda: wanted <= {one.topic for one in self.got}, patience_s)
        return {one.topic: one.payload for one in self.got if one.topic in wanted}

    def count(self, at_most: int, quiet_s: float) -> int:
        """How many messages come until there are `at_most`, or none for `quiet_s`."""
        while len(self.got) < at_most:
            before = len(self.got)
            self._until(lambda known=before: len(self.got) > known, quiet_s)  # type: ignore[misc]
            if len(self.got) == before:
                break
        return len(self.got)

    # ------------------------------------------------------------------------------------------------ the socket

    def _send(self, data: bytes) -> None:
        try:
            self._socket.settimeout(self._patience_s)
            self._socket.sendall(data)
        except OSError as error:
            raise LinkError(f"{self._where}: {error}") from error

    def _until(self, done: Callable[[], bool], patience_s: float | None = None) -> None:
        deadline = time.monotonic() + (self._patience_s if patience_s is None else patience_s)
        while not done() and self._receive(deadline):
            pass

    def _await(self, fits: Callable[[Packet], bool]) -> Packet | None:
        """The first packet that fits, also among those that came while something else was awaited."""
        deadline = time.monotonic() + self._patience_s
        while True:
            for packet in self._waiting:
                if fits(packet):
                    self._waiting.remove(packet)
                    return packet
            if not self._receive(deadline):
                return None

    def _receive(self, deadline: float) -> bool:
        """Take what comes next; False when the time is over."""
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            return False
        try:
            self._socket.settimeout(left_s)
            data = self._socket.recv(1 << 18)
        except TimeoutError:
            return False
        except OSError as error:
            raise LinkError(f"{self._where}: {error}") from error
        if not data:
            raise LinkError(f"{self._where}: it hung up")
        try:
            for packet in self._reader.feed(data):
                self._take_packet(packet)
        except MessageError as error:
            raise LinkError(f"{self._where}: {error}") from error
        return True

    def _take_packet(self, packet: Packet) -> None:
        if packet.kind != Kind.PUBLISH:
            self._waiting.append(packet)
            return
        message = packets.published(packet)
        if message.qos:
            self._send(packets.puback(message.packet_id))
        self.got.append(message)

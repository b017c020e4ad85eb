"""Where frames go: to a broker, to a file, or both. The only file of the simulator that imports paho-mqtt."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from firmware_sim.errors import LinkError
from models.contract.recording import write_header, write_record

MAX_BACKLOG = 1000
_WAIT_S = 20.0
_FLUSH_S = 5.0
_POLL_S = 0.002


class Link(Protocol):
    """Takes frames. `dropped`: frames that it could not pass on."""

    dropped: int

    def send(self, topic: str, payload: bytes) -> None:
        """Send one frame, at most once."""

    def flush(self) -> None:
        """Wait until nothing that can still be sent is left; after this `dropped` is final."""

    def close(self) -> None:
        """Let go."""


class FileLink:
    """Writes a recording of frames (`models.contract.recording`)."""

    def __init__(self, path: Path) -> None:
        self.dropped = 0
        self._path = path
        try:
            self._file: BinaryIO = path.open("wb")
            write_header(self._file)
        except OSError as error:
            raise LinkError(f"{path}: cannot be written: {error.strerror}") from error

    def send(self, topic: str, payload: bytes) -> None:
        """Append one frame. Raises: LinkError."""
        try:
            write_record(self._file, topic, payload)
        except OSError as error:
            raise LinkError(f"{self._path}: cannot be written: {error.strerror}") from error

    def flush(self) -> None:
        """Write out the rest. Raises: LinkError."""
        try:
            self._file.flush()
        except OSError as error:
            raise LinkError(f"{self._path}: cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Write out the rest and close. Raises: LinkError."""
        try:
            self._file.close()
        except OSError as error:
            raise LinkError(f"{self._path}: cannot be written: {error.strerror}") from error


class BothLinks:
    """Sends to several links."""

    def __init__(self, links: Sequence[Link]) -> None:
        self._links = links

    @property
    def dropped(self) -> int:
        """Frames dropped by any of them."""
        return sum(link.dropped for link in self._links)

    @dropped.setter
    def dropped(self, _value: int) -> None:
        raise AttributeError("counted by the links themselves")

    def send(self, topic: str, payload: bytes) -> None:
        """Send one frame to each."""
        for link in self._links:
            link.send(topic, payload)

    def flush(self) -> None:
        """Flush each."""
        for link in self._links:
            link.flush()

    def close(self) -> None:
        """Close each, also when one of them cannot be closed."""
        failed: LinkError | None = None
        for link in self._links:
            try:
                link.close()
            except LinkError as error:
                failed = failed or error
        if failed is not None:
            raise failed


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """How to reach and enter the broker."""

    host: str
    port: int
    username: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


class MqttLink:
    """Publishes at QoS 0, as a sensor board would, over a connection that comes back by itself.

    At most `MAX_BACKLOG` frames wait for the socket. When they do, or when there is no connection, a patient link waits
    for a while (a simulation without a clock can); an impatient one drops, as a board does whose samples go on coming.
    """

    def __init__(self, address: BrokerAddress, client_id: str, *, patient: bool) -> None:
        self.dropped = 0
        self._where = f"broker {address.host}:{address.port}"
        self._patient = patient
        self._backlog: deque[mqtt.MQTTMessageInfo] = deque()
        self._answered = threading.Event()
        self._refused: str | None = None
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv311)
        self._client.reconnect_delay_set(1, 10)
        self._client.on_connect = self._on_connect
        self._client.on_socket_open = _no_delay
        self._enter(address)
        self._connect(address)

    def _enter(self, address: BrokerAddress) -> None:
        try:
            if address.username is not None:
                password = address.password_file.read_text().strip() if address.password_file else None
                self._client.username_pw_set(address.username, password)
            if address.ca_file is not None:
                self._client.tls_set(
                    ca_certs=str(address.ca_file),
                    certfile=str(address.cert_file) if address.cert_file else None,
                    keyfile=str(address.key_file) if address.key_file else None,
                    tls_version=ssl.PROTOCOL_TLS_CLIENT,
                )
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise LinkError(f"{self._where}: password or certificates cannot be used: {error}") from error

    def _connect(self, address: BrokerAddress) -> None:
        try:
            self._client.connect(address.host, address.port, keepalive=30)
        except (OSError, ValueError) as error:
            raise LinkError(f"{self._where}: {error}") from error
        self._client.loop_start()
        answered = self._answered.wait(_WAIT_S)
        if not answered or self._refused is not None:
            self._client.disconnect()
            self._client.loop_stop()
            raise LinkError(f"{self._where}: {self._refused or f'no answer within {_WAIT_S:g} s'}")

    def send(self, topic: str, payload: bytes) -> None:
        """Publish one frame, or count it as dropped."""
        self._settle()
        if self._patient and not self._ready():
            self._wait_until(self._ready, _WAIT_S)
        if len(self._backlog) >= MAX_BACKLOG:
            self.dropped += 1
            return
        info = self._client.publish(topic, payload, 0)
        if info.rc == mqtt.MQTT_ERR_SUCCESS:
            self._backlog.append(info)
        else:
            self.dropped += 1

    def flush(self) -> None:
        """Wait for the socket to take what is left; what it does not take in time is dropped."""
        self._wait_until(lambda: not self._backlog or not self._client.is_connected(), _FLUSH_S)
        self.dropped += len(self._backlog)
        self._backlog.clear()

    def close(self) -> None:
        """Flush and disconnect."""
        self.flush()
        self._client.disconnect()
        self._client.loop_stop()

    def _ready(self) -> bool:
        return len(self._backlog) < MAX_BACKLOG and self._client.is_connected()

    def _wait_until(self, condition: Callable[[], bool], seconds: float) -> None:
        """Wait for a condition of the backlog or the connection, but not for ever."""
        deadline = time.monotonic() + seconds
        self._settle()
        while not condition() and time.monotonic() < deadline:
            time.sleep(_POLL_S)
            self._settle()

    def _settle(self) -> None:
        """Let go of the frames that the socket has taken; count those that were lost with a connection."""
        while self._backlog and (self._backlog[0].rc != mqtt.MQTT_ERR_SUCCESS or self._backlog[0].is_published()):
            if self._backlog.popleft().rc != mqtt.MQTT_ERR_SUCCESS:
                self.dropped += 1

    def _on_connect(
        self, _client: mqtt.Client, _userdata: object, _flags: object, reason: ReasonCode, _properties: object
    ) -> None:
        self._refused = str(reason) if reason.is_failure else None
        self._answered.set()


def _no_delay(_client: mqtt.Client, _userdata: object, sock: Any) -> None:  # noqa: ANN401 - paho's type
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

"""Where frames go: to a broker, to a file, or both. The only file of the simulator that imports paho-mqtt."""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from firmware_sim.errors import SimError
from models.contract.recording import write_header, write_record

_MAX_BACKLOG = 2000
_WAIT_S = 20.0


class Link(Protocol):
    """Takes frames."""

    def send(self, topic: str, payload: bytes) -> None:
        """Send one frame, at most once."""

    def close(self) -> None:
        """Send what is left and let go."""


class FileLink:
    """Writes a recording of frames (`models.contract.recording`)."""

    def __init__(self, path: Path) -> None:
        try:
            self._file: BinaryIO = path.open("wb")
        except OSError as error:
            raise SimError(f"{path}: cannot be written: {error}") from error
        write_header(self._file)

    def send(self, topic: str, payload: bytes) -> None:
        """Append one frame."""
        write_record(self._file, topic, payload)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


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
    """Publishes at QoS 0, as a sensor board would. When the broker is slow, frames are dropped and counted."""

    def __init__(self, address: BrokerAddress, client_id: str) -> None:
        self.dropped = 0
        self._refused = "no answer"
        self._connected = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv311)
        self._client.max_queued_messages_set(_MAX_BACKLOG)
        if address.username is not None:
            password = address.password_file.read_text().strip() if address.password_file else None
            self._client.username_pw_set(address.username, password)
        if address.ca_file is not None:
            self._client.tls_set(
                str(address.ca_file),
                str(address.cert_file) if address.cert_file else None,
                str(address.key_file) if address.key_file else None,
            )
        self._client.on_connect = self._on_connect
        self._client.on_socket_open = _no_delay
        where = f"broker {address.host}:{address.port}"
        try:
            self._client.connect(address.host, address.port, keepalive=30)
        except (OSError, ValueError) as error:
            raise SimError(f"{where}: {error}") from error
        self._client.loop_start()
        if not self._connected.wait(_WAIT_S):
            self._client.loop_stop()
            raise SimError(f"{where}: {self._refused} within {_WAIT_S:g} s")

    def send(self, topic: str, payload: bytes) -> None:
        """Publish one frame."""
        if self._client.publish(topic, payload, 0).rc != mqtt.MQTT_ERR_SUCCESS:
            self.dropped += 1

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(
        self, _client: mqtt.Client, _userdata: object, _flags: object, reason: ReasonCode, _properties: object
    ) -> None:
        if reason.is_failure:
            self._refused = str(reason)
        else:
            self._connected.set()


def _no_delay(_client: mqtt.Client, _userdata: object, sock: Any) -> None:  # noqa: ANN401 - paho's type
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

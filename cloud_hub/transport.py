"""The hub's link to the broker: the only file of the hub that imports paho-mqtt.

Plain MQTT 3.1.1, QoS 0 or 1. `publish` waits for the broker's PUBACK, which says that the broker has the message, not
that anybody else does. Incoming messages go into a bounded queue; the paho thread does nothing else.
"""

from __future__ import annotations

import logging
import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from cloud_hub.errors import KeysError, LinkError
from cloud_hub.settings import Settings

_log = logging.getLogger(__name__)
MAX_QUEUED = 20_000
MAX_QUEUED_BYTES = 256 * 2**20
_WAIT_S = 30.0
_READ_AHEAD_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message as it came. Untrusted."""

    topic: str
    payload: bytes
    retained: bool


class IncomingQueue(queue.Queue[Incoming]):
    """A queue bounded in messages and in bytes: 20,000 capture chunks would be more than the hub's memory."""

    def __init__(self) -> None:
        super().__init__(MAX_QUEUED)
        self.bytes = 0

    def _put(self, item: Incoming) -> None:
        super()._put(item)
        self.bytes += len(item.payload)

    def _get(self) -> Incoming:
        item = super()._get()
        self.bytes -= len(item.payload)
        return item


class Link:
    """A connection to the broker that reconnects by itself and subscribes anew each time it does.

    Use as a context manager. `bytes_sent` counts topics and payloads that were handed to the broker; `dropped` counts
    incoming messages for which the queue had no room.
    """

    def __init__(self, settings: Settings, client_id: str, *, clean: bool = True) -> None:
        self.incoming = IncomingQueue()
        self.bytes_sent = 0
        self.dropped = 0
        self._where = f"{settings.broker_host}:{settings.broker_port}"
        self._filters: list[str] = []
        self._connected = threading.Event()
        self._subscribed = threading.Event()
        self._refused = ""
        self._holding = False
        self._client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=clean,
            protocol=mqtt.MQTTv311,
            manual_ack=True,
        )
        self._client.max_queued_messages_set(0)
        self._client.max_inflight_messages_set(64)
        self._client.reconnect_delay_set(1, 30)
        if settings.broker_username is not None:
            password = settings.broker_password_file
            self._client.username_pw_set(
                settings.broker_username, password.read_text().strip() if password is not None else None
            )
        if settings.broker_tls is not None:
            self._client.tls_set_context(_tls(*settings.broker_tls))
        if settings.broker_identity:
            self._client.root_crl = settings.identity_dir / "root-crl.pem"
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        self._client.on_subscribe = self._on_subscribe
        self._client.on_socket_open = _no_delay
        self._host, self._port = settings.broker_host, settings.broker_port

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us and the connection stands."""
        return self._connected.is_set()

    @property
    def listening(self) -> bool:
        """Whether, besides, the broker has granted every subscription: from now on nothing is missed."""
        return self.connected and self._subscribed.is_set()

    @property
    def peer_ends_s(self) -> float | None:
        """When the certificate ends that the broker has shown, UTC seconds; None without connection or TLS."""
        shown = getattr(self._client.socket(), "getpeercert", None)  # a socket without TLS has no such method
        certificate = shown() if shown is not None and self.connected else None
        end = certificate.get("notAfter") if certificate else None
        return float(ssl.cert_time_to_seconds(end)) if isinstance(end, str) else None

    def connect(self, timeout_s: float = _WAIT_S) -> None:
        """Connect and wait until the broker has accepted us. Raises: LinkError."""
        try:
            self._client.connect(self._host, self._port, keepalive=30)
        except (OSError, ValueError) as error:
            raise LinkError(f"broker {self._where}: {error}") from error
        self._client.loop_start()
        if not self._connected.wait(timeout_s):
            self._client.loop_stop()
            raise LinkError(f"broker {self._where}: {self._refused or 'no answer'} within {timeout_s:g} s")

    def hold(self) -> None:
        """Take no more messages, and do not acknowledge them: a broker that keeps our session sends them again to the
        next one with our name. Publishing goes on.
        """
        self._holding = True

    def close(self) -> None:
        """Disconnect; what is unsent is lost, so `publish` waits."""
        self._client.disconnect()
        self._client.loop_stop()

    def subscribe(self, filters: Iterable[str]) -> None:
        """Ask for messages, now and after each reconnection. They appear in `incoming`."""
        self._filters.extend(filters)
        if self.connected:
            self._client.subscribe([(f, 1) for f in self._filters])

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1) -> None:
        """Publish one message and wait for the broker to have it. Raises: LinkError."""
        self.publish_all([(topic, payload)], retain=retain, qos=qos)

    def publish_all(self, messages: Iterable[tuple[str, bytes]], *, retain: bool = False, qos: int = 1) -> None:
        """Publish many messages in flight together, and wait until the broker has them all. Raises: LinkError."""
        deadline = time.monotonic() + _WAIT_S
        pending = []
        for topic, payload in messages:
            pending.append((topic, self._client.publish(topic, payload, qos, retain)))
            self.bytes_sent += len(topic.encode()) + len(payload)
        for topic, info in pending:
            try:
                info.wait_for_publish(max(0.0, deadline - time.monotonic()))
            except (RuntimeError, ValueError) as error:
                raise LinkError(f"broker {self._where}, {topic}: {error}") from error
            if not info.is_published():
                raise LinkError(f"broker {self._where}, {topic}: not acknowledged within {_WAIT_S:g} s")

    def _on_connect(
        self, client: mqtt.Client, _userdata: object, _flags: object, reason: ReasonCode, _properties: object
    ) -> None:
        if reason.is_failure:
            self._refused = str(reason)
            return
        if self._filters:
            client.subscribe([(f, 1) for f in self._filters])
        self._connected.set()

    def _on_subscribe(
        self, _client: mqtt.Client, _userdata: object, _mid: int, reasons: list[ReasonCode], _properties: object
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            _log.error("broker %s: refused a subscription: %s", self._where, ", ".join(map(str, reasons)))
        else:
            self._subscribed.set()

    def _on_disconnect(self, *_: object) -> None:
        self._subscribed.clear()
        self._connected.clear()

    def _on_message(self, client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage) -> None:
        if self._holding:
            return
        self._take(message)
        client.ack(message.mid, message.qos)

    def _take(self, message: mqtt.MQTTMessage) -> None:
        if self.incoming.bytes + len(message.payload) > MAX_QUEUED_BYTES:
            self.dropped += 1
            return
        try:
            self.incoming.put_nowait(Incoming(message.topic, bytes(message.payload), message.retain))
        except queue.Full:
            self.dropped += 1


class ReadAhead:
    """A socket that is read 64 KB at a time. paho asks for the one byte of a packet's type, then for each byte of its
    length: three system calls and more for every message, which is what receiving mostly costs.
    """

    def __init__(self, sock: Any) -> None:  # noqa: ANN401 - a socket, with TLS or without
        self._sock = sock
        self._ahead = memoryview(b"")

    def recv(self, size: int) -> bytes:
        """As a socket's: up to `size` bytes, none at the end. Raises: OSError (ssl.SSLWantReadError is one)."""
        if not self._ahead:
            self._ahead = memoryview(self._sock.recv(_READ_AHEAD_BYTES))
        data, self._ahead = self._ahead[:size], self._ahead[size:]
        return bytes(data)

    def pending(self) -> int:
        """Bytes that `recv` has without waiting, although the system sees none; paho asks before it waits."""
        inner = getattr(self._sock, "pending", None)
        return len(self._ahead) + (inner() if inner is not None else 0)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a socket has
        return getattr(self._sock, name)


class _Client(mqtt.Client):
    """paho's client with `ReadAhead` and the root's list of revoked authorities: whoever has stolen an issuing key
    could else pass for the broker until its certificate ends.

    It hangs on paho's `_create_socket`, which no public interface stands for; a test notices when a release drops it.
    """

    root_crl: Path | None = None

    def _create_socket(self) -> Any:  # noqa: ANN401 - paho's type is private
        sock: Any = super()._create_socket()
        if self.root_crl is not None:
            try:
                _check_issuer(sock.getpeercert() or {}, self.root_crl)
            except OSError:
                sock.close()
                raise
        return ReadAhead(sock)


def _check_issuer(certificate: Mapping[str, Any], root_crl: Path) -> None:
    """Read at each connection: the list may be newer than this process.

    Raises: OSError: the broker's certificate is by an authority that the root has revoked, or the list is not readable.
    """
    from cloud_hub.identity.root_crl import revoked_names  # a link without identities needs no cryptography

    try:
        names = revoked_names(root_crl)
    except KeysError as error:
        raise OSError(str(error)) from error
    issuer = [value for part in certificate.get("issuer", ()) for key, value in part if key == "commonName"]
    if revoked := names.intersection(issuer):
        raise ssl.SSLCertVerificationError(f"the broker's certificate is by {min(revoked)}, which the root has revoked")


def _tls(ca: Path, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """TLS 1.2 or newer; the broker's certificate and its host name are checked. Raises: LinkError."""
    try:
        context = ssl.create_default_context(cafile=str(ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if certificate is not None:
            context.load_cert_chain(certificate, key)
    except OSError as error:  # ssl.SSLError is one, too
        raise LinkError(f"broker's TLS, {ca} and {certificate}: {error}") from error
    return context


def _no_delay(_client: mqtt.Client, _userdata: object, sock: Any) -> None:  # noqa: ANN401 - paho's type
    """Without this a QoS 1 round trip waits for Nagle's timer: 88 ms instead of 0.7 ms, measured."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

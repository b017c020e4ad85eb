"""The hub's link to the broker: the only file of the hub that imports paho-mqtt.

Plain MQTT 3.1.1, QoS 0 or 1. `publish` waits for the broker's PUBACK, which says that the broker has the message, not
that anybody else does. Incoming messages go into a bounded queue; the paho thread does nothing else.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from cloud_hub.errors import KeysError, LinkError
from cloud_hub.inbox import Incoming, IncomingQueue, ReadAhead
from cloud_hub.settings import Settings

__all__ = ["Incoming", "IncomingQueue", "Link"]

_log = logging.getLogger(__name__)
_WAIT_S = 30.0
_ROOM_S, _POLL_S = 5.0, 0.005
_HIGH, _LOW = 0.5, 0.25  # shares of the queue at which acknowledging pauses and goes on


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
        self._client.on_published = self._on_published
        self.incoming.on_taken = self._acknowledge
        self._unacknowledged = bytearray()
        self._missed = False
        self._acknowledging = threading.Lock()
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
        with self._acknowledging:
            self._unacknowledged.clear()  # the broker sends those messages again; they are known by then
        self._subscribed.clear()
        self._connected.clear()

    def _on_message(self, _client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage) -> None:
        """What paho has read by itself: a message that came in parts."""
        try:
            topic = message.topic
        except UnicodeDecodeError:  # raised in here it would end paho's thread; no broker should have taken it
            topic = "\N{REPLACEMENT CHARACTER}"
        acknowledgement = b"\x40\x02" + message.mid.to_bytes(2, "big") if message.qos else b""
        self._on_published([Incoming(topic, bytes(message.payload), message.retain)], [acknowledgement])

    def _on_published(self, messages: list[Incoming], acknowledgements: list[bytes]) -> None:
        """Taken as far as there is room, for which it waits a little: some brokers send a kept session's whole backlog
        at once. Acknowledging pauses while the queue is rather full, so that a broker with a window sends no more. What
        found no room is not acknowledged, and comes again: see `_acknowledge`.
        """
        if self._holding:
            return
        taken = self.incoming.put_some(messages)
        until = time.monotonic() + _ROOM_S
        while taken < len(messages) and not self._holding and time.monotonic() < until:
            time.sleep(_POLL_S)
            taken += self.incoming.put_some(messages[taken:])
        with self._acknowledging:
            self._missed = self._missed or taken < len(messages)
            self.dropped += len(messages) - taken
            self._unacknowledged += b"".join(acknowledgements[:taken])
            if not self.incoming.fills(_HIGH):
                self._send_acknowledgements()

    def _acknowledge(self) -> None:
        """Called by whoever has taken messages from the queue. Once there is room again for what found none, connect
        anew: that is when a broker sends again what it has no acknowledgement for.
        """
        if not (self._unacknowledged or self._missed) or self.incoming.fills(_LOW):
            return
        with self._acknowledging:
            self._send_acknowledgements()
            missed, self._missed = self._missed, False
        sock = self._client.socket()
        if missed and sock is not None:
            _log.warning("broker %s: connecting anew for messages that found no room", self._where)
            with contextlib.suppress(OSError):  # it is gone already
                sock.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]  # paho's type knows less than a socket

    def _send_acknowledgements(self) -> None:
        packets, self._unacknowledged = bytes(self._unacknowledged), bytearray()
        if packets:
            self._client.send_packets(packets)


class _Client(mqtt.Client):
    """paho's client with `ReadAhead`, which takes messages by the dozen where paho makes a dozen calls for each. It has
    the root's list of revoked authorities, too: whoever has stolen an issuing key could else pass for the broker until
    its certificate ends.

    Whatever else comes is paho's, and so is a message that came in parts. `_create_socket`, `_in_packet`,
    `_packet_queue` and `_last_bytes_received` are private to paho 2; tests notice when a release drops them.
    """

    root_crl: Path | None = None
    on_published: Callable[[list[Incoming], list[bytes]], None]
    """Called with messages, and the packet that acknowledges each: `send_packets` of those that are taken."""

    def _create_socket(self) -> Any:  # noqa: ANN401 - paho's type is private
        sock: Any = super()._create_socket()
        if self.root_crl is not None:
            try:
                _check_issuer(sock.getpeercert() or {}, self.root_crl)
            except OSError:
                sock.close()
                raise
        return ReadAhead(sock)

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        sock = self.socket()
        if isinstance(sock, ReadAhead) and self._in_packet["command"] == 0:  # not inside of a packet
            messages, acknowledgements = sock.take_published()
            if messages:
                self._last_bytes_received = time.monotonic()
                self.on_published(messages, acknowledgements)
                return MQTTErrorCode.MQTT_ERR_SUCCESS
        return super().loop_read(max_packets)

    def send_packets(self, packets: bytes) -> None:
        """Send whole packets of one kind, from any thread."""
        self._packet_queue(packets[0], packets, 0, 1)


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

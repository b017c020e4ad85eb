"""The link to the broker: the only file of the agent that imports paho-mqtt.

Plain MQTT 3.1.1, QoS 0 or 1, a clean session each time: what we are subscribed to is always exactly what we ask for.
Callbacks only enqueue, so nothing of ours can be swallowed inside paho. A PUBACK says that the broker has a message,
not that the hub has it: delivery is the outbox's affair.
"""

from __future__ import annotations

import logging
import random
import socket
import ssl
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.config import BrokerSettings
from edge_agent.errors import StorageError, TransportError
from edge_agent.identity import Identity
from edge_agent.wire import Inbox, Incoming

log = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_MAX_UNSENT = 500
_FAREWELL_WAIT_S = 2.0


class MqttTransport:
    """Implements `wire.Transport` with paho. `will`: (topic, payload) that the broker publishes, retained, for us when
    we are gone without a farewell.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        client_id: str,
        inbox: Inbox,
        *,
        will: tuple[str, bytes] | None = None,
        rng: random.Random | None = None,
        tls: ssl.SSLContext | None = None,
        login: tuple[str, str] | None = None,
    ) -> None:
        """Raises: TransportError: the certificate or the password cannot be used, or there is no certificate yet."""
        self.inbox = inbox
        self.connections = 0
        self.last_problem = ""
        self._settings = settings
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not a secret
        self._where = f"{settings.host}:{settings.port}"
        self._filters: dict[str, int] = {}
        self._lock = threading.Lock()
        self._up = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._identity = Identity(settings.identity_dir) if settings.identity_dir is not None else None
        self._loaded: tuple[int, int] | None = None
        self._tls = tls
        self._login = login
        self._client = self._make_client(client_id, will)

    def _make_client(self, client_id: str, will: tuple[str, bytes] | None) -> mqtt.Client:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=True, protocol=mqtt.MQTTv311
        )
        client.max_inflight_messages_set(64)
        client.connect_timeout = 10.0
        if will is not None:
            client.will_set(will[0], will[1], qos=1, retain=True)
        self._secure(client)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_socket_open = self._on_socket_open
        # Without this, `publish` would write to the socket from the caller's thread while the loop's thread does, too.
        client.on_socket_register_write = _leave_it_to_the_loop
        return client

    def _secure(self, client: mqtt.Client) -> None:
        settings = self._settings
        try:
            if settings.username is not None:
                password = settings.password_file
                client.username_pw_set(
                    settings.username, password.read_text().strip() if password is not None else None
                )
            if self._login is not None:
                client.username_pw_set(*self._login)
            if self._identity is not None:
                self._identity.must_exist()
                self._tls = _tls(self._identity.ca)
                self._load_identity()
            elif settings.ca_file is not None:
                self._tls = _tls(settings.ca_file)
                if settings.cert_file is not None:
                    self._tls.load_cert_chain(settings.cert_file, settings.key_file)
            if self._tls is not None:
                client.tls_set_context(self._tls)
        except (OSError, ValueError) as error:
            raise TransportError(f"broker {self._where}: credentials: {error}") from error

    def _load_identity(self) -> None:
        """Take the certificate that is there now: renewed by us, or by `edge-agent enrol` in the meantime.

        Raises: OSError: it cannot be used.
        """
        if self._identity is None or self._tls is None:
            return
        stamp = self._identity.stamp()
        if stamp != self._loaded:
            self._tls.load_verify_locations(self._identity.ca)
            self._tls.load_cert_chain(self._identity.pem)
            self._loaded = stamp

    def reconnect(self) -> None:
        """Leave in good order (no will is published) and come back, with the certificate that is there now."""
        self._client.disconnect()

    @property
    def connected(self) -> bool:
        """See `wire.Transport`."""
        return self._up.is_set()

    def start(self) -> None:
        """See `wire.Transport`."""
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        self._thread.start()

    def check(self, timeout_s: float) -> None:
        """Connect once and leave again, to see whether we could.

        Raises: TransportError: the broker cannot be reached or refuses us.
        """
        self.start()
        try:
            if not self._up.wait(timeout_s):
                raise TransportError(f"broker {self._where}: {self.last_problem or 'no answer'} within {timeout_s:g} s")
        finally:
            self.close()

    def _run(self) -> None:
        """Connect, serve until the connection ends, pause, again. The pause doubles, with jitter, so that a hundred
        gateways do not come back in the same instant.
        """
        pause_s = _FIRST_PAUSE_S
        while not self._closing.is_set():
            before = self.connections
            try:
                self._load_identity()
                self._client.connect(self._settings.host, self._settings.port, self._settings.keepalive_s)
                while self._client.loop(timeout=0.2) == MQTTErrorCode.MQTT_ERR_SUCCESS:
                    if self._closing.is_set() and not self._up.is_set():
                        break  # when up, go on until the DISCONNECT is out, or the broker would publish the will
            except (OSError, ValueError) as error:
                self.last_problem = str(error)
            except Exception as error:  # out of paho: without this thread we are offline for good
                self.last_problem = f"{type(error).__name__}: {error}"
                log.exception("broker %s: an error that was not foreseen", self._where)
            self._up.clear()
            if self._closing.is_set():
                return
            pause_s = _FIRST_PAUSE_S if self.connections > before else min(2 * pause_s, _LONGEST_PAUSE_S)
            log.warning("broker %s: %s; again in %.1f s", self._where, self.last_problem or "connection lost", pause_s)
            self._closing.wait(pause_s * self._rng.uniform(0.5, 1.0))

    def subscribe(self, filters: Iterable[str], qos: int = 1) -> None:
        """See `wire.Transport`."""
        with self._lock:
            added = dict.fromkeys(filters, qos)
            self._filters.update(added)
            if added and self.connected:
                self._client.subscribe(list(added.items()))

    def unsubscribe(self, filters: Iterable[str]) -> None:
        """See `wire.Transport`."""
        with self._lock:
            gone = [f for f in filters if self._filters.pop(f, None) is not None]
            if gone and self.connected:
                self._client.unsubscribe(gone)

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> bool:
        """See `wire.Transport`."""
        if not self.connected or self._unsent() >= _MAX_UNSENT:
            return False
        return self._client.publish(topic, payload, qos, retain).rc == MQTTErrorCode.MQTT_ERR_SUCCESS

    def _unsent(self) -> int:
        return len(self._client._out_messages)  # noqa: SLF001 - paho tells it nowhere else

    def close(self, farewell: tuple[str, bytes] | None = None) -> None:
        """See `wire.Transport`."""
        if farewell is not None and self.connected:
            info = self._client.publish(farewell[0], farewell[1], 1, True)
            try:
                info.wait_for_publish(_FAREWELL_WAIT_S)
            except (RuntimeError, ValueError) as error:
                log.warning("broker %s: the farewell was not sent: %s", self._where, error)
        self._closing.set()
        self._client.disconnect()
        if self._thread is not None:
            self._thread.join(5.0)
        self._up.clear()

    def _on_socket_open(self, _client: mqtt.Client, _userdata: object, sock: Any) -> None:  # noqa: ANN401 - paho's type
        """After the TLS handshake, before anything is said. Raises: OSError: nothing is to be said to this broker."""
        _no_delay(sock)
        if self._identity is not None and isinstance(sock, ssl.SSLSocket):
            _check_issuer(sock.getpeercert() or {}, self._identity)

    def _on_connect(
        self, client: mqtt.Client, _userdata: object, _flags: object, reason: ReasonCode, _properties: object
    ) -> None:
        if reason.is_failure:
            self.last_problem = f"refused: {reason}"
            return
        with self._lock:
            if self._filters:
                client.subscribe(list(self._filters.items()))
            self.connections += 1
            self._up.set()
        log.info("broker %s: connected", self._where)
        self.inbox.wake()

    def _on_disconnect(
        self, _client: mqtt.Client, _userdata: object, _flags: object, reason: ReasonCode, _properties: object
    ) -> None:
        if self._up.is_set() or not self.last_problem.startswith("refused"):
            self.last_problem = f"disconnected: {reason}"
        self._up.clear()

    def _on_message(self, _client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage) -> None:
        self.inbox.put(Incoming(message.topic, bytes(message.payload), message.retain))


def _tls(ca: Path) -> ssl.SSLContext:
    """TLS 1.2 or newer; the broker's certificate and its host name are checked. Raises: OSError."""
    context = ssl.create_default_context(cafile=str(ca))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _check_issuer(certificate: Mapping[str, Any], identity: Identity) -> None:
    """Raises: OSError: the broker's certificate is by an authority that the root has revoked, or that is not known."""
    try:
        names = identity.revoked().names
    except StorageError as error:
        raise OSError(str(error)) from error
    issuer = [value for part in certificate.get("issuer", ()) for key, value in part if key == "commonName"]
    if set(issuer) & set(names):
        raise ssl.SSLCertVerificationError(f"the broker's certificate is by {issuer[0]}, which the root has revoked")


def _no_delay(sock: socket.socket) -> None:
    """Without this a QoS 1 round trip waits for Nagle's timer: 88 ms instead of 0.7 ms, measured."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _leave_it_to_the_loop(_client: mqtt.Client, _userdata: object, _sock: object) -> None:
    """Nothing to do: a queued packet wakes the loop, which writes it."""

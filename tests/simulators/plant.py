"""A hub's home with certificate authorities, and a Mosquitto with mutual TLS and the rules that the hub wrote."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from cloud_hub.broker.loopback import find_mosquitto
from cloud_hub.identity.authority import key_pem, new_key, pem
from cloud_hub.identity.broker_files import Ports, write_broker_files
from cloud_hub.identity.folder import IdentityFolder
from cloud_hub.identity.registrar import new_token
from cloud_hub.identity.revocation import refresh_crl
from cloud_hub.identity.root_crl import first_root_crl, root_crl_number
from cloud_hub.settings import load_settings
from cloud_hub.store.identities import SqlIdentities
from cloud_hub.trust.keys import create_repository
from models.contract.identity import ENROL_PASSWORD

PASSPHRASE = b"correct horse battery"
WAIT_S = 120.0


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


class Plant:
    """`home`: the hub's. `ports`: the broker's."""

    def __init__(self, folder: Path, *, crl_days: float = 30, certificate_days: float = 365, toml: str = "") -> None:
        program = find_mosquitto()
        if program is None:
            pytest.skip("mosquitto is not installed")
        self.folder, self.home, self.broker = folder, folder / "hub", folder / "broker"
        gateways, hub, strangers = free_ports(3)
        self.ports = Ports(gateways, hub, strangers, "127.0.0.1", "127.0.0.1")
        self.home.mkdir(parents=True)
        (self.home / "hub.toml").write_text(
            f'broker_identity = true\nbroker_host = "localhost"\nbroker_port = {hub}\n'
            f'broker_crl_file = "{self.broker}/crl.pem"\nbroker_pid_file = "{self.broker}/mosquitto.pid"\n'
            f"crl_days = {crl_days}\ncertificate_days = {certificate_days}\napi_port = 0\n{toml}"
        )
        self.settings = load_settings(self.home)
        create_repository(self.settings.repository_dir, self.settings.keys_dir, folder / "tuf-safe", time.time())
        self.identity = IdentityFolder(self.settings.identity_dir, self.settings.fleet)
        self.identity.create(folder / "safe", PASSPHRASE, time.time())
        first_root_crl(self.identity, folder / "safe", PASSPHRASE, time.time())
        self.store = SqlIdentities(self.settings)
        refresh_crl(self.identity, self.store, crl_days)
        write_broker_files(self.identity, self.broker, ["localhost", "127.0.0.1"], self.ports, user="root")
        self.command = [program, "-c", str(self.broker / "mosquitto.conf")]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen(self.command, stdout=log, stderr=log)
        self.wait_for_ports((self.ports.gateways, self.ports.hub, self.ports.strangers), self._process)

    def wait_for_ports(self, ports: Sequence[int], process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + WAIT_S
        for port in ports:
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                assert process.poll() is None, (self.folder / "mosquitto.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def restart(self) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(WAIT_S)
        self.start()

    def close(self) -> None:
        self.store.close()
        if self._process is not None:
            self._process.terminate()
            self._process.wait(WAIT_S)

    def token(self, gateway: str, life_s: float = 3600) -> str:
        root = self.identity.issuing_authorities()[0].above
        assert root is not None
        from cryptography.hazmat.primitives import hashes

        digest, number = root.fingerprint(hashes.SHA256()), root_crl_number(self.identity)
        return new_token(self.store, digest, gateway, time.time(), life_s, number).to_text()

    def certify(self, name: str, now_s: float | None = None, days: float = 1) -> Path:
        """A gateway's key and certificate, without the formalities."""
        authority, key = self.identity.issuing_authority(), new_key()
        made = authority.issue_gateway(key.public_key(), name, "plant", time.time() if now_s is None else now_s, days)
        path = self.folder / f"{name}.pem"
        path.write_bytes(key_pem(key) + (pem(made) + pem(authority.certificate)).encode())
        return path


class Client:
    """An MQTT client that connects as whoever its certificate says; `came` is all that it got."""

    def __init__(self, port: int, ca: Path, certificate: Path | None, client_id: str, user: str = "") -> None:
        self.came: list[tuple[str, bytes]] = []
        self.refused = ""
        self.gone = threading.Event()
        self._up = threading.Event()
        self._changed = threading.Condition()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv311)
        self._client.tls_set(str(ca), *([str(certificate)] * 2 if certificate is not None else []))
        if user:
            self._client.username_pw_set(user, ENROL_PASSWORD)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = lambda *_: self.gone.set()
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: self._granted.set()
        self._client.connect_timeout = WAIT_S
        self._client.connect("localhost", port)
        self._client.loop_start()
        deadline = time.monotonic() + WAIT_S
        while not self._up.is_set() and not self.gone.is_set() and time.monotonic() < deadline:
            time.sleep(0.01)

    @property
    def connected(self) -> bool:
        return self._up.is_set() and not self.gone.is_set()

    def _on_connect(self, _c: object, _u: object, _f: object, reason: mqtt.ReasonCode, _p: object) -> None:
        if reason.is_failure:
            self.refused = str(reason)
            self.gone.set()
        else:
            self._up.set()

    def _on_message(self, _client: object, _userdata: object, message: mqtt.MQTTMessage) -> None:
        with self._changed:
            self.came.append((message.topic, bytes(message.payload)))
            self._changed.notify_all()

    def subscribe(self, topic: str) -> None:
        self._granted = threading.Event()
        self._client.subscribe(topic, 1)
        assert self._granted.wait(WAIT_S)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Returns once the broker has acknowledged: it has then decided, whatever it decided."""
        self._client.publish(topic, payload, 1, retain).wait_for_publish(WAIT_S)

    def wait_for(self, payload: bytes) -> str:
        """The topic under which it came."""
        with self._changed:
            assert self._changed.wait_for(lambda: payload in [p for _, p in self.came], WAIT_S), (
                f"{payload!r} is missing"
            )
            return next(t for t, p in self.came if p == payload)

    def got(self, payload: bytes) -> bool:
        with self._changed:
            return payload in [p for _, p in self.came]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

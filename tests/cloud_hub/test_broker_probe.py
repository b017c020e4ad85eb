"""The probe tells the truth: on real brokers, and on brokers that are made to lack something."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud_hub.broker import packets
from cloud_hub.broker.dialogue import BrokerAddress
from cloud_hub.broker.packets import Kind, Reader
from cloud_hub.broker.probe import Prober
from cloud_hub.errors import LinkError
from tests.simulators.brokers import KINDS, running_broker


class PoorBroker:
    """Accepts and acknowledges everything, and keeps nothing. `grants`: what a SUBACK says."""

    def __init__(self, grants: int = 1, refuses: int = 0) -> None:
        self._grants, self._refuses = grants, refuses
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run)
        self._serving: list[threading.Thread] = []
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for thread in self._serving:
            thread.join()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._serving.append(threading.Thread(target=self._serve, args=(connection,)))
            self._serving[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        reader = Reader()
        with connection:
            while data := self._read(connection):
                for packet in reader.feed(data):
                    connection.sendall(self._answer(packet))

    @staticmethod
    def _read(connection: socket.socket) -> bytes:
        try:
            return connection.recv(65536)
        except ConnectionError:
            return b""

    def _answer(self, packet: packets.Packet) -> bytes:
        match packet.kind:
            case Kind.CONNECT:
                return bytes([0x20, 2, 0, self._refuses])
            case Kind.SUBSCRIBE:
                return bytes([0x90, 3]) + packet.body[:2] + bytes([self._grants])
            case Kind.UNSUBSCRIBE:
                return bytes([0xB0, 2]) + packet.body[:2]
            case Kind.PUBLISH if packet.flags >> 1 & 3:
                return packets.puback(packets.published(packet).packet_id)
            case _:
                return b""


@pytest.fixture
def poor() -> Iterator[PoorBroker]:
    broker = PoorBroker()
    yield broker
    broker.close()


def address(port: int) -> BrokerAddress:
    return BrokerAddress(host="127.0.0.1", port=port)


def test_a_broker_that_acknowledges_and_keeps_nothing(poor: PoorBroker):
    found = Prober(address(poor.port), patience_s=0.2).run()
    works = {one.name: one.works for one in found.findings}
    assert works == {
        "qos1": True, "cleared": True,  # nothing is there, so nothing is left
        "mqtt5": True,  # it says so
        **dict.fromkeys(["retained", "four", "replaced", "deep", "will", "wildcard", "session", "queue", "largest", "share"], False),
    }  # fmt: skip
    details = {one.name: one.detail for one in found.findings}
    assert details["retained"] == "not delivered at the first subscription"
    assert details["queue"] == "0 of 3,000 came, 3,000 had a PUBACK"
    assert details["share"] == "granted, then silent"
    assert not found.delivers


def test_nobody_there_or_not_welcome():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(LinkError, match=rf"broker 127\.0\.0\.1:{port}: .*refused"):
        Prober(address(port), patience_s=0.2).run()
    broker = PoorBroker(refuses=5)
    try:
        with pytest.raises(LinkError, match="MQTT level 4: refused with 05"):
            Prober(address(broker.port), patience_s=0.2).run()
    finally:
        broker.close()


@pytest.mark.parametrize("kind", KINDS)
def test_the_loopback_brokers_deliver(kind: str, tmp_path: Path):
    with running_broker(kind, tmp_path) as port:
        out = tmp_path / "probe.json"
        command = [sys.executable, "-m", "cloud_hub", "broker", "probe", "--port", str(port), "--json", str(out)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    works = {one["name"]: one["works"] for one in found["findings"]}
    assert found["delivers"]
    assert works["wildcard"]
    assert works["session"]
    assert works["queue"]
    assert (works["share"], works["mqtt5"]) == ((True, True) if kind == "mosquitto" else (False, False))
    assert "shared subscriptions" in done.stdout

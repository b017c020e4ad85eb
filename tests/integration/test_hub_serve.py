"""`cloud-hub serve` as a process of its own, with a real broker, spoken to as gateways and browsers do."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from cloud_hub.accounts.permissions import Permission, command_line
from cloud_hub.accounts.records import Limits
from cloud_hub.broker.loopback import find_mosquitto
from cloud_hub.services.tokens import create_token
from cloud_hub.store.database import Database
from models.contract import topics
from models.contract.ids import GatewayId
from models.contract.messages import Message, ReceiptBody, decode
from tests.simulators.brokers import KINDS, running_broker
from tests.simulators.hub import BOOT, ack, chunks, event, incoming, state, trends

pytestmark = pytest.mark.broker
_WAIT_S = 180.0
GATEWAY = GatewayId("gw-1")


def wait_for(what: str, check: Callable[[], Any]) -> Any:
    """What `check` returns as soon as it is true."""
    until = time.monotonic() + _WAIT_S
    while time.monotonic() < until:
        result = check()
        if result:
            return result
        time.sleep(0.05)
    raise AssertionError(f"not within {_WAIT_S:g} s: {what}")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Mosquitto:
    """A broker on a free loopback port, which can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        program = find_mosquitto()
        if program is None:
            pytest.skip("mosquitto is not installed")
        self.port = free_port()
        config = folder / "mosquitto.conf"
        config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n")
        self._command = [str(program), "-c", str(config)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("mosquitto listens", self._listens)

    def _listens(self) -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(_WAIT_S)
            self._process = None


def api_token(home: Path) -> str:
    """A token that may do everything, as the command line would make it."""
    with Database(f"sqlite:///{home / 'hub.sqlite3'}") as database:
        now_s = time.time()
        _, secret = create_token(
            database, command_line("test"), Limits(), "test", list(Permission), 3600.0, now_s, account=None
        )
    return secret


class HubProcess:
    """`python -m cloud_hub serve` with a home of its own."""

    def __init__(self, home: Path, broker_port: int) -> None:
        self.home = home
        self._ready = home / "ready.json"
        self._log = home / "hub.log"
        self._environment = os.environ | {"MILLWRIGHT_BROKER_PORT": str(broker_port), "PYTHONWARNINGS": "error"}
        home.mkdir(exist_ok=True)

    def start(self) -> None:
        command = [sys.executable, "-m", "cloud_hub", "serve", "--home", str(self.home), "--port", "0"]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--ready-file", str(self._ready)], env=self._environment, stdout=log, stderr=log
            )

    def wait_until_ready(self) -> None:
        def ready() -> bool:
            assert self.process.poll() is None, self._log.read_text()
            return self._ready.exists()

        wait_for("the ready file", ready)
        written = json.loads(self._ready.read_text())
        assert written["pid"] == self.process.pid
        assert written["url"].removeprefix("https").removeprefix("http") == f"://127.0.0.1:{written['port']}"
        self.url = written["url"]
        self.headers = {"Authorization": f"Bearer {api_token(self.home)}"}

    def get(self, path: str, **parameters: Any) -> Any:
        answer = httpx.get(self.url + path, params=parameters, headers=self.headers, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def stop(self, kind: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(kind)
        return self.process.wait(_WAIT_S)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(_WAIT_S)

    def count(self, table: str) -> int:
        """Rows of a table, read past the hub."""
        with sqlite3.connect(f"file:{self.home / 'hub.sqlite3'}?mode=ro", uri=True) as connection:
            (rows,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - a name of ours
        connection.close()
        return int(rows)


class Gateway:
    """A gateway's side of the wire; `receipts` holds what the hub has receipted."""

    def __init__(self, port: int) -> None:
        self.receipts: queue.Queue[ReceiptBody] = queue.Queue()
        self._granted: queue.Queue[object] = queue.Queue()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="gw-1", protocol=mqtt.MQTTv311)
        self._client.on_message = lambda _c, _u, m: self.receipts.put(decode(ReceiptBody, m.payload, m.topic))
        self._client.on_subscribe = lambda *_: self._granted.put(None)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._client.subscribe(topics.topic_of(topics.Receipt(GATEWAY)), 1)
        self._granted.get(timeout=_WAIT_S)

    def send(self, *messages: Message) -> None:
        for message in messages:
            out = incoming(message)
            self._client.publish(out.topic, out.payload, 1).wait_for_publish(_WAIT_S)

    def send_raw(self, topic: str, payload: bytes) -> None:
        self._client.publish(topic, payload, 1).wait_for_publish(_WAIT_S)

    def next_receipt(self) -> ReceiptBody:
        return self.receipts.get(timeout=_WAIT_S)

    def receipted(self, events: set[tuple[str, int]], chunk_set: set[tuple[str, int]]) -> None:
        """Wait until all of these are receipted."""
        seen_events: set[tuple[str, int]] = set()
        seen_chunks: set[tuple[str, int]] = set()
        while not (events <= seen_events and chunk_set <= seen_chunks):
            body = self.next_receipt()
            seen_events |= set(body.events)
            seen_chunks |= set(body.chunks)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture(params=KINDS)
def broker_port(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    with running_broker(request.param, tmp_path) as port:
        yield port


@pytest.fixture
def hub(tmp_path: Path, broker_port: int) -> Iterator[HubProcess]:
    process = HubProcess(tmp_path / "hub", broker_port)
    process.start()
    yield process
    process.kill()


@pytest.fixture
def gateway(broker_port: int) -> Iterator[Gateway]:
    client = Gateway(broker_port)
    yield client
    client.close()


def test_what_gateways_send_is_stored_receipted_and_shown(hub: HubProcess, gateway: Gateway, tmp_path: Path) -> None:
    hub.wait_until_ready()
    gateway.send(state(), ack(), event(1, evidence=True), trends(2), *chunks())
    gateway.send_raw(topics.topic_of(topics.Event(GATEWAY)), b"not an event")
    gateway.receipted({(BOOT, 1), (BOOT, 2)}, {("cap-1", i) for i in range(3)})

    assert hub.get("/api/v1/health")["status"] == "ok"
    (shown,) = hub.get("/api/v1/gateways")["items"]
    assert shown["id"] == "gw-1"
    assert shown["online"]
    (alarm,) = hub.get("/api/v1/alarms", machine="P-101", status="raised")["items"]
    assert alarm["diagnosis"]["fault"] == "BPFO"
    assert hub.get(f"/api/v1/alarms/{alarm['id']}/evidence")["raw_score"] == 7.25
    assert len(hub.get("/api/v1/trends", point="de")["items"]) == 2
    wait_for("the capture's file", lambda: hub.get("/api/v1/captures/cap-1")["status"] == "stored")
    with np.load(hub.home / "captures" / "cap-1.npz") as capture:
        assert capture["data"].shape == (300, 2)
        np.testing.assert_array_equal(capture["data"].ravel(), np.arange(600, dtype=np.float32))
    rejected = wait_for("the rejection", lambda: hub.get("/api/v1/ingest/status")["rejections"])
    assert [r["reason"] for r in rejected] == ["message"]
    page = httpx.get(hub.url, headers=hub.headers, timeout=30).text
    assert "P-101" in page
    assert "BPFO at 87.4 Hz" in page

    assert hub.stop() == 0
    assert not (hub.home / "ready.json").exists()


def test_a_receipt_comes_only_after_the_commit(hub: HubProcess, gateway: Gateway) -> None:
    hub.wait_until_ready()
    for seq in range(1, 11):
        gateway.send(trends(seq))
        gateway.receipted({(BOOT, seq)}, set())
        assert hub.count("trend_batches") >= seq
    hub.kill()  # as a power cut would
    assert hub.count("trend_batches") == 10


def test_a_clean_stop_stores_what_has_come_and_a_restart_goes_on(hub: HubProcess, gateway: Gateway) -> None:
    hub.wait_until_ready()
    sent = [trends(seq, rows=50) for seq in range(1, 201)]
    gateway.send(*sent)
    assert hub.stop(signal.SIGINT) == 0
    receipted: set[int] = set()
    while not gateway.receipts.empty():
        receipted |= {seq for _, seq in gateway.receipts.get().events}
    assert hub.count("trend_batches") >= len(receipted)

    gateway.send(trends(1000))  # while the hub is away: the broker keeps it
    hub.start()
    hub.wait_until_ready()
    gateway.send(*sent)  # as an outbox would: what was not receipted, and more
    gateway.receipted({(BOOT, seq) for seq in [*range(1, 201), 1000]}, set())
    assert hub.count("trend_batches") == 201
    assert hub.count("trends") == 200 * 50 + 2
    assert hub.stop() == 0


def test_the_hub_waits_for_a_broker_that_is_away(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path)
    hub = HubProcess(tmp_path / "hub", broker.port)
    hub.start()
    try:
        wait_for("the first refusal", lambda: "trying again" in (hub.home / "hub.log").read_text())
        assert not (hub.home / "ready.json").exists()
        broker.start()
        hub.wait_until_ready()
        assert hub.get("/api/v1/health")["broker_connected"]
        broker.stop()
        wait_for("degraded", lambda: hub.get("/api/v1/health")["status"] == "degraded")
        assert hub.stop() == 0
    finally:
        hub.kill()
        broker.stop()


def test_a_port_that_is_taken_is_said_so(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "cloud_hub", "serve", "--home", str(tmp_path), "--port", str(port)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=_WAIT_S, check=False)
    assert ended.returncode == 3
    assert f"cannot listen on 127.0.0.1:{port}" in ended.stderr

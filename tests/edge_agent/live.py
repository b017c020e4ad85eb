"""A real agent in a process of its own, a real Mosquitto, real signatures; the test plays hub and sensor node."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from models.contract import topics
from models.contract.messages import (
    CHUNK_BYTES,
    Ack,
    AgentState,
    AlarmEvent,
    CaptureChunk,
    CommandBody,
    GetBody,
    ReceiptBody,
    TrendBatch,
    WantBody,
    WantedBundle,
    decode,
    encode,
)
from tests.edge_agent.kit import FLEET, GATEWAY, WINDOW, Node, config_toml
from tests.simulators.trust import Fleet

WAIT_S = 120.0
T = TypeVar("T")
_KINDS = {
    topics.State: AgentState, topics.Ack: Ack, topics.Event: AlarmEvent, topics.Trend: TrendBatch,
    topics.Capture: CaptureChunk, topics.Get: GetBody,
}  # fmt: skip


class LiveSite:
    """Everything around one gateway. `receipts`: whether the hub acknowledges what it gets."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.state_dir = folder / "state"
        self.fleet = Fleet(folder, now_s=time.time())
        self.config = folder / "agent.toml"
        self.config.write_text(config_toml(self.state_dir, port, root=self.fleet.hub / "root.json"))
        self.process: subprocess.Popen[bytes] | None = None
        self.receipts = True
        self.got: list[Any] = []
        self.seq = 0
        self._changed = threading.Condition()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="hub", protocol=mqtt.MQTTv311)
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._client.subscribe([(f, 1) for f in topics.up_filters()])
        # Anew after each reconnection: a clean session forgets.
        self._client.on_connect = lambda client, *_: client.subscribe([(f, 1) for f in topics.up_filters()])

    # ---- the agent's process

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "edge_agent", *arguments, "--config", str(self.config)]

    def start(self) -> subprocess.Popen[bytes]:
        log = (self.folder / "agent.log").open("ab")
        self.process = subprocess.Popen(self.command("run"), stdout=log, stderr=log)
        log.close()
        return self.process

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(WAIT_S)

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WAIT_S)

    def said(self) -> str:
        return (self.folder / "agent.log").read_text()

    def memory_mb(self) -> tuple[float, float]:
        """The agent's own memory, and with it the resident pages of its programs and libraries, in MB. Of the latter a
        kernel maps more or fewer around each that is touched, and takes them back when it needs room.
        """
        assert self.process is not None
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        kb = {
            name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines) if "kB" in value
        }
        return kb["RssAnon"] * 1024 / 1e6, kb["VmRSS"] * 1024 / 1e6

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.stop()
        for address in (topics.Want(GATEWAY), topics.State(GATEWAY)):  # the broker is shared: leave nothing behind
            self._client.publish(topics.topic_of(address), b"", 1, retain=True).wait_for_publish(WAIT_S)
        self._client.disconnect()
        self._client.loop_stop()

    # ---- the broker

    def _on_message(self, _client: object, _userdata: object, message: mqtt.MQTTMessage) -> None:
        if not message.payload:  # a retained message was cleared
            return
        kind = _KINDS.get(type(topics.address_of(message.topic)))
        if kind is None:
            return  # amqtt sends what is retained to clients that did not ask for it
        decoded = decode(kind, bytes(message.payload), message.topic)
        with self._changed:
            self.got.append(decoded)
            self._changed.notify_all()
        if self.receipts:
            if isinstance(decoded, AlarmEvent | TrendBatch):
                self.publish_receipt(events=[(decoded.boot_id, decoded.seq)])
            elif isinstance(decoded, CaptureChunk):
                self.publish_receipt(chunks=[(decoded.capture, decoded.index)])

    def publish_receipt(self, **fields: Any) -> None:
        self.publish(topics.topic_of(topics.Receipt(GATEWAY)), encode(ReceiptBody(**fields)))

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1) -> None:
        self._client.publish(topic, payload, qos, retain)

    def await_(self, kind: type[T], fits: Callable[[T], bool], timeout_s: float = WAIT_S) -> T:
        """The first message of a kind that fits, also among those that came before."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while True:
                for message in self.got:
                    if isinstance(message, kind) and fits(message):
                        return message
                left_s = deadline - time.monotonic()
                assert left_s > 0, f"no {kind.__name__} that fits came; the agent said:\n{self.said()}"
                self._changed.wait(left_s)

    def forget(self) -> None:
        with self._changed:
            self.got.clear()

    # ---- hub and node

    def publish_bundle(self, data: bytes) -> WantedBundle:
        wanted = self.fleet.add(data)
        for index, start in enumerate(range(0, len(data), CHUNK_BYTES)):
            topic = topics.topic_of(topics.Chunk(wanted.sha256, index))
            self.publish(topic, data[start : start + CHUNK_BYTES], retain=True)
        self.publish_metadata()
        return wanted

    def publish_metadata(self) -> None:
        topic = topics.topic_of(topics.Metadata(FLEET))
        self.publish(topic, self.fleet.repository.metadata_bundle(), retain=True)

    def want(self, *bundles: WantedBundle) -> WantBody:
        self.seq += 1
        body = self.fleet.want(*bundles, gateway=GATEWAY, seq=self.seq)
        self.publish(topics.topic_of(topics.Want(GATEWAY)), self.fleet.repository.sign_want(body), retain=True)
        return body

    def order(self, body: CommandBody) -> None:
        self.publish(topics.topic_of(topics.Command(GATEWAY)), self.fleet.repository.sign_command(body))

    def feed(self, windows: int, make: Callable[..., np.ndarray], node: Node, pace_s: float = 0.005) -> None:
        rng = np.random.default_rng(node.seq + 1)
        for _ in range(windows):
            self.publish(node.topic, node.frame(make(WINDOW, rng)), qos=0)
            time.sleep(pace_s)


@contextlib.contextmanager
def live_site(folder: Path, port: int) -> Iterator[LiveSite]:
    site = LiveSite(folder, port)
    try:
        yield site
    finally:
        site.close()

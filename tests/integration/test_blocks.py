"""A gateway gets a file that the broker does not have, or has wrong, from the hub's block service, on real brokers."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from cloud_hub.delivery.blocks import BlockService
from cloud_hub.settings import Settings
from edge_agent.fetch import ChunkFetcher
from models.contract import topics
from models.contract.ids import GatewayId
from models.contract.messages import CHUNK_BYTES, BlockBody, GetBody, WantedBundle, decode, encode
from tests.simulators.brokers import KINDS, running_broker

DATA = random.Random(9).randbytes(6 * CHUNK_BYTES + 11)
SHA = hashlib.sha256(DATA).hexdigest()
GATEWAY = GatewayId("gw-1")
WAIT_S = 120.0


@pytest.fixture(params=KINDS)
def port(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    with running_broker(request.param, tmp_path) as port:
        yield port


class Client:
    def __init__(self, port: int, fetcher: ChunkFetcher) -> None:
        self.fetcher, self.done, self.taken = fetcher, threading.Event(), 0
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="gw-1", protocol=mqtt.MQTTv311)
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: self.ask()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._client.subscribe(topics.topic_of(topics.Block(GATEWAY)), 1)

    def ask(self) -> None:
        body = self.fetcher.request(0.0, GATEWAY)
        if body is not None:
            self._client.publish(topics.topic_of(topics.Get(GATEWAY)), encode(body), 1)

    def _on_message(self, _client: object, _userdata: object, message: mqtt.MQTTMessage) -> None:
        self.taken += self.fetcher.accept_block(decode(BlockBody, bytes(message.payload), message.topic), 0.0)
        if self.fetcher.complete:
            self.done.set()
        else:
            self.ask()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.mark.parametrize("bad", [[0], [2, 6], list(range(7))])
def test_what_is_wrong_in_a_file_is_mended(tmp_path: Path, port: int, bad: list[int]) -> None:
    home = tmp_path / "hub"
    (home / "bundles").mkdir(parents=True)
    (home / "bundles" / f"{SHA}.mwb").write_bytes(DATA)
    service = BlockService(Settings(home=home, broker_port=port))
    service.start()
    part = tmp_path / f"{SHA}.part"
    wrong = bytearray(DATA)
    for index in bad:
        wrong[index * CHUNK_BYTES] ^= 1
    part.write_bytes(wrong)
    wanted = WantedBundle(slot="s", target="s/x.mwb", sha256=SHA, length=len(DATA), version="1")
    try:
        assert service.listening(WAIT_S)
        client = Client(port, ChunkFetcher(wanted, part, 60.0, 0.0, repair=True))
        try:
            assert client.done.wait(WAIT_S), service.desk.counters
        finally:
            client.close()
    finally:
        service.stop()
    assert part.read_bytes() == DATA
    assert client.taken == 1 + len(bad), "the digests, and only the blocks that were wrong"
    assert service.desk.counters["healed"] == len(bad)
    assert GetBody(gateway="g", sha256=SHA, first=3, bitmap=b"\x05").blocks() == [3, 5]

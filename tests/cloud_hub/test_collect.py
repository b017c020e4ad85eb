"""Chunks that nobody wants are cleared after the grace period, and come back when they are wanted."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cloud_hub.delivery.collect import STATE_FILE, ChunkCollector
from cloud_hub.delivery.registry import BundleRecord, WantRecord
from models.contract.messages import CHUNK_BYTES
from models.contract.topics import Chunk, topic_of
from tests.simulators.registry import MemoryRegistry

GRACE_S = 1000.0
DATA = {"aa" * 32: bytes(2 * CHUNK_BYTES + 5), "bb" * 32: bytes(10)}


@dataclass
class Broker:
    """Only retained messages. `left`: how many publishes go through before the link is gone."""

    retained: dict[str, bytes] = field(default_factory=dict)

    def publish_all(self, messages: Iterable[tuple[str, bytes]], *, retain: bool = False) -> None:
        assert retain
        for topic, payload in messages:
            if payload:
                self.retained[topic] = payload
            else:
                self.retained.pop(topic, None)


class Hub:
    def __init__(self, folder: Path) -> None:
        self.folder, self.registry, self.broker, self.now_s = folder, MemoryRegistry(), Broker(), 10_000.0
        for at, (sha256, data) in enumerate(DATA.items()):
            self.registry.add_bundle(
                BundleRecord(sha256, "s", str(at), "f", f"s/{at}.mwb", len(data), self.now_s, b"{}")  # type: ignore[arg-type]
            )
            self.publish(sha256)

    def publish(self, sha256: str) -> None:
        path = self.folder / f"{sha256}.mwb"
        path.write_bytes(DATA[sha256])
        os.utime(path, (self.now_s, self.now_s))
        for index in range(-(-len(DATA[sha256]) // CHUNK_BYTES)):
            self.broker.retained[topic_of(Chunk(sha256, index))] = b"chunk"

    def collector(self) -> ChunkCollector:
        return ChunkCollector(
            self.folder, self.registry.list_bundles, self.registry.wanted_digests, grace_s=GRACE_S,
            now_s=lambda: self.now_s,
        )  # fmt: skip

    def collect(self, after_s: float = 0.0) -> tuple[int, int]:
        self.now_s += after_s
        return self.collector()(self.broker)  # type: ignore[arg-type]

    def want(self, sha256: str | None, seq: int) -> None:
        bundles = (("s", sha256),) if sha256 else ()
        self.registry.add_want(WantRecord("gw-1", seq, self.now_s, self.now_s + 1e6, bundles))

    def held(self, sha256: str) -> int:
        return sum(sha256 in topic for topic in self.broker.retained)


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return Hub(tmp_path)


ONE, TWO = DATA


def test_a_wanted_bundle_stays_and_the_other_goes_after_the_grace_period(hub: Hub) -> None:
    hub.want(ONE, 1)
    assert hub.collect(GRACE_S - 1) == (0, 0)
    assert hub.collect(2) == (1, 0)
    assert (hub.held(ONE), hub.held(TWO)) == (3, 0)
    assert hub.collect(GRACE_S) == (0, 0), "once is enough"


def test_the_grace_period_begins_when_it_is_not_wanted_any_more(hub: Hub) -> None:
    hub.want(ONE, 1)
    hub.collect(10 * GRACE_S)
    hub.want(TWO, 2)
    hub.collect(GRACE_S - 1)
    assert hub.held(ONE) == 3
    hub.collect(2)
    assert hub.held(ONE) == 0


def test_wanted_again_its_chunks_come_back(hub: Hub) -> None:
    hub.collect(GRACE_S + 1)
    assert hub.broker.retained == {}
    hub.want(ONE, 1)
    assert hub.collect() == (0, 1)
    assert hub.broker.retained[topic_of(Chunk(ONE, 2))] == DATA[ONE][2 * CHUNK_BYTES :]
    assert hub.collect(10 * GRACE_S)[1] == 0


def test_about_to_be_wanted_they_are_sent_first(hub: Hub) -> None:
    hub.collect(GRACE_S + 1)
    record = hub.registry.find_bundle(ONE)
    assert hub.collector().ensure(hub.broker, record)  # type: ignore[arg-type]
    assert hub.held(ONE) == 3
    assert not hub.collector().ensure(hub.broker, record)  # type: ignore[arg-type]
    assert hub.collect(GRACE_S / 2) == (0, 0)


def test_published_again_it_has_its_grace_period_anew(hub: Hub) -> None:
    hub.collect(GRACE_S + 1)
    hub.publish(TWO)
    assert hub.collect(GRACE_S - 1) == (0, 0)
    assert hub.held(TWO) == 1
    assert hub.collect(2) == (1, 0)


def test_a_rollout_holds_what_no_want_names_yet(hub: Hub) -> None:
    collector = ChunkCollector(
        hub.folder, hub.registry.list_bundles, lambda: hub.registry.wanted_digests() | {TWO}, grace_s=GRACE_S,
        now_s=lambda: hub.now_s,
    )  # fmt: skip
    hub.now_s += 2 * GRACE_S
    assert collector(hub.broker) == (1, 0)  # type: ignore[arg-type]
    assert hub.held(TWO) == 1


def test_a_damaged_memory_clears_nothing_early(hub: Hub) -> None:
    hub.want(ONE, 1)
    hub.collect(10 * GRACE_S)
    (hub.folder / STATE_FILE).write_text("{")
    hub.want(TWO, 2)
    assert hub.collect(1)[0] == 1, "published long ago, and nothing is known of its use"
    hub.want(ONE, 3)
    assert hub.collect(1)[1] == 1

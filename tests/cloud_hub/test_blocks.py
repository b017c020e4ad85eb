"""Blocks on request: what is sent, what is healed, and what is not answered."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest

from cloud_hub.delivery.blocks import (
    GATEWAY_BYTES_S,
    HEAL_AGAIN_S,
    MAX_BLOCKS,
    BlockDesk,
    get_filters,
)
from models.contract import topics
from models.contract.ids import GatewayId
from models.contract.messages import CHUNK_BYTES, DIGEST_BYTES, BlockBody, GetBody, decode, encode

DATA = random.Random(8).randbytes(20 * CHUNK_BYTES + 77)
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def desk(tmp_path: Path) -> BlockDesk:
    (tmp_path / f"{SHA}.mwb").write_bytes(DATA)
    return BlockDesk(tmp_path)


def ask(desk: BlockDesk, now_s: float = 0.0, gateway: str = "gw-1", topic: str | None = None, **fields: object):
    body = GetBody(**{"gateway": gateway, "sha256": SHA} | fields)  # type: ignore[arg-type]
    topic = topic or topics.topic_of(topics.Get(GatewayId("gw-1")))
    return list(desk.answer(topic, encode(body), now_s))


def bitmap(*bits: int) -> bytes:
    return sum(1 << bit for bit in bits).to_bytes(32, "little")


def test_blocks_go_to_the_one_who_asked_and_chunks_to_everybody(desk: BlockDesk) -> None:
    sent = ask(desk, first=18, bitmap=bitmap(0, 2))
    block = topics.topic_of(topics.Block(GatewayId("gw-1")))
    assert [(topic, retain) for topic, _, retain in sent] == [
        (block, False),
        (topics.topic_of(topics.Chunk(SHA, 18)), True),
        (block, False),
        (topics.topic_of(topics.Chunk(SHA, 20)), True),
    ]
    last = decode(BlockBody, sent[2][1], block)
    assert (last.index, last.data) == (20, DATA[20 * CHUNK_BYTES :])
    assert sent[3][1] == last.data


def test_digests_of_all_blocks_fit_one_answer(desk: BlockDesk) -> None:
    ((_, payload, retain),) = ask(desk, digests=True)
    said = decode(BlockBody, payload, "blk")
    assert not retain
    assert said.index is None
    parts = [DATA[at : at + CHUNK_BYTES] for at in range(0, len(DATA), CHUNK_BYTES)]
    assert said.data == b"".join(hashlib.sha256(part).digest()[:DIGEST_BYTES] for part in parts)


def test_a_chunk_is_published_anew_once_in_a_while_only(desk: BlockDesk) -> None:
    def healed(now_s: float) -> int:
        return sum(retain for _, _, retain in ask(desk, now_s, bitmap=b"\x01"))

    assert [healed(0.0), healed(1.0), healed(HEAL_AGAIN_S + 2.0)] == [1, 0, 1]


def test_one_gateway_cannot_make_the_hub_send_for_ever(desk: BlockDesk) -> None:
    sent = 0
    for second in range(60):
        for _ in range(10):
            answers = ask(desk, float(second), bitmap=b"\xff\xff\xff")
            assert sum(not retain for _, _, retain in answers) <= MAX_BLOCKS
            sent += sum(len(payload) for _, payload, retain in answers if not retain)
    assert sent <= GATEWAY_BYTES_S * (60 + 5)
    assert desk.counters["over_rate"]
    assert ask(desk, 60.0, gateway="gw-1") == [], "an empty bitmap asks for nothing"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"gateway": "gw-2"}, "foreign"),
        ({"sha256": "ab" * 32}, "unknown"),
    ],
)
def test_what_is_not_answered_is_counted(desk: BlockDesk, changes: dict, reason: str) -> None:
    assert ask(desk, bitmap=b"\x01", **changes) == []
    assert desk.counters == {reason: 1}


@pytest.mark.parametrize("payload", [b"", b"{}", b"\xff" * 99, b"[" * 100_000, b'{"schema":"2.0"}'])
def test_junk_is_counted(desk: BlockDesk, payload: bytes) -> None:
    assert list(desk.answer(topics.topic_of(topics.Get(GatewayId("gw-1"))), payload, 0.0)) == []
    assert desk.counters == {"malformed": 1}


def test_blocks_beyond_the_end_are_not_there(desk: BlockDesk) -> None:
    assert ask(desk, first=999_999, bitmap=b"\xff") == []


def test_the_filters_are_those_of_requests_only() -> None:
    assert topics.topic_of(topics.Get(GatewayId("gw-1"))).replace("gw-1", "+") in get_filters()
    assert len(get_filters()) == topics.SHARDS

"""What the rim takes and what it refuses, with reason and text."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_hub.ingest.parse import RejectionError, parse
from models.contract import topics
from models.contract.ids import GatewayId
from models.contract.messages import Message, TrendRow
from tests.simulators.hub import ack, as_newer, chunks, event, incoming, state, trends, window

MESSAGES: list[Message] = [state(), ack(), event(evidence=True), trends(), chunks()[0]]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_good_messages_come_through(message: Message) -> None:
    came = incoming(message)
    assert parse(came.topic, came.payload) == message


def test_what_is_not_for_the_store_is_passed_over() -> None:
    assert parse(topics.topic_of(topics.Get(GatewayId("gw-1"))), b"anything") is None


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_a_newer_schema_is_said_to_be_newer(message: Message) -> None:
    with pytest.raises(RejectionError, match=r"has schema 2\.0, this release reads 1\.x") as caught:
        parse(incoming(message).topic, as_newer(message))
    assert caught.value.reason == "schema"


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_a_gateway_speaks_for_itself_only(message: Message) -> None:
    other = incoming(msgspec.structs.replace(message, gateway="gw-2"))
    with pytest.raises(RejectionError, match="expected a message of gw-2, got one of gw-1") as caught:
        parse(other.topic, incoming(message).payload)
    assert caught.value.reason == "gateway"


def row(**changes: Any) -> TrendRow:
    return msgspec.structs.replace(trends().rows[0], **changes)


def with_rows(*rows: TrendRow) -> Message:
    return msgspec.structs.replace(trends(), rows=list(rows))


def nan_bytes(data: bytes) -> bytes:
    return np.float32("nan").tobytes() + data[4:]


def evidence_event(**changes: Any) -> Message:
    return msgspec.structs.replace(event(), evidence=msgspec.structs.replace(window(4, 2), **changes))


CHUNK = chunks()[0]
BAD: list[tuple[Message, str]] = [
    (with_rows(row(), row(score_mean=float("nan"))), "batch 1, row 1: expected finite numbers, got nan"),
    (with_rows(row(rms=[1.0, float("inf")])), "batch 1, row 0: expected finite numbers, got inf"),
    (
        msgspec.structs.replace(trends(), health=msgspec.structs.replace(trends().health, cpu_s=float("nan"))),
        "batch 1, health: expected finite",
    ),
    (msgspec.structs.replace(CHUNK, index=3), "chunk 3: expected an index below the total of 3"),
    (msgspec.structs.replace(CHUNK, data=b"1234567"), "expected a multiple of 8 bytes of data, got 7"),
    (msgspec.structs.replace(CHUNK, data=b""), "expected a multiple of 8 bytes of data, got 0"),
    (msgspec.structs.replace(CHUNK, data=nan_bytes(CHUNK.data)), "chunk 0, data: expected finite samples"),
    (msgspec.structs.replace(CHUNK, rate_hz=float("nan")), "rate_hz: expected above 0 and at most 1e+06, got nan"),
    (msgspec.structs.replace(CHUNK, rate_hz=-1.0), "rate_hz: expected above 0"),
    (evidence_event(samples=5), "evidence: 5 samples of 2 axes need 40 bytes, got 32"),
    (evidence_event(window=nan_bytes(window(4, 2).window)), "evidence, window: expected finite samples"),
    (evidence_event(shift=b"12345"), "evidence, shift: expected a multiple of 4 bytes, got 5"),
    (evidence_event(shift=nan_bytes(b"1234")), "evidence, shift: expected finite samples"),
    (evidence_event(rate_hz=0.0), "evidence, rate_hz: expected above 0"),
]


@pytest.mark.parametrize(("message", "text"), BAD, ids=[text for _, text in BAD])
def test_numbers_out_of_bounds(message: Message, text: str) -> None:
    came = incoming(message)
    with pytest.raises(RejectionError) as caught:
        parse(came.topic, came.payload)
    assert caught.value.reason == "bounds"
    assert text in str(caught.value)
    assert came.topic in str(caught.value)


@pytest.mark.parametrize(
    ("topic", "reason"),
    [
        ("mw/1/u/0/gw-1/ev", "topic"),  # another shard
        ("mw/2/u/0/gw-1/ev", "topic"),
        ("mw/1/u/0/gw-1/unknown", "topic"),
        ("mw/1/u/0/g w/ev", "topic"),
        ("", "topic"),
        ("x" * 10_000, "topic"),
    ],
)
def test_topics_that_are_not_ours(topic: str, reason: str) -> None:
    with pytest.raises(RejectionError) as caught:
        parse(topic, b"{}")
    assert caught.value.reason == reason


@pytest.mark.parametrize("kind", [topics.State, topics.Ack, topics.Event, topics.Trend, topics.Capture])
@given(payload=st.binary(max_size=200))
def test_garbage_is_a_rejection_and_nothing_worse(kind: type[topics.State], payload: bytes) -> None:
    with pytest.raises(RejectionError) as caught:
        parse(topics.topic_of(kind(GatewayId("gw-1"))), payload)
    assert caught.value.reason == "message"


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
@given(data=st.data())
def test_flipped_bytes_are_taken_or_rejected(message: Message, data: st.DataObject) -> None:
    came = incoming(message)
    payload = bytearray(came.payload)
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    outcome: object
    try:
        outcome = parse(came.topic, bytes(payload))
    except RejectionError as error:
        outcome = error.reason
    assert isinstance(outcome, type(message)) or outcome in {"message", "schema", "gateway", "bounds"}

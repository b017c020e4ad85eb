import doctest
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.contract import topics
from models.contract.ids import FleetId, GatewayId, NodeId
from models.contract.topics import SHARDS, Address, address_of, shard_of, topic_of, up_filters
from models.errors import TopicError

IDS = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
DIGESTS = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
GW = GatewayId("gw-1")
DIGEST = "ab" * 32


def addresses() -> st.SearchStrategy[Address]:
    made = []
    for kind in get_args(Address):
        names = list(kind.__slots__)
        values = {
            n: st.integers(0, 999_999) if n == "index" else DIGESTS if n in {"sha256", "token_hash"} else IDS
            for n in names
        }
        made.append(st.builds(kind, **values))
    return st.one_of(made)


@given(addresses())
def test_address_and_topic_are_inverse(address: Address) -> None:
    topic = topic_of(address)
    assert address_of(topic) == address
    assert topic.count("/") <= 7
    assert not set(topic) & set("+#$ ")


@given(st.text(max_size=80))
def test_any_text_is_an_address_or_a_topic_error(text: str) -> None:
    for topic in (text, f"mw/1/{text}", f"mw/1/u/3/{text}/st"):
        try:
            address = address_of(topic)
        except TopicError:
            continue
        assert topic_of(address) == topic


def test_the_examples_in_the_docstring_are_true() -> None:
    assert doctest.testmod(topics).failed == 0


def test_the_published_topics() -> None:
    shard = shard_of(GW)
    assert topic_of(topics.Metadata(FleetId("plant"))) == "mw/1/f/plant/tuf"
    assert topic_of(topics.Chunk(DIGEST, 7)) == f"mw/1/b/{DIGEST}/7"
    assert topic_of(topics.Command(GW)) == "mw/1/d/gw-1/dn/cmd"
    assert topic_of(topics.Receipt(GW)) == "mw/1/d/gw-1/dn/rcv"
    assert topic_of(topics.State(GW)) == f"mw/1/u/{shard}/gw-1/st"
    assert topic_of(topics.Frames(GW, NodeId("n-1"))) == "mw/1/n/gw-1/n-1/f"


def test_shards_are_those_of_every_other_implementation() -> None:
    # CRC-32 of the id's bytes modulo 16; written out, since hub and gateways must never disagree.
    assert [shard_of(g) for g in ("gw-1", "gw-2", "plant_A-007")] == [6, 12, 3]
    assert all(0 <= shard_of(f"gw-{i}") < SHARDS for i in range(100))
    assert len(up_filters()) == SHARDS


@pytest.mark.parametrize(
    ("topic", "text"),
    [
        ("xx/1/f/plant/tuf", "expected it to begin with mw/1/"),
        ("mw/2/f/plant/tuf", "expected it to begin with mw/1/"),
        ("mw/1/f/plant/tof", "is none of this contract"),
        ("mw/1/d/gw+1/dn/want", "expected 1 to 64 of A-Z a-z 0-9 _ -, got 'gw\\+1'"),
        ("mw/1/d//dn/want", "topic, gateway"),
        (f"mw/1/b/{DIGEST}/01", "without leading zeros, got '01'"),
        (f"mw/1/b/{DIGEST}/1000000", "below 1,000,000"),
        (f"mw/1/b/{DIGEST.upper()}/1", "64 lower-case hex digits"),
        (f"mw/1/u/{(shard_of(GW) + 1) % 16}/gw-1/st", f"expected {shard_of(GW)}"),
        ("mw/1/" + "a" * 300, "at most 256 characters"),
    ],
)
def test_strangers_are_refused_with_the_reason(topic: str, text: str) -> None:
    with pytest.raises(TopicError, match=text):
        address_of(topic)


@pytest.mark.parametrize("bad", ["", "a/b", "a+b", "#", "ä", "x" * 65, "a b", "a\n"])
def test_bad_ids_never_become_topics(bad: str) -> None:
    with pytest.raises(TopicError):
        topic_of(topics.Want(GatewayId(bad)))

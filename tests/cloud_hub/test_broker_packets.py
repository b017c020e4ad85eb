"""Packets as bytes: against the examples in the standard, and against what a hostile broker may send."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_hub.broker import packets
from cloud_hub.broker.packets import Kind, Packet, Reader, Will
from models.errors import MessageError


def test_bytes_by_hand():
    """Worked out from sections 3.1, 3.3 and 3.8 of the standard."""
    assert packets.connect("ab", keepalive_s=10) == b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x0a\x00\x02ab"
    assert packets.publish("a/b", b"xy", packet_id=10, retain=True) == b"\x33\x09\x00\x03a/b\x00\x0axy"
    assert packets.publish("a/b", b"") == b"\x30\x05\x00\x03a/b"
    assert packets.subscribe(10, ["a/b", "c"]) == b"\x82\x0c\x00\x0a\x00\x03a/b\x01\x00\x01c\x01"
    assert packets.puback(258) == b"\x40\x02\x01\x02"
    assert (packets.pingreq(), packets.disconnect()) == (b"\xc0\x00", b"\xe0\x00")


def test_connect_with_everything():
    made = packets.connect("a", clean=False, will=Will("w", b"gone"), username="u", password="p")
    # username, password, will retained at QoS 1; not a clean session
    assert made[9] == 0x80 | 0x40 | 0x20 | 0x08 | 0x04
    assert made[12:] == b"\x00\x01a\x00\x01w\x00\x04gone\x00\x01u\x00\x01p"


@pytest.mark.parametrize(
    ("length", "encoded"),
    [(0, b"\0"), (127, b"\x7f"), (128, b"\x80\x01"), (16_383, b"\xff\x7f"), (16_384, b"\x80\x80\x01")],
)
def test_remaining_length(length, encoded):
    """Table 2.4 of the standard."""
    made = packets._packet(Kind.PUBLISH, 0, bytes(length))
    assert made[1 : 1 + len(encoded)] == encoded
    assert len(made) == 1 + len(encoded) + length


@given(
    st.lists(st.tuples(st.text(max_size=20), st.binary(max_size=300), st.integers(0, 65535), st.booleans())),
    st.integers(1, 50),
)
def test_there_and_back_however_it_is_cut(messages, step):
    stream = b"".join(packets.publish(t, p, packet_id=i, retain=r) for t, p, i, r in messages)
    reader, came = Reader(), []
    for start in range(0, len(stream), step):
        came += [packets.published(packet) for packet in reader.feed(stream[start : start + step])]
    assert [(m.topic, m.payload, m.packet_id, m.retained) for m in came] == messages
    assert all(m.qos == (1 if m.packet_id else 0) for m in came)


def test_what_a_hostile_broker_may_send():
    with pytest.raises(MessageError, match="expected a packet's length in 4 bytes"):
        list(Reader().feed(b"\x30\xff\xff\xff\xff\x01"))
    with pytest.raises(MessageError, match=r"expected packets of at most 67108864 bytes, got 268435455"):
        list(Reader().feed(b"\x30\xff\xff\xff\x7f"))
    with pytest.raises(MessageError, match="expected at least 102 bytes, got 5"):
        packets.published(Packet(3, 0, b"\x00\x64abc"))
    with pytest.raises(MessageError, match="expected a topic in UTF-8"):
        packets.published(Packet(3, 0, b"\x00\x01\xff"))


@given(st.binary(max_size=200))
def test_any_bytes_are_packets_or_an_error(data):
    try:
        for packet in Reader().feed(data):
            if packet.kind == Kind.PUBLISH:
                packets.published(packet)
    except MessageError:
        pass

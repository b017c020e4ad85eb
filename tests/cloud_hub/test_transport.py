"""The socket that reads ahead behaves as a socket does; messages are taken from it by the dozen."""

from __future__ import annotations

import select
import socket
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_hub import inbox as inbox_module
from cloud_hub import transport
from cloud_hub.broker import packets
from cloud_hub.inbox import Incoming, IncomingQueue, ReadAhead, split_published
from cloud_hub.settings import Settings
from cloud_hub.transport import Link


def test_bytes_come_in_order_whatever_is_asked_for() -> None:
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        reader = ReadAhead(near)
        far.sendall(bytes(range(200)))
        got = [reader.recv(1), reader.recv(0), reader.recv(50)]
        assert reader.pending() == 149  # and the system has none left: paho must not wait for it
        assert select.select([near], [], [], 0)[0] == []
        got.append(reader.recv(1000))
        assert b"".join(got) == bytes(range(200))
        assert reader.pending() == 0
        with pytest.raises(BlockingIOError):
            reader.recv(1)
        far.sendall(b"x")
        far.close()
        assert (reader.recv(10), reader.recv(10)) == (b"x", b"")


def test_the_rest_is_the_sockets_own() -> None:
    near, far = socket.socketpair()
    with near, far:
        reader = ReadAhead(near)
        assert reader.fileno() == near.fileno()
        reader.send(b"out")
        assert far.recv(10) == b"out"
        near.setblocking(True)
        reader.close()
        assert near.fileno() == -1


# ------------------------------------------------------------------------------------------------ many messages at once

PACKETS = st.builds(
    packets.publish,
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.binary(max_size=300) | st.sampled_from([bytes(n) for n in (120, 127, 16_375, 16_384)]),
    packet_id=st.integers(0, 65_535),
    retain=st.booleans(),
)


@given(st.lists(PACKETS, max_size=6), st.data())
def test_whole_messages_are_split_as_another_reader_splits_them(sent: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(sent)
    cut = data.draw(st.integers(0, len(stream)))
    expected = [packets.published(packet) for packet in packets.Reader().feed(stream[:cut])]
    found, acknowledgements, at = split_published(stream[:cut])
    assert [(m.topic, m.payload, m.retained) for m in found] == [(p.topic, p.payload, p.retained) for p in expected]
    assert acknowledgements == [packets.puback(p.packet_id) if p.qos else b"" for p in expected]
    assert at == sum(map(len, sent[: len(expected)]))
    rest, _, end = split_published(stream, at)
    assert (len(found) + len(rest), end) == (len(sent), len(stream))


WHOLE = packets.publish("t", b"x", packet_id=7)
ACK = packets.puback(7)


@pytest.mark.parametrize(
    "other",
    [
        b"\x34" + WHOLE[1:],  # QoS 2
        b"\x36" + WHOLE[1:],  # QoS 3
        packets.puback(1),
        b"\xd0\x00",  # PINGRESP
        b"\x32\xff\xff\xff\xff\x01",  # a length of five bytes
        b"\x32\x03\x00\x01t",  # no room for the packet id
        b"\x32\x05\x00\x09t\x00\x01",  # the topic reaches beyond the packet
        b"\x30\x01\x00",
        b"\x32\x05\x00\x01\xff\x00\x01",  # not UTF-8
    ],
)
def test_what_is_no_whole_message_is_left_to_paho(other: bytes) -> None:
    found, acknowledgements, at = split_published(WHOLE + other + WHOLE)
    assert ([m.topic for m in found], acknowledgements, at) == (["t"], [ACK], len(WHOLE))


def test_a_socket_gives_messages_and_leaves_the_rest() -> None:
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        reader = ReadAhead(near)
        assert reader.take_published() == ([], [])  # nothing there yet
        far.sendall(WHOLE + WHOLE + b"\xd0\x00" + WHOLE + WHOLE[:3])
        messages, acknowledgements = reader.take_published()
        assert (len(messages), acknowledgements) == (2, [ACK] * 2)
        assert reader.take_published() == ([], [])
        assert reader.recv(2) == b"\xd0\x00"
        assert len(reader.take_published()[0]) == 1
        assert reader.take_published() == ([], [])
        assert reader.pending() == 3
        far.close()
        assert (reader.recv(10), reader.recv(10)) == (WHOLE[:3], b"")


# ------------------------------------------------------------------------------------------------ the queue


def test_the_queue_is_bounded_in_messages_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_module, "MAX_QUEUED", 4)
    monkeypatch.setattr(inbox_module, "MAX_QUEUED_BYTES", 105)
    inbox = IncomingQueue()
    one, big = Incoming("t", b"x" * 10, False), Incoming("t", b"x" * 70, False)
    assert inbox.put_some([one, big, big, one]) == 2  # in order: nothing overtakes the one that does not fit
    assert (inbox.qsize(), inbox.bytes) == (2, 80)
    assert inbox.put_some([one, one, one]) == 2
    assert [inbox.fills(share) for share in (0.9, 1.0)] == [True, True]
    assert inbox.get_some(3, 1000, 0.0) == [one, big, one]
    assert [inbox.fills(share) for share in (0.2, 0.3)] == [True, False]
    assert inbox.get_some(3, 1000, 0.0) == [one]
    assert inbox.get_some(3, 1000, 0.01) == []
    inbox.put_some([big, one, one])
    assert inbox.get_some(3, 70, 0.0) == [big]  # no further one once there are so many bytes
    assert inbox.get(timeout=1.0) == one
    assert inbox.bytes == 10


def test_who_waits_for_messages_gets_them_all_at_once() -> None:
    inbox = IncomingQueue()
    found: list[Incoming] = []
    waiting = threading.Thread(target=lambda: found.extend(inbox.get_some(10, 1000, 30.0)))
    waiting.start()
    inbox.put_some([Incoming("t", b"", False)] * 3)
    waiting.join(30.0)
    assert len(found) == 3


def test_messages_are_acknowledged_once_there_is_room_for_more(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever stores falls behind a broker that has kept a long backlog: nothing of it may be dropped."""
    monkeypatch.setattr(inbox_module, "MAX_QUEUED", 100)
    monkeypatch.setattr(transport, "_ROOM_S", 0.0)
    link = Link(Settings(home=tmp_path), "test")
    sent: list[bytes] = []
    monkeypatch.setattr(link._client, "send_packets", sent.append)

    def come(first: int, last: int) -> None:
        numbers = range(first, last)
        link._on_published([Incoming("t", b"", False)] * len(numbers), [packets.puback(n) for n in numbers])

    come(1, 41)
    assert sent == [b"".join(packets.puback(n) for n in range(1, 41))]
    come(41, 61)  # over the half: the broker's window closes
    come(61, 81)
    assert (len(sent), link.dropped) == (1, 0)
    link.incoming.get_some(50, 1000, 0.0)
    assert len(sent) == 1
    link.incoming.get()
    link.incoming.get_some(10, 1000, 0.0)  # under a quarter: it opens
    assert sent[1:] == [b"".join(packets.puback(n) for n in range(41, 81))]
    come(81, 181)  # a broker without a window
    assert (link.incoming.qsize(), link.dropped) == (100, 19)
    near, far = socket.socketpair()
    with near, far, monkeypatch.context() as patch:
        patch.setattr(link._client, "socket", lambda: near)
        link.incoming.get_some(100, 1000, 0.0)
        assert far.recv(10) == b""  # it connects anew: what was not acknowledged comes again
    assert sent[2:] == [b"".join(packets.puback(n) for n in range(81, 162))]
    come(181, 241)
    link._on_disconnect()  # these would be acknowledged to a connection that has not seen them
    link.incoming.get_some(100, 1000, 0.0)
    assert len(sent) == 3
    link.hold()
    come(1, 2)
    assert (len(sent), link.incoming.qsize()) == (3, 0)

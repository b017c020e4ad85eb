"""The socket that reads ahead behaves as a socket does."""

from __future__ import annotations

import select
import socket

import pytest

from cloud_hub.transport import ReadAhead


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

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from firmware_sim.errors import LinkError
from firmware_sim.link import MAX_BACKLOG, BothLinks, BrokerAddress, FileLink, MqttLink
from models.contract.recording import read_records
from tests.firmware_sim.sinks import Sink
from tests.simulators.brokers import KINDS, running_broker

WAIT_S = 120.0
ACCEPTED, BAD_PASSWORD = b"\x20\x02\x00\x00", b"\x20\x02\x00\x04"


@contextmanager
def scripted_broker(answer: bytes, *, drop_after_s: float | None = None) -> Iterator[BrokerAddress]:
    """Answers a CONNECT and then reads nothing more, so that the socket fills up."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = threading.Event()

        def serve() -> None:
            try:
                client, _ = server.accept()
            except OSError:
                return
            with client:
                client.recv(4096)
                client.sendall(answer)
                done.wait(drop_after_s)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield BrokerAddress("127.0.0.1", server.getsockname()[1])
        finally:
            done.set()
            thread.join(WAIT_S)


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_nobody_listens():
    port = unused_port()
    with pytest.raises(LinkError) as error:
        MqttLink(BrokerAddress("127.0.0.1", port), "sim", patient=False)
    assert str(error.value).startswith(f"broker 127.0.0.1:{port}: ")
    assert "refused" in str(error.value)


def test_a_refusal_is_told_at_once_with_the_broker_s_reason():
    with scripted_broker(BAD_PASSWORD) as address:
        began = time.monotonic()
        with pytest.raises(LinkError) as error:
            MqttLink(address, "sim", patient=False)
        assert str(error.value) == f"broker 127.0.0.1:{address.port}: Bad user name or password"
        assert time.monotonic() - began < 15.0


def test_certificates_that_cannot_be_read(tmp_path):
    junk = tmp_path / "ca.pem"
    junk.write_text("no certificate")
    with pytest.raises(LinkError, match=r"^broker h:1: password or certificates cannot be used: "):
        MqttLink(BrokerAddress("h", 1, ca_file=junk), "sim", patient=False)


def test_an_impatient_link_drops_and_counts_when_the_broker_does_not_read():
    with scripted_broker(ACCEPTED) as address:
        link = MqttLink(address, "sim", patient=False)
        payload, frames = bytes(60_000), MAX_BACKLOG + 500
        for _ in range(frames):
            link.send("t", payload)
        # What the kernel's buffers took is gone; everything else waits within the bound, or was dropped.
        assert 0 < link.dropped < frames
        assert len(link._backlog) <= MAX_BACKLOG
        assert link._client._out_packet.__len__() <= MAX_BACKLOG
        link._client.disconnect()


def test_frames_lost_with_a_connection_are_counted():
    with scripted_broker(ACCEPTED, drop_after_s=0.05) as address:
        link = MqttLink(address, "sim", patient=False)
        deadline = time.monotonic() + WAIT_S
        while link.dropped < 10 and time.monotonic() < deadline:
            link.send("t", b"x")
            time.sleep(0.005)
        assert link.dropped >= 10
        link.close()


def test_file_and_broker_both_get_every_frame(tmp_path: Path):
    sink, path = Sink(), tmp_path / "a.mwrec"
    both = BothLinks([FileLink(path), sink])
    for k in range(5):
        both.send(f"t/{k}", bytes([k]))
    sink.dropped = 2
    assert both.dropped == 2
    both.close()
    assert sink.closed
    with path.open("rb") as file:
        assert list(read_records(file, "a")) == sink.sent


def test_a_file_that_cannot_be_written(tmp_path: Path):
    path = tmp_path / "no" / "a.mwrec"
    with pytest.raises(LinkError) as error:
        FileLink(path)
    assert str(error.value) == f"{path}: cannot be written: No such file or directory"


def test_a_full_disk_is_told():
    link = FileLink(Path("/dev/full"))
    link.send("t", b"fits in the buffer")
    with pytest.raises(LinkError, match=r"^/dev/full: cannot be written: No space left on device$"):
        link.flush()
    with pytest.raises(LinkError):
        link.close()


def test_a_patient_link_waits_for_a_broker_that_reads_slowly():
    """More than the backlog and the kernel's buffers hold, to a peer that reads a little at a time: nothing is lost."""
    payload, frames = bytes(20_000), MAX_BACKLOG + 800
    received = 0
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            nonlocal received
            client, _ = server.accept()
            with client:
                client.recv(4096)
                client.sendall(ACCEPTED)
                while chunk := client.recv(65536):
                    received += len(chunk)
                    time.sleep(0.0005)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        link = MqttLink(BrokerAddress("127.0.0.1", server.getsockname()[1]), "sim", patient=True)
        for _ in range(frames):
            link.send("t", payload)
            assert len(link._backlog) <= MAX_BACKLOG
        link.close()
        thread.join(WAIT_S)
    assert link.dropped == 0
    assert received > frames * len(payload)


@pytest.mark.parametrize("kind", KINDS)
def test_a_real_broker_gets_every_frame_in_order(kind: str, tmp_path: Path):
    got: queue.Queue[tuple[str, bytes]] = queue.Queue()
    subscribed = threading.Event()
    with running_broker(kind, tmp_path) as port:
        listener = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="listener", protocol=mqtt.MQTTv311)
        listener.on_message = lambda _c, _u, message: got.put((message.topic, bytes(message.payload)))
        listener.on_subscribe = lambda *_: subscribed.set()
        listener.connect("127.0.0.1", port)
        listener.loop_start()
        listener.subscribe("mw/1/n/+/+/f")
        assert subscribed.wait(WAIT_S)
        link = MqttLink(BrokerAddress("127.0.0.1", port), "sim", patient=True)
        sent = [(f"mw/1/n/gw/n{k % 3}/f", bytes([k % 256]) * 3000) for k in range(500)]
        for topic, payload in sent:
            link.send(topic, payload)
        link.close()
        assert link.dropped == 0
        arrived = [got.get(timeout=WAIT_S) for _ in sent]
        listener.disconnect()
        listener.loop_stop()
    assert arrived == sent

"""The link to a real Mosquitto: what is promised to the rest of the agent."""

from __future__ import annotations

import random
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.config import BrokerSettings
from edge_agent.errors import TransportError
from edge_agent.transport import MqttTransport
from edge_agent.wire import Inbox, Incoming
from tests.simulators.brokers import KINDS, running_broker

pytestmark = KINDS[0].marks
WAIT_S = 60.0


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with running_broker("mosquitto", tmp_path_factory.mktemp("broker")) as port:
        yield port


def make(port: int, name: str, **options: Any) -> MqttTransport:
    return MqttTransport(BrokerSettings(port=port), name, Inbox("frames/"), rng=random.Random(1), **options)


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def collect(transport: MqttTransport, count: int) -> list[Incoming]:
    got: list[Incoming] = []
    deadline = time.monotonic() + WAIT_S
    while len(got) < count and time.monotonic() < deadline:
        control, frames = transport.inbox.take(0.05)
        got += control + frames
    return got


def test_messages_come_and_retained_ones_are_marked(port: int) -> None:
    one, two = make(port, "one"), make(port, "two")
    one.start()
    until(lambda: one.connected, "no connection")
    assert one.publish("kept", b"1", retain=True)
    two.subscribe(["kept", "live", "frames/+"])
    two.start()
    until(lambda: two.connected, "no connection")
    assert collect(two, 1) == [Incoming("kept", b"1", retained=True)]
    assert one.publish("live", b"2")
    assert one.publish("frames/a", b"3", qos=0)
    assert {(m.topic, m.payload, m.retained) for m in collect(two, 2)} == {
        ("live", b"2", False), ("frames/a", b"3", False),
    }  # fmt: skip
    two.unsubscribe(["live"])
    two.subscribe(["last"])
    until(lambda: not collect(two, 0), "never")
    time.sleep(0.2)
    one.publish("live", b"4")
    one.publish("last", b"5")
    assert [m.payload for m in collect(two, 1)] == [b"5"]
    one.close()
    two.close()


def test_many_threads_can_publish_and_no_byte_is_torn(port: int) -> None:
    """Paho would write to its socket from each publishing thread; see `on_socket_register_write`."""
    sender, receiver = make(port, "sender"), make(port, "receiver")
    receiver.subscribe(["frames/+"], qos=0)
    for transport in (sender, receiver):
        transport.start()
    until(lambda: sender.connected and receiver.connected, "no connection")
    payloads = {bytes([n]) * 110_000 for n in range(100)}
    until(lambda: receiver.connections == 1, "never")
    time.sleep(0.2)

    def work(own: list[bytes]) -> None:
        for payload in own:
            while not sender.publish("frames/x", payload, qos=0):
                time.sleep(0.01)

    ordered = sorted(payloads)
    threads = [threading.Thread(target=work, args=(ordered[at::4],)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {m.payload for m in collect(receiver, 100)} == payloads
    assert sender.connections == 1, "a torn packet would have cost the connection"
    sender.close()
    receiver.close()


def test_a_clean_close_keeps_the_farewell_and_a_lost_one_publishes_the_will(port: int) -> None:
    watcher = make(port, "watcher")
    watcher.subscribe(["state"])
    watcher.start()
    for at in range(5):
        polite = make(port, "polite", will=("state", b"will"))
        polite.start()
        until(lambda one=polite: one.connected, "no connection")  # type: ignore[misc]
        polite.close(("state", b"bye %d" % at))
        assert [m.payload for m in collect(watcher, 1)][-1:] == [b"bye %d" % at]
    rude = make(port, "rude", will=("state", b"will"))
    rude.start()
    until(lambda: rude.connected, "no connection")
    usurper = make(port, "rude")  # the broker throws out the older client of the same name
    usurper.start()
    assert b"will" in [m.payload for m in collect(watcher, 1)]
    for transport in (watcher, rude, usurper):
        transport.close()


def test_it_comes_back_with_its_subscriptions_when_the_broker_does(tmp_path: Path) -> None:
    transport = None
    with running_broker("mosquitto", tmp_path) as port:
        transport = make(port, "patient")
        transport.subscribe(["kept"])
        transport.start()
        until(lambda: transport.connected, "no connection")
    until(lambda: not transport.connected, "the loss was not noticed")
    assert not transport.publish("kept", b"x"), "not taken while there is no connection"
    with running_broker("mosquitto", tmp_path, "--port", str(port)):
        until(lambda: transport.connections == 2, "no reconnection")
        other = make(port, "other")
        other.start()
        until(lambda: other.connected, "no connection")
        time.sleep(0.2)
        other.publish("kept", b"again")
        assert [m.payload for m in collect(transport, 1)] == [b"again"]
        other.close()
        transport.close()


def test_no_broker_says_so() -> None:
    with pytest.raises(TransportError, match=r"broker 127\.0\.0\.1:1: .*refused.* within 1 s"):
        make(1, "nobody").check(1.0)


def test_a_password_file_that_is_not_there(tmp_path: Path) -> None:
    settings = BrokerSettings(username="u", password_file=tmp_path / "none")
    with pytest.raises(TransportError, match=r"broker 127\.0\.0\.1:1883: credentials: .*No such file"):
        MqttTransport(settings, "x", Inbox("f/"))


def test_an_error_that_nobody_foresaw_costs_a_connection_not_all_of_them(
    port: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A thread that ends would leave the agent offline until somebody comes by: its loop goes on, the watchdog is fed."""
    one = make(port, "one")
    real = one._client.loop
    broken = [struct.error("unpack requires a buffer of 2 bytes")]

    def loop(timeout: float) -> Any:
        if broken and one.connected:
            raise broken.pop()
        return real(timeout)

    monkeypatch.setattr(one._client, "loop", loop)
    one.start()
    until(lambda: one.connections == 2, "did not come back")
    one.close()
    assert not broken
    assert "unpack requires a buffer of 2 bytes" in caplog.text

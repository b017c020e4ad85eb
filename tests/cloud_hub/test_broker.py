"""The loopback broker: never beyond loopback, quiet, and it keeps what it should."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from cloud_hub.broker import loopback
from cloud_hub.broker.loopback import mosquitto_config, run_broker
from cloud_hub.errors import HubError, SettingsError
from tests.simulators.brokers import KINDS, running_broker

WAIT_S = 120.0


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org", "fe80::1"])
@pytest.mark.parametrize("kind", ["mosquitto", "amqtt", "auto"])
def test_never_beyond_loopback(host: str, kind):
    with pytest.raises(SettingsError, match=r"expected a loopback address, got .*asks nobody for a password"):
        run_broker(threading.Event(), lambda _: None, kind=kind, host=host)


def test_without_mosquitto(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(loopback, "_MORE_PATHS", ())
    with pytest.raises(SettingsError, match="mosquitto is not on the PATH"):
        run_broker(threading.Event(), lambda _: None, kind="mosquitto")
    with pytest.raises(SettingsError, match="only mosquitto can keep its state"):
        run_broker(threading.Event(), lambda _: None, kind="auto", persistence=tmp_path)


def test_configuration(tmp_path: Path):
    lines = mosquitto_config("127.0.0.1", 1885, None).splitlines()
    assert lines[0] == "listener 1885 127.0.0.1"
    assert {"set_tcp_nodelay true", "max_queued_messages 100000", "persistence false"} <= set(lines)
    assert f"persistence_location {tmp_path}/" in mosquitto_config("127.0.0.1", 1885, tmp_path).splitlines()


@pytest.mark.parametrize("kind", KINDS)
def test_port_taken(kind, tmp_path: Path):
    with (
        running_broker(kind, tmp_path) as port,
        pytest.raises(HubError, match=rf"broker on 127\.0\.0\.1:{port}: .*in use"),
    ):
        run_broker(threading.Event(), lambda _: pytest.fail("it cannot be ready"), kind=kind, port=port)


def client(port: int, *, clean: bool, name: str = "one") -> tuple[mqtt.Client, list[bytes], threading.Event]:
    connected, got, some = threading.Event(), [], threading.Event()
    made = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=clean, protocol=mqtt.MQTTv311)
    made.on_connect = lambda *_: connected.set()
    made.on_message = lambda _c, _u, message: (got.append(message.payload), some.set())
    made.connect("127.0.0.1", port)
    made.loop_start()
    assert connected.wait(WAIT_S)
    return made, got, some


def close(made: mqtt.Client) -> None:
    made.disconnect()
    made.loop_stop()


@pytest.mark.parametrize("kind", KINDS)
def test_a_session_waits_for_its_client(kind, tmp_path: Path):
    """Commands to a gateway that is away for a moment must reach it, on either broker."""
    with running_broker(kind, tmp_path) as port:
        away, _, _ = client(port, clean=False)
        granted = threading.Event()
        away.on_subscribe = lambda *_: granted.set()
        away.subscribe("a/b", 1)
        assert granted.wait(WAIT_S)
        close(away)
        time.sleep(2.5)  # amqtt looks for sessions to forget every second
        other, _, _ = client(port, clean=True, name="other")
        other.publish("a/b", b"hello", 1).wait_for_publish(WAIT_S)
        close(other)
        back, got, some = client(port, clean=False)
        assert some.wait(WAIT_S)
        assert got == [b"hello"]
        close(back)


@pytest.mark.parametrize("kind", KINDS)
def test_large_messages_pass(kind, tmp_path: Path):
    with running_broker(kind, tmp_path) as port:
        made, got, some = client(port, clean=True)
        payload = bytes(4 * 2**20)
        made.publish("big", payload, 1, retain=True).wait_for_publish(WAIT_S)
        made.subscribe("big", 1)
        assert some.wait(WAIT_S)
        assert got == [payload]
        close(made)


@pytest.mark.parametrize("kind", [KINDS[0]])
def test_retained_messages_outlive_the_broker(kind, tmp_path: Path):
    for first in (True, False):
        with running_broker(kind, tmp_path, "--persistence", str(tmp_path / "state")) as port:
            made, got, some = client(port, clean=True)
            if first:
                made.publish("kept", b"x", 1, retain=True).wait_for_publish(WAIT_S)
            else:
                made.subscribe("kept", 1)
                assert some.wait(WAIT_S)
                assert got == [b"x"]
            close(made)

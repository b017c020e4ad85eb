"""What systemd hears: the words of sd_notify(3), on real sockets; and an agent that runs as its service."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.errors import ConfigError
from edge_agent.service import ServiceManager
from tests.edge_agent.kit import config_toml

WAIT_S = 60.0


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The manager's end, as systemd has it: a path."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "notify"))
        end.settimeout(WAIT_S)
        yield end


def heard(manager: socket.socket) -> list[str]:
    manager.setblocking(False)
    said = []
    try:
        while True:
            said.append(manager.recv(100).decode())
    except BlockingIOError:
        return said


def test_without_a_manager_nothing_is_said() -> None:
    service = ServiceManager({})
    service.ready()
    service.alive(1.0)
    service.stopping()


def test_the_manager_hears_of_begin_life_and_end(manager: socket.socket) -> None:
    service = ServiceManager({"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "10000000"})
    service.ready()
    for now_s in (100.0, 104.9, 105.0, 107.0, 110.1):
        service.alive(now_s)
    service.stopping()
    assert heard(manager) == ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"]


def test_a_manager_with_an_abstract_name() -> None:
    name = f"millwright-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(f"\0{name}")
        ServiceManager({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert heard(end) == ["READY=1"]


@pytest.mark.parametrize(
    "environ", [{}, {"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(os.getppid())}], ids=["no watchdog", "another's"]
)
def test_who_is_not_watched_does_not_report(manager: socket.socket, environ: dict[str, str]) -> None:
    ServiceManager({"NOTIFY_SOCKET": manager.getsockname(), **environ}).alive(1.0)
    assert heard(manager) == []


def test_a_manager_that_is_gone_is_told_of_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()
    assert "could not be told READY=1" in caplog.text


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("NOTIFY_SOCKET", "vsock:2:1", "NOTIFY_SOCKET: expected a path or an abstract name (@...), got 'vsock:2:1'"),
        ("WATCHDOG_USEC", "soon", "WATCHDOG_USEC: expected microseconds, got 'soon'"),
        ("WATCHDOG_USEC", "0", "WATCHDOG_USEC: expected microseconds, got '0'"),
    ],
)
def test_a_manager_that_makes_no_sense(name: str, value: str, text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        ServiceManager({name: value})
    assert raised.value.problems == [text]


def test_an_agent_without_a_broker_serves_all_the_same(tmp_path: Path, manager: socket.socket) -> None:
    """It watches its machines whether or not somebody listens, so it is ready; it reports until told to stop."""
    settings = tmp_path / "agent.toml"
    with socket.create_server(("127.0.0.1", 0)) as taken:  # and never answered: nobody else gets the port
        settings.write_text(config_toml(tmp_path / "state", taken.getsockname()[1]))
        environ = os.environ | {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "200000"}
        with (tmp_path / "log").open("wb") as log:
            agent = subprocess.Popen(
                [sys.executable, "-m", "edge_agent", "run", "--config", str(settings)], env=environ, stderr=log
            )
        try:
            assert [manager.recv(100) for _ in range(4)] == [b"READY=1", *[b"WATCHDOG=1"] * 3]
            agent.send_signal(signal.SIGTERM)
            assert agent.wait(WAIT_S) == 0, (tmp_path / "log").read_text()
            assert heard(manager)[-1] == "STOPPING=1"
        finally:
            agent.kill()
            agent.wait(WAIT_S)

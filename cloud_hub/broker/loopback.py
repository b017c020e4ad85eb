"""Starting a broker on loopback. Anybody on this machine may connect, nobody else; hence never another address."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cloud_hub.errors import HubError, SettingsError

logger = logging.getLogger(__name__)

Kind = Literal["auto", "mosquitto", "amqtt"]
_START_S = 30.0
_STOP_S = 10.0
_POLL_S = 0.05
_SESSION_EXPIRY_S = 86_400
# Debian installs it outside the PATH of ordinary users.
_MORE_PATHS = ("/usr/sbin", "/usr/local/sbin")
_MAX_PACKET_BYTES = 8 * 2**20  # events with evidence may have 4 MiB
_MAX_QUEUED = 100_000  # the default of 1000 loses messages silently, even at QoS 1


@dataclass(frozen=True, slots=True)
class Address:
    """Where the broker listens, and what it is."""

    kind: Literal["mosquitto", "amqtt"]
    host: str
    port: int


def find_mosquitto() -> str | None:
    """The Mosquitto program, None when there is none."""
    return shutil.which("mosquitto", path=os.pathsep.join([os.environ.get("PATH", os.defpath), *_MORE_PATHS]))


def run_broker(
    stop: threading.Event,
    on_ready: Callable[[Address], None],
    *,
    kind: Kind = "auto",
    host: str = "127.0.0.1",
    port: int = 0,
    persistence: Path | None = None,
) -> None:
    """Run a broker until `stop` is set. `on_ready` is called once, when it accepts connections.

    Args:   port: 0 takes a free one. persistence: where Mosquitto keeps retained messages and sessions between runs;
            amqtt keeps nothing.
    Raises: SettingsError: not a loopback address, or no such broker here. HubError: it did not start, or it died.
    """
    _check_loopback(host)
    mosquitto = find_mosquitto() if kind != "amqtt" else None
    if kind == "mosquitto" and mosquitto is None:
        raise SettingsError("broker: mosquitto is not on the PATH; install it, or use --kind amqtt")
    if persistence is not None and mosquitto is None:
        raise SettingsError("broker: only mosquitto can keep its state in a folder")
    port = _check_port(host, port)
    if mosquitto is not None:
        _run_mosquitto(mosquitto, stop, lambda: on_ready(Address("mosquitto", host, port)), host, port, persistence)
    else:
        asyncio.run(_run_amqtt(stop, lambda: on_ready(Address("amqtt", host, port)), host, port))


def _check_loopback(host: str) -> None:
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback:
        raise SettingsError(
            f"broker: expected a loopback address, got {host}: this broker asks nobody for a password. For a network, "
            "run Mosquitto with TLS and access rules of its own"
        )


def _check_port(host: str, port: int) -> int:
    """The port, or a free one for 0. Checked before the start: else we could take another broker for ours.

    Raises: HubError: it is taken.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise HubError(f"broker on {host}:{port}: {error}") from error
        return int(probe.getsockname()[1])


# ------------------------------------------------------------------------------------------------- mosquitto


def mosquitto_config(host: str, port: int, persistence: Path | None) -> str:
    """The configuration file."""
    lines = [
        f"listener {port} {host}",
        "allow_anonymous true",
        "set_tcp_nodelay true",
        f"max_queued_messages {_MAX_QUEUED}",
        "max_inflight_messages 100",
        f"max_packet_size {_MAX_PACKET_BYTES}",
        f"persistent_client_expiration {_SESSION_EXPIRY_S // 86_400}d",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
        f"persistence {'true' if persistence else 'false'}",
    ]
    if persistence is not None:
        lines.append(f"persistence_location {persistence.resolve()}/")
        lines.append("autosave_interval 10")
    if os.geteuid() == 0:
        lines.append("user root")  # else it becomes a user who may not write there
    return "\n".join(lines) + "\n"


def _run_mosquitto(
    program: str, stop: threading.Event, on_ready: Callable[[], None], host: str, port: int, persistence: Path | None
) -> None:
    if persistence is not None:
        persistence.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="millwright-broker-") as scratch:
        config = Path(scratch) / "mosquitto.conf"
        config.write_text(mosquitto_config(host, port, persistence))
        log = Path(scratch) / "log"
        with log.open("w+b") as said:
            # A session of its own: Ctrl-C comes to us first, and we end it when everything else has ended.
            process = subprocess.Popen([program, "-c", str(config)], stderr=said, start_new_session=True)
            try:
                _await_port(process, stop, host, port)
                if process.poll() is None and not stop.is_set():
                    on_ready()
                while process.poll() is None and not stop.wait(_POLL_S):
                    pass
                died = process.poll()
            finally:
                _end(process)
        if died is not None:
            raise HubError(f"mosquitto on {host}:{port} ended with {died}: {log.read_text(errors='replace').strip()}")


def _await_port(process: subprocess.Popen[bytes], stop: threading.Event, host: str, port: int) -> None:
    deadline = time.monotonic() + _START_S
    while process.poll() is None and not stop.is_set():
        try:
            socket.create_connection((host, port), timeout=1.0).close()
        except OSError as error:
            if time.monotonic() > deadline:
                raise HubError(f"mosquitto on {host}:{port}: does not listen after {_START_S:g} s: {error}") from error
            stop.wait(_POLL_S)
        else:
            return


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        logger.warning("mosquitto did not end within %g s: killing it", _STOP_S)
        process.kill()
        process.wait()


# ----------------------------------------------------------------------------------------------------- amqtt


async def _run_amqtt(stop: threading.Event, on_ready: Callable[[], None], host: str, port: int) -> None:
    from amqtt.broker import Broker
    from amqtt.contexts import BrokerConfig, ListenerConfig
    from amqtt.errors import BrokerError

    for name in ("amqtt", "transitions"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    config = BrokerConfig(
        listeners={"default": ListenerConfig(bind=where)},
        session_expiry_interval=_SESSION_EXPIRY_S,
        plugins={"cloud_hub.broker.amqtt_auth.EverybodyOnLoopback": {}},
    )
    broker = Broker(config)
    try:
        await broker.start()
    except BrokerError as error:
        raise HubError(f"amqtt on {where}: {error}") from error
    try:
        on_ready()
        # asyncio's own sockets have TCP_NODELAY set.
        while not stop.is_set():  # noqa: ASYNC110 - set by a signal handler, which cannot set an asyncio event
            await asyncio.sleep(_POLL_S)
    finally:
        await broker.shutdown()

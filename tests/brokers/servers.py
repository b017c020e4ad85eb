"""The brokers that Debian has, each started by hand on loopback in a folder of its own: no service, nothing left behind.

Every one is set up as its manual says for MQTT with persistence; where a default is too small for alarms with evidence
(4 MiB), it is raised. Nothing is tuned beyond that.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cloud_hub.broker.loopback import find_mosquitto

START_S = 90.0
STOP_S = 60.0
_SBIN = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
# Debian's /usr/sbin/rabbitmq-server insists on its own user and folders; the script behind it runs as anybody.
RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
KINDS = ("mosquitto", "amqtt", "rabbitmq", "nats")
DURABLE = ("mosquitto", "rabbitmq", "nats")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def missing(kind: str) -> str | None:
    """Why this broker cannot be started here, None when it can."""
    found = {
        "mosquitto": find_mosquitto() is not None,
        "amqtt": True,
        "rabbitmq": RABBITMQ.exists(),
        "nats": shutil.which("nats-server", path=_SBIN) is not None,
    }
    package = {"mosquitto": "mosquitto", "rabbitmq": "rabbitmq-server", "nats": "nats-server"}
    return (
        None if found[kind] else f"Debian's package {package[kind]} is not installed; `make test-brokers` installs it"
    )


@dataclass
class Server:
    """One broker. `port` stays the same over restarts."""

    kind: str
    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    _epmd: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until MQTT is answered. Fails with the broker's own words."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command, environment = getattr(self, f"_{self.kind}")()
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.folder, env=environment,
                start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
            except OSError:
                assert self.process.poll() is None, f"{self.kind} ended with {self.process.returncode}: {self.said()}"
                assert time.monotonic() < deadline, f"{self.kind} does not listen: {self.said()}"
                time.sleep(0.1)
            else:
                return

    def stop(self) -> None:
        """End what we started, by its id: in good order, and else with force."""
        for process in filter(None, (self.process, self._epmd)):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)  # a session of its own: nobody else is in it
                    process.wait()
        self.process = self._epmd = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def said(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-3000:]

    def peak_kb(self) -> int:
        """VmHWM of the broker's process."""
        assert self.process is not None
        pid = self.process.pid
        # Our command starts Mosquitto as its child; amqtt runs within it.
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split() if self.kind == "mosquitto" else []
        status = Path(f"/proc/{children[0] if children else pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))

    # ------------------------------------------------------------------------------------------------- each of them

    def _mosquitto(self) -> tuple[list[str], dict[str, str]]:
        state = self.folder / "state"
        command = [sys.executable, "-m", "cloud_hub", "broker", "--kind", "mosquitto", "--port", str(self.port)]
        return [*command, "--persistence", str(state)], self._ours()

    def _amqtt(self) -> tuple[list[str], dict[str, str]]:
        command = [sys.executable, "-m", "cloud_hub", "broker", "--kind", "amqtt", "--port", str(self.port)]
        return command, self._ours()

    @staticmethod
    def _ours() -> dict[str, str]:
        return os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}

    def _nats(self) -> tuple[list[str], dict[str, str]]:
        config = self.folder / "nats.conf"
        config.write_text(
            f"server_name: millwright\nhost: 127.0.0.1\nport: {free_port()}\nmax_payload: 8388608\n"
            f"jetstream {{ store_dir: {json.dumps(str(self.folder / 'jetstream'))} }}\n"
            f"mqtt {{ host: 127.0.0.1, port: {self.port} }}\n"
        )
        program = shutil.which("nats-server", path=_SBIN)
        assert program is not None
        return [program, "-c", str(config)], dict(os.environ)

    def _rabbitmq(self) -> tuple[list[str], dict[str, str]]:
        folder, epmd_port = self.folder, free_port()
        (folder / "enabled_plugins").write_text("[rabbitmq_mqtt].\n")
        (folder / "environment").write_text("")
        (folder / "rabbitmq.conf").write_text(
            f"listeners.tcp = none\nmqtt.listeners.tcp.1 = 127.0.0.1:{self.port}\nmqtt.allow_anonymous = true\n"
            "mqtt.tcp_listen_options.nodelay = true\nmqtt.tcp_listen_options.backlog = 1024\n"
            "mqtt.retained_message_store = rabbit_mqtt_retained_msg_store_dets\n"
        )
        environment = os.environ | {
            "HOME": str(folder),
            "RABBITMQ_NODENAME": f"millwright-{self.port}@localhost",
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "logs"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "environment"),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_EPMD_PORT": str(epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RUNNING_UNDER_SYSTEMD": "1",  # no shell in between: the process that we start is the broker
        }
        # Erlang would start a name server that outlives it; this one is ours, and ends with us.
        with (folder / "log").open("ab") as log:
            self._epmd = subprocess.Popen(
                ["epmd", "-port", str(epmd_port), "-address", "127.0.0.1"],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment, start_new_session=True,
            )  # fmt: skip
        return [str(RABBITMQ)], environment


@contextlib.contextmanager
def running(kind: str, folder: Path) -> Iterator[Server]:
    """A broker for as long as the block lasts."""
    server = Server(kind, folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()

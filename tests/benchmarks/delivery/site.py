"""A broker, a hub behind a counting proxy, and processes full of clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from cloud_hub.broker.loopback import find_mosquitto, mosquitto_config
from cloud_hub.settings import Settings
from cloud_hub.transport import Link
from tests.benchmarks.delivery.clients import Spec
from tests.brokers.servers import free_port
from tests.simulators.light_client import Timeline
from tests.simulators.registry import MemoryRegistry
from tests.simulators.trust import Fleet

PROCESSES = 2
START_S = 120.0


class CountingProxy:
    """Everything that the hub sends and receives goes through here, and is counted as TCP payload."""

    def __init__(self, broker_port: int) -> None:
        self.sent = 0
        self.received = 0
        self.port = 0
        self._broker_port = broker_port
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._up.wait(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._up.set()
        self._loop.run_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._broker_port)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, up: bool) -> None:
            while data := await source.read(1 << 18):
                if up:
                    self.sent += len(data)
                else:
                    self.received += len(data)
                sink.write(data)
                await sink.drain()
            sink.close()

        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await asyncio.gather(pump(reader, there_writer, up=True), pump(there_reader, writer, up=False))

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._cancel(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _cancel(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass
class Site:
    """One measurement's surroundings."""

    folder: Path
    port: int
    broker: subprocess.Popen[bytes]
    proxy: CountingProxy
    fleet: Fleet
    registry: MemoryRegistry = field(default_factory=MemoryRegistry)

    def link(self) -> Link:
        """A hub's link, counted."""
        settings = Settings(home=self.folder, broker_host="127.0.0.1", broker_port=self.proxy.port)
        return Link(settings, "millwright-hub")

    def peak_mb(self) -> float:
        """The broker's VmHWM."""
        status = Path(f"/proc/{self.broker.pid}/status").read_text(encoding="ascii")
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1024

    def broker_cpu_s(self) -> float:
        """CPU time of the broker so far."""
        fields = Path(f"/proc/{self.broker.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @contextlib.contextmanager
    def clients(self, kind: str, count: int, length: int, cut: int = 0) -> Iterator[list[subprocess.Popen[str]]]:
        """Processes whose clients all listen."""
        share = count // PROCESSES
        processes = []
        try:
            for number in range(PROCESSES):
                mine = share if number else count - share * (PROCESSES - 1)
                first = number * share + (count - share * PROCESSES if number else 0)
                spec = Spec(
                    kind=kind, port=self.port, first=first, count=mine, length=length, cut=cut,
                    root=str(self.fleet.hub / "root.json"),
                )  # fmt: skip
                command = [
                    sys.executable,
                    "-m",
                    "tests.benchmarks.delivery.clients",
                    msgspec.json.encode(spec).decode(),
                ]
                processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            for process in processes:
                line = process.stdout.readline()
                if line != "ready\n":
                    raise RuntimeError(f"clients ended with {process.wait(10)} before they were ready: {line}")
            yield processes
        finally:
            for process in processes:
                if process.poll() is None:
                    process.kill()
                process.wait()
                process.stdout.close()


def results(processes: list[subprocess.Popen[str]]) -> tuple[list[Timeline], float]:
    """What every client says, and the CPU time of all of them since they listened. Raises: RuntimeError: one of them failed; nothing is left out of the figures."""
    said = [json.loads(process.stdout.readline()) for process in processes]
    lines = [msgspec.convert(line, Timeline) for one in said for line in one["lines"]]
    failed = [f"{line.gateway}: {line.error}" for line in lines if line.error is not None]
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(lines)} clients failed, the first: {failed[0]}")
    return lines, sum(one["cpu_s"] for one in said)


@contextlib.contextmanager
def site() -> Iterator[Site]:
    """A fresh Mosquitto, so that its peak memory is this measurement's alone."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))
    program = find_mosquitto()
    if program is None:
        sys.exit("bench-delivery: mosquitto is not installed")
    with tempfile.TemporaryDirectory(prefix="millwright-bench-") as name:
        folder, port = Path(name), free_port()
        config = folder / "mosquitto.conf"
        config.write_text(mosquitto_config("127.0.0.1", port, None), encoding="utf-8")
        with (folder / "log").open("wb") as log:
            broker = subprocess.Popen([program, "-c", str(config)], stdout=log, stderr=log)
        try:
            _await_port(port)
            proxy = CountingProxy(port)
            try:
                (folder / "fleet").mkdir()
                yield Site(folder, port, broker, proxy, Fleet(folder / "fleet", now_s=time.time()))
            finally:
                proxy.close()
        finally:
            broker.terminate()
            broker.wait(30)


def _await_port(port: int) -> None:
    import socket

    deadline = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return

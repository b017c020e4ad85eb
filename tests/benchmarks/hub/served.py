"""The hub as people meet it: its pages over HTTP and in a browser, its memory, and two hundred who watch it live.

The hub is served by a process of its own, on a database that somebody else has filled and a broker of the benchmark's.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import msgspec
import numpy as np

from cloud_hub.accounts.permissions import Permission, command_line
from cloud_hub.accounts.records import Limits
from cloud_hub.services.tokens import create_token
from cloud_hub.settings import Settings
from cloud_hub.store.database import Database
from cloud_hub.transport import Link
from tests.benchmarks.hub.queries import Size
from tests.simulators.hub import event, incoming

_WAIT_S = 300.0
_PATIENCE_S = 30.0
_CHROMIUM = "/usr/bin/chromium"


class PageLoad(msgspec.Struct, frozen=True):
    """One page, asked many times, each time for another thing. `load_ms`: until a browser has loaded all of it, the
    median; None where there is none.
    """

    database: str
    page: str
    kilobytes: float
    p50_ms: float
    p99_ms: float
    load_ms: float | None


class Memory(msgspec.Struct, frozen=True):
    """Resident megabytes of the hub's process."""

    database: str
    started_mb: float
    after_pages_mb: float


class Viewers(msgspec.Struct, frozen=True):
    """Those who watch the live stream. `delivered`: of `expected` events, all viewers together. `lag_*`: from sending
    the gateway's message to the viewer's socket.
    """

    database: str
    viewers: int
    alarms: int
    expected: int
    delivered: int
    lag_p50_ms: float
    lag_p99_ms: float
    kb_each: float


class ServedHub:
    """A hub in a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, token: str) -> None:
        self.process, self.url = process, url
        self.headers = {"Authorization": f"Bearer {token}"}

    def resident_mb(self) -> float:
        """Memory that it holds now."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError("the kernel tells no VmRSS")


@contextmanager
def served(database_url: str, settings: Settings, folder: Path) -> Iterator[ServedHub]:
    """The hub on this database and broker, once it is ready."""
    ready, log = folder / "ready.json", folder / "hub.log"
    environment = os.environ | {
        "MILLWRIGHT_DATABASE_URL": database_url, "MILLWRIGHT_BROKER_PORT": str(settings.broker_port),
    }  # fmt: skip
    command = [sys.executable, "-m", "cloud_hub", "serve", "--home", str(folder), "--port", "0",
               "--ready-file", str(ready), "--log-level", "warning"]  # fmt: skip
    with Database(database_url) as database:
        _, token = create_token(
            database, command_line("bench"), Limits(), "bench", list(Permission), 86_400.0, time.time(), account=None
        )
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        until = time.monotonic() + _WAIT_S
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the hub did not start: {log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield ServedHub(process, json.loads(ready.read_bytes())["url"], token)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(_WAIT_S)


def pages(size: Size) -> dict[str, str]:
    """What people open most; `{n}` is another gateway or machine each time."""
    last = size.alarms // size.gateways - 1
    return {
        "overview": "/",
        "machines": "/machines",
        "machine, a day of its trend": "/machines/M-{n}?point=de&days=1",
        "alarms": "/alarms",
        "an alarm": f"/alarms/gw-{{n}}.a{last}",
        "alarm load": "/alarms/floods",
        "gateways": "/gateways",
        "a gateway": "/gateways/gw-{n}",
        "models": "/models",
        "rollouts": "/rollouts",
    }


def measure_pages(
    hub: ServedHub, database: str, size: Size, times: int, *, browser: bool = True, seed: int = 7
) -> tuple[list[PageLoad], Memory]:
    """Every page `times` times, in a mixed order, on one connection that is kept."""
    rng = np.random.default_rng(seed)
    wanted = pages(size)
    took: dict[str, list[float]] = {page: [] for page in wanted}
    length: dict[str, int] = {}
    started_mb = hub.resident_mb()
    with httpx.Client(base_url=hub.url, headers=hub.headers | {"Accept": "text/html"}, timeout=60.0) as client:
        for page in rng.permutation(np.repeat(list(wanted), times)):
            path = wanted[page].format(n=int(rng.integers(size.gateways)))
            began = time.perf_counter()
            answer = client.get(path)
            took[page].append(time.perf_counter() - began)
            if answer.status_code != 200:
                raise RuntimeError(f"{path}: {answer.status_code}")
            length[page] = len(answer.content)
    loads = _browser_loads(hub, wanted, size, rng) if browser else {}
    found = [
        PageLoad(database, page, length[page] / 1024, float(np.median(each)) * 1e3, float(np.quantile(each, 0.99)) * 1e3,
                 loads.get(page))
        for page, each in took.items()
    ]  # fmt: skip
    return found, Memory(database, started_mb, hub.resident_mb())


def _browser_loads(hub: ServedHub, wanted: dict[str, str], size: Size, rng: np.random.Generator) -> dict[str, float]:
    """Milliseconds from leaving for a page until all of it is loaded; nothing when there is no Chromium."""
    if not Path(_CHROMIUM).exists():
        return {}
    from playwright.sync_api import sync_playwright

    timing = "() => { const t = performance.getEntriesByType('navigation')[0]; return t.loadEventStart - t.startTime }"
    found: dict[str, float] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=_CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        page = browser.new_context(extra_http_headers=hub.headers).new_page()
        page.set_default_timeout(60_000)
        for name, path in wanted.items():
            each = []
            for _ in range(5):
                page.goto(hub.url + path.format(n=int(rng.integers(size.gateways))), wait_until="load")
                each.append(float(page.evaluate(timing)))
            found[name] = float(np.median(each))
        browser.close()
    return found


class _Watcher:
    """One viewer: a socket, read until so many alarms have come."""

    def __init__(self, alarms: int) -> None:
        self.alarms = alarms
        self.seen: dict[str, float] = {}

    async def run(self, hub: ServedHub, ready: asyncio.Semaphore) -> None:
        where = urlsplit(hub.url)
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        lines = ["GET /api/v1/stream?kind=alarm HTTP/1.1", f"Host: {where.netloc}", "Accept: text/event-stream"]
        lines += [f"{name}: {value}" for name, value in hub.headers.items()]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        status = await reader.readline()
        if b" 200 " not in status:
            raise RuntimeError(f"stream: {status!r}")
        while not (await reader.readline()).startswith(b"retry:"):
            pass
        ready.release()
        try:
            while line := await reader.readline():
                if line.startswith(b"data: {"):
                    now = time.perf_counter()
                    data = msgspec.json.decode(line[6:])
                    self.seen.setdefault(str(data.get("id")), now)
                    if len(self.seen) == self.alarms:
                        return
        finally:
            writer.close()


def measure_viewers(
    hub: ServedHub, settings: Settings, database: str, viewers: int = 200, alarms: int = 100, pause_s: float = 0.1
) -> Viewers:
    """Open the sockets, raise alarms at gateways that were never seen, and see when each of them reaches each viewer."""
    return asyncio.run(_watch(hub, settings, database, viewers, alarms, pause_s))


async def _watch(
    hub: ServedHub, settings: Settings, database: str, viewers: int, alarms: int, pause_s: float
) -> Viewers:
    ready = asyncio.Semaphore(0)
    before_mb = hub.resident_mb()
    watchers = [_Watcher(alarms) for _ in range(viewers)]
    tasks = [asyncio.create_task(watcher.run(hub, ready)) for watcher in watchers]
    for _ in range(viewers):
        await asyncio.wait_for(ready.acquire(), _WAIT_S)
    with_viewers_mb = hub.resident_mb()
    sent: dict[str, float] = {}

    def send() -> None:
        with Link(settings, "bench-gateways") as link:
            for i in range(alarms):
                message = incoming(event(i, alarm=f"live{i}", gateway="gw-live", time_s=time.time()))
                sent[f"gw-live.live{i}"] = time.perf_counter()
                link.publish(message.topic, message.payload)
                time.sleep(pause_s)

    await asyncio.to_thread(send)
    await asyncio.wait(tasks, timeout=_PATIENCE_S)
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result
    lags = [at - sent[name] for watcher in watchers for name, at in watcher.seen.items() if name in sent]
    return Viewers(
        database=database,
        viewers=viewers,
        alarms=alarms,
        expected=viewers * alarms,
        delivered=len(lags),
        lag_p50_ms=float(np.median(lags)) * 1e3 if lags else float("nan"),
        lag_p99_ms=float(np.quantile(lags, 0.99)) * 1e3 if lags else float("nan"),
        kb_each=(with_viewers_mb - before_mb) * 1024 / viewers,
    )

"""A hub that keeps files and trains, asked without a socket by somebody with a role."""

from __future__ import annotations

import asyncio
import io
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from starlette.types import ASGIApp, Receive, Scope, Send

from cloud_hub.accounts.permissions import ROLE_PERMISSIONS, Principal, Role
from cloud_hub.api.app import create_app
from cloud_hub.api.context import HubContext
from cloud_hub.ingest.assemble import assemble_capture
from cloud_hub.ingest.status import IngestStatus
from cloud_hub.jobs.places import Places
from cloud_hub.jobs.runner import JobRunner
from cloud_hub.services.models import Publish
from cloud_hub.services.workshop import Workshop
from cloud_hub.settings import Settings, load_settings
from cloud_hub.store.database import Database
from cloud_hub.store.writer import Received, Writer
from tests.simulators.hub import chunks

NOW_S = 20_000.0
ENGINEER = Principal("ada", "user", ROLE_PERMISSIONS[Role.ENGINEER])
OPERATOR = Principal("olga", "user", ROLE_PERMISSIONS[Role.OPERATOR])


class MlopsHub:
    """A database, folders and an API. `as_`: who asks next."""

    def __init__(self, database: Database, home: Path, publish: Publish | None = None, **settings: Any) -> None:
        self.database = database
        self.settings: Settings = load_settings(home).model_copy(update=settings)
        self.places = Places.of(self.settings)
        self.as_: Principal | None = ENGINEER
        self.woken = 0
        self._writer = Writer(database, lambda: NOW_S)
        context = HubContext(
            database=database,
            captures_dir=self.settings.captures_dir,
            fleet="plant",
            now_s=lambda: NOW_S,
            ingest=IngestStatus().view,
            connected=lambda: True,
            workshop=Workshop(self.places, self._wake, publish),
        )
        self.app = create_app(context)

    def _wake(self) -> None:
        self.woken += 1

    def ask(self, method: str, path: str, status: int = 200, **more: Any) -> Any:
        """One request to the API. Returns: the JSON, or the answer itself when it has none."""
        answer = self.send(method, f"/api/v1{path}", **more)
        assert answer.status_code == status, answer.text
        kind = answer.headers.get("content-type", "")
        return answer.json() if answer.content and "json" in kind else answer

    def send(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def go() -> httpx.Response:
            transport = httpx.ASGITransport(app=_As(self.app, self.as_), raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://hub") as client:
                return await client.request(method, path, **more)

        return asyncio.run(go())

    def upload(self, name: str, data: bytes, status: int = 201) -> Any:
        return self.ask("POST", "/uploads", status, params={"name": name}, content=data)

    def capture(self, capture: str = "cap-1", **changes: Any) -> str:
        """Store a whole capture. As it stands: 3 chunks of 100 samples at 12 kHz, a gap before the last."""
        parts = chunks(capture, **changes)
        self._writer.store([Received(part) for part in parts])
        assemble_capture(self.database, capture, self.places.captures, NOW_S)
        return capture


class _As:
    """What the middleware of accounts does: says who asks."""

    def __init__(self, app: ASGIApp, principal: Principal | None) -> None:
        self._app, self._principal = app, principal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["principal"] = self._principal
        await self._app(scope, receive, send)


def vibration(seconds: float = 15.0, seed: int = 1, rate_hz: int = 4000, impacts: float = 0.0) -> bytes:
    """An npz file of one axis in m/s2: three lines in noise, and impacts of that size."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    x = sum(np.sin(2 * np.pi * f * t + rng.uniform(0, 6)) for f in (50, 150, 900)) + rng.normal(0, 1, len(t))
    x[:: rate_hz // 37] += impacts
    file = io.BytesIO()
    np.savez(file, x=x.astype(np.float32), rate_hz=np.float64(rate_hz), units=np.str_("m/s2"))
    return file.getvalue()


def table(rows: int = 600, seed: int = 1) -> bytes:
    """A CSV of two slow signals, once a second."""
    rng = np.random.default_rng(seed)
    values = rng.normal(20, 1, (rows, 2))
    lines = [f"{i},{a:.3f},{b:.3f}" for i, (a, b) in enumerate(values)]
    return "\n".join(["time_s,temp_degC,current_A", *lines]).encode()


def runner(hub: MlopsHub, script: str, **settings: Any) -> JobRunner:
    """A runner whose trainings are a script of the test's; `sys.argv[1:]` are the words after `cloud-hub`."""
    return JobRunner(
        hub.database,
        hub.settings.model_copy(update=settings),
        lambda: NOW_S,
        program=(sys.executable, "-c", script),
    )


def until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Wait until it is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)
    return found

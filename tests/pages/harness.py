"""A hub's application on a free port, and a browser window that fails the test for whatever a person could trip over."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from axe_playwright_python.base import AXE_FILE_PATH
from fastapi import FastAPI, Request
from playwright.sync_api import Browser, ConsoleMessage, Page, Response, expect
from playwright.sync_api import Request as PageRequest
from starlette.types import ASGIApp, Receive, Scope, Send

from cloud_hub.accounts.permissions import ROLE_PERMISSIONS, Principal, Role
from cloud_hub.api.app import create_app
from cloud_hub.api.context import HubContext
from cloud_hub.api.server import ApiServer
from cloud_hub.ingest.status import IngestStatus
from cloud_hub.jobs.places import Places
from cloud_hub.services.workshop import Workshop
from cloud_hub.settings import load_settings
from cloud_hub.store.database import Database
from tests.simulators.plant_data import NOW_S

# Machines are busy: nothing here is about time. What is expected is waited for as long as what is clicked.
_PATIENCE_MS = 30_000
expect.set_options(timeout=_PATIENCE_MS)

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
DESKTOP, PHONE = (1280, 800), (390, 844)
ROLE_HEADER = "x-test-role"
_AXE = Path(AXE_FILE_PATH).read_text("utf-8")
_AXE_RULES = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
}


class AsRole:
    """Takes the caller's role from a header, as no hub does: for pages, not for accounts."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            role = Request(scope).headers.get(ROLE_HEADER, "admin")
            if role != "nobody":
                principal = Principal(f"{role}@plant", "user", ROLE_PERMISSIONS[Role(role)])
                scope.setdefault("state", {})["principal"] = principal
        await self._app(scope, receive, send)


class PageHub:
    """The application over a database, at a fixed time. `status`, `connected`: what it says of itself."""

    def __init__(self, database: Database, folder: Path, now_s: float = NOW_S) -> None:
        self.database, self.folder = database, folder
        self.now_s = now_s
        self.status = IngestStatus()
        self.connected = True
        context = HubContext(
            database=database,
            captures_dir=folder,
            fleet="plant",
            now_s=lambda: self.now_s,
            ingest=self.status.view,
            connected=lambda: self.connected,
            workshop=Workshop(Places.of(load_settings(folder))),
        )
        self.app: FastAPI = create_app(context)
        self.app.add_middleware(AsRole)

    @contextmanager
    def served(self) -> Iterator[str]:
        """The address while it is served from a thread."""
        server = ApiServer(self.app, "127.0.0.1", 0)
        thread = threading.Thread(target=server.run, name="hub", daemon=True)
        thread.start()
        try:
            yield server.url
        finally:
            server.stop()
            thread.join(10.0)


class Window:
    """One page of a browser. Everything that goes wrong in it is in `problems`; `check` says that there is nothing."""

    def __init__(self, page: Page, url: str, *, scripts: bool = True) -> None:
        self.page, self.url, self.scripts = page, url, scripts
        self.problems: list[str] = []
        self.allowed: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.problems.append(f"page error: {error}"))
        page.on("requestfailed", self._failed)
        page.on("response", self._response)
        # A violation of the content policy is also an event of the document: it has more to say than the console.
        page.add_init_script(
            "document.addEventListener('securitypolicyviolation', e => console.error('CSP', e.violatedDirective, e.blockedURI, e.sourceFile, e.lineNumber, e.sample))"
        )

    def open(self, path: str, *, status: int = 200) -> Page:
        """Go there; the answer must have this status."""
        if status >= 400:
            self.allowed.append(path)
        answer = self.page.goto(self.url + path, wait_until="load")
        assert answer is not None
        assert answer.status == status, f"{path}: {answer.status}"
        return self.page

    def check(self) -> None:
        """Nothing went wrong, nothing is wider than the window, and axe finds nothing."""
        assert not self.problems, "\n".join(self.problems)
        if not self.scripts:
            return  # axe is a script; the same pages are looked at with scripts, too
        overflow = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow <= 0, f"{self.page.url}: the page is {overflow} px wider than the window"
        found = axe(self.page)
        assert not found, "\n".join(found)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not self._is_allowed(str(message.location.get("url", ""))):
            self.problems.append(f"console {message.type}: {message.text}")

    def _failed(self, request: PageRequest) -> None:
        # Whoever leaves a page leaves its stream, its icon, and what its script was about to fetch anew.
        passing = request.resource_type in {"eventsource", "fetch"} or request.url.endswith("/icon.svg")
        left = request.failure == "net::ERR_ABORTED" and passing
        if not left:
            self.problems.append(f"request failed: {request.url} {request.failure}")

    def _response(self, response: Response) -> None:
        if response.status >= 400 and not self._is_allowed(response.url):
            self.problems.append(f"{response.status}: {response.url}")

    def _is_allowed(self, url: str) -> bool:
        return any(url == self.url + path for path in self.allowed)


def axe(page: Page) -> list[str]:
    """What axe-core finds, one line each: rule, impact, where. The page's own content policy stays in force."""
    page.evaluate(_AXE)
    found: dict[str, Any] = page.evaluate(f"axe.run(document, {json.dumps(_AXE_RULES)})")
    return [
        f"{v['id']} ({v['impact']}): {node['target']} {node['failureSummary']}"
        for v in found["violations"]
        for node in v["nodes"]
    ]


def window(browser: Browser, url: str, size: tuple[int, int], *, scheme: str = "light", role: str = "admin",
           time_zone: str = "Europe/Berlin", scripts: bool = True) -> Window:  # fmt: skip
    """A new window with nothing remembered."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=scheme,  # type: ignore[arg-type]
        extra_http_headers={ROLE_HEADER: role},
        timezone_id=time_zone,
        locale="en-GB",
        java_script_enabled=scripts,
        reduced_motion="reduce",
    )
    context.set_default_timeout(_PATIENCE_MS)
    return Window(context.new_page(), url, scripts=scripts)

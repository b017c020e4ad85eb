"""Every route, as every role and as nobody, against the one table `cloud_hub/api/ACCESS.md`."""

from __future__ import annotations

import asyncio
import contextlib
import re
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI

import cloud_hub.api
from cloud_hub.accounts.permissions import ROLE_PERMISSIONS, Permission, Principal, Role
from cloud_hub.accounts.secrets import csrf_token
from cloud_hub.api.access import PUBLIC, Route, routes_of
from cloud_hub.api.guard import needs
from cloud_hub.store.database import Database
from tests.cloud_hub.people import Browser, Town

TABLE = Path(cloud_hub.api.__file__).with_name("ACCESS.md")
_ROW = re.compile(r"\| ([A-Z]+) \| `(\S+)` \| (.+) \|")
_ENDS_A_SESSION = "/logout"
_WAYS_IN = {"/login", "/link/{secret}"}


def table() -> list[Route]:
    return [Route(m[1], m[2], m[3]) for m in map(_ROW.fullmatch, TABLE.read_text().splitlines()) if m]


def lines(routes: list[Route]) -> str:
    return "\n".join(f"| {r.method} | `{r.path}` | {r.access} |" for r in routes)


@pytest.fixture
def town(database: Database, tmp_path: Path) -> Town:
    return Town(database, tmp_path)


def test_the_table_names_every_route(town: Town) -> None:
    real = routes_of(town.app)
    assert len(real) > 40
    assert lines(table()) == lines(real), f"the whole table as it is now:\n{lines(real)}"


async def _status(app: FastAPI, route: Route, headers: dict[str, str]) -> int:
    """The status of one request; what would follow it, perhaps for ever, is not waited for."""
    path = re.sub(r"\{[^}]+\}", "x", route.path)
    found: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    scope: dict[str, Any] = {
        "type": "http", "http_version": "1.1", "method": route.method, "scheme": "http", "path": path,
        "raw_path": path.encode(), "query_string": b"", "root_path": "", "server": ("hub.test", 80),
        "client": ("192.0.2.1", 40_000), "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
    }  # fmt: skip

    sent = False

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if not sent:
            sent = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await asyncio.wait([found])  # as a server: whoever asks again waits until the caller has gone
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start" and not found.done():
            found.set_result(message["status"])

    task = asyncio.ensure_future(app(scope, receive, send))
    await asyncio.wait([found, task], return_when=asyncio.FIRST_COMPLETED, timeout=60.0)
    await asyncio.wait([task], timeout=5.0)  # it is told that the caller has gone; cancelled, it would clear nothing up
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        await task
    return found.result()


def test_every_route_as_every_role_and_as_nobody(town: Town) -> None:
    routes = sorted(table(), key=lambda r: r.path == _ENDS_A_SESSION)
    cookies: dict[str, str] = {}
    for role in Role:
        browser = Browser(town)
        assert browser.sign_in(town.add(role.value, role)).status_code == 303
        cookies[role.value] = browser.cookies["mw_session"]
    cookies["nobody"] = ""

    async def walk() -> dict[tuple[str, str, str], int]:
        answers = {}
        for who, cookie in cookies.items():
            headers = {"host": "hub.test", "accept": "application/json"}
            if cookie:
                headers |= {"cookie": f"mw_session={cookie}", "x-csrf-token": csrf_token(cookie)}
            for route in routes:
                answers[who, route.method, route.path] = await _status(town.app, route, headers)
        return answers

    wrong = []
    for (who, method, path), status in asyncio.run(walk()).items():
        access = next(r.access for r in routes if (r.method, r.path) == (method, path))
        if access == PUBLIC:
            good = status not in {401, 403} or path in _WAYS_IN  # refused for what was sent, not for who sent it
        elif who == "nobody":
            good = status == 401
        else:
            needed = {Permission(p) for p in access.split(" + ")} if access != "signed in" else set()
            good = (status not in {401, 403}) if needed <= ROLE_PERMISSIONS[Role(who)] else status == 403
        if not good or status >= 500:
            wrong.append((who, method, path, access, status))
    assert not wrong, "\n".join(map(str, wrong))


def test_each_role_may_do_what_the_one_before_may() -> None:
    roles = [ROLE_PERMISSIONS[role] for role in Role]
    assert all(less < more for less, more in pairwise(roles))
    assert roles[-1] == frozenset(Permission)


@pytest.mark.parametrize("guarded", [False, True])
def test_a_route_that_nobody_has_thought_about_stops_the_hub(guarded: bool) -> None:
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    router = APIRouter()

    @router.get("/forgotten")
    def forgotten() -> None: ...

    @router.post("/login")
    def login(_caller: Annotated[Principal, Depends(needs(Permission.FLEET_READ))]) -> None: ...

    if guarded:
        router.routes.remove(router.routes[0])
    app.include_router(router, prefix="/api/v1" if not guarded else "")
    text = "POST /login is both public and guarded" if guarded else "takes no caller through cloud_hub.api.guard.needs"
    with pytest.raises(RuntimeError, match=text):
        routes_of(app)


def test_openapi_says_how_callers_are_recognised_and_refused(town: Town) -> None:
    document = town.app.openapi()
    assert set(document["components"]["securitySchemes"]) == {"token", "session"}
    for route in table():
        if not route.path.startswith("/api/v1/") or route.path.endswith("openapi.json"):
            continue
        operation = document["paths"][route.path][route.method.lower()]
        if route.access == PUBLIC:
            assert operation["security"] == [], route
        else:
            assert operation["security"] == [{"token": []}, {"session": []}], route
            assert {"401", "403"} <= set(operation["responses"]), route
            assert operation["x-permission"] == route.access

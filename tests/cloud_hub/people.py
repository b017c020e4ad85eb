"""A hub with people in it who have passwords, and browsers that keep cookies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
from argon2 import PasswordHasher
from fastapi import FastAPI

from cloud_hub.accounts.passwords import Passwords
from cloud_hub.accounts.permissions import Permission, Role, command_line
from cloud_hub.accounts.records import Limits
from cloud_hub.api.app import create_app
from cloud_hub.api.context import HubContext
from cloud_hub.ingest.status import IngestStatus
from cloud_hub.services import accounts, tokens
from cloud_hub.services.sign_in import Door, Visitor
from cloud_hub.store import tables as t
from cloud_hub.store.accounts_queries import AuditView, list_audit
from cloud_hub.store.database import Database
from cloud_hub.store.paging import Paging

GOOD = "kelp brim ox tally"
BETTER = "wheelbarrow sings at noon"
ROOT = command_line("root")
BASE = "http://hub.test"


def quick_door(limits: Limits | None = None) -> Door:
    """Hashes that take no time."""
    cheap = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    return Door(limits or Limits(), cheap)


class Town:
    """A hub and its people. `now_s` is everybody's clock."""

    def __init__(self, database: Database, folder: Path, public_url: str = "", door: Door | None = None) -> None:
        self.database = database
        self.now_s = 1_000_000.0
        self.door = door or quick_door()
        self.context = HubContext(
            database=database,
            captures_dir=folder,
            fleet="plant",
            now_s=lambda: self.now_s,
            ingest=IngestStatus().view,
            connected=lambda: True,
            door=self.door,
            public_url=public_url,
        )
        self.app: FastAPI = create_app(self.context)

    def add(self, name: str, role: Role = Role.VIEWER, password: str = GOOD) -> str:
        """A person with a password."""
        accounts.create_account(self.database, ROOT, name, role, self.now_s)
        secret = accounts.password_link(self.database, self.door, ROOT, name, self.now_s)
        accounts.use_link(self.database, self.door, Visitor("setup"), secret, password, self.now_s)
        return name

    def token(self, *scopes: Permission, account: str | None = None, lasts_s: float = 3600.0) -> str:
        """The secret of a new token."""
        return tokens.create_token(
            self.database, ROOT, self.door.limits, "bot", scopes, lasts_s, self.now_s, account=account
        )[1]

    def audit(self, action: str | None = None) -> list[AuditView]:
        """Newest first."""
        with self.database.read() as session:
            return list(list_audit(session, Paging(500), action=action).items)

    def stored(self) -> str:
        """Everything that the tables of accounts and the audit log hold, as text."""
        rows: list[str] = []
        with self.database.read() as session:
            for table in (
                t.Account,
                t.LoginSession,
                t.LoginDevice,
                t.ApiToken,
                t.AccountLink,
                t.AuditEntry,
                t.IdempotencyKey,
            ):
                columns = [c.key for c in table.__table__.columns]
                rows += [repr({key: getattr(row, key) for key in columns}) for row in session.query(table)]
        return "\n".join(rows)


class Browser:
    """Keeps cookies and sends Origin, as browsers do."""

    def __init__(self, town: Town, address: str = "192.0.2.1", base: str = BASE) -> None:
        self._town, self._address, self._base = town, address, base
        self.cookies: dict[str, str] = {}
        self.set_cookie: list[str] = []

    def send(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, origin: str | None = None, **more: Any
    ) -> httpx.Response:
        """One request; redirects are not followed."""

        async def call() -> httpx.Response:
            transport = httpx.ASGITransport(
                app=self._town.app, raise_app_exceptions=False, client=(self._address, 40_000)
            )
            sent = {"accept": "text/html"}
            if method != "GET" and origin != "":
                sent["origin"] = origin or self._base
            if self.cookies:
                sent["cookie"] = "; ".join(f"{k}={v}" for k, v in self.cookies.items())
            async with httpx.AsyncClient(transport=transport, base_url=self._base) as client:
                return await client.request(method, path, headers=sent | (headers or {}), **more)

        answer = run(call)
        self.set_cookie = answer.headers.get_list("set-cookie")
        for one in self.set_cookie:
            name, _, value = one.partition(";")[0].partition("=")
            self.cookies[name] = value.strip('"')
            if not self.cookies[name]:
                del self.cookies[name]
        return answer

    def get(self, path: str, **more: Any) -> httpx.Response:
        """GET."""
        return self.send("GET", path, **more)

    def sign_in(self, name: str, password: str = GOOD, **more: Any) -> httpx.Response:
        """By the form."""
        return self.send("POST", "/login", data={"name": name, "password": password}, **more)

    @property
    def csrf(self) -> str:
        """The token that pages carry."""
        page = self.get("/login?next=/api") if not self.cookies else self.get("/api")
        return page.text.split('name="csrf_token" value="', 1)[1].split('"', 1)[0]

    def api(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """A call of the API with the session's cookie, as scripts of our pages make it."""
        sent = {"accept": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
        if method != "GET":
            sent.setdefault("x-csrf-token", self.csrf)
        return self.send(method, f"/api/v1{path}", headers=sent, **({"json": body} if body is not None else {}))


def bearer(town: Town, secret: str, method: str, path: str, body: Any = None) -> httpx.Response:
    """A call with a token."""
    headers = {"authorization": f"Bearer {secret}", "accept": "application/json"}
    return Browser(town).send(method, path, headers=headers, **({"json": body} if body is not None else {}))


def run(call: Callable[[], Coroutine[Any, Any, httpx.Response]]) -> httpx.Response:
    """In an event loop of its own."""
    return asyncio.run(call())

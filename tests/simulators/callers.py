"""Somebody to ask the API, without accounts: each request is made by one principal."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from cloud_hub.accounts.permissions import ROLE_PERMISSIONS, Principal, Role

OPERATOR = Principal("olga", "user", ROLE_PERMISSIONS[Role.OPERATOR])
VIEWER = Principal("victor", "user", ROLE_PERMISSIONS[Role.VIEWER])


class _AsPrincipal:
    def __init__(self, app: ASGIApp, caller: Caller) -> None:
        self._app, self._caller = app, caller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope.setdefault("state", {})["principal"] = self._caller.principal
        await self._app(scope, receive, send)


class Caller:
    """Who asks an application from now on; `principal` may be changed, None is nobody."""

    def __init__(self, app: FastAPI, principal: Principal | None = OPERATOR) -> None:
        self.principal = principal
        app.add_middleware(_AsPrincipal, caller=self)

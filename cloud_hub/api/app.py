"""Puts the API together."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud_hub.api import problems
from cloud_hub.api.access import routes_of
from cloud_hub.api.auth import Recognise
from cloud_hub.api.context import HubContext
from cloud_hub.api.pages import alarms as alarm_pages
from cloud_hub.api.pages import errors, overview, reference, rendering, sign_in, static
from cloud_hub.api.pages import machines as machine_pages
from cloud_hub.api.routes import (
    accounts,
    alarms,
    enrolment,
    exports,
    fleet,
    history,
    machines,
    rollouts,
    stream,
    system,
)
from cloud_hub.live.feed import Feed

PREFIX = "/api/v1"
_HEADERS = [
    (
        b"content-security-policy",
        (
            b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
            b"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
        ),
    ),
    (b"x-content-type-options", b"nosniff"),
    # With no-referrer, browsers would send our own forms with "Origin: null" (Fetch standard, 3.2).
    (b"referrer-policy", b"same-origin"),
]
_PRIVATE = (b"cache-control", b"no-store")


def create_app(context: HubContext) -> FastAPI:
    """The application. FastAPI's own documentation pages load scripts from elsewhere, so there are none of them: `/api`
    lists the routes, `/api/v1/openapi.json` describes them.

    Raises: RuntimeError: a route is neither guarded nor in the list of public ones.
    """
    app = FastAPI(
        title="Millwright hub",
        version=_version(),
        description="What the gateways of a fleet report: machines, points, alarms with evidence, trends, captures; "
        "and the bundles and wants that they were given. Times are UTC seconds since 1970; a score of 1.0 is the "
        "limit. Lists come in pages: pass `next` as `cursor` to get the one after.",
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.context = context
    app.state.live = Feed(context.database, context.now_s)
    problems.install(app, page=errors.page, wants_page=errors.wants_page)
    for routes in (accounts, alarms, enrolment, exports, fleet, history, machines, rollouts, stream, system):
        app.include_router(routes.router, prefix=PREFIX)
    for page in (alarm_pages, machine_pages, overview, reference, rendering, sign_in, static):
        app.include_router(page.router)
    routes_of(app)  # every one of them has an owner, or there is no application
    app.add_middleware(Recognise, context=context)
    app.add_middleware(_SecurityHeaders)
    return app


class _SecurityHeaders:
    """Nothing from elsewhere, no framing, no guessing of types; kept nowhere unless a route says so."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = any(name == b"cache-control" for name, _ in message["headers"])
                more = _HEADERS if kept else [*_HEADERS, _PRIVATE]
                message["headers"] = [*message["headers"], *more]
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _version() -> str:
    try:
        return version("millwright")
    except PackageNotFoundError:
        return "0"

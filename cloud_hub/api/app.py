"""Puts the API together."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI, Request
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud_hub.api import problems, workbench
from cloud_hub.api.access import routes_of
from cloud_hub.api.auth import Recognise, is_secure
from cloud_hub.api.context import HubContext
from cloud_hub.api.limits import BodyLimit
from cloud_hub.api.pages import account, admin, errors, overview, reference, rendering, sign_in, single_sign_on, static
from cloud_hub.api.pages import alarms as alarm_pages
from cloud_hub.api.pages import hooks as hook_pages
from cloud_hub.api.pages import machines as machine_pages
from cloud_hub.api.routes import (
    accounts,
    alarms,
    enrolment,
    exports,
    fleet,
    history,
    hooks,
    inventory,
    machines,
    metrics,
    retention,
    rollouts,
    stream,
    system,
)
from cloud_hub.live.feed import Feed
from cloud_hub.observing.metrics import Metrics

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
    # Not no-referrer: with that, browsers send "Origin: null" with our own forms (Fetch standard, 3.2), and what comes
    # from elsewhere could not be told apart any more.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
]
# A year, this host alone: what else the domain has is not ours to decide about.
_TLS_ONLY = (b"strict-transport-security", b"max-age=31536000")
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
    problems.install(
        app,
        page=errors.page,
        wants_page=errors.wants_page,
        fault_headers={name.decode(): value.decode() for name, value in _HEADERS},
    )
    if not _ROUTES:
        own = len(app.router.routes)  # what FastAPI makes for each application: its description
        _include(app)
        _ROUTES.extend(app.router.routes[own:])
    else:
        app.router.routes.extend(_ROUTES)
    app.add_middleware(Recognise, context=context)
    app.add_middleware(BodyLimit, larger=workbench.larger_bodies(context, PREFIX))
    app.add_middleware(_SecurityHeaders, context=context)
    app.state.metrics = Metrics(
        context.database,
        now_s=context.now_s,
        ingest=context.ingest,
        connected=context.connected,
        metadata_until_s=context.metadata_until_s,
    )
    app.add_middleware(metrics.TimedRequests, metrics=app.state.metrics)
    return app


# Routes know nothing of the application that they are in, and take a second to make: once for each process.
_ROUTES: list[BaseRoute] = []


def _include(app: FastAPI) -> None:
    """Raises: RuntimeError: a route is neither guarded nor in the list of public ones."""
    for routes in (
        accounts,
        alarms,
        enrolment,
        exports,
        fleet,
        history,
        hooks,
        inventory,
        machines,
        retention,
        rollouts,
        stream,
        system,
    ):
        app.include_router(routes.router, prefix=PREFIX)
    app.include_router(metrics.router)
    for page in (
        account,
        admin,
        alarm_pages,
        hook_pages,
        machine_pages,
        overview,
        reference,
        rendering,
        sign_in,
        single_sign_on,
        static,
    ):
        app.include_router(page.router)
    workbench.include(app, PREFIX)
    routes_of(app)  # every one of them has an owner, or there is no application


class _SecurityHeaders:
    """Nothing from elsewhere, no framing, no guessing of types; kept nowhere unless a route says so."""

    def __init__(self, app: ASGIApp, context: HubContext) -> None:
        self._app, self._context = app, context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        secure = scope["type"] == "http" and is_secure(Request(scope), self._context)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name for name, _ in message["headers"]}  # a report has a content policy of its own
                ours = [*_HEADERS, _PRIVATE, *([_TLS_ONLY] if secure else [])]
                more = (header for header in ours if header[0] not in own)
                message["headers"] = [*message["headers"], *more]
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _version() -> str:
    try:
        return version("millwright")
    except PackageNotFoundError:
        return "0"

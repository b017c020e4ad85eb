"""Recognises who sends a request, before any route sees it; and cookies, which only this module reads and writes.

Cookies are `HttpOnly; SameSite=Lax; Path=/`, and over TLS also `Secure` under a name with `__Host-`, which no other
host of the domain can set.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from contextlib import nullcontext
from http import HTTPStatus
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud_hub.accounts.secrets import csrf_token, is_secret
from cloud_hub.api import problems
from cloud_hub.api.access import template_of
from cloud_hub.api.context import HubContext
from cloud_hub.api.guard import SAFE_METHODS
from cloud_hub.errors import HubError
from cloud_hub.observing.logs import about
from cloud_hub.services import sign_in
from cloud_hub.services.sign_in import SignedIn, Visitor

_log = logging.getLogger(__name__)
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SESSION = "mw_session"
_DEVICE = "mw_device"
_ATTEMPT = "mw_attempt"
_ATTEMPT_S = 600
_BAD_TOKEN = "API token: unknown, expired or revoked"  # noqa: S105 - a text


class Recognise:
    """Sets `request.state`: `request_id`, `principal`, `session`, `account` (the caller's own, None for a program),
    `csrf_token` (for forms), `refused` (why a token was not taken).

    A request that changes something and comes from a page of another origin is refused here, whatever it asks for: that
    also keeps others from signing somebody in to an account of theirs.
    """

    def __init__(self, app: ASGIApp, context: HubContext) -> None:
        self._app = app
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Recognise, then hand on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        request_id = _request_id(request)
        request.state.request_id = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        with about(request=request_id):
            answer = await self._look(request)
            who = getattr(request.state, "principal", None)
            with about(who=who.name) if who is not None else nullcontext():
                await self._carry_out(answer or self._app, scope, receive, send_with_id)

    async def _carry_out(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Every change leaves a line; reads do at debug level. The route's template, not the path: that may hold the
        secret of a link.
        """
        status, began = 500, time.perf_counter()

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await app(scope, receive, noting)
        except Exception as error:
            _log.error("%s %s: a fault: %r; its trace follows", scope["method"], template_of(scope), error)
            raise
        finally:
            level = logging.DEBUG if scope["method"] in SAFE_METHODS else logging.INFO
            took_ms = 1000 * (time.perf_counter() - began)
            _log.log(level, "%s %s: %d in %.0f ms", scope["method"], template_of(scope), status, took_ms)

    async def _look(self, request: Request) -> Response | None:
        """An answer when it ends here."""
        if request.method not in SAFE_METHODS and "authorization" not in request.headers:
            wrong = foreign_origin(request, self._context)
            if wrong is not None:
                return problems.answer(request, HTTPStatus.FORBIDDEN, wrong, "origin")
        if getattr(request.state, "principal", None) is not None:
            return None
        for name in ("principal", "session", "account", "refused"):
            setattr(request.state, name, None)
        request.state.csrf_token = ""
        try:
            if "authorization" in request.headers:
                await run_in_threadpool(self._by_token, request)
            elif is_secret(cookie(request, self._context, _SESSION)):
                await run_in_threadpool(self._by_cookie, request)
        except HubError as error:
            # Without the path: that may hold the secret of a link, and no route has been found yet.
            _log.error("%s: the caller could not be looked up: %s", request.method, error)
            return problems.answer_to(request, error)
        return None

    def _by_token(self, request: Request) -> None:
        scheme, _, secret = request.headers["authorization"].partition(" ")
        if scheme.lower() != "bearer":
            request.state.refused = f"authorization: expected Bearer, got {scheme[:40]!r}"
            return
        found = sign_in.token_of(self._context.database, secret.strip(), self._context.now_s())
        if found is None:
            request.state.refused = _BAD_TOKEN
            return
        request.state.principal, request.state.account = found

    def _by_cookie(self, request: Request) -> None:
        secret = cookie(request, self._context, _SESSION)
        limits = self._context.door.limits
        found = sign_in.session_of(self._context.database, secret, self._context.now_s(), limits)
        if found is not None:
            request.state.session = found
            request.state.principal = found.account.as_principal()
            request.state.account = found.account.name
            request.state.csrf_token = csrf_token(found.secret)


def _request_id(request: Request) -> str:
    """The one that came, when it is well formed, so that logs of a proxy and ours can be laid side by side."""
    given = request.headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)


# ------------------------------------------------------------------------------------------------ where from


def is_secure(request: Request, context: HubContext) -> bool:
    """Whether the browser came over TLS: to us, or to the proxy that `public_url` names."""
    return request.url.scheme == "https" or context.public_url.startswith("https:")


def foreign_origin(request: Request, context: HubContext) -> str | None:
    """Why this request comes from a page that is not ours; None when it may be one of ours, or comes from no page.

    Every browser of today sends Origin with what is not GET or HEAD (Fetch standard, 3.2); programs send none.
    """
    origin = request.headers.get("origin")
    if origin is None:
        site = request.headers.get("sec-fetch-site", "same-origin")
        return None if site in {"same-origin", "none"} else f"sec-fetch-site: expected same-origin, got {site[:40]!r}"
    ours = _origin_of(context.public_url) if context.public_url else f"{request.url.scheme}://{request.url.netloc}"
    if origin == ours:
        return None
    hint = "" if context.public_url else "; behind a proxy, set public_url"
    return f"origin: expected {ours}, got {origin[:200]!r}{hint}"


def _origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def link_url(request: Request, context: HubContext, secret: str) -> str:
    """A one-time link as people can open it."""
    base = context.public_url or f"{request.url.scheme}://{request.url.netloc}"
    return f"{base}/link/{secret}"


def visitor_of(request: Request, context: HubContext) -> Visitor:
    """The browser that wants in."""
    device = cookie(request, context, _DEVICE)
    session = cookie(request, context, _SESSION)
    return Visitor(
        address=request.client.host if request.client is not None else "unknown",
        session=session if is_secret(session) else None,
        device=device if is_secret(device) else None,
    )


# ------------------------------------------------------------------------------------------------ cookies


def cookie(request: Request, context: HubContext, name: str) -> str:
    """A cookie of ours, "" when there is none."""
    return request.cookies.get(_cookie_name(request, context, name), "")


def _cookie_name(request: Request, context: HubContext, name: str) -> str:
    return f"__Host-{name}" if is_secure(request, context) else name


def let_in(answer: Response, request: Request, context: HubContext, signed_in: SignedIn) -> None:
    """Give a browser its cookies. The session's ends with the browser; the hub may end it sooner."""
    _set(answer, request, context, _SESSION, signed_in.session, None)
    _set(answer, request, context, _DEVICE, signed_in.device, int(context.door.limits.device_s))


def let_out(answer: Response, request: Request, context: HubContext) -> None:
    """Take the session's cookie away."""
    _set(answer, request, context, _SESSION, "", 0)


def _set(answer: Response, request: Request, context: HubContext, name: str, value: str, max_age_s: int | None) -> None:
    answer.set_cookie(
        _cookie_name(request, context, name),
        value,
        max_age=max_age_s,
        path="/",
        secure=is_secure(request, context),
        httponly=True,
        samesite="lax",
    )


def attempt_of(request: Request, context: HubContext) -> str:
    """What this browser keeps of a sign-in that is on its way to a provider and back."""
    return cookie(request, context, _ATTEMPT)


def keep_attempt(answer: Response, request: Request, context: HubContext, text: str) -> None:
    """Have the browser keep it for ten minutes; "" makes it forget."""
    _set(answer, request, context, _ATTEMPT, text, _ATTEMPT_S if text else 0)

"""Who asks, and whether they may: every route that is not public takes its caller through `needs` or `signed_in`.

`cloud_hub.api.auth` recognises callers; `cloud_hub.api.access` sees to it that no route is forgotten.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, HTTPException, Request

from cloud_hub.accounts.permissions import Permission, Principal
from cloud_hub.accounts.records import SessionView
from cloud_hub.accounts.secrets import csrf_matches
from cloud_hub.api.strict_query import check_query

CSRF_HEADER = "x-csrf-token"
CSRF_FIELD = "csrf_token"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
Guard = Callable[[Request], Awaitable[Principal]]


def principal_of(request: Request) -> Principal | None:
    """Who has been recognised by the middleware before; None: nobody."""
    found = getattr(request.state, "principal", None)
    assert found is None or isinstance(found, Principal)  # noqa: S101 - set by ours alone
    return found


def session_of(request: Request) -> SessionView | None:
    """The session of a caller who was recognised by a cookie; None for tokens."""
    found = getattr(request.state, "session", None)
    assert found is None or isinstance(found, SessionView)  # noqa: S101 - set by ours alone
    return found


def request_id_of(request: Request) -> str | None:
    """What this request is called in logs and in the audit log."""
    found: str | None = getattr(request.state, "request_id", None)
    return found


RequestIdDep = Annotated[str | None, Depends(request_id_of)]


def needs(permission: Permission) -> Guard:
    """A dependency: the caller, who has this permission. Routes write

        caller: Annotated[Principal, Depends(needs(Permission.ALARMS_ACT))]

    A caller with a cookie must also show that one of our own pages asks, where something is to be changed: the header
    X-CSRF-Token, or the form's field `csrf_token`.

    Raises: HTTPException: 401 nobody is recognised, 403 they may not, or the CSRF token is missing or wrong.
            RequestValidationError: the API's query is not understood, see `strict_query`.
    """

    async def checked(request: Request) -> Principal:
        found = await _recognised(request)
        if not found.may(permission):
            raise HTTPException(HTTPStatus.FORBIDDEN, f"{found.name} may not do this: {permission.value} is needed")
        if request.url.path.startswith("/api/"):  # after the guard: nobody learns parameters of what they may not ask
            check_query(request)
        return found

    checked.access = permission.value  # type: ignore[attr-defined]  # read by `access`
    return checked


async def signed_in(request: Request) -> Principal:
    """A dependency: the caller, whoever it is. For what belongs to the caller, such as their own password.

    Raises: HTTPException: as `needs`.
    """
    return await _recognised(request)


signed_in.access = "signed in"  # type: ignore[attr-defined]  # read by `access`


async def _recognised(request: Request) -> Principal:
    found = principal_of(request)
    if found is None:
        refused = getattr(request.state, "refused", None)
        challenge = 'Bearer error="invalid_token"' if refused else "Bearer"
        text = refused or "sign in, or send an API token"
        raise HTTPException(HTTPStatus.UNAUTHORIZED, text, headers={"WWW-Authenticate": challenge})
    session = session_of(request)
    if session is not None and request.method not in SAFE_METHODS:
        await _check_csrf(request, session)
    return found


async def _check_csrf(request: Request, session: SessionView) -> None:
    token = request.headers.get(CSRF_HEADER)
    if token is None and request.headers.get("content-type", "").startswith(_FORMS):
        value = (await request.form()).get(CSRF_FIELD)
        token = value if isinstance(value, str) else None
    if token is None or not csrf_matches(session.secret, token):
        what = "wrong, perhaps of an earlier sign-in" if token is not None else "missing"
        text = f"CSRF token: {what}; load the page again (programs: send an API token instead of a cookie)"
        raise HTTPException(HTTPStatus.FORBIDDEN, text)

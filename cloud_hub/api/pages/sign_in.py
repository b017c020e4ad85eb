"""The way in and out: sign-in, one-time links, sign-out."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.responses import Response

from cloud_hub.accounts.errors import AccountError, SignInError, TooManyTriesError
from cloud_hub.accounts.passwords import MAX_CHARS, MIN_CHARS
from cloud_hub.accounts.permissions import Principal
from cloud_hub.accounts.records import LinkView
from cloud_hub.api.auth import let_in, let_out, visitor_of
from cloud_hub.api.context import ContextDep
from cloud_hub.api.guard import RequestIdDep, principal_of, session_of, signed_in
from cloud_hub.api.pages.rendering import render
from cloud_hub.errors import ConflictError
from cloud_hub.services import accounts, sign_in

router = APIRouter(include_in_schema=False)
_SEE_OTHER = HTTPStatus.SEE_OTHER
_FIELD_CHARS = 4 * MAX_CHARS
Typed = Annotated[str, Form(max_length=_FIELD_CHARS)]


def own_path(path: str) -> str:
    """Where to go after signing in: a page of ours, never another host."""
    plain = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if plain else "/"


@router.get("/login", response_class=HTMLResponse)
def get_login(request: Request, next: str = "/") -> Response:  # noqa: A002 - the name in addresses
    """The form; whoever is signed in is led on."""
    if principal_of(request) is not None:
        return RedirectResponse(own_path(next), _SEE_OTHER)
    return _form(request, own_path(next))


@router.post("/login", response_class=HTMLResponse)
def post_login(
    request: Request,
    context: ContextDep,
    request_id: RequestIdDep,
    name: Typed = "",
    password: Typed = "",
    next: Typed = "/",  # noqa: A002 - the name in addresses
) -> Response:
    """Sign in."""
    visitor = visitor_of(request, context)
    try:
        entered = sign_in.sign_in(context.database, context.door, visitor, name, password, context.now_s(), request_id)
    except TooManyTriesError as error:
        minutes = max(1, round(error.wait_s / 60))
        text = f"Too many failed tries. Wait {minutes} min before the next one, or ask an administrator for a link."
        slow = _form(request, own_path(next), name, text, HTTPStatus.TOO_MANY_REQUESTS)
        slow.headers["Retry-After"] = str(max(1, round(error.wait_s)))
        return slow
    except SignInError:
        return _form(request, own_path(next), name, "Name or password is wrong.", HTTPStatus.UNAUTHORIZED)
    answer = RedirectResponse(own_path(next), _SEE_OTHER)
    let_in(answer, request, context, entered)
    return answer


@router.post("/logout")
def post_logout(
    request: Request, context: ContextDep, request_id: RequestIdDep, caller: Annotated[Principal, Depends(signed_in)]
) -> Response:
    """Sign out."""
    session = session_of(request)
    if session is not None:
        sign_in.sign_out(context.database, caller, session.secret, context.now_s(), request_id)
    answer = RedirectResponse("/login", _SEE_OTHER)
    let_out(answer, request, context)
    return answer


@router.get("/link/{secret}", response_class=HTMLResponse)
def get_link(request: Request, context: ContextDep, secret: str, next: str = "/") -> Response:  # noqa: A002
    """What a one-time link is for. Looking does not use it up: programs that fetch previews do."""
    return _link_form(request, accounts.look_at_link(context.database, secret, context.now_s()), own_path(next))


@router.post("/link/{secret}", response_class=HTMLResponse)
def post_link(
    request: Request,
    context: ContextDep,
    request_id: RequestIdDep,
    secret: str,
    password: Typed = "",
    again: Typed = "",
    name: Typed = "",
    next: Typed = "/",  # noqa: A002
) -> Response:
    """Set a password by a link, and sign in."""
    now_s = context.now_s()
    link = accounts.look_at_link(context.database, secret, now_s)
    if password != again:
        return _link_form(request, link, own_path(next), name, "The two passwords differ.")
    try:
        entered = accounts.use_link(
            context.database, context.door, visitor_of(request, context), secret, password, now_s,
            name=name, fleet=context.fleet, request_id=request_id,
        )  # fmt: skip
    except (AccountError, ConflictError) as error:
        return _link_form(request, link, own_path(next), name, str(error))
    answer = RedirectResponse(own_path(next), _SEE_OTHER)
    let_in(answer, request, context, entered)
    return answer


def refused(request: Request, error: str) -> HTMLResponse:
    """The form again, for somebody who came another way and was not let in."""
    return _form(request, "/", error=error, status=HTTPStatus.UNAUTHORIZED)


def _form(
    request: Request, target: str, name: str = "", error: str = "", status: HTTPStatus = HTTPStatus.OK
) -> HTMLResponse:
    provider = request.app.state.context.provider is not None
    return render(
        request, "sign_in/login.html.j2", status=status, next=target, name=name, error=error, provider=provider
    )


def _link_form(request: Request, link: LinkView, target: str, name: str = "", error: str = "") -> HTMLResponse:
    status = HTTPStatus.UNPROCESSABLE_ENTITY if error else HTTPStatus.OK
    return render(
        request, "sign_in/link.html.j2", status=status, link=link, next=target, name=name, error=error,
        min_chars=MIN_CHARS,
    )  # fmt: skip

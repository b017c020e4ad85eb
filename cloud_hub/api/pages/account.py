"""What belongs to the viewer: their password and their API tokens."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse
from starlette.responses import Response

from cloud_hub.accounts.errors import AccountError, MayNotError
from cloud_hub.accounts.passwords import MAX_CHARS, MIN_CHARS
from cloud_hub.accounts.permissions import Permission, Principal
from cloud_hub.accounts.records import TokenView
from cloud_hub.api.auth import let_in, visitor_of
from cloud_hub.api.context import ContextDep
from cloud_hub.api.guard import RequestIdDep, session_of, signed_in
from cloud_hub.api.pages.flash import redirect
from cloud_hub.api.pages.rendering import render
from cloud_hub.services import accounts, tokens
from cloud_hub.store import accounts_queries as queries
from cloud_hub.store.paging import Paging

router = APIRouter(include_in_schema=False)
Caller = Annotated[Principal, Depends(signed_in)]
Typed = Annotated[str, Form(max_length=4 * MAX_CHARS)]
_DAY_S = 86_400.0


@router.get("/account", response_class=HTMLResponse)
def get_account(request: Request, context: ContextDep, _caller: Caller) -> HTMLResponse:
    """Who I am, my password, my tokens."""
    return _page(request, context)


@router.post("/account/password")
def change_password(
    request: Request,
    context: ContextDep,
    _caller: Caller,
    request_id: RequestIdDep,
    old: Typed = "",
    new: Typed = "",
    again: Typed = "",
) -> Response:
    """A new password; every other browser is signed out."""
    name = _own(request)
    if new != again:
        return _page(request, context, wrong="The two new passwords differ.")
    try:
        entered = accounts.change_password(
            context.database, context.door, visitor_of(request, context), name, old, new, context.now_s(),
            fleet=context.fleet, request_id=request_id,
        )  # fmt: skip
    except AccountError as error:
        return _page(request, context, wrong=str(error))
    answer = redirect(request, "/account", "Your password is changed; every other browser is signed out.")
    let_in(answer, request, context, entered)
    return answer


@router.post("/account/tokens", response_class=HTMLResponse)
def create_token(
    request: Request,
    context: ContextDep,
    caller: Caller,
    request_id: RequestIdDep,
    name: Annotated[str, Form(max_length=200)] = "",
    scopes: Annotated[list[Permission], Form()] = [],  # noqa: B006 - FastAPI copies it
    days: Annotated[float, Form(gt=0, le=366)] = 90,
) -> HTMLResponse:
    """A new token, shown once."""
    owner = _own(request)
    try:
        token, secret = tokens.create_token(
            context.database, caller, context.door.limits, name, scopes, days * _DAY_S, context.now_s(),
            account=owner, request_id=request_id,
        )  # fmt: skip
    except AccountError as error:
        return _page(request, context, token_wrong=str(error))
    return _page(request, context, made=token, secret=secret)


@router.post("/account/tokens/{token}/revoke")
def revoke_token(
    request: Request, context: ContextDep, caller: Caller, request_id: RequestIdDep, token: str
) -> Response:
    """Revoke one's own token."""
    gone = tokens.revoke_token(
        context.database, caller, token, context.now_s(), account=_own(request), request_id=request_id
    )
    return redirect(request, "/account", f"The token {gone.name} is good no more.")


def _own(request: Request) -> str:
    session = session_of(request)
    if session is None:
        raise MayNotError("this is for people who have signed in, not for tokens")
    return session.account.name


def _page(
    request: Request,
    context: ContextDep,
    *,
    wrong: str = "",
    token_wrong: str = "",
    made: TokenView | None = None,
    secret: str = "",
) -> HTMLResponse:
    session = session_of(request)
    with context.database.read() as reading:
        own = queries.list_tokens(reading, Paging(100), account=session.account.name) if session is not None else None
    return render(
        request,
        "account/page.html.j2",
        status=HTTPStatus.UNPROCESSABLE_ENTITY if wrong or token_wrong else HTTPStatus.OK,
        user=session.account if session is not None else None,
        own=own,
        wrong=wrong,
        token_wrong=token_wrong,
        made=made,
        secret=secret,
        min_chars=MIN_CHARS,
    )

"""People, API tokens, the audit log, and what belongs to the caller."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from cloud_hub.accounts.errors import MayNotError
from cloud_hub.accounts.names import MAX_LABEL, NAME_PATTERN
from cloud_hub.accounts.passwords import MAX_CHARS
from cloud_hub.accounts.permissions import Permission, Principal, Role
from cloud_hub.accounts.records import AccountView, TokenView
from cloud_hub.api.answers import LinkAnswer, Me, NewToken
from cloud_hub.api.auth import let_in, link_url, visitor_of
from cloud_hub.api.conditions import IfMatch, tag
from cloud_hub.api.context import ContextDep, PagingDep, SessionDep, TimeFilter
from cloud_hub.api.guard import RequestIdDep, needs, session_of, signed_in
from cloud_hub.api.idempotency import OnceDep
from cloud_hub.api.problems import problem_responses
from cloud_hub.services import accounts, tokens
from cloud_hub.store import accounts_queries as queries
from cloud_hub.store.hook_views import AuditView
from cloud_hub.store.paging import Page
from cloud_hub.store.sorts import AuditSort

router = APIRouter(tags=["accounts"])
Manager = Annotated[Principal, Depends(needs(Permission.USERS_MANAGE))]
Caller = Annotated[Principal, Depends(signed_in)]
_S = HTTPStatus
_LIST = problem_responses(_S.BAD_REQUEST)
_ONE = problem_responses(_S.NOT_FOUND)
_CHANGE = problem_responses(_S.BAD_REQUEST, _S.NOT_FOUND, _S.CONFLICT)
_MATCHED = problem_responses(_S.BAD_REQUEST, _S.NOT_FOUND, _S.CONFLICT, _S.PRECONDITION_FAILED)
_DAY_S = 86_400.0


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class UserBody(_Body):
    """A new person. `name` stands in the audit log and cannot be changed."""

    name: Annotated[str, Field(pattern=rf"^{NAME_PATTERN}$", examples=["ann"])]
    role: Role
    full_name: Annotated[str, Field(max_length=MAX_LABEL)] = ""


class UserChange(_Body):
    """What is to be changed; what is left out stays."""

    role: Role | None = None
    full_name: Annotated[str, Field(min_length=1, max_length=MAX_LABEL)] | None = None
    disabled: bool | None = None


class TokenBody(_Body):
    """A new API token of the caller's own. It can do no more than its owner, whatever its scopes."""

    name: Annotated[str, Field(min_length=1, max_length=MAX_LABEL)]
    scopes: Annotated[list[Permission], Field(min_length=1, max_length=len(Permission))]
    days: Annotated[float, Field(gt=0.001, le=366, allow_inf_nan=False)] = 90


class PasswordBody(_Body):
    """A new password of the caller's own."""

    old: Annotated[str, Field(max_length=4 * MAX_CHARS)]
    new: Annotated[str, Field(max_length=4 * MAX_CHARS)]


# ------------------------------------------------------------------------------------------------ people


@router.get("/users", responses=_LIST)
def list_users(
    session: SessionDep, paging: PagingDep, _caller: Manager, role: Role | None = None, disabled: bool | None = None
) -> Page[AccountView]:
    """People by name."""
    return queries.list_accounts(session, paging, role=role, disabled=disabled)


@router.post("/users", responses=_CHANGE, status_code=_S.CREATED, response_model=LinkAnswer)
def create_user(
    request: Request, context: ContextDep, caller: Manager, request_id: RequestIdDep, once: OnceDep, body: UserBody
) -> Response:
    """Make an account, and a link by which its owner sets a password."""

    def make() -> LinkAnswer:
        accounts.create_account(
            context.database, caller, body.name, body.role, context.now_s(),
            full_name=body.full_name, request_id=request_id,
        )  # fmt: skip
        return _link_answer(request, context, caller, body.name, request_id)

    return once.answer(make, secret=True)


@router.get("/users/{name}", responses=_ONE)
def get_user(session: SessionDep, response: Response, _caller: Manager, name: str) -> AccountView:
    """One person. The ETag goes into If-Match of a change."""
    found = queries.get_account(session, name)
    tag(response, found.revision)
    return found


@router.patch("/users/{name}", responses=_MATCHED)
def change_user(
    context: ContextDep,
    response: Response,
    caller: Manager,
    request_id: RequestIdDep,
    name: str,
    body: UserChange,
    revision: IfMatch,
) -> AccountView:
    """Change role or full name, disable or enable. With another role, or disabled, all sessions end."""
    changed = accounts.change_account(
        context.database, caller, name, context.now_s(), role=body.role, full_name=body.full_name,
        disabled=body.disabled, revision=revision, request_id=request_id,
    )  # fmt: skip
    tag(response, changed.revision)
    return changed


@router.post("/users/{name}/password-link", responses=_CHANGE, status_code=_S.CREATED, response_model=LinkAnswer)
def create_password_link(
    request: Request, context: ContextDep, caller: Manager, request_id: RequestIdDep, once: OnceDep, name: str
) -> Response:
    """A link by which somebody sets a new password. Earlier links are void; the password is good until then."""
    return once.answer(lambda: _link_answer(request, context, caller, name, request_id), secret=True)


def _link_answer(
    request: Request, context: ContextDep, caller: Principal, name: str, request_id: str | None
) -> LinkAnswer:
    now_s = context.now_s()
    secret = accounts.password_link(context.database, context.door, caller, name, now_s, request_id)
    with context.database.read() as session:
        user = queries.get_account(session, name)
    return LinkAnswer(user=user, url=link_url(request, context, secret), expires_s=now_s + context.door.limits.link_s)


# ------------------------------------------------------------------------------------------------ tokens


@router.get("/tokens", responses=_LIST)
def list_tokens(
    session: SessionDep,
    paging: PagingDep,
    _caller: Manager,
    user: Annotated[str | None, Query(max_length=64, description="Only of this person.")] = None,
) -> Page[TokenView]:
    """Everybody's API tokens, newest first, without their secrets."""
    return queries.list_tokens(session, paging, account=user)


@router.delete("/tokens/{token}", responses=_ONE)
def revoke_token(
    request: Request, context: ContextDep, caller: Caller, request_id: RequestIdDep, token: str
) -> TokenView:
    """Revoke a token, for good. Others' tokens need users:manage."""
    account = _account(request)
    return tokens.revoke_token(context.database, caller, token, context.now_s(), account=account, request_id=request_id)


# ------------------------------------------------------------------------------------------------ the caller


@router.get("/account")
def get_me(caller: Caller) -> Me:
    """Who the caller is."""
    return Me(name=caller.name, kind=caller.kind, permissions=sorted(caller.permissions))


@router.post("/account/password", responses=_CHANGE, status_code=_S.NO_CONTENT)
def change_password(
    request: Request, context: ContextDep, _caller: Caller, request_id: RequestIdDep, body: PasswordBody
) -> Response:
    """Set a new password of one's own. All sessions end; this browser's goes on under a new id."""
    entered = accounts.change_password(
        context.database, context.door, visitor_of(request, context), _own(request), body.old, body.new,
        context.now_s(), fleet=context.fleet, request_id=request_id,
    )  # fmt: skip
    answer = Response(status_code=_S.NO_CONTENT)
    let_in(answer, request, context, entered)
    return answer


@router.get("/account/tokens", responses=_LIST)
def list_own_tokens(request: Request, session: SessionDep, paging: PagingDep, _caller: Caller) -> Page[TokenView]:
    """One's own API tokens, newest first."""
    return queries.list_tokens(session, paging, account=_own(request))


@router.post("/account/tokens", responses=_CHANGE, status_code=_S.CREATED, response_model=NewToken)
def create_own_token(
    request: Request, context: ContextDep, caller: Caller, request_id: RequestIdDep, once: OnceDep, body: TokenBody
) -> Response:
    """Make an API token for a program of one's own."""
    owner = _own(request)

    def make() -> NewToken:
        token, secret = tokens.create_token(
            context.database, caller, context.door.limits, body.name, body.scopes, body.days * _DAY_S,
            context.now_s(), account=owner, request_id=request_id,
        )  # fmt: skip
        return NewToken(token=token, secret=secret)

    return once.answer(make, secret=True)


def _account(request: Request) -> str | None:
    found: str | None = getattr(request.state, "account", None)
    return found


def _own(request: Request) -> str:
    """The caller's own account, which only a sign-in gives: a token could live for ever if it could make another one.

    Raises: MayNotError.
    """
    session = session_of(request)
    if session is None:
        raise MayNotError("this is for people who have signed in, not for tokens")
    return session.account.name


# ------------------------------------------------------------------------------------------------ the audit log


@router.get("/audit", responses=_LIST, dependencies=[Depends(needs(Permission.AUDIT_READ))])
def list_audit(
    session: SessionDep,
    paging: PagingDep,
    who: Annotated[str | None, Query(max_length=200)] = None,
    action: Annotated[str | None, Query(max_length=64, examples=["account.change", "account."])] = None,
    target: Annotated[str | None, Query(max_length=200, examples=["account:ann"])] = None,
    since: TimeFilter = None,
    until: TimeFilter = None,
    sort: AuditSort = "newest",
) -> Page[AuditView]:
    """Who changed what, newest first, or oldest first, or by what was changed; from `since` up to but without `until`.
    `action`: one, or all of "account.".
    """
    return queries.list_audit(
        session, paging, who=who, action=action, target=target, since_s=since, until_s=until, sort=sort
    )

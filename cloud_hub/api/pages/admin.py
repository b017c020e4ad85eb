"""Administration: people, API tokens, the audit log."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.responses import Response

from cloud_hub.accounts.errors import AccountError
from cloud_hub.accounts.permissions import Permission, Principal, Role
from cloud_hub.api.auth import link_url
from cloud_hub.api.context import ContextDep, PagingDep, SessionDep
from cloud_hub.api.guard import RequestIdDep, needs, signed_in
from cloud_hub.api.pages.flash import redirect
from cloud_hub.api.pages.rendering import render
from cloud_hub.errors import ConflictError
from cloud_hub.services import accounts, tokens
from cloud_hub.store import accounts_queries as queries
from cloud_hub.store.paging import Paging

router = APIRouter(include_in_schema=False)
Manager = Annotated[Principal, Depends(needs(Permission.USERS_MANAGE))]
Auditor = Annotated[Principal, Depends(needs(Permission.AUDIT_READ))]
Text = Annotated[str, Form(max_length=200)]


@router.get("/admin")
def get_admin(caller: Annotated[Principal, Depends(signed_in)]) -> RedirectResponse:
    """The first part of it that the viewer may see."""
    return RedirectResponse("/admin/users" if caller.may(Permission.USERS_MANAGE) else "/admin/audit", 303)


# ------------------------------------------------------------------------------------------------ people


@router.get("/admin/users", response_class=HTMLResponse)
def list_users(request: Request, session: SessionDep, paging: PagingDep, _caller: Manager) -> HTMLResponse:
    """People by name, and a form for one more."""
    return render(request, "admin/users.html.j2", page=queries.list_accounts(session, paging), roles=_roles(), typed={})


@router.post("/admin/users", response_class=HTMLResponse)
def add_user(
    request: Request,
    context: ContextDep,
    caller: Manager,
    request_id: RequestIdDep,
    name: Text = "",
    full_name: Text = "",
    role: Annotated[Role, Form()] = Role.VIEWER,
) -> HTMLResponse:
    """Make an account and show the link for its owner, once."""
    now_s = context.now_s()
    try:
        made = accounts.create_account(
            context.database, caller, name, role, now_s, full_name=full_name, request_id=request_id
        )
    except (AccountError, ConflictError) as error:
        with context.database.read() as session:
            page = queries.list_accounts(session, Paging())
        typed = {"name": name, "full_name": full_name, "role": role.value, "error": str(error)}
        status = HTTPStatus.UNPROCESSABLE_ENTITY
        return render(request, "admin/users.html.j2", status=status, page=page, roles=_roles(), typed=typed)
    return _show_link(request, context, caller, made.name, request_id)


@router.get("/admin/users/{name}", response_class=HTMLResponse)
def get_user(request: Request, session: SessionDep, _caller: Manager, name: str) -> HTMLResponse:
    """One person: what they may do, their tokens, what they did."""
    return render(
        request,
        "admin/user.html.j2",
        user=queries.get_account(session, name),
        roles=_roles(),
        tokens=queries.list_tokens(session, Paging(50), account=name),
        done=queries.list_audit(session, Paging(20), who=name),
    )


@router.post("/admin/users/{name}")
def change_user(
    request: Request,
    context: ContextDep,
    caller: Manager,
    request_id: RequestIdDep,
    name: str,
    revision: Annotated[int, Form()],
    role: Annotated[Role | None, Form()] = None,
    full_name: Annotated[str | None, Form(max_length=200)] = None,
    disabled: Annotated[bool | None, Form()] = None,
) -> Response:
    """Change role, full name, or whether they may sign in."""
    accounts.change_account(
        context.database, caller, name, context.now_s(), role=role, full_name=full_name, disabled=disabled,
        revision=revision, request_id=request_id,
    )  # fmt: skip
    return redirect(request, f"/admin/users/{quote(name, safe='')}", "Changed.")


@router.post("/admin/users/{name}/password-link", response_class=HTMLResponse)
def reset_user(
    request: Request, context: ContextDep, caller: Manager, request_id: RequestIdDep, name: str
) -> HTMLResponse:
    """A link for a new password, shown once."""
    return _show_link(request, context, caller, name, request_id)


def _show_link(
    request: Request, context: ContextDep, caller: Principal, name: str, request_id: str | None
) -> HTMLResponse:
    now_s = context.now_s()
    secret = accounts.password_link(context.database, context.door, caller, name, now_s, request_id)
    until_s = now_s + context.door.limits.link_s
    return render(request, "admin/link.html.j2", name=name, link=link_url(request, context, secret), until_s=until_s)


def _roles() -> list[tuple[str, str]]:
    return [(role.value, role.value) for role in Role]


# ------------------------------------------------------------------------------------------------ tokens, audit log


@router.get("/admin/tokens", response_class=HTMLResponse)
def list_tokens(request: Request, session: SessionDep, paging: PagingDep, _caller: Manager) -> HTMLResponse:
    """Everybody's API tokens."""
    return render(request, "admin/tokens.html.j2", page=queries.list_tokens(session, paging))


@router.post("/admin/tokens/{token}/revoke")
def revoke_token(
    request: Request, context: ContextDep, caller: Manager, request_id: RequestIdDep, token: str
) -> Response:
    """Revoke anybody's token."""
    gone = tokens.revoke_token(context.database, caller, token, context.now_s(), account=None, request_id=request_id)
    return redirect(request, "/admin/tokens", f"The token {gone.name} is good no more.")


@router.get("/admin/audit", response_class=HTMLResponse)
def list_audit(
    request: Request,
    session: SessionDep,
    paging: PagingDep,
    _caller: Auditor,
    who: Annotated[str, Query(max_length=200)] = "",
    action: Annotated[str, Query(max_length=64)] = "",
    target: Annotated[str, Query(max_length=200)] = "",
) -> HTMLResponse:
    """Who changed what, newest first."""
    page = queries.list_audit(session, paging, who=who or None, action=action or None, target=target or None)
    return render(request, "admin/audit.html.j2", page=page, who=who, action=action, target=target)

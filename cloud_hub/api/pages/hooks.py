"""Administration: who is told what, by webhook and by e-mail."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse
from starlette.responses import Response

from cloud_hub.accounts.permissions import Permission, Principal
from cloud_hub.api.context import ContextDep, PagingDep, SessionDep
from cloud_hub.api.guard import RequestIdDep, needs
from cloud_hub.api.pages.flash import redirect
from cloud_hub.api.pages.rendering import render
from cloud_hub.errors import HookError
from cloud_hub.notify.happenings import KINDS
from cloud_hub.services import hooks as service
from cloud_hub.store import hooks as queries
from cloud_hub.store.paging import Paging

router = APIRouter(include_in_schema=False)
Manager = Annotated[Principal, Depends(needs(Permission.HOOKS_MANAGE))]
Line = Annotated[str, Form(max_length=2000)]
Lines = Annotated[str, Form(max_length=30_000)]
Kinds = Annotated[list[str], Form(max_length=20)]
_NOTHING_TYPED = {"name": "", "url": "", "addresses": "", "machines": "", "kinds": (), "error": ""}


@router.get("/admin/hooks", response_class=HTMLResponse)
def list_hooks(request: Request, session: SessionDep, paging: PagingDep, _caller: Manager) -> HTMLResponse:
    """All hooks, and a form for one more."""
    page = queries.list_hooks(session, paging)
    return render(request, "admin/hooks.html.j2", page=page, kinds=KINDS, typed=_NOTHING_TYPED)


@router.post("/admin/hooks", response_class=HTMLResponse)
def add_hook(
    request: Request,
    context: ContextDep,
    caller: Manager,
    request_id: RequestIdDep,
    name: Line = "",
    url: Line = "",
    addresses: Lines = "",
    machines: Lines = "",
    kinds: Kinds = [],  # noqa: B006 - FastAPI copies it
) -> Response:
    """Make a hook; its secret is shown once."""
    spec = _spec(name, url, addresses, machines, kinds, enabled=True)
    try:
        made = service.create(context.database, caller, spec, context.now_s(), request_id)
    except HookError as error:
        with context.database.read() as session:
            page = queries.list_hooks(session, Paging())
        typed = {"name": name, "url": url, "addresses": addresses, "machines": machines, "kinds": kinds}
        return render(
            request,
            "admin/hooks.html.j2",
            status=HTTPStatus.UNPROCESSABLE_ENTITY,
            page=page,
            kinds=KINDS,
            typed=typed | {"error": str(error)},
        )
    if made.secret is None:
        return redirect(request, _at(made.hook.id), "Made. Send a test to see that it arrives.")
    return render(request, "admin/hook_secret.html.j2", hook=made.hook, secret=made.secret, new=True)


@router.get("/admin/hooks/{hook}", response_class=HTMLResponse)
def get_hook(request: Request, session: SessionDep, paging: PagingDep, _caller: Manager, hook: str) -> HTMLResponse:
    """One hook: what it is told, and how that went."""
    return render(
        request,
        "admin/hook.html.j2",
        hook=queries.get_hook(session, hook),
        deliveries=queries.list_deliveries(session, paging, hook),
        kinds=KINDS,
        error="",
    )


@router.post("/admin/hooks/{hook}", response_class=HTMLResponse)
def change_hook(
    request: Request,
    context: ContextDep,
    caller: Manager,
    request_id: RequestIdDep,
    hook: str,
    revision: Annotated[int, Form()],
    name: Line = "",
    url: Line = "",
    addresses: Lines = "",
    machines: Lines = "",
    kinds: Kinds = [],  # noqa: B006 - FastAPI copies it
    *,
    enabled: Annotated[bool, Form()] = False,
) -> Response:
    """Change a hook as a whole."""
    spec = _spec(name, url, addresses, machines, kinds, enabled=enabled)
    try:
        service.change(context.database, caller, hook, spec, revision, context.now_s(), request_id)
    except HookError as error:
        with context.database.read() as session:
            view, sent = queries.get_hook(session, hook), queries.list_deliveries(session, Paging(), hook)
        status = HTTPStatus.UNPROCESSABLE_ENTITY
        values = {"hook": view, "deliveries": sent, "kinds": KINDS, "error": str(error)}
        return render(request, "admin/hook.html.j2", status=status, **values)
    return redirect(request, _at(hook), "Changed.")


@router.post("/admin/hooks/{hook}/test")
def test_hook(request: Request, context: ContextDep, caller: Manager, request_id: RequestIdDep, hook: str) -> Response:
    """Send a test on the way that everything takes."""
    service.send_test(context.database, caller, hook, context.now_s(), request_id)
    return redirect(request, _at(hook), "A test is on its way; below is how it goes.")


@router.post("/admin/hooks/{hook}/secret", response_class=HTMLResponse)
def renew_secret(
    request: Request, context: ContextDep, caller: Manager, request_id: RequestIdDep, hook: str
) -> Response:
    """A new secret, shown once."""
    made = service.renew_secret(context.database, caller, hook, context.now_s(), request_id)
    return render(request, "admin/hook_secret.html.j2", hook=made.hook, secret=made.secret, new=False)


@router.post("/admin/hooks/{hook}/remove")
def remove_hook(
    request: Request,
    context: ContextDep,
    caller: Manager,
    request_id: RequestIdDep,
    hook: str,
    revision: Annotated[int, Form()],
) -> Response:
    """Take it away."""
    service.remove(context.database, caller, hook, revision, context.now_s(), request_id)
    return redirect(request, "/admin/hooks", "Taken away, with what was still on its way to it.")


@router.post("/admin/hooks/{hook}/deliveries/{delivery}/again")
def send_again(
    request: Request, context: ContextDep, caller: Manager, request_id: RequestIdDep, hook: str, delivery: int
) -> Response:
    """Try a delivery again from the start."""
    service.send_again(context.database, caller, hook, delivery, context.now_s(), request_id)
    return redirect(request, _at(hook), "It is tried again.")


def _spec(name: str, url: str, addresses: str, machines: str, kinds: list[str], *, enabled: bool) -> service.HookSpec:
    """What was typed: one address or machine a line, or with commas between."""
    listed = [tuple(text.replace(",", "\n").split()) for text in (addresses, machines)]
    return service.HookSpec(name.strip(), url.strip() or None, listed[0], tuple(kinds), listed[1], enabled)


def _at(hook: str) -> str:
    return f"/admin/hooks/{quote(hook, safe='')}"

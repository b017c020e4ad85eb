"""Webhooks and e-mail: make, change, test, see what was sent. Changes carry the revision that they were made from as
If-Match, so that two administrators do not undo each other.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from cloud_hub.accounts.permissions import Permission, Principal
from cloud_hub.api.answers import TestSent
from cloud_hub.api.context import MAX_INTEGER, ContextDep, PagingDep, SessionDep
from cloud_hub.api.guard import RequestIdDep, needs
from cloud_hub.api.idempotency import OnceDep
from cloud_hub.api.problems import problem_responses
from cloud_hub.notify.happenings import Kind
from cloud_hub.services import hooks as service
from cloud_hub.store import hooks as queries
from cloud_hub.store.hook_views import DeliveryState, DeliveryView, HookView, Made
from cloud_hub.store.paging import Page
from models.contract.ids import ID_PATTERN

Caller = Annotated[Principal, Depends(needs(Permission.HOOKS_MANAGE))]
router = APIRouter(prefix="/hooks", tags=["hooks"], dependencies=[Depends(needs(Permission.HOOKS_MANAGE))])
_DENIED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_LIST = problem_responses(HTTPStatus.BAD_REQUEST, *_DENIED)
_ONE = problem_responses(HTTPStatus.NOT_FOUND, *_DENIED)
_ONCE = problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, *_DENIED)
_MANY = problem_responses(HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, *_DENIED)
_CHANGE = problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.PRECONDITION_FAILED, *_DENIED)
_ETAG = r'^"[0-9]{1,18}"$'
IfMatch = Annotated[str, Header(pattern=_ETAG, description="The ETag that was read.")]
HookId = Annotated[str, Path(pattern=rf"^{ID_PATTERN}$")]
Listed = Annotated[list[Annotated[str, Field(max_length=254)]], Field(max_length=service.MAX_LISTED)]


class HookBody(BaseModel):
    """A receiver. Exactly one of `url` (a webhook) and `addresses` (e-mail). Empty `kinds` or `machines`: all."""

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(min_length=1, max_length=100)]
    url: Annotated[str, Field(max_length=2000, examples=["https://cmms.example/hooks/millwright"])] | None = None
    addresses: Listed = []
    kinds: Annotated[list[Kind], Field(max_length=20)] = []
    machines: Listed = []
    enabled: bool = True

    def spec(self) -> service.HookSpec:
        """For the service."""
        return service.HookSpec(
            self.name, self.url, tuple(self.addresses), tuple(self.kinds), tuple(self.machines), self.enabled
        )


@router.get("", responses=_LIST)
def list_hooks(session: SessionDep, paging: PagingDep) -> Page[HookView]:
    """Hooks by id."""
    return queries.list_hooks(session, paging)


@router.post(
    "",
    responses=problem_responses(HTTPStatus.CONFLICT, *_DENIED),
    status_code=HTTPStatus.CREATED,
    response_model=Made,
)
def create_hook(
    context: ContextDep, caller: Caller, request_id: RequestIdDep, once: OnceDep, body: HookBody
) -> Response:
    """Make a hook. The secret in the answer is shown this once: with it the receiver checks signatures."""

    def make() -> Made:
        return service.create(context.database, caller, body.spec(), context.now_s(), request_id)

    return once.answer(make, secret=True, revision="hook.revision")


@router.get("/{hook}", responses=_ONE)
def get_hook(session: SessionDep, hook: HookId, response: Response) -> HookView:
    """One hook, with the ETag for a change."""
    view = queries.get_hook(session, hook)
    response.headers["etag"] = f'"{view.revision}"'
    return view


@router.put("/{hook}", responses=_CHANGE)
def put_hook(
    context: ContextDep,
    caller: Caller,
    request_id: RequestIdDep,
    hook: HookId,
    body: HookBody,
    if_match: IfMatch,
    response: Response,
) -> HookView:
    """Change a hook as a whole."""
    revision = int(if_match.strip('"'))
    view = service.change(context.database, caller, hook, body.spec(), revision, context.now_s(), request_id)
    response.headers["etag"] = f'"{view.revision}"'
    return view


@router.delete("/{hook}", responses=_CHANGE, status_code=HTTPStatus.NO_CONTENT)
def delete_hook(context: ContextDep, caller: Caller, request_id: RequestIdDep, hook: HookId, if_match: IfMatch) -> None:
    """Take a hook away, with what is still on its way to it."""
    service.remove(context.database, caller, hook, int(if_match.strip('"')), context.now_s(), request_id)


@router.post("/{hook}/secret", responses=_ONCE, response_model=Made)
def renew_secret(
    context: ContextDep, caller: Caller, request_id: RequestIdDep, once: OnceDep, hook: HookId
) -> Response:
    """A new secret, shown this once. Both sign for a day, so that the receiver can change over."""

    def make() -> Made:
        return service.renew_secret(context.database, caller, hook, context.now_s(), request_id)

    return once.answer(make, HTTPStatus.OK, secret=True, revision="hook.revision")


@router.post("/{hook}/test", responses=_ONCE, status_code=HTTPStatus.ACCEPTED, response_model=TestSent)
def test_hook(context: ContextDep, caller: Caller, request_id: RequestIdDep, once: OnceDep, hook: HookId) -> Response:
    """Send a test on the way that everything takes."""

    def make() -> TestSent:
        return TestSent(key=service.send_test(context.database, caller, hook, context.now_s(), request_id))

    return once.answer(make, HTTPStatus.ACCEPTED)


@router.get("/{hook}/deliveries", responses=_MANY)
def list_deliveries(
    session: SessionDep, paging: PagingDep, hook: HookId, state: DeliveryState | None = None
) -> Page[DeliveryView]:
    """What was sent and waits to be sent, newest first, with the receiver's answers."""
    return queries.list_deliveries(session, paging, hook, state=state)


@router.post("/{hook}/deliveries/{delivery}/again", responses=_ONE)
def send_again(
    context: ContextDep,
    caller: Caller,
    request_id: RequestIdDep,
    hook: HookId,
    delivery: Annotated[int, Path(ge=1, le=MAX_INTEGER)],
) -> DeliveryView:
    """Try a delivery again from the start."""
    return service.send_again(context.database, caller, hook, delivery, context.now_s(), request_id)

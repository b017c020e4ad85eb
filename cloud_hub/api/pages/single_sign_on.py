"""Sign-in through a provider: there and back again."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from cloud_hub.accounts.errors import SignInError
from cloud_hub.accounts.single_sign_on import read_attempt
from cloud_hub.api.auth import attempt_of, keep_attempt, let_in, visitor_of
from cloud_hub.api.context import ContextDep
from cloud_hub.api.guard import RequestIdDep
from cloud_hub.api.pages.sign_in import refused
from cloud_hub.errors import ConflictError
from cloud_hub.services import single_sign_on

router = APIRouter(include_in_schema=False)
_log = logging.getLogger(__name__)
Text = Annotated[str, Query(max_length=4096)]


def _provider(context: ContextDep) -> single_sign_on.Provider:
    if context.provider is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "this hub has no single sign-on")
    return context.provider


@router.get("/login/single-sign-on")
def begin(request: Request, context: ContextDep) -> Response:
    """To the provider."""
    try:
        attempt, url = _provider(context).begin(context.now_s())
    except SignInError as error:
        _log.warning("%s", error)
        return refused(request, "The sign-in service does not answer as it should; the hub's log says more.")
    answer = RedirectResponse(url, HTTPStatus.SEE_OTHER)
    keep_attempt(answer, request, context, attempt.to_text())
    return answer


@router.get("/login/single-sign-on/back")
def back(
    request: Request, context: ContextDep, request_id: RequestIdDep, code: Text = "", state: Text = "", error: Text = ""
) -> Response:
    """From the provider. What was wrong stands in the log; the browser is told little."""
    provider = _provider(context)
    try:
        attempt = read_attempt(attempt_of(request, context), state)
        person = provider.finish(attempt, code, error, context.now_s())
        entered = single_sign_on.enter(
            context.database, context.door.limits, visitor_of(request, context), person, context.now_s(), request_id
        )
    except (SignInError, ConflictError) as problem:
        _log.warning("%s", problem)
        answer: Response = refused(request, "You could not be signed in; the hub's log says why.")
    else:
        answer = RedirectResponse("/", HTTPStatus.SEE_OTHER)
        let_in(answer, request, context, entered)
    keep_attempt(answer, request, context, "")
    return answer

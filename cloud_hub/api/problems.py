"""Every error is an RFC 9457 problem, `application/problem+json`: the hub's own, validation, 404, 405 and faults.
Where a browser asks for a page, it is a page that says the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from cloud_hub.accounts.errors import AccountError, MayNotError, SignInError, TooManyTriesError
from cloud_hub.alarms.actions import ActionError
from cloud_hub.alarms.states import AlarmStateError
from cloud_hub.api.conditions import foreign_tag
from cloud_hub.api.description import MEDIA_TYPE, describe
from cloud_hub.errors import (
    ConflictError,
    DataError,
    GateError,
    HookError,
    HubError,
    KeyReusedError,
    KeysError,
    LinkError,
    NotFoundError,
    PlanError,
    RetentionError,
    StaleError,
    StoreUnavailableError,
)
from cloud_hub.rollout.states import RolloutError
from cloud_hub.store.paging import CursorError

__all__ = ["MEDIA_TYPE", "FieldProblem", "Problem", "answer", "answer_to", "install", "problem_responses"]


class FieldProblem(BaseModel):
    """One thing that is wrong with a request. `where`: for example `query.limit`."""

    where: str
    message: str


class Problem(BaseModel):
    """RFC 9457. `type` is a stable word of ours, or about:blank when the status says it all."""

    type: str = Field("about:blank", examples=["urn:millwright:problem:validation"])
    title: str
    status: int
    detail: str
    instance: str
    errors: list[FieldProblem] = []


_HUB_ERRORS: list[tuple[type[HubError], HTTPStatus, str]] = [
    (CursorError, HTTPStatus.BAD_REQUEST, "cursor"),
    (TooManyTriesError, HTTPStatus.TOO_MANY_REQUESTS, "too-many-tries"),
    (SignInError, HTTPStatus.UNAUTHORIZED, "sign-in"),
    (MayNotError, HTTPStatus.FORBIDDEN, "may-not"),
    (AccountError, HTTPStatus.UNPROCESSABLE_ENTITY, "account"),
    (RetentionError, HTTPStatus.UNPROCESSABLE_ENTITY, "retention"),
    (HookError, HTTPStatus.UNPROCESSABLE_ENTITY, "hook"),
    (KeyReusedError, HTTPStatus.UNPROCESSABLE_ENTITY, "key-reused"),
    (NotFoundError, HTTPStatus.NOT_FOUND, "not-found"),
    (StaleError, HTTPStatus.PRECONDITION_FAILED, "stale"),
    (ConflictError, HTTPStatus.CONFLICT, "conflict"),
    (AlarmStateError, HTTPStatus.CONFLICT, "alarm-state"),
    (ActionError, HTTPStatus.UNPROCESSABLE_ENTITY, "action"),
    (GateError, HTTPStatus.CONFLICT, "gate"),
    (DataError, HTTPStatus.UNPROCESSABLE_ENTITY, "data"),
    (RolloutError, HTTPStatus.CONFLICT, "rollout-state"),
    (PlanError, HTTPStatus.UNPROCESSABLE_ENTITY, "plan"),
    (KeysError, HTTPStatus.CONFLICT, "keys"),
    (LinkError, HTTPStatus.SERVICE_UNAVAILABLE, "broker-unavailable"),
    (StoreUnavailableError, HTTPStatus.SERVICE_UNAVAILABLE, "store-unavailable"),
]


PageOf = Callable[[Request, HTTPStatus, str, dict[str, str] | None], Response]


def install(
    app: FastAPI,
    *,
    page: PageOf | None = None,
    wants_page: Callable[[Request], bool] = lambda _request: False,
    fault_headers: Mapping[str, str] | None = None,
) -> None:
    """Make every error of `app` a problem, and say so in its OpenAPI document. `page`: draws the one for people
    (status, text, headers), for requests that `wants_page` tells apart. `fault_headers`: of the answer to a fault.
    """
    app.state.fault_headers = dict(fault_headers or {})
    app.state.error_page = (page, wants_page)
    app.add_exception_handler(HubError, _hub_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _fault)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]  # FastAPI's documented way


def problem_responses(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may fail in these ways; validation always may."""
    named = {*statuses, HTTPStatus.UNPROCESSABLE_ENTITY}
    return {int(s): {"model": Problem, "description": s.phrase} for s in sorted(named)}


def answer(
    request: Request,
    status: HTTPStatus,
    detail: str,
    kind: str | None = None,
    errors: list[FieldProblem] | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """A problem, or its page. Args: kind: a stable word for `type`."""
    page, wants_page = request.app.state.error_page
    if page is not None and wants_page(request):
        drawn: Response = page(request, status, detail, headers)
        return drawn
    problem = Problem(
        type=f"urn:millwright:problem:{kind}" if kind is not None else "about:blank",
        title=status.phrase,
        status=status,
        detail=detail,
        instance=request.url.path,
        errors=errors or [],
    )
    return JSONResponse(problem.model_dump(), status_code=status, media_type=MEDIA_TYPE, headers=headers)


async def _hub_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HubError)  # noqa: S101 - registered for nothing else
    return answer_to(request, error)


def answer_to(request: Request, error: HubError) -> Response:
    """The answer to an error of ours. Raises it when it is none that callers can bring about."""
    for kind, status, word in _HUB_ERRORS:
        if isinstance(error, kind):
            detail = foreign_tag(request) if kind is StaleError else None
            return answer(request, status, detail or str(error), word, headers=_headers_of(error))
    raise error


def _headers_of(error: HubError) -> dict[str, str] | None:
    if isinstance(error, TooManyTriesError):
        return {"Retry-After": str(math.ceil(error.wait_s))}
    return {"WWW-Authenticate": "Bearer"} if isinstance(error, SignInError) else None


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for nothing else
    errors = [FieldProblem(where=".".join(map(str, e["loc"])), message=e["msg"]) for e in error.errors()]
    detail = "; ".join(f"{e.where}: {e.message}" for e in errors)
    return answer(request, HTTPStatus.UNPROCESSABLE_ENTITY, detail, "validation", errors)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for nothing else
    status = HTTPStatus(error.status_code)
    detail = error.detail
    if detail == status.phrase:
        detail = f"{request.method} {request.url.path}: {status.phrase.lower()}"
    return answer(request, status, detail, headers=dict(error.headers) if error.headers else None)


async def _fault(request: Request, _error: Exception) -> Response:
    """What went wrong is in the hub's log; callers learn only that it was not their fault. This answer is given outside
    of all middleware, so the headers that it would set are set here.
    """
    text = "a fault in the hub; its log has the details"
    said = answer(request, HTTPStatus.INTERNAL_SERVER_ERROR, text, "fault")
    said.headers.update(request.app.state.fault_headers)
    return said

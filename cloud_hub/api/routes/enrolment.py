"""Enrolment over HTTPS. Needs no account: the token in the gateway's hands is what a request is signed with."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from cloud_hub.api.context import ContextDep
from cloud_hub.api.problems import MEDIA_TYPE, Problem, problem_responses
from models.contract.identity import MAX_REQUEST_BYTES

router = APIRouter(tags=["identity"])
_PEM = "application/x-pem-file"


class Refusal(Problem):
    """`reply`: the same, signed by the hub's authority, as text: what a gateway believes."""

    reply: str


@router.get(
    "/enroll/authority",
    response_class=Response,
    responses={
        **problem_responses(HTTPStatus.NOT_FOUND),
        int(HTTPStatus.OK): {"content": {_PEM: {"schema": {"type": "string"}}}},
    },
)
def get_authority(context: ContextDep) -> Response:
    """The root certificate, PEM. It is public; a gateway believes it when its SHA-256 is the one in its token."""
    if context.authority is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "this hub has no certificate authority")
    return Response(context.authority(), media_type=_PEM)


@router.post(
    "/enroll",
    response_class=JSONResponse,
    responses={
        **problem_responses(HTTPStatus.NOT_FOUND, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.TOO_MANY_REQUESTS),
        int(HTTPStatus.FORBIDDEN): {"model": Refusal, "description": "Refused"},
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"type": "object", "required": ["signed", "signatures"]}}},
        }
    },
)
async def post_enroll(request: Request, context: ContextDep) -> Response:
    """Get a certificate for a request that a single-use token signed; see `models/contract/identity.py`."""
    if context.enrol is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "this hub has no certificate authority")
    payload = b""
    async for part in request.stream():
        payload += part
        if len(payload) > MAX_REQUEST_BYTES:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {MAX_REQUEST_BYTES} bytes")
    caller = request.client.host if request.client is not None else "unknown"
    answer = await run_in_threadpool(context.enrol, payload, caller)
    if answer is None:
        raise HTTPException(HTTPStatus.TOO_MANY_REQUESTS, "too many requests", {"Retry-After": "5"})
    if answer.reason is None:
        return Response(answer.payload, media_type="application/json")
    refusal = Refusal(
        type=f"urn:millwright:problem:enrol-{answer.reason.replace('_', '-')}",
        title=HTTPStatus.FORBIDDEN.phrase,
        status=HTTPStatus.FORBIDDEN,
        detail=answer.text,
        instance=request.url.path,
        reply=answer.payload.decode(),
    )
    return JSONResponse(refusal.model_dump(), HTTPStatus.FORBIDDEN, media_type=MEDIA_TYPE)

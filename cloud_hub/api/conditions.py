"""What a write may ask for: JSON only, and a thing that is still as the caller has seen it (RFC 9110, 13.1.1)."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Header, HTTPException, Request, Response

_TAG = re.compile(r'"(\d{1,18})"')


def json_only(request: Request) -> None:
    """A dependency: no page from elsewhere can make a browser send JSON by a form. Raises: HTTPException: 415."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        detail = f"content-type: expected application/json, got {kind[:80] or 'none'}"
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail)


def _if_match(
    if_match: Annotated[
        str | None, Header(max_length=100, description="The `ETag` of what the caller has seen; else whatever it is.")
    ] = None,
) -> int | None:
    if if_match is None or if_match.strip() == "*":
        return None
    found = _TAG.fullmatch(if_match.strip())
    if found is None:
        detail = f'If-Match: expected the ETag that came with it, such as "3", got {if_match[:80]}'
        raise HTTPException(HTTPStatus.PRECONDITION_FAILED, detail)
    return int(found[1])


IfMatch = Annotated[int | None, Depends(_if_match)]


def tag(response: Response, revision: int) -> None:
    """Say which revision this is."""
    response.headers["ETag"] = f'"{revision}"'


def request_id(request: Request) -> str | None:
    """What this request is called in logs and in the audit log, where it has a name."""
    found: str | None = getattr(request.state, "request_id", None)
    return found

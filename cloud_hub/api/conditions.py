"""What a write may ask for: JSON only, and a thing that is still as the caller has seen it (RFC 9110, 13.1.1)."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Header, HTTPException, Request, Response

_TAG = re.compile(r'"([0-9]{1,18})"')
NONE_OF_OURS = -1
"""The revision of an `If-Match` that is none of our ETags: it matches nothing."""


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
    # Refused by whoever compares it, after all else was looked at: a condition counts only for a request that would
    # be carried out without it (RFC 9110, 13.2.1).
    return int(found[1]) if found is not None else NONE_OF_OURS


def foreign_tag(request: Request) -> str | None:
    """What to tell a caller whose `If-Match` is none of our ETags; None: it is one, or there is none."""
    given = request.headers.get("if-match")
    if given is None or given.strip() == "*" or _TAG.fullmatch(given.strip()):
        return None
    return f'If-Match: expected the ETag that came with it, such as "3", got {given[:80]}'


IfMatch = Annotated[int | None, Depends(_if_match)]


def tag(response: Response, revision: int) -> None:
    """Say which revision this is."""
    response.headers["ETag"] = f'"{revision}"'

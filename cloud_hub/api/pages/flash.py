"""One sentence from the page that did something to the page that comes after: kept in a cookie for half a minute."""

from __future__ import annotations

import base64
import binascii
from typing import Literal

import msgspec
from fastapi import Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

COOKIE = "millwright_said"
_SECONDS = 30
_MAX_CHARS = 600
Kind = Literal["ok", "problem"]


class Said(msgspec.Struct, frozen=True):
    """What was done, or why it was not."""

    kind: Kind
    text: str


def redirect(request: Request, path: str, said: str | None = None, kind: Kind = "ok") -> RedirectResponse:
    """The answer to a form: go to a page of ours with GET, and say there what has happened.

    Args:   path: begins with one "/": a whole address would lead people elsewhere.
    Raises: ValueError: another kind of address.
    """
    if not path.startswith("/") or path.startswith(("//", "/\\")):
        raise ValueError(f"path: expected one of ours, got {path!r}")
    answer = RedirectResponse(path, status_code=303)
    if said is not None:
        packed = base64.urlsafe_b64encode(msgspec.json.encode(Said(kind, said[:_MAX_CHARS]))).decode()
        answer.set_cookie(
            COOKIE, packed, max_age=_SECONDS, httponly=True, samesite="strict", secure=request.url.scheme == "https"
        )
    return answer


def take(request: Request) -> Said | None:
    """What is to be said; None where there is nothing, or where what came is not ours."""
    packed = request.cookies.get(COOKIE)
    if packed is None:
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(packed), type=Said)
    except (ValueError, binascii.Error, msgspec.DecodeError):
        return None


def forget(request: Request, answer: Response) -> None:
    """It has been said."""
    if COOKIE in request.cookies:
        answer.delete_cookie(COOKIE)

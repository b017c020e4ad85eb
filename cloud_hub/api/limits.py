"""How much a request may bring. A longer body is refused by its Content-Length, or where it goes past the bound;
no more of it than that is ever in memory.
"""

from __future__ import annotations

from http import HTTPStatus

from fastapi import HTTPException, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud_hub.api import problems

DEFAULT_BYTES = 1 << 20
# Routes that take more, by the beginning of their path; the longest that fits counts.
LARGER: dict[str, int] = {}


def bound_of(path: str) -> int:
    """How many bytes a request to this path may bring."""
    fitting = [prefix for prefix in LARGER if path.startswith(prefix)]
    return LARGER[max(fitting, key=len)] if fitting else DEFAULT_BYTES


class BodyLimit:
    """Refuses what is too long with 413."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Look at the length that is announced, then count."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        bound = bound_of(request.url.path)
        text = f"body: expected at most {bound} bytes"
        announced = request.headers.get("content-length", "0")
        if not announced.isdigit() or int(announced) > bound:
            answer = problems.answer(
                request, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{text}, got {announced[:20]}", "too-large"
            )
            await answer(scope, receive, send)
            return
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > bound:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text)
            return message

        await self._app(scope, counted, send)

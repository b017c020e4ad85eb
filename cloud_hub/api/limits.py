"""How much a request may bring. A longer body is refused by its Content-Length, or where it goes past the bound;
no more of it than that is ever in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import HTTPException, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud_hub.api import problems

DEFAULT_BYTES = 1 << 20


def bound_of(path: str, larger: Mapping[str, int]) -> int:
    """How many bytes a request to this path may bring. `larger`: see `BodyLimit`."""
    fitting = [prefix for prefix in larger if path.startswith(prefix)]
    return larger[max(fitting, key=len)] if fitting else DEFAULT_BYTES


class BodyLimit:
    """Refuses what is too long with 413. `larger`: routes that take more, by the beginning of their path; the longest
    that fits counts.
    """

    def __init__(self, app: ASGIApp, larger: Mapping[str, int] | None = None) -> None:
        self._app = app
        self._larger = larger or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Look at the length that is announced, then count."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        bound = bound_of(request.url.path, self._larger)
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

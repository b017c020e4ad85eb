"""Errors for people: a page where a browser asked for one. Programs get a problem (`cloud_hub.api.problems`)."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import quote

from fastapi import Request
from starlette.responses import RedirectResponse, Response

from cloud_hub.api.guard import principal_of
from cloud_hub.api.pages.rendering import render

LOGIN = "/login"
_TITLES = {
    HTTPStatus.UNAUTHORIZED: "Please sign in",
    HTTPStatus.FORBIDDEN: "This is not yours to do",
    HTTPStatus.NOT_FOUND: "There is nothing here",
    HTTPStatus.METHOD_NOT_ALLOWED: "This address does something else",
    HTTPStatus.CONFLICT: "Somebody was faster",
    HTTPStatus.UNPROCESSABLE_ENTITY: "Something in the form is not right",
    HTTPStatus.TOO_MANY_REQUESTS: "Too many tries",
    HTTPStatus.INTERNAL_SERVER_ERROR: "The hub has made a mistake",
    HTTPStatus.SERVICE_UNAVAILABLE: "The hub cannot answer now",
}
_HINTS = {
    HTTPStatus.FORBIDDEN: "An administrator can give you another role.",
    HTTPStatus.NOT_FOUND: "The address may be old, or what it named may have been removed.",
    HTTPStatus.CONFLICT: "Go back, look at how things stand now, and try again if it is still needed.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "Go back and mend it; nothing has been changed.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "What went wrong is in the hub's log. Nothing that you sent has been kept.",
    HTTPStatus.SERVICE_UNAVAILABLE: "Gateways keep what they measure until the hub is back.",
}


def wants_page(request: Request) -> bool:
    """Whether a person's browser asks: it names text/html, and the address is not one of the API."""
    path = request.url.path
    if path.startswith("/api/"):
        return False
    return "text/html" in request.headers.get("accept", "")


def page(request: Request, status: HTTPStatus, detail: str, headers: dict[str, str] | None = None) -> Response:
    """The page of an error; somebody who is not signed in is led to where they can be."""
    unknown = principal_of(request) is None
    if status == HTTPStatus.UNAUTHORIZED and unknown:
        wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        if request.method != "GET" or wanted == "/":
            return RedirectResponse(LOGIN, status_code=303)
        return RedirectResponse(f"{LOGIN}?next={quote(wanted, safe='')}", status_code=303)
    answer = render(
        request,
        "errors/page.html.j2",
        status=status,
        code=int(status),
        title=_TITLES.get(status, status.phrase),
        hint=_HINTS.get(status, ""),
        detail=detail,
        request_id=getattr(request.state, "request_id", None),
    )
    answer.headers.update(headers or {})
    return answer

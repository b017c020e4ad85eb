"""Which route is whose. An application with a route that nobody has thought about is not made at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts
from starlette.types import Scope

PUBLIC = "public"
_API = "/api/v1"
# What everybody may ask: is the hub up, let me in, and what a browser needs to show the way in. The description of the
# API is that of this release, not of this plant.
PUBLIC_ROUTES = frozenset(
    {
        ("GET", "/api/v1/health"),
        ("GET", "/api/v1/openapi.json"),
        ("GET", "/api/v1/enroll/authority"),  # a root certificate; whoever trusts it has its digest already
        ("GET", "/api/v1/enroll/authority"),  # a root certificate is public
        ("POST", "/api/v1/enroll"),  # signed with an enrolment token
        ("GET", "/login"),
        ("POST", "/login"),
        ("GET", "/login/single-sign-on"),
        ("GET", "/login/single-sign-on/back"),
        ("GET", "/link/{secret}"),
        ("POST", "/link/{secret}"),
        ("GET", "/static/{version}/{name}"),
        ("GET", "/favicon.ico"),
        ("POST", "/preferences/theme"),  # sets a cookie of the browser's own
    }
)


@dataclass(frozen=True, slots=True)
class Route:
    """A route, and what it takes to use it: a permission, "signed in", or "public"."""

    method: str
    path: str
    access: str


def routes_of(app: FastAPI) -> list[Route]:
    """All routes of an application, by path. Their guards are put before what else they depend on.

    Raises: RuntimeError: one is neither guarded nor in the list of public ones.
    """
    found = []
    for context in iter_route_contexts(app.routes):
        if context.methods is None:  # a mount or a socket: nothing guards what is behind it
            raise RuntimeError(f"route {context.path_format}: only plain HTTP routes can be guarded")
        dependant: Dependant | None = getattr(context, "dependant", None)
        guards = sorted(set(_guards(dependant))) if dependant is not None else []
        if dependant is not None:  # whoever may not ask learns that first, not what else is wrong with the request
            dependant.dependencies.sort(key=lambda part: next(_guards(part), None) is None)
        for method in sorted(context.methods - {"HEAD", "OPTIONS"}):
            public = (method, context.path_format) in PUBLIC_ROUTES
            if public == bool(guards):
                what = "is both public and guarded" if public else "takes no caller through cloud_hub.api.guard.needs"
                raise RuntimeError(f"route {method} {context.path_format} {what}")
            found.append(Route(method, str(context.path_format), PUBLIC if public else " + ".join(guards)))
    return sorted(found, key=lambda r: (r.path, r.method))


def template_of(scope: Scope) -> str:
    """The pattern that a request's path fits, such as /api/v1/alarms/{alarm}; "none" when it fits none."""
    found = getattr(scope.get("route"), "path", None)
    if not isinstance(found, str):
        return "none"
    # A route does not know under what it was included, and a page may have the same name.
    return _API + found if scope["path"].startswith(f"{_API}/") and not found.startswith(_API) else found


def has_route(app: FastAPI, path: str) -> bool:
    """Whether there is a route at this path pattern; parts of the hub may be left out."""
    known = getattr(app.state, "paths", None)
    if known is None:
        known = app.state.paths = frozenset(context.path for context in iter_route_contexts(app.routes))
    return path in known


def _guards(dependant: Dependant) -> Iterator[str]:
    access = getattr(dependant.call, "access", None)
    if isinstance(access, str):
        yield access
    for part in dependant.dependencies:
        yield from _guards(part)


def describe_access(app: FastAPI, document: dict[str, Any]) -> None:
    """Say in an OpenAPI document how callers are recognised, what each operation needs and how it says no."""
    schemes: Mapping[str, Any] = {
        "token": {"type": "http", "scheme": "bearer", "description": "An API token, `mw_...`."},
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": "mw_session",
            "description": "A browser's session (`__Host-mw_session` over TLS); changes need X-CSRF-Token, too.",
        },
    }
    document.setdefault("components", {})["securitySchemes"] = schemes
    access = {(r.path, r.method.lower()): r.access for r in routes_of(app)}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            needed = access[path, method]
            if needed == PUBLIC:
                operation["security"] = []
                continue
            operation["security"] = [{"token": []}, {"session": []}]
            operation["x-permission"] = needed
            for status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                operation["responses"].setdefault(
                    str(int(status)),
                    {
                        "description": status.phrase,
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
                    },
                )

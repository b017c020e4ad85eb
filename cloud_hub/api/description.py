"""The OpenAPI document: what FastAPI knows of the routes, and what all of them have in common.

Clients walk from one operation to the next by its links: what a call has made, or a list has shown, is what others are
asked about.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from cloud_hub.api.access import describe_access

MEDIA_TYPE = "application/problem+json"
_ERROR_STATUS_FROM = 400
_PROBLEM = {"schema": {"$ref": "#/components/schemas/Problem"}}


@dataclass(frozen=True, slots=True)
class _Way:
    """From an answer to whatever is below `base`, whose parameters stand in the answer: name -> JSON pointer."""

    source: str
    base: str
    where: dict[str, str]


def _listed(path: str, parameter: str, key: str, base: str | None = None) -> _Way:
    return _Way(f"get {path} 200", f"{base or path}/{{{parameter}}}", {parameter: f"/items/0/{key}"})


def _made(path: str, parameter: str, pointer: str, base: str | None = None) -> _Way:
    return _Way(f"post {path} 201", f"{base or path}/{{{parameter}}}", {parameter: pointer})


_MACHINE_POINT = "/machines/{machine}/points/{point}"
WAYS = (
    _listed("/alarms", "alarm", "id"),
    _listed("/machines", "machine", "id"),
    _Way("get /points 200", _MACHINE_POINT, {"machine": "/items/0/machine", "point": "/items/0/point"}),
    _Way("get /machines/{machine} 200", _MACHINE_POINT, {"machine": "/machine/id", "point": "/points/0/point"}),
    _listed("/gateways", "gateway", "id"),
    _listed("/captures", "capture", "id"),
    _listed("/models", "sha256", "sha256"),
    _listed("/rollouts", "rollout", "id"),
    _made("/rollouts", "rollout", "/rollout/id"),
    _listed("/labels", "label", "id"),
    _made("/labels", "label", "/id"),
    _listed("/uploads", "sha256", "sha256"),
    _made("/uploads", "sha256", "/sha256"),
    _listed("/data-sets", "name", "name"),
    _made("/data-sets", "name", "/version/dataset"),
    _Way(
        "post /data-sets 201",
        "/data-sets/{name}/versions/{version}",
        {"name": "/version/dataset", "version": "/version/version"},
    ),
    _listed("/training-jobs", "job", "id"),
    _made("/training-jobs", "job", "/id"),
    _listed("/hooks", "hook", "id"),
    _made("/hooks", "hook", "/hook/id"),
    _listed("/users", "name", "name"),
    _made("/users", "name", "/user/name"),
    _listed("/tokens", "token", "id"),
)


def describe(app: FastAPI, prefix: str = "/api/v1") -> dict[str, Any]:
    """The document of an application; made once."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        describe_access(app, document)
        for path in document["paths"].values():
            for operation in path.values():
                _add_common(operation)
                _mark_problems(operation["responses"])
        _link(document, prefix)
        app.openapi_schema = document
    return app.openapi_schema


def _add_common(operation: dict[str, Any]) -> None:
    """What the layers around the routes may answer to any of them."""
    common = [HTTPStatus.SERVICE_UNAVAILABLE]  # the database is away, or too busy
    if "requestBody" in operation:
        common += [HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE]  # no text at all; too much of it
    for status in common:
        said = {"description": status.phrase, "content": {MEDIA_TYPE: _PROBLEM}}
        operation["responses"].setdefault(str(int(status)), said)
    for answer in operation["responses"].values():
        if answer.get("description") == HTTPStatus.TOO_MANY_REQUESTS.phrase:
            answer["headers"] = {"Retry-After": {"schema": {"type": "string"}, "description": "Seconds."}}


def _mark_problems(responses: dict[str, Any]) -> None:
    """FastAPI writes every model down under the type of the answer that is well."""
    for status, response in responses.items():
        content = response.get("content", {})
        if int(status) >= _ERROR_STATUS_FROM and content:
            response["content"] = {MEDIA_TYPE: next(iter(content.values()))}


def _link(document: dict[str, Any], prefix: str) -> None:
    """Raises: KeyError: a way begins at an operation or an answer that there is not."""
    for way in WAYS:
        method, path, status = way.source.split(" ")
        answer = document["paths"][prefix + path][method]["responses"][status]
        links = answer.setdefault("links", {})
        for target, operations in document["paths"].items():
            if not (target == prefix + way.base or target.startswith(f"{prefix}{way.base}/")):
                continue
            if target.count("{") != len(way.where):  # it takes more than the answer tells
                continue
            for operation in operations.values():
                links[operation["operationId"]] = {
                    "operationId": operation["operationId"],
                    "parameters": {f"path.{n}": f"$response.body#{p}" for n, p in way.where.items()},
                }

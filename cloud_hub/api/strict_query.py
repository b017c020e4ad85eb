"""A query that is not understood is refused: `?statuss=raised` would else list everything, as if it were an answer."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator
from typing import Any, Union, get_args, get_origin

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError


def check_query(request: Request) -> None:
    """Every parameter is one of this route's, and those that are single come once.

    Raises: RequestValidationError: with the names that there are.
    """
    dependant = getattr(request.scope.get("route"), "dependant", None)
    if not isinstance(dependant, Dependant) or not request.query_params:
        return
    known = _parameters(dependant)
    asked = [name for name, _ in request.query_params.multi_items()]
    problems = []
    for name in dict.fromkeys(asked):
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            text = f"expected {', '.join(sorted(known)) or 'no parameters'}{hint}"
            problems.append({"type": "unknown", "loc": ("query", name[:80]), "msg": text, "input": None})
        elif asked.count(name) > 1 and not known[name]:
            text = f"expected it once, got it {asked.count(name)} times"
            problems.append({"type": "repeated", "loc": ("query", name), "msg": text, "input": None})
    if problems:
        raise RequestValidationError(problems)


def _parameters(dependant: Dependant) -> dict[str, bool]:
    """Names of a route's parameters, and whether each may come several times."""
    return dict(_walk(dependant))


def _walk(dependant: Dependant) -> Iterator[tuple[str, bool]]:
    for field in dependant.query_params:
        yield field.alias, _is_list(field.field_info.annotation)
    for part in dependant.dependencies:
        yield from _walk(part)


def _is_list(annotation: Any) -> bool:  # noqa: ANN401 - a type
    if get_origin(annotation) in (Union, types.UnionType):
        return any(_is_list(part) for part in get_args(annotation))
    return get_origin(annotation) is list

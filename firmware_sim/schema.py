"""Checking a TOML document against msgspec structs so that every problem is found, not only the first."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec

T = TypeVar("T", bound=msgspec.Struct)


def near_match(word: str, known: Iterable[str]) -> str:
    """A hint at what a misspelt word may have meant, else at what there is."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names) or 'none'}"


def check(document: Mapping[str, Any], kind: type[T]) -> tuple[T | None, list[str]]:
    """The document as a struct.

    Returns: the struct and no problems, or None and every problem, each beginning with its key.
    """
    problems = list(_problems(document, kind, ""))
    if problems:
        return None, problems
    return msgspec.convert(document, kind), []


def _problems(table: Mapping[str, Any], kind: type[msgspec.Struct], at: str) -> Iterable[str]:
    hints = get_type_hints(kind, include_extras=True)
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for key in table:
        if key not in fields:
            yield f"{_join(at, key)}: unknown key; {near_match(key, fields)}"
    for key, field in fields.items():
        if key in table:
            yield from _value_problems(table[key], hints[field.name], _join(at, key))
        elif field.required:
            yield f"{_join(at, key)}: missing"


def _value_problems(value: object, kind: Any, at: str) -> Iterable[str]:  # noqa: ANN401 - a type expression
    table, many = _struct_in(kind)
    if table is None:
        yield from _convert_problems(value, kind, at)
    elif not many:
        if isinstance(value, dict):
            yield from _problems(value, table, at)
        else:
            yield f"{at}: expected a table, got {_show(value)}"
    elif not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        yield f"{at}: expected a list of tables, got {_show(value)}"
    else:
        inner = [problem for i, item in enumerate(value) for problem in _problems(item, table, f"{at}[{i}]")]
        yield from inner or _convert_problems(value, kind, at)  # sound tables, but perhaps too many or too few


def _convert_problems(value: object, kind: Any, at: str) -> Iterable[str]:  # noqa: ANN401 - a type expression
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        text = str(error)
        what, _, where = text.partition(" - at `$")
        yield f"{at}{where.removesuffix('`')}: {what[0].lower()}{what[1:]}, got {_show(value)}"


def _struct_in(kind: Any) -> tuple[type[msgspec.Struct] | None, bool]:  # noqa: ANN401 - a type expression
    """The struct that a field holds, alone or in a list; None when it holds none."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind, False
    for inner in get_args(kind):
        found, _ = _struct_in(inner)
        if found is not None:
            return found, get_origin(kind) in {list, tuple} or _struct_in(inner)[1]
    return None, False


def _join(at: str, key: str) -> str:
    return f"{at}.{key}" if at else key


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."

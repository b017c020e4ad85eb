"""Pages that stay put while rows are added: each one begins after the last row of the one before, not at a number."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar, cast

import msgspec
from sqlalchemy import ColumnElement, Select, or_, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from cloud_hub.errors import HubError

MAX_LIMIT = 500
DEFAULT_LIMIT = 100
_MAX_CURSOR_CHARS = 1000
Key = tuple[str | int | float, ...]
T = TypeVar("T")
R = TypeVar("R")


class CursorError(HubError):
    """A cursor that did not come from this list."""


@dataclass(frozen=True, slots=True)
class Paging:
    """How much of a list is asked for. `cursor` is the `next` of the page before."""

    limit: int = DEFAULT_LIMIT
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Part of a list. `next` leads to the part after it, and is None at the end."""

    items: tuple[T, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Order:
    """What a list is sorted by: columns, or what is made of them, that together are unique; all ascending or all
    descending.
    """

    name: str
    columns: tuple[InstrumentedAttribute[Any] | ColumnElement[Any], ...]
    types: tuple[type, ...]
    descending: bool = False


def fetch_page(session: Session, query: Select[R], order: Order, paging: Paging, view: Callable[[R], T]) -> Page[T]:
    """One page of a query over whole rows. Raises: CursorError."""
    limit = max(1, min(paging.limit, MAX_LIMIT))
    if paging.cursor is not None:
        after = decode_cursor(paging.cursor, order.name, order.types)
        position = tuple_(*order.columns)
        query = query.where(position < after if order.descending else position > after)
    query = query.order_by(*(c.desc() if order.descending else c.asc() for c in order.columns)).limit(limit + 1)
    rows = session.execute(query.add_columns(*order.columns)).all()
    key: Key | None = tuple(rows[limit - 1][1:]) if len(rows) > limit else None
    items = tuple(view(row[0]) for row in rows[:limit])
    return Page(items, encode_cursor(order.name, key) if key is not None else None)


def search_page(
    session: Session,
    query: Select[R],
    order: Order,
    paging: Paging,
    view: Callable[[R], T],
    *,
    columns: Sequence[InstrumentedAttribute[str]],
    text: str,
    window: int,
) -> Page[T]:
    """One page of the rows in which one of `columns` holds `text`, whatever its case. No index helps to find them, so
    at most `window` rows are looked at: a page may be short, even empty, and still have a next one.

    Raises: CursorError.
    """
    by = cast(tuple[InstrumentedAttribute[Any], ...], order.columns)  # what is looked for by a text goes by columns
    entity = by[-1].class_
    limit = max(1, min(paging.limit, MAX_LIMIT))
    if paging.cursor is not None:
        after = decode_cursor(paging.cursor, order.name, order.types)
        position = tuple_(*order.columns)
        query = query.where(position < after if order.descending else position > after)
    ordered = query.order_by(*(c.desc() if order.descending else c.asc() for c in order.columns))
    looked = ordered.with_only_columns(*{c.key: c for c in (*by, *columns)}.values()).limit(window).subquery()
    places = [looked.c[c.key] for c in by]
    fits = or_(*(looked.c[c.key].icontains(text, autoescape=True) for c in columns))
    chosen = select(*places).where(fits).order_by(*(c.desc() if order.descending else c.asc() for c in places))
    keys: list[Key] = [tuple(row) for row in session.execute(chosen.limit(limit + 1))]
    if len(keys) > limit:
        last: Key | None = keys[limit - 1]
    else:
        end = session.execute(ordered.with_only_columns(*order.columns).offset(window - 1).limit(1)).first()
        last = tuple(end) if end is not None else None
    unique = by[-1]
    found = {
        getattr(row, unique.key): row
        for row in session.scalars(select(entity).where(unique.in_([k[-1] for k in keys])))
    }
    items = tuple(view(found[key[-1]]) for key in keys[:limit])
    return Page(items, encode_cursor(order.name, last) if last is not None else None)


def encode_cursor(name: str, key: Key) -> str:
    """An opaque text for a place in the list `name`."""
    return base64.urlsafe_b64encode(msgspec.json.encode([name, *key])).decode().rstrip("=")


def decode_cursor(cursor: str, name: str, types: Sequence[type]) -> Key:
    """The place that a cursor stands for. Raises: CursorError: not one of this list."""
    what = f"cursor: expected the `next` of a page of {name}, got {cursor[:80]!r}"
    if len(cursor) > _MAX_CURSOR_CHARS:
        raise CursorError(f"{what} ({len(cursor)} characters)")
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        key: Key = msgspec.json.decode(data, type=tuple[(Literal[name], *types)])[1:]  # type: ignore[valid-type]  # made of the columns
    except (ValueError, binascii.Error, msgspec.DecodeError) as error:
        raise CursorError(f"{what} ({error})") from error
    if any(isinstance(part, int) and not -(2**63) <= part < 2**63 for part in key):
        raise CursorError(what)
    return key

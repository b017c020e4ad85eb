"""Messages that may come again: each is stored once, by (gateway, boot id, seq)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Table
from sqlalchemy.orm import Session

from cloud_hub.store.bulk import Columns
from cloud_hub.store.database import insert_columns, insert_new, rows_with

SeqKey = tuple[str, str, int]
SEQ_KEY = ("gateway_id", "boot_id", "seq")
_M = TypeVar("_M")


def insert_once(
    session: Session,
    table: Table,
    messages: Mapping[SeqKey, _M],
    columns: Callable[[Sequence[_M]], Columns],
    *,
    careful: bool,
) -> list[SeqKey]:
    """Insert the rows, given as `columns`, of the messages that the table has not; their keys, in order.

    Looks first and then appends, which in PostgreSQL is twice as quick as a temporary table and ON CONFLICT. It is as
    good as that as long as nobody else stores messages of the same gateways. Should another hub do so at the same
    moment, the database refuses the transaction, and it is done again, `careful`.
    """
    if not messages:
        return []
    if careful:
        values = columns(list(messages.values()))
        rows: list[dict[str, Any]] = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
        inserted = {tuple(row) for row in insert_new(session, table, rows, key=SEQ_KEY, returning=SEQ_KEY)}
        return [key for key in messages if key in inserted]
    stored = {tuple(row) for row in rows_with(session, table, SEQ_KEY, SEQ_KEY, messages)}
    new = [key for key in messages if key not in stored]
    insert_columns(session, table, columns([messages[key] for key in new]))
    return new

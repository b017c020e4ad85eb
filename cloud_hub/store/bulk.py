"""Many rows into PostgreSQL at the speed of its COPY, through SQLAlchemy's own connection and transaction.

COPY knows no ON CONFLICT. Where that is needed the rows go into a temporary table first, one for each table and
connection, which every commit empties; a single INSERT ... SELECT then moves them on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import msgspec
import psycopg
from psycopg import sql
from sqlalchemy import JSON, Column, Table, TypeDecorator
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

Row = Mapping[str, Any]
_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy's


def copy_rows(session: Session, table: Table, rows: Sequence[Row]) -> None:
    """Append rows, all with the same columns as the first one. Raises: psycopg.Error."""
    columns = _columns(table, rows[0])
    _copy(_connection(session), sql.Identifier(table.name), columns, rows)


def insert_rows(
    session: Session,
    table: Table,
    rows: Sequence[Row],
    *,
    key: Iterable[str],
    update: Iterable[str] = (),
    returning: Iterable[str] = (),
) -> list[tuple[Any, ...]]:
    """Insert rows; where the key exists, set the columns `update`, or leave the row when there are none of those.

    Of rows with the same key the last one counts when there is something to update, else the first one.

    Returns: the columns `returning` of the rows that went in. Raises: psycopg.Error.
    """
    key, update, returning = list(key), list(update), list(returning)
    if update:  # PostgreSQL updates no row twice in one statement
        rows = list({tuple(row[name] for name in key): row for row in rows}.values())
    columns = _columns(table, rows[0])
    connection = _connection(session)
    stage = sql.Identifier(f"new_{table.name}")
    into = sql.Identifier(table.name)
    names = _names(c.name for c in columns)
    make = "CREATE TEMPORARY TABLE IF NOT EXISTS {} ON COMMIT DELETE ROWS AS SELECT * FROM {} WITH NO DATA"
    connection.execute(sql.SQL(make).format(stage, into))
    _copy(connection, stage, columns, rows)
    change: sql.Composable = sql.SQL("NOTHING")
    if update:
        pairs = [sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in update]
        change = sql.SQL("UPDATE SET {}").format(sql.SQL(", ").join(pairs))
    statement = sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {} ON CONFLICT ({}) DO {}").format(
        into, names, names, stage, _names(key), change
    )
    if returning:
        statement += sql.SQL(" RETURNING {}").format(_names(returning))
    cursor = connection.execute(statement)
    found = cursor.fetchall() if returning else []
    connection.execute(sql.SQL("DELETE FROM {}").format(stage))  # the next call may be in the same transaction
    return found


def _connection(session: Session) -> psycopg.Connection[tuple[Any, ...]]:
    """The driver's own connection, in the session's transaction."""
    return cast("psycopg.Connection[tuple[Any, ...]]", session.connection().connection.driver_connection)


def _columns(table: Table, row: Row) -> list[Column[Any]]:
    """The columns of a row, and those that have a default."""
    return [c for c in table.columns if c.name in row or c.default is not None]


def _names(names: Iterable[str]) -> sql.Composable:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _copy(
    connection: psycopg.Connection[tuple[Any, ...]],
    into: sql.Composable,
    columns: Sequence[Column[Any]],
    rows: Sequence[Row],
) -> None:
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(into, _names(c.name for c in columns))
    values = [_values(column, rows) for column in columns]
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in zip(*values, strict=True):
            copy.write_row(row)


def _values(column: Column[Any], rows: Sequence[Row]) -> list[Any]:
    """One column of all rows, as SQLAlchemy would hand it to the driver."""
    if column.name in rows[0]:
        values = [row[column.name] for row in rows]
    else:
        default: Any = column.default
        values = [default.arg(None) if default.is_callable else default.arg for _ in rows]
    kind = column.type
    if isinstance(kind, JSON):
        return [None if value is None else msgspec.json.encode(value).decode() for value in values]
    if isinstance(kind, TypeDecorator):
        return [kind.process_bind_param(value, _DIALECT) for value in values]
    return values

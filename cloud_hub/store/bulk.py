"""Many rows at the speed of the driver, through SQLAlchemy's own connection and transaction: COPY into PostgreSQL,
`executemany` into SQLite. What SQLAlchemy does to every value of every row costs more than storing it.

Rows come by column: a list of all values of each column, which is quicker to build, to convert and to look through.

COPY knows no ON CONFLICT. Where that is needed the rows go into a temporary table first, one for each table and
connection, which every commit empties; a single INSERT ... SELECT then moves them on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import msgspec
import psycopg
from psycopg import sql
from sqlalchemy import JSON, BigInteger, Boolean, Column, Float, Integer, LargeBinary, String, Table, TypeDecorator
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

Columns = Mapping[str, Sequence[Any]]
Row = Mapping[str, Any]
_DIALECTS: Mapping[str, Any] = {
    "postgresql": postgresql.dialect(),  # type: ignore[no-untyped-call]  # SQLAlchemy's
    "sqlite": sqlite.dialect(),
}
# As what a column goes over the wire in binary, which neither side has to write or read as text. JSON is bytes already.
_WIRE: tuple[tuple[type[Any], str], ...] = (
    (JSON, "bytea"), (LargeBinary, "bytea"), (Boolean, "bool"), (Float, "float8"),
    (BigInteger, "int8"), (Integer, "int4"), (String, "text"),
)  # fmt: skip


def by_column(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """Rows, all with the same columns as the first one, by column."""
    return {name: [row[name] for row in rows] for name in rows[0]}


def add_rows(session: Session, table: Table, columns: Columns) -> None:
    """Append rows. Raises: psycopg.Error, sqlalchemy.exc.SQLAlchemyError."""
    dialect = session.get_bind().dialect.name
    filled = _filled(table, columns, dialect)
    if dialect == "postgresql":
        _copy(_connection(session), sql.Identifier(table.name), filled)
        return
    rows = list(zip(*(values for _, values in filled), strict=True))
    if rows:
        session.connection().exec_driver_sql(_insert_text(table, [column for column, _ in filled]), rows)


def stage_rows(
    session: Session,
    table: Table,
    columns: Columns,
    *,
    key: Sequence[str],
    update: Sequence[str] = (),
    returning: Sequence[str] = (),
) -> list[tuple[Any, ...]]:
    """Insert rows into PostgreSQL; where the key exists, set the columns `update`, or leave the row when there are none
    of those. With something to update, no two rows may have the same key; else the first one counts.

    Returns: the columns `returning` of the rows that went in. Raises: psycopg.Error.
    """
    filled = _filled(table, columns, "postgresql")
    connection = _connection(session)
    stage = sql.Identifier(f"new_{table.name}")
    names = _names(column.name for column, _ in filled)
    make = "CREATE TEMPORARY TABLE IF NOT EXISTS {} ON COMMIT DELETE ROWS AS SELECT * FROM {} WITH NO DATA"
    connection.execute(sql.SQL(make).format(stage, sql.Identifier(table.name)))
    _copy(connection, stage, filled)
    change: sql.Composable = sql.SQL("NOTHING")
    if update:
        pairs = [sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in update]
        change = sql.SQL("UPDATE SET {}").format(sql.SQL(", ").join(pairs))
    statement = sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {} ON CONFLICT ({}) DO {}").format(
        sql.Identifier(table.name), names, names, stage, _names(key), change
    )
    if returning:
        statement += sql.SQL(" RETURNING {}").format(_names(returning))
    cursor = connection.execute(statement)
    found = cursor.fetchall() if returning else []
    connection.execute(sql.SQL("DELETE FROM {}").format(stage))  # the next call may be in the same transaction
    return found


def merge_rows(session: Session, table: Table, columns: Columns, *, key: Sequence[str], update: Sequence[str]) -> None:
    """The same in SQLite, where the last of several rows with one key counts when there is something to update."""
    filled = _filled(table, columns, "sqlite")
    pairs = ", ".join(f'"{name}" = excluded."{name}"' for name in update)
    change = f"UPDATE SET {pairs}" if update else "NOTHING"
    keys = ", ".join(f'"{name}"' for name in key)
    text = f"{_insert_text(table, [column for column, _ in filled])} ON CONFLICT ({keys}) DO {change}"
    session.connection().exec_driver_sql(text, list(zip(*(values for _, values in filled), strict=True)))


def _connection(session: Session) -> psycopg.Connection[tuple[Any, ...]]:
    """The driver's own connection, in the session's transaction."""
    return cast("psycopg.Connection[tuple[Any, ...]]", session.connection().connection.driver_connection)


def _names(names: Iterable[str]) -> sql.Composable:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _insert_text(table: Table, columns: Sequence[Column[Any]]) -> str:
    names = ", ".join(f'"{column.name}"' for column in columns)
    return f'INSERT INTO "{table.name}" ({names}) VALUES ({", ".join("?" * len(columns))})'  # noqa: S608 - our own names


def _copy(
    connection: psycopg.Connection[tuple[Any, ...]],
    into: sql.Composable,
    filled: Sequence[tuple[Column[Any], Sequence[Any]]],
) -> None:
    names = _names(column.name for column, _ in filled)
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(into, names)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types([_wire_type(column) for column, _ in filled])
        for row in zip(*(values for _, values in filled), strict=True):
            copy.write_row(row)


def _wire_type(column: Column[Any]) -> str:
    kind = column.type.impl_instance if isinstance(column.type, TypeDecorator) else column.type
    return next(name for known, name in _WIRE if isinstance(kind, known))


def _filled(table: Table, columns: Columns, dialect: str) -> list[tuple[Column[Any], Sequence[Any]]]:
    """The columns given, and those that have a default, with the values that go to the driver."""
    count = len(next(iter(columns.values())))
    found: list[tuple[Column[Any], Sequence[Any]]] = []
    for column in table.columns:
        if column.name in columns:
            found.append((column, _converted(column, columns[column.name], dialect)))
        elif column.default is not None:
            default: Any = column.default
            values = [default.arg(None) if default.is_callable else default.arg for _ in range(count)]
            found.append((column, _converted(column, values, dialect)))
    return found


def _converted(column: Column[Any], values: Sequence[Any], dialect: str) -> Sequence[Any]:
    """One column of all rows, as SQLAlchemy would hand it to the driver."""
    kind = column.type
    if isinstance(kind, JSON):
        encode = msgspec.json.encode
        encoded = [None if value is None else encode(value) for value in values]
        return encoded if dialect == "postgresql" else [None if e is None else e.decode() for e in encoded]
    if isinstance(kind, TypeDecorator):
        convert = kind.process_bind_param
        return [convert(value, _DIALECTS[dialect]) for value in values]
    return values

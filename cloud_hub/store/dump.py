"""All rows of a database as a stream of bytes that either database can read back.

A table is a stream of chunks: length (4 bytes, big-endian), then that many bytes of MessagePack, a list of rows, each a
list of the values of all columns by name. The tables are taken as they are in the database, not as this release would
have them: what an older release has written is put into tables of its own revision and then migrated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import IO, Any

import msgspec
from alembic import command
from sqlalchemy import JSON, Connection, MetaData, Table, func, inspect, select, text
from sqlalchemy.orm import Session

from cloud_hub.errors import StoreError
from cloud_hub.store.database import Database, insert_all, migration_config

_CHUNK_ROWS = 1000
_MAX_CHUNK_BYTES = 2**31
_NOT_DUMPED = "alembic_version"
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[list[Any]])


class TableDigest(msgspec.Struct, frozen=True):
    """What a table holds. `rows_sum`: the sum of the SHA-256 of all rows modulo 2^256, in hex: the order does not
    matter, for text is not sorted alike everywhere.
    """

    columns: list[str]
    rows: int
    rows_sum: str


class _Sum:
    def __init__(self) -> None:
        self.rows = 0
        self._sum = 0

    def add(self, row: list[Any]) -> None:
        self._sum = (self._sum + int.from_bytes(hashlib.sha256(_encoder.encode(row)).digest())) % 2**256
        self.rows += 1

    def of(self, columns: list[str]) -> TableDigest:
        return TableDigest(columns, self.rows, f"{self._sum:064x}")


def reflected(connection: Connection) -> list[Table]:
    """The tables as they are in the database, each after those that it refers to."""
    metadata = MetaData()
    metadata.reflect(connection)
    for table in metadata.tables.values():
        for column in table.columns:
            if isinstance(column.type, JSON):
                column.type = JSON(none_as_null=True)
    return [table for table in metadata.sorted_tables if table.name != _NOT_DUMPED]


def dump_table(session: Session, table: Table, file: IO[bytes]) -> TableDigest:
    """Write all rows of a table."""
    columns = _columns(table)
    total = _Sum()
    query = select(*(table.c[name] for name in columns)).execution_options(yield_per=_CHUNK_ROWS)
    for part in session.execute(query).partitions():
        rows = [list(row) for row in part]
        for row in rows:
            total.add(row)
        data = _encoder.encode(rows)
        file.write(len(data).to_bytes(4) + data)
    return total.of(columns)


def _columns(table: Table) -> list[str]:
    return sorted(str(name) for name in table.columns.keys())  # noqa: SIM118 - a collection of columns, not a dict


def _chunks(file: IO[bytes], where: str) -> Iterator[list[list[Any]]]:
    while head := file.read(4):
        size = int.from_bytes(head)
        data = file.read(size) if len(head) == 4 and size < _MAX_CHUNK_BYTES else b""
        if len(data) != size:
            raise StoreError(f"{where}: ends in the middle of a chunk")
        try:
            yield _decoder.decode(data)
        except msgspec.DecodeError as error:
            raise StoreError(f"{where}: {error}") from error


def make_tables(database: Database, revision: str) -> None:
    """Make the tables of a revision in an empty database. Raises: StoreError: it is not empty."""
    with database.engine.execution_options(write="alone").begin() as connection:
        names = inspect(connection).get_table_names()
        if names:
            raise StoreError(f"{database.engine.url!r}: expected an empty database, it has {len(names)} tables")
        config = migration_config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def drop_tables(database: Database) -> None:
    """Undo `make_tables`."""
    with database.engine.execution_options(write="alone").begin() as connection:
        metadata = MetaData()
        metadata.reflect(connection)
        metadata.drop_all(connection)


def load_table(session: Session, table: Table, file: IO[bytes], expected: TableDigest, where: str) -> None:
    """Write all rows of a stream, read them back, and compare. Raises: StoreError."""
    columns = expected.columns
    if columns != _columns(table):
        raise StoreError(f"{where}: expected the columns {_columns(table)}, got {columns}")
    for rows in _chunks(file, where):
        if any(len(row) != len(columns) for row in rows):
            raise StoreError(f"{where}: expected {len(columns)} values in each row")
        insert_all(session, table, [dict(zip(columns, row, strict=True)) for row in rows])
    found = _Sum()
    query = select(*(table.c[name] for name in columns)).execution_options(yield_per=_CHUNK_ROWS)
    for row in session.execute(query):
        found.add(list(row))
    if found.of(columns) != expected:
        raise StoreError(f"{where}: expected {expected.rows} rows with sum {expected.rows_sum[:12]}, "
                         f"the database has {found.rows} with {found.of(columns).rows_sum[:12]}")  # fmt: skip


def continue_counting(session: Session, tables: list[Table]) -> None:
    """PostgreSQL hands out ids from counters, which rows that bring their own id do not move."""
    if session.get_bind().dialect.name != "postgresql":
        return
    for table in tables:
        for column in table.primary_key.columns:
            counter = session.scalar(
                text("SELECT pg_get_serial_sequence(:table, :column)"), {"table": table.name, "column": column.name}
            )
            if counter is not None:
                last = session.scalar(select(func.max(column)))
                session.execute(
                    text("SELECT setval(CAST(:counter AS regclass), :last, :used)"),
                    {"counter": counter, "last": last or 1, "used": last is not None},
                )

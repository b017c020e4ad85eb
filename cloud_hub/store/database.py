"""One database: its engine, its transactions, its migrations. Here, and nowhere else, SQLite and PostgreSQL differ."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import msgspec
import psycopg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Engine,
    Row,
    Table,
    Text,
    and_,
    bindparam,
    cast,
    create_engine,
    event,
    func,
    select,
    text,
    true,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session, sessionmaker

from cloud_hub.errors import SettingsError, StoreError, StoreUnavailableError
from cloud_hub.settings import Settings
from cloud_hub.store.bulk import Columns, add_rows, by_column, merge_rows, stage_rows

__all__ = [
    "Database",
    "Session",
    "insert_all",
    "insert_columns",
    "insert_new",
    "migration_config",
    "open_database",
    "rows_with",
    "upsert",
]

_BUSY_MS = 20_000
_COPY_ROWS = 16
_MIGRATION_LOCK = 0x6D77_0001  # any numbers, as long as all hubs use the same
_WRITE_LOCK = 0x6D77_0002
# SQLSTATE classes and codes of PostgreSQL that say "not now": connection, deadlock or serialisation, resources,
# object in use, operator's intervention, system error; a standby that was not promoted yet; a table or column that is
# not there (yet), a right that is missing: what was to be stored is not to blame for any of them.
_NOT_NOW = ("08", "40", "53", "55", "57", "58", "25006", "42P01", "42703", "42501")


class Database:
    """The hub's database. Make one per process with `open_database`; it may be used from any thread."""

    def __init__(self, url: str) -> None:
        """Raises: SettingsError: not a database address that this release can use."""
        try:
            parsed = make_url(url)
            if parsed.drivername == "postgresql":  # what people write; SQLAlchemy would look for an older driver
                parsed = parsed.set(drivername="postgresql+psycopg")
            arguments: dict[str, Any] = {"pool_size": 10, "max_overflow": 40} if parsed.database else {}
            self.engine: Engine = create_engine(
                parsed, json_serializer=_to_json, json_deserializer=_from_json, **arguments
            )
        except (ArgumentError, NoSuchModuleError, ImportError) as error:
            raise SettingsError(
                f"database_url: expected sqlite:/// or postgresql:// with a driver, got {error}"
            ) from error
        if self.is_sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        else:
            event.listen(self.engine, "begin", _begin_postgresql)
        reading: dict[str, Any] = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        self._sessions = sessionmaker(self.engine.execution_options(**reading), expire_on_commit=False)
        self._writing = sessionmaker(self.engine.execution_options(write="alone"), expire_on_commit=False)
        self._sharing = sessionmaker(self.engine.execution_options(write="shared"), expire_on_commit=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_sqlite(self) -> bool:
        """Whether it is SQLite; PostgreSQL otherwise."""
        return self.engine.dialect.name == "sqlite"

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that only reads, on one consistent state of the database. Raises: StoreError."""
        with _translated(), self._sessions() as session:
            yield session

    @contextmanager
    def write(self, *, shared: bool = False) -> Iterator[Session]:
        """A transaction that writes: committed at the end of the block, rolled back by an exception.

        No other one runs meanwhile: it may decide on what it has read. In SQLite it takes the write lock at once (and
        waits for it up to 20 s), so that it cannot fail halfway because another process wrote after it had begun to
        read; in PostgreSQL a lock that all hubs know does the same. `shared`: in PostgreSQL it runs beside others that
        are shared too, which is for writers that never touch the same rows: ingest workers with shards of their own.

        Raises: StoreUnavailableError: nothing was written, trying again may help. StoreError: it would not.
        """
        with _translated(), (self._sharing if shared else self._writing).begin() as session:
            session.connection()  # begins here, not at the first statement
            yield session

    def revision(self) -> str | None:
        """The migration that the database is at, or None when it is empty."""
        with self.engine.connect() as connection:
            return self.revision_of(connection)

    @staticmethod
    def revision_of(connection: Connection) -> str | None:
        """The same, as this connection sees it."""
        return MigrationContext.configure(connection).get_current_revision()

    @staticmethod
    def known_revisions() -> set[str]:
        """Every migration of this release."""
        return {s.revision for s in ScriptDirectory.from_config(migration_config()).walk_revisions()}

    def migrate(self) -> None:
        """Bring the tables up to this release, all in one transaction; processes that start together take turns.

        Raises: SettingsError: the database was written by a newer release, or cannot be opened.
        """
        config = migration_config()
        script = ScriptDirectory.from_config(config)
        try:
            current = self.revision()
        except OperationalError as error:
            raise SettingsError(f"database {self.engine.url!r}: {error.orig}") from error
        if current == script.get_current_head():
            return
        if current is not None and current not in self.known_revisions():
            raise SettingsError(f"database {self.engine.url!r}: made by a newer release (revision {current})")
        with self.engine.execution_options(write="alone").begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


@contextmanager
def _translated() -> Iterator[None]:
    """SQLAlchemy's errors, and those of the driver that COPY speaks to directly, as the hub's own."""
    try:
        yield
    except (SQLAlchemyError, psycopg.Error, OverflowError) as error:
        kind = StoreUnavailableError if _may_pass(error) else StoreError
        raise kind(f"database: {_cause(error)}") from error


def _may_pass(error: Exception) -> bool:
    """Whether the same may succeed later. What has no SQLSTATE goes by its kind."""
    state = getattr(getattr(error, "orig", None) or error, "sqlstate", None)
    if state is not None:
        return str(state).startswith(_NOT_NOW)
    kinds = (OperationalError, InterfaceError, PoolTimeoutError, psycopg.OperationalError, psycopg.InterfaceError)
    return isinstance(error, kinds)


def _cause(error: Exception) -> str:
    """The driver's own words, without the statement and its values."""
    original = getattr(error, "orig", None) or error
    return f"{type(original).__name__}: {original}"


def open_database(settings: Settings) -> Database:
    """The hub's database, made and migrated when need be. Raises: SettingsError."""
    if not settings.database_url:
        settings.home.mkdir(parents=True, exist_ok=True)
    database = Database(settings.sqlalchemy_url)
    database.migrate()
    return database


def migration_config() -> Config:
    """Alembic's configuration; there is no alembic.ini."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def insert_columns(session: Session, table: Table, columns: Columns) -> None:
    """Append rows that come as a list of all values for each column."""
    if len(next(iter(columns.values()))):
        add_rows(session, table, columns)


def insert_all(session: Session, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Append rows, all with the same columns."""
    if rows:
        add_rows(session, table, by_column(rows))


def upsert(
    session: Session, table: Table, rows: Iterable[Mapping[str, Any]], *, key: Iterable[str], update: Iterable[str] = ()
) -> None:
    """Insert rows; where the key exists, set the columns `update` to the new values, or leave the row when none.

    All rows have the same columns. Of several with one key the last one counts when there is something to update.
    """
    key, update, values = list(key), list(update), list(rows)
    if not values:
        return
    if _in_bulk(session, values):
        if update:  # PostgreSQL updates no row twice in one statement
            values = list({tuple(row[name] for name in key): row for row in values}.values())
        stage_rows(session, table, by_column(values), key=key, update=update)
    elif _is_sqlite(session):
        merge_rows(session, table, by_column(values), key=key, update=update)
    else:
        statement = postgresql.insert(table)
        columns = {name: statement.excluded[name] for name in update}
        if columns:
            statement = statement.on_conflict_do_update(index_elements=key, set_=columns)
        else:
            statement = statement.on_conflict_do_nothing(index_elements=key)
        session.execute(statement, [dict(row) for row in values])


def insert_new(
    session: Session, table: Table, rows: Iterable[Mapping[str, Any]], *, key: Iterable[str], returning: Iterable[str]
) -> list[tuple[Any, ...]]:
    """Insert the rows whose key does not exist yet; the columns `returning` of those that went in, in any order.

    All rows have the same columns.
    """
    values = list(rows)
    if not values:
        return []
    if _in_bulk(session, values):
        return stage_rows(session, table, by_column(values), key=list(key), returning=list(returning))
    statement = (
        _insert(session, table)
        .on_conflict_do_nothing(index_elements=list(key))
        .returning(*(table.c[name] for name in returning))
    )
    return [tuple(row) for row in session.execute(statement, [dict(row) for row in values])]


def rows_with(
    session: Session,
    table: Table,
    columns: Iterable[str],
    key: Sequence[str],
    values: Iterable[tuple[Any, ...]],
    *,
    where: Iterable[ColumnElement[bool]] = (),
) -> Iterator[Row[Any]]:
    """The rows whose columns `key` have one of these combinations of values, each looked up in the index on them.

    One statement however many there are, and one that the database cannot turn around: given some thousand values
    PostgreSQL would rather read the whole table, which takes longer every day. `where` are more conditions.
    """
    wanted = sorted(set(values))
    if not wanted:
        return
    if _is_sqlite(session):
        given = func.json_each(bindparam("given")).table_valued("value", name="given")
        parts = [func.json_extract(given.c.value, f"$[{i}]") for i in range(len(key))]
        same = [table.c[name] == part for name, part in zip(key, parts, strict=True)]
        query = select(*(table.c[name] for name in columns)).select_from(given.join(table, and_(*same))).where(*where)
        yield from session.execute(query, {"given": _to_json(wanted)})
        return
    arrays = [cast(bindparam(f"of_{name}", type_=Text), _array_of(table.c[name])) for name in key]
    asked = func.unnest(*arrays).table_valued(*key, name="asked").render_derived()
    same = [table.c[name] == asked.c[name] for name in key]
    found = select(*(table.c[name] for name in columns)).where(*same, *where).offset(0).lateral("found")
    lists = {f"of_{name}": _array_text(part) for name, part in zip(key, zip(*wanted, strict=True), strict=True)}
    yield from session.execute(select(*found.c).select_from(asked.join(found, true())), lists)


def _is_sqlite(session: Session) -> bool:
    return session.get_bind().dialect.name == "sqlite"


def _in_bulk(session: Session, rows: Sequence[object]) -> bool:
    """Whether COPY into a temporary table pays: it has a few round trips of its own."""
    return len(rows) >= _COPY_ROWS and not _is_sqlite(session)


def _array_of(column: Column[Any]) -> postgresql.ARRAY[Any]:
    """Numbers or words."""
    return postgresql.ARRAY(BigInteger if isinstance(column.type, BigInteger) else Text)


def _array_text(values: Sequence[Any]) -> str:
    """An array as PostgreSQL reads it: the driver takes longer over a list than over all rows that are stored by it."""
    quoted = (str(value).replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return '{"' + '","'.join(quoted) + '"}'


def _insert(session: Session, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that knows ON CONFLICT, which both dialects spell alike but SQLAlchemy keeps apart."""
    if session.get_bind().dialect.name == "sqlite":
        return sqlite.insert(table)
    return postgresql.insert(table)


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    """A receipt promises that the data survives a power cut, hence synchronous=FULL, which WAL makes cheap enough."""
    connection.isolation_level = None  # BEGIN is ours: see _begin_sqlite
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _begin_postgresql(connection: Connection) -> None:
    """Readers take no lock, writers the one of all hubs: see `Database.write`."""
    writes = connection.get_execution_options().get("write")
    if writes:
        lock = "pg_advisory_xact_lock_shared" if writes == "shared" else "pg_advisory_xact_lock"
        connection.exec_driver_sql(f"SELECT {lock}({_WRITE_LOCK})")


def _to_json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _from_json(value: str | bytes) -> object:
    return msgspec.json.decode(value)

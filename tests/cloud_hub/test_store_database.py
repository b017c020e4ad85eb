"""The database: migrations, transactions, errors."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_mock_engine, inspect, text
from sqlalchemy.dialects import postgresql

from cloud_hub.errors import SettingsError, StoreError, StoreUnavailableError
from cloud_hub.settings import load_settings
from cloud_hub.store.database import Database, insert_new, migration_config, open_database, upsert
from cloud_hub.store.tables import Base, Machine


def test_models_and_migrations_agree(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_migrating_twice_changes_nothing(database: Database) -> None:
    before = database.revision()
    database.migrate()
    assert database.revision() == before == "0008"


def test_every_migration_can_be_undone(database: Database) -> None:
    config = migration_config()
    with database.engine.execution_options(write=True).begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert inspect(database.engine).get_table_names() == ["alembic_version"]


def test_processes_that_start_together_take_turns(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'hub.sqlite3'}"
    errors: list[Exception] = []

    def start() -> None:
        try:
            with Database(url) as database:
                database.migrate()
        except Exception as error:  # noqa: BLE001 - the test shows it
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with Database(url) as database:
        assert database.revision() == "0008"


def test_sqlite_keeps_what_it_acknowledged(database: Database) -> None:
    with database.engine.connect() as connection:
        settings = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 20_000}


def test_the_tables_can_be_made_in_postgresql() -> None:
    statements: list[str] = []
    engine = create_mock_engine(
        "postgresql://", lambda sql, *_a, **_k: statements.append(str(sql.compile(dialect=postgresql.dialect())))
    )
    Base.metadata.create_all(engine, checkfirst=False)
    ddl = "\n".join(statements)
    assert ddl.count("CREATE TABLE") == len(Base.metadata.tables)
    assert "DOUBLE PRECISION" in ddl
    assert "BYTEA" in ddl
    assert "BIGSERIAL" in ddl
    assert "DEFERRABLE INITIALLY DEFERRED" in ddl
    names = [i.name for table in Base.metadata.tables.values() for i in table.indexes]
    assert max(len(str(name)) for name in names) <= 63


def test_a_failed_block_leaves_nothing_behind(database: Database) -> None:
    def fail_halfway() -> None:
        with database.write() as session:
            session.add(Machine(id="P-1", first_seen_s=1.0))
            session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()
    with database.read() as session:
        assert session.get(Machine, "P-1") is None


def test_a_second_writer_waits_for_the_first(database: Database) -> None:
    order: list[str] = []
    inside = threading.Event()

    def second() -> None:
        inside.wait()
        with database.write() as session:
            order.append("second")
            session.add(Machine(id="P-2", first_seen_s=1.0))

    thread = threading.Thread(target=second)
    thread.start()
    with database.write() as session:
        inside.set()
        thread.join(0.2)
        order.append("first")
        session.add(Machine(id="P-1", first_seen_s=1.0))
    thread.join()
    assert order == ["first", "second"]


def test_errors_are_the_hubs_own(database: Database) -> None:
    twice = text("INSERT INTO machines VALUES ('P-1', 1.0), ('P-1', 1.0)")
    with pytest.raises(StoreError, match="IntegrityError: UNIQUE") as caught, database.write() as session:
        session.execute(twice)
    assert not isinstance(caught.value, StoreUnavailableError)
    with pytest.raises(StoreUnavailableError, match="no such table: nowhere"), database.read() as session:
        session.execute(text("SELECT 1 FROM nowhere"))


def test_upsert_and_insert_new(database: Database) -> None:
    table = Base.metadata.tables["machines"]
    with database.write() as session:
        rows = [{"id": "A", "first_seen_s": 1.0}, {"id": "B", "first_seen_s": 1.0}, {"id": "A", "first_seen_s": 2.0}]
        assert sorted(insert_new(session, table, rows, key=["id"], returning=["id"])) == [("A",), ("B",)]
        assert insert_new(session, table, rows, key=["id"], returning=["id"]) == []
        upsert(session, table, [{"id": "A", "first_seen_s": 9.0}], key=["id"])
        upsert(session, table, [{"id": "B", "first_seen_s": 9.0}], key=["id"], update=["first_seen_s"])
        upsert(session, table, [], key=["id"])
    with database.read() as session:
        assert {m.id: m.first_seen_s for m in session.query(Machine)} == {"A": 1.0, "B": 9.0}


@pytest.mark.parametrize("url", ["nonsense", "oracle9://x", "mongodb://localhost/x"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(SettingsError, match="database_url: expected sqlite:/// or postgresql://"):
        Database(url)


def test_a_database_that_cannot_be_opened(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/no/such/folder/hub.sqlite3")
    with pytest.raises(SettingsError, match="unable to open database file"):
        database.migrate()


def test_a_database_of_a_newer_release_is_left_alone(tmp_path: Path) -> None:
    settings = load_settings(tmp_path / "home")
    with open_database(settings) as database, database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SettingsError, match=r"made by a newer release \(revision 9999\)"):
        open_database(settings)

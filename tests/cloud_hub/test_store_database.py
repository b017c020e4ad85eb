"""The database: migrations, transactions, errors."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_mock_engine, inspect, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import make_url

from cloud_hub.errors import SettingsError, StoreError, StoreUnavailableError
from cloud_hub.settings import load_settings
from cloud_hub.store.database import (
    Database,
    insert_all,
    insert_new,
    migration_config,
    open_database,
    rows_with,
    upsert,
)
from cloud_hub.store.tables import AuditEntry, Base, Bundle, Machine, Rollout, Want
from cloud_hub.store.trend_buckets import fold_rows
from tests.cloud_hub.first_release import fill_first_release
from tests.simulators.postgres import Postgres

HEAD = ScriptDirectory.from_config(migration_config()).get_current_head()


def test_models_and_migrations_agree(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_migrating_twice_changes_nothing(database: Database) -> None:
    before = database.revision()
    database.migrate()
    assert database.revision() == before == HEAD


def test_every_migration_can_be_undone(database: Database) -> None:
    config = migration_config()
    with database.engine.execution_options(write="alone").begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert inspect(database.engine).get_table_names() == ["alembic_version"]


def test_every_migration_keeps_the_data_that_is_there(empty_url: str) -> None:
    """Data of the first release goes up step by step; what came later is empty or has its default."""
    script = ScriptDirectory.from_config(migration_config())
    revisions = [s.revision for s in reversed(list(script.walk_revisions()))]
    with Database(empty_url) as database:

        def upgrade(revision: str) -> None:
            config = migration_config()
            with database.engine.execution_options(write="alone").begin() as connection:
                config.attributes["connection"] = connection
                command.upgrade(config, revision)

        upgrade(revisions[0])
        with database.engine.execution_options(write="alone").begin() as connection:
            fill_first_release(connection)
            tables = inspect(connection).get_table_names()
            before = {name: _content(connection, name) for name in tables if name != "alembic_version"}
        assert all(len(rows) == 1 for rows in before.values()), before
        for revision in revisions[1:]:
            upgrade(revision)
            with database.engine.connect() as connection:
                for name, rows in before.items():
                    found = _content(connection, name)
                    assert [{key: row[key] for key in rows[0]} for row in found] == rows, (revision, name)
        database.migrate()
        with database.write() as session:
            assert session.get_one(Want, ("gw-1", 1)).not_before_s == 0
            assert fold_rows(session, 10) == 1
            # PostgreSQL goes on counting where it was: a new row collides with none that was there.
            session.add(AuditEntry(time_s=1.0, who="a", kind="user", action="x", target="t", after=None, before=None))


def _content(connection: Connection, table: str) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(text(f'SELECT * FROM "{table}"')).mappings()]  # noqa: S608


def test_processes_that_start_together_take_turns(empty_url: str) -> None:
    errors: list[Exception] = []

    def start() -> None:
        try:
            with Database(empty_url) as database:
                database.migrate()
        except Exception as error:  # noqa: BLE001 - the test shows it
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with Database(empty_url) as database:
        assert database.revision() == HEAD


def test_what_was_acknowledged_is_kept(database: Database) -> None:
    if database.is_sqlite:
        names = ("PRAGMA journal_mode", "PRAGMA synchronous", "PRAGMA foreign_keys", "PRAGMA busy_timeout")
        expected: list[object] = ["wal", 2, 1, 20_000]
    else:
        names = ("SHOW synchronous_commit",)  # of the server's own settings the doctor speaks
        expected = ["on"]
    with database.engine.connect() as connection:
        assert [connection.execute(text(name)).scalar() for name in names] == expected


def test_a_reader_sees_one_state(database: Database) -> None:
    with database.read() as session:
        assert session.query(Machine).count() == 0
        with database.write() as writing:
            writing.add(Machine(id="P-1", first_seen_s=1.0))
        assert session.query(Machine).count() == 0
    with database.read() as session:
        assert session.query(Machine).count() == 1


def test_writers_that_share_run_together_and_others_wait_for_them(postgres: Postgres) -> None:
    order: list[str] = []

    def alone() -> None:
        with database.write() as session:
            order.append("alone")
            session.add(Machine(id="P-3", first_seen_s=1.0))

    with postgres.database() as url, Database(url) as database:
        thread = threading.Thread(target=alone)
        with database.write(shared=True) as first, database.write(shared=True) as second:
            first.add(Machine(id="P-1", first_seen_s=1.0))
            second.add(Machine(id="P-2", first_seen_s=1.0))
            thread.start()
            thread.join(0.2)
            order.append("shared")
        thread.join()
    assert order == ["shared", "alone"]


def test_a_postgresql_that_goes_away_is_worth_another_try(postgres: Postgres) -> None:
    with postgres.database() as url, Database(url) as database:

        def cut_off() -> None:
            with database.write() as session:
                session.add(Machine(id="P-1", first_seen_s=1.0))
                session.flush()
                session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

        with pytest.raises(StoreUnavailableError, match="AdminShutdown: terminating connection"):
            cut_off()
        with database.write() as session:
            assert session.get(Machine, "P-1") is None


def test_text_that_postgresql_refuses_is_an_error_and_free_text_is_mended(database: Database) -> None:
    with database.write() as session:
        session.add(
            AuditEntry(time_s=1.0, who="a", kind="user", action="x", target="t", after={"note": "a\x00b"}, before=None)
        )
        session.add(Want(gateway="gw-1", seq=1, issued_s=1.0, expires_s=2.0))
        session.add(
            Rollout(id="r", slot="s", sha256="ab" * 32, plan_json="{}", created_s=1.0, created_by="a\x00b", revision=1,
                    status="running", cohort=0, cohort_ends_s=1.0, ends_s=1.0, waits="", accepted=[], checks=[])
        )  # fmt: skip
        session.add(
            Bundle(sha256="ab" * 32, slot="s", version="1", family="f", target="t", length=1, created_s=1.0,
                   manifest_json="{}")
        )  # fmt: skip
    with database.read() as session:
        assert session.get_one(Rollout, "r").created_by == "a\N{REPLACEMENT CHARACTER}b"
        assert session.query(AuditEntry).one().after == {"note": "a\x00b"}


@pytest.mark.parametrize("empty_url", ["postgresql"], indirect=True)
def test_the_password_is_in_no_error(empty_url: str) -> None:
    password = make_url(empty_url).password
    assert password
    database = Database(make_url(empty_url).set(database="nowhere").render_as_string(hide_password=False))
    with pytest.raises(SettingsError, match="nowhere") as caught:
        database.migrate()
    assert password not in str(caught.value)


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
    with (
        pytest.raises(StoreError, match="IntegrityError: UNIQUE|UniqueViolation") as caught,
        database.write() as session,
    ):
        session.execute(twice)
    assert not isinstance(caught.value, StoreUnavailableError)
    with (
        pytest.raises(StoreError, match=r"no such table: nowhere|UndefinedTable: relation \"nowhere\""),
        database.read() as session,
    ):
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


def test_rows_are_found_by_any_key(database: Database) -> None:
    odd = ["a", 'quote"d', "back\\slash", "comma, {brace}", "it's", "NULL", "", "\N{SNOWMAN}"]
    table = Base.metadata.tables["wants"]
    with database.write() as session:
        insert_all(session, table, [
            {"gateway": name, "seq": seq, "issued_s": 1.0, "expires_s": 2.0, "not_before_s": 0}
            for name in odd for seq in (1, 2**62)
        ])  # fmt: skip
    with database.read() as session:

        def found(keys: list[tuple[Any, ...]], key: tuple[str, ...]) -> list[tuple[Any, ...]]:
            return sorted(tuple(row) for row in rows_with(session, table, ["gateway", "seq"], key, keys))

        assert found([(name, 2**62) for name in odd] + [("a", 3), ("b", 1)], ("gateway", "seq")) == sorted(
            (name, 2**62) for name in odd
        )
        assert found([(1,)], ("seq",)) == sorted((name, 1) for name in odd)
        assert found([], ("seq",)) == []


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

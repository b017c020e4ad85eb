"""A backup is the hub: what was in it comes back, on either database, or nothing does."""

from __future__ import annotations

import io
import json
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from cloud_hub.accounts.permissions import command_line
from cloud_hub.errors import ConflictError, DataError, SettingsError, StoreError
from cloud_hub.services.backup import read_manifest, restore_backup, write_backup
from cloud_hub.settings import Settings
from cloud_hub.store import audit
from cloud_hub.store import history_queries as history
from cloud_hub.store.database import Database
from cloud_hub.store.dump import reflected
from cloud_hub.store.paging import Paging
from cloud_hub.store.trend_buckets import fold_rows
from cloud_hub.store.writer import Received, Writer
from tests.cloud_hub.first_release import fill_first_release
from tests.simulators.hub import ack, chunks, event, state, trends
from tests.simulators.postgres import Postgres

FILES = {
    "bundles/" + "ab" * 32 + ".mwb": os.urandom(5000),
    "captures/cap-1.npz": os.urandom(3_000_000),
    "repository/1.root.json": b"{}",
    "identity/root.crt": b"-----BEGIN CERTIFICATE-----\n",
    "keys/online.pem": b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n",
    "reports/1.html": b"<html>",
}
PLAIN = {"identity/issuing.key": b"-----BEGIN PRIVATE KEY-----\nissuer-in-the-clear\n"}
PASSING = {"captures/cap-2.npz.part": b"half", "repository/.lock": b""}


@pytest.fixture
def filled(database: Database, tmp_path: Path) -> Settings:
    messages = [state(), event(1, evidence=True), event(2, "cleared", diagnosis=None), ack(), *chunks()]
    writer = Writer(database, lambda: 1.0)
    writer.store([Received(m) for m in messages])
    for seq in range(30):
        writer.store([Received(trends(seq, rows=100))])
    with database.write() as session:
        fold_rows(session, 10_000)
        audit.record(
            session, command_line("ann"), "x", "y", before=None, after={"n": 1, "text": "a\x00b", "big": 2**53 + 1},
            now_s=1.0,
        )  # fmt: skip
    home = tmp_path / "home"
    for name, data in (FILES | PLAIN | PASSING).items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(data)
    (home / "keys/online.pem").chmod(0o600)
    (home / "hub.toml").write_text('fleet = "north"\n')
    return Settings(home=home, fleet="north")


@pytest.fixture(params=["sqlite", "postgresql"])
def into(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """An empty home with an empty database of either kind."""
    if request.param == "sqlite":
        yield Settings(home=tmp_path / "new")
    else:
        server: Postgres = request.getfixturevalue("postgres")
        with server.database(empty=True) as url:
            yield Settings(home=tmp_path / "new", database_url=url)


def content(database: Database) -> dict[str, list[str]]:
    with database.read() as session:
        return {
            table.name: sorted(repr(sorted(dict(row).items())) for row in session.execute(table.select()).mappings())
            for table in reflected(session.connection())
        }


def test_there_and_back(database: Database, filled: Settings, into: Settings, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    written = write_backup(database, filled, file, 5.0, plain_keys=False)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sorted(tmp_path.glob("backup*")) == [file]
    assert written.left_out == ["identity/issuing.key"]
    assert b"issuer-in-the-clear" not in file.read_bytes()
    into.home.mkdir()
    (into.home / "hub.toml").write_text("")
    assert restore_backup(file, into, 100.0) == written
    note = json.loads((into.home / "repository" / "restored.note").read_bytes())  # gateways may have seen newer
    assert note == {"leap": 1000 + 95, "roles": ["timestamp", "snapshot", "targets"]}
    with Database(into.sqlalchemy_url) as restored:
        assert content(restored) == content(database)
        assert restored.revision() == database.revision()
        with restored.read() as session:
            assert history.get_evidence(session, "gw-1.a1").window
            assert len(history.list_trends(session, Paging(500)).items) == 500
        # It goes on: ids continue, what was stored is still known as a duplicate.
        outcome = Writer(restored, lambda: 2.0).store(
            [Received(m) for m in (event(1), event(3, "updated", evidence=True), trends(0), trends(99), ack())]
        )
        assert (outcome.stored["event"], outcome.duplicates["event"]) == (1, 1)
        assert (outcome.stored["trend"], outcome.duplicates["trend"], outcome.stored["ack"]) == (1, 1, 0)
    found = {p.relative_to(into.home).as_posix(): p.read_bytes() for p in into.home.rglob("*") if p.is_file()}
    found.pop("repository/restored.note")
    assert {name: data for name, data in found.items() if "hub." not in name} == FILES
    assert stat.S_IMODE((into.home / "keys/online.pem").stat().st_mode) == 0o600


def test_plain_keys_when_asked_for(database: Database, filled: Settings, tmp_path: Path) -> None:
    manifest = write_backup(database, filled, tmp_path / "backup", 5.0, plain_keys=True)
    assert manifest.left_out == []
    assert "home/identity/issuing.key" in manifest.members


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_backup_is_one_moment_while_the_hub_stores_on(
    database: Database, filled: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cloud_hub.services import backup

    original = backup.dump_table

    def dump_and_store(session: Any, table: Any, file: Any) -> Any:
        if table.name == "alarm_events":
            Writer(database, lambda: 3.0).store([Received(event(50, alarm="later")), Received(trends(500))])
        return original(session, table, file)

    before = content(database)
    monkeypatch.setattr(backup, "dump_table", dump_and_store)
    manifest = write_backup(database, filled, tmp_path / "backup", 5.0, plain_keys=False)
    assert {name: table.rows for name, table in manifest.tables.items()} == {n: len(r) for n, r in before.items()}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    with Database(f"sqlite:///{tmp_path / 'small.sqlite3'}") as database:
        database.migrate()
        Writer(database, lambda: 1.0).store([Received(m) for m in (state(), event(1), trends(1))])
        write_backup(database, Settings(home=tmp_path / "old"), tmp_path / "backup", 5.0, plain_keys=False)
    return tmp_path / "backup"


def rewritten(source: Path, change: dict[str, bytes]) -> Path:
    """The same tar with other content in some members."""
    target = source.with_name("changed")
    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        for info in old:
            file = old.extractfile(info)
            assert file is not None
            data = change.get(info.name, file.read())
            info.size = len(data)
            new.addfile(info, io.BytesIO(data))
        for name in change.keys() - set(old.getnames()):
            info = tarfile.TarInfo(name)
            info.size = len(change[name])
            new.addfile(info, io.BytesIO(change[name]))
    return target


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda b: b.write_bytes(b.read_bytes()[:-20_000]) and b, "not a backup, or cut short"),
        (lambda b: b.write_bytes(b"nonsense" * 1000) and b, "not a backup, or cut short"),
        (lambda b: rewritten(b, {"tables/alarms": b"x"}), "tables/alarms: expected sha256"),
        (lambda b: rewritten(b, {"home/../x": b"x"}), "expected regular files, each once, the manifest last"),
        (lambda b: rewritten(b, {"manifest.json": b"{}"}), "not a backup, or cut short: Object missing required"),
    ],
)
def test_a_damaged_backup_changes_nothing(small: Path, damage: Any, text: str, tmp_path: Path) -> None:
    target = Settings(home=tmp_path / "target")
    with pytest.raises(DataError, match=text):
        restore_backup(damage(small), target, 100.0)
    assert not target.home.exists()


def test_only_into_what_is_empty(small: Path, tmp_path: Path, postgres: Postgres) -> None:
    home = tmp_path / "target"
    home.mkdir()
    (home / "bundles").mkdir()
    with pytest.raises(ConflictError, match="expected an empty folder, it holds bundles"):
        restore_backup(small, Settings(home=home), 100.0)
    with postgres.database() as url:
        with pytest.raises(StoreError, match="expected an empty database, it has"):
            restore_backup(small, Settings(home=tmp_path / "other", database_url=url), 100.0)
        with Database(url) as database:
            assert database.revision() is not None  # it was left as it was
    assert list((tmp_path / "other").iterdir()) == []


def test_rows_that_do_not_come_back_equal_are_not_committed(
    small: Path, empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cloud_hub.store import dump

    original = dump.insert_all

    def lossy(session: Any, table: Any, rows: Any) -> None:
        original(session, table, [dict(row, score=0.0) if "score" in row else row for row in rows])

    monkeypatch.setattr(dump, "insert_all", lossy)
    with pytest.raises(StoreError, match="expected 1 rows with sum"):
        restore_backup(small, Settings(home=tmp_path / "target", database_url=empty_url), 100.0)
    with Database(empty_url) as database:
        assert database.revision() is None


def test_a_backup_of_a_newer_release_and_one_of_nothing(small: Path, tmp_path: Path) -> None:
    manifest = read_manifest(small)
    import msgspec

    newer = rewritten(small, {"manifest.json": msgspec.json.encode(msgspec.structs.replace(manifest, revision="9999"))})
    with pytest.raises(StoreError, match=r"made by a newer release \(revision 9999\)"):
        restore_backup(newer, Settings(home=tmp_path / "target"), 100.0)
    assert list((tmp_path / "target").iterdir()) == []
    with (
        Database(f"sqlite:///{tmp_path / 'nothing.sqlite3'}") as database,
        pytest.raises(SettingsError, match="is empty"),
    ):
        write_backup(database, Settings(home=tmp_path / "x"), tmp_path / "b2", 1.0, plain_keys=False)
    with pytest.raises(ConflictError, match="exists already"):
        write_backup(database, Settings(home=tmp_path / "x"), small, 1.0, plain_keys=False)


def test_a_backup_of_an_older_release_is_migrated(tmp_path: Path, into: Settings) -> None:
    from alembic import command

    from cloud_hub.store.database import migration_config

    with Database(f"sqlite:///{tmp_path / 'first.sqlite3'}") as database:
        config = migration_config()
        with database.engine.execution_options(write="alone").begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "0001")
            fill_first_release(connection)
        write_backup(database, Settings(home=tmp_path / "old"), tmp_path / "backup", 1.0, plain_keys=False)
    restore_backup(tmp_path / "backup", into, 100.0)
    with Database(into.sqlalchemy_url) as restored, restored.read() as session:
        assert restored.revision() in restored.known_revisions() - {"0001"}
        assert session.scalar(text("SELECT count(*) FROM alarm_evidence")) == 1

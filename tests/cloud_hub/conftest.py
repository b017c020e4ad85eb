"""A database of the test's own: each test that takes `database` runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from cloud_hub.store.database import Database
from tests.cloud_hub.ingest_kit import Bench

# Machines differ and are busy: no test is about absolute time.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database to copy: the steps take longer than most tests."""
    path = tmp_path_factory.mktemp("template") / "hub.sqlite3"
    with Database(f"sqlite:///{path}") as made:
        made.migrate()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path, migrated_sqlite: Path) -> Iterator[str]:
    """The address of a migrated database that nobody else uses."""
    if request.param == "sqlite":
        yield f"sqlite:///{shutil.copyfile(migrated_sqlite, tmp_path / 'hub.sqlite3')}"
    else:
        with request.getfixturevalue("postgres").database() as url:
            yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with Database(database_url) as opened:
        yield opened


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a database without any table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.sqlite3'}"
    else:
        with request.getfixturevalue("postgres").database(empty=True) as url:
            yield url


@pytest.fixture
def bench(database: Database, tmp_path: Path) -> Bench:
    return Bench(database, tmp_path / "captures")

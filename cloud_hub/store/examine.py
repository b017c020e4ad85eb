"""What `cloud-hub doctor` asks of the database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from alembic.script import ScriptDirectory
from sqlalchemy import func, select, text

from cloud_hub.errors import StoreError
from cloud_hub.store import tables as t
from cloud_hub.store.accounts import active_admins
from cloud_hub.store.database import Database, migration_config


@dataclass(frozen=True, slots=True)
class Examined:
    """A database as it is. `fsync` is "on" for SQLite, which the hub sets itself."""

    dialect: str
    server_version: str
    revision: str | None
    newest_revision: str | None
    fsync: str
    administrators: int
    waiting_evidence: int


def examine_database(database: Database) -> Examined:
    """Look at it; writes and takes back one row. Raises: StoreError: it cannot be read or written."""
    newest = ScriptDirectory.from_config(migration_config()).get_current_head()
    with database.read() as session:
        dialect = session.get_bind().dialect.name
        version = "SELECT sqlite_version()" if dialect == "sqlite" else "SHOW server_version"
        server_version = str(session.scalar(text(version)))
        fsync = "on" if dialect == "sqlite" else str(session.scalar(text("SHOW fsync")))
    revision = database.revision()
    if revision != newest:
        return Examined(dialect, server_version, revision, newest, fsync, 0, 0)
    try:
        with database.write() as session:
            session.add(t.Machine(id="doctor-looks", first_seen_s=0.0))
            session.flush()
            _take_back()
    except _TakenBackError:
        pass
    with database.read() as session:
        waiting = select(func.count()).select_from(t.AlarmEvidence).where(t.AlarmEvidence.rescored_s.is_(None))
        return Examined(
            dialect,
            server_version,
            revision,
            newest,
            fsync,
            len(active_admins(session)),
            session.scalar(waiting) or 0,
        )


class _TakenBackError(StoreError):
    """Ends the transaction without a trace."""


def _take_back() -> NoReturn:
    raise _TakenBackError

"""A PostgreSQL of the tests' own: a cluster in a temporary folder, on a free loopback port, gone when they end.

It does not wait for the disk (`fsync=off`): nothing here cuts the power of a database server, and a copy of the migrated
database would otherwise take half a second, in each of a thousand tests. Whatever else counts as committed does so too.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from cloud_hub.store.database import Database

_USER = "postgres"  # the server refuses to run as root
_TRIES = 5
_TEMPLATE = "migrated"
MISSING = "PostgreSQL is not installed (`make test` installs it)"


def find_programs() -> Path | None:
    """The folder with `initdb` and `pg_ctl`: Debian keeps them outside PATH, the newest version counts."""
    versions = [p.parent for p in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if versions:
        return max(versions, key=lambda folder: float(folder.parent.name))
    found = shutil.which("initdb")
    return Path(found).parent if found is not None and shutil.which("pg_ctl") else None


class Postgres:
    """A running server. Every database that it hands out starts as a copy of one that is migrated already."""

    def __init__(self, host: str, port: int, password: str) -> None:
        self._address = f"{_USER}:{password}@{host}:{port}"
        self._made = 0
        self._has_template = False

    def url(self, name: str) -> str:
        """The address of a database, as people write it."""
        return f"postgresql://{self._address}/{name}"

    def execute(self, statement: sql.Composable) -> None:
        """A statement about whole databases: it may not stand in a transaction."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)

    def create(self, *, empty: bool = False) -> str:
        """A new database, migrated unless it shall be empty; its address."""
        if not empty and not self._has_template:
            self.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_TEMPLATE)))
            with Database(self.url(_TEMPLATE)) as database:
                database.migrate()
            self._has_template = True
        self._made += 1
        name = f"test_{self._made}"
        template = "template0" if empty else _TEMPLATE
        self.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)))
        return self.url(name)

    def drop(self, url: str) -> None:
        """Let go of a database, also when somebody still holds a connection to it."""
        name = url.rpartition("/")[2]
        self.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    @contextmanager
    def database(self, *, empty: bool = False) -> Iterator[str]:
        """The address of a database for as long as the block lasts."""
        url = self.create(empty=empty)
        try:
            yield url
        finally:
            self.drop(url)


@contextmanager
def running_postgres(programs: Path, *options: str) -> Iterator[Postgres]:
    """A server for as long as the block lasts. `options`: settings such as `shared_buffers=512MB`."""
    folder = Path(tempfile.mkdtemp(prefix="millwright-pg-"))  # not pytest's: the server's user may not enter that
    try:
        if os.geteuid() == 0:
            user = pwd.getpwnam(_USER)
            os.chown(folder, user.pw_uid, user.pw_gid)
        password = secrets.token_hex(16)
        secret = folder / "password"
        secret.write_text(password)
        if os.geteuid() == 0:
            os.chown(secret, user.pw_uid, user.pw_gid)
        data = folder / "data"
        _run(programs, folder, "initdb", f"--pgdata={data}", f"--username={_USER}", f"--pwfile={secret}",
             "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions")  # fmt: skip
        port = _start(programs, folder, data, options)
        try:
            yield Postgres("127.0.0.1", port, password)
        finally:
            _run(programs, folder, "pg_ctl", f"--pgdata={data}", "--mode=fast", "--wait", "stop")
    finally:
        shutil.rmtree(folder)


def _start(programs: Path, folder: Path, data: Path, options: tuple[str, ...]) -> int:
    """Start on a free port: another process may take it between our look and the server's."""
    settings = [
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "timezone=UTC",
        "fsync=off",
        *options,  # the last one counts
    ]
    for attempt in range(_TRIES):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = int(taken.getsockname()[1])
        flags = " ".join(f"-c {setting}" for setting in [*settings, f"port={port}"])
        try:
            _run(programs, folder, "pg_ctl", f"--pgdata={data}", f"--log={folder / 'log'}", f"--options={flags}",
                 "--wait", "--silent", "start")  # fmt: skip
        except subprocess.CalledProcessError as error:
            if attempt + 1 == _TRIES:
                log = (folder / "log").read_text(errors="replace")
                raise RuntimeError(f"PostgreSQL did not start: {error}\n{log}") from error
        else:
            return port
    raise AssertionError  # not reached


def _run(programs: Path, folder: Path, program: str, *arguments: str) -> None:
    """Run a program of PostgreSQL, as its own user when we are root, in a folder which that user may enter."""
    command = [str(programs / program), *arguments]
    if os.geteuid() == 0:
        command = ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--init-groups", *command]
    # Not a pipe for what it says: a server that it starts would hold the pipe open.
    with (folder / f"{program}.out").open("wb") as said:
        done = subprocess.run(command, cwd=folder, stdout=said, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise subprocess.CalledProcessError(
            done.returncode, [program, *arguments], (folder / f"{program}.out").read_bytes()
        )

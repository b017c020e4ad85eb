"""The whole hub in one file, and back: from either database into either.

A tar, in this order: `tables/<name>` (see `store.dump`, gzip), `home/<folder>/<file>`, and last `manifest.json`, which
has the length and SHA-256 of every member before it. The database is read first and in one snapshot, under the lock of
the repository: whatever its rows name (bundles, captures, signed metadata) has been on disk before the rows were, so
the files belong to the rows. The hub may go on running.

In it: all tables; from the home folder keys/, identity/, repository/, bundles/, captures/ and reports/. Private keys
that are not encrypted are left out unless asked for. Not in it: hub.toml and what it names elsewhere (passwords,
passphrases, the broker's files), which belong to the machine; keys that were never here (the root key).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

import msgspec

from cloud_hub.errors import ConflictError, DataError, SettingsError, StoreError
from cloud_hub.settings import Settings
from cloud_hub.store.database import Database
from cloud_hub.store.dump import (
    TableDigest,
    continue_counting,
    drop_tables,
    dump_table,
    load_table,
    make_tables,
    reflected,
)
from cloud_hub.trust.files import PRIVATE, locked
from cloud_hub.trust.repository import note_restored

FOLDERS = ("keys", "identity", "repository", "bundles", "captures", "reports")
_MANIFEST = "manifest.json"
_FORMAT = 1
_MAX_MANIFEST_BYTES = 256 * 2**20
_BLOCK = 2**20
_PASSING = (".part", ".lock")


class Member(msgspec.Struct, frozen=True):
    """One member of the file. `mode`: of the file in the home folder."""

    length: int
    sha256: str
    mode: int = PRIVATE


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a backup holds. `left_out`: private keys that were not encrypted."""

    format: int
    fleet: str
    created_s: float
    revision: str
    database: str
    tables: dict[str, TableDigest]
    members: dict[str, Member]
    left_out: list[str]

    @property
    def rows(self) -> int:
        """Of all tables."""
        return sum(table.rows for table in self.tables.values())


def write_backup(database: Database, settings: Settings, path: Path, now_s: float, *, plain_keys: bool) -> Manifest:
    """Write a backup, readable by its owner only: whole and on disk under its name, or not there at all.

    Raises: ConflictError: there is something under this name. SettingsError: no database yet. StoreError. OSError.
    """
    if path.exists():
        raise ConflictError(f"{path}: exists already; a backup never writes over another")
    partial = path.with_name(f"{path.name}.part")
    try:
        with _private(partial) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
            manifest = _fill(archive, database, settings, now_s, path.parent, plain_keys=plain_keys)
        os.link(partial, path)  # unlike a rename it never replaces what somebody has put there meanwhile
    finally:
        partial.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return manifest


@contextmanager
def _private(path: Path) -> Iterator[IO[bytes]]:
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, PRIVATE)
    with os.fdopen(handle, "w+b") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _fill(
    archive: tarfile.TarFile, database: Database, settings: Settings, now_s: float, scratch: Path, *, plain_keys: bool
) -> Manifest:
    members: dict[str, Member] = {}
    digests: dict[str, TableDigest] = {}
    left_out: list[str] = []
    with locked(settings.repository_dir), database.read() as session:
        connection = session.connection()
        revision = database.revision_of(connection)
        if revision is None:
            raise SettingsError(f"database {database.engine.url!r}: is empty")
        for table in reflected(connection):
            with tempfile.TemporaryFile(dir=scratch) as spool:
                with gzip.GzipFile(fileobj=spool, mode="wb", compresslevel=1, mtime=0) as zipped:
                    digests[str(table.name)] = dump_table(session, table, zipped)  # type: ignore[arg-type]  # it can write
                members[f"tables/{table.name}"] = _add(archive, f"tables/{table.name}", spool, PRIVATE)
        for file in _home_files(settings.home):
            name = file.relative_to(settings.home).as_posix()
            if not plain_keys and _is_plain_key(file):
                left_out.append(name)
                continue
            try:
                with file.open("rb") as opened:
                    mode = os.fstat(opened.fileno()).st_mode & 0o777
                    members[f"home/{name}"] = _add(archive, f"home/{name}", opened, mode)
            except FileNotFoundError:
                continue  # deleted since the folder was listed: no row of the snapshot is without it for longer
    manifest = Manifest(
        _FORMAT, settings.fleet, now_s, revision, database.engine.dialect.name, digests, members, left_out
    )
    _add(archive, _MANIFEST, io.BytesIO(msgspec.json.encode(manifest)), PRIVATE)
    return manifest


def _home_files(home: Path) -> list[Path]:
    """Regular files of the folders that a backup takes, without those that are being written or only lock."""
    found = (p for folder in FOLDERS for p in sorted((home / folder).rglob("*")))
    return [p for p in found if p.is_file() and not p.is_symlink() and not p.name.endswith(_PASSING)]


def _is_plain_key(path: Path) -> bool:
    if path.suffix in {".mwb", ".npz", ".html"} or path.stat().st_size > _BLOCK:
        return False
    data = path.read_bytes()
    return b"PRIVATE KEY-----" in data and b"ENCRYPTED" not in data


def _add(archive: tarfile.TarFile, name: str, file: IO[bytes], mode: int) -> Member:
    """Add what an open file holds, and say what it was as it went in."""
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    info = tarfile.TarInfo(name)
    info.size, info.mode = length, PRIVATE
    reader = _Hashing(file)
    archive.addfile(info, reader)
    return Member(length, reader.sha256.hexdigest(), mode)


class _Hashing:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.sha256.update(data)
        return data


def read_manifest(path: Path) -> Manifest:
    """Read a backup from end to end and check every byte of it. Raises: DataError: it is none, or is damaged."""
    found: dict[str, Member] = {}
    raw = b""
    try:
        with tarfile.open(path, mode="r:") as archive:
            for info in archive:
                file = archive.extractfile(info)
                if not info.isreg() or file is None or info.name in found or raw:
                    raise DataError(f"{path}, {info.name}: expected regular files, each once, the manifest last")
                if info.name == _MANIFEST and info.size <= _MAX_MANIFEST_BYTES:
                    raw = file.read()
                    continue
                digest = hashlib.sha256()
                while block := file.read(_BLOCK):
                    digest.update(block)
                found[info.name] = Member(info.size, digest.hexdigest())
        manifest = msgspec.json.decode(raw, type=Manifest)
    except (tarfile.TarError, EOFError, msgspec.DecodeError) as error:
        raise DataError(f"{path}: not a backup, or cut short: {error}") from error
    if manifest.format != _FORMAT:
        raise DataError(f"{path}: has format {manifest.format}, this release reads {_FORMAT}")
    for name, member in manifest.members.items():
        _check_name(path, name)
        got = found.pop(name, None)
        if got is None or (got.length, got.sha256) != (member.length, member.sha256):
            raise DataError(f"{path}, {name}: expected sha256 {member.sha256[:12]}, got {got and got.sha256[:12]}")
    if found:
        raise DataError(f"{path}: has members that its manifest does not name: {', '.join(sorted(found))[:200]}")
    if missing := [name for name in manifest.tables if f"tables/{name}" not in manifest.members]:
        raise DataError(f"{path}: no rows of the tables {', '.join(missing)}")
    return manifest


def _check_name(path: Path, name: str) -> None:
    parts = PurePosixPath(name).parts
    good = (len(parts) == 2 and parts[0] == "tables") or (len(parts) > 2 and parts[0] == "home" and parts[1] in FOLDERS)
    if not good or ".." in parts or PurePosixPath(name).as_posix() != name:
        raise DataError(f"{path}, {name}: not a name that a backup has")


def restore_backup(path: Path, settings: Settings, now_s: float) -> Manifest:
    """Put a backup into a home folder and a database that are both empty (hub.toml may be there), and check it.

    All rows are read back before they are committed. When something fails, what was written is taken away again.

    Raises: DataError: the file. ConflictError: the folder. StoreError: the database. OSError.
    """
    home = settings.home
    in_the_way = sorted(p.name for p in home.iterdir() if p.name != "hub.toml") if home.exists() else []
    if in_the_way:
        raise ConflictError(f"{home}: expected an empty folder, it holds {', '.join(in_the_way)[:200]}")
    manifest = read_manifest(path)
    home.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(path, mode="r:") as archive:
            _restore_files(archive, manifest, home)
            if settings.repository_dir.exists():  # gateways may have seen newer: it has to be signed anew
                note_restored(settings.repository_dir, manifest.created_s, now_s)
            with Database(settings.sqlalchemy_url) as database:
                _restore_tables(archive, manifest, database, path)
    except BaseException:
        for folder in FOLDERS:
            shutil.rmtree(home / folder, ignore_errors=True)
        if not settings.database_url:
            for suffix in ("", "-wal", "-shm"):
                (home / f"hub.sqlite3{suffix}").unlink(missing_ok=True)
        raise
    return manifest


def _restore_files(archive: tarfile.TarFile, manifest: Manifest, home: Path) -> None:
    for name, member in manifest.members.items():
        if not name.startswith("home/"):
            continue
        target = home / PurePosixPath(name).relative_to("home")
        private = PurePosixPath(name).parts[1] in {"keys", "identity"}
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700 if private else 0o755)
        source = archive.extractfile(name)
        if source is None:
            raise DataError(f"{name}: not a regular file")
        with target.open("xb") as file:
            os.fchmod(file.fileno(), member.mode & 0o777)
            shutil.copyfileobj(source, file, _BLOCK)
            file.flush()
            os.fsync(file.fileno())
        _sync_folder(target.parent)


def _restore_tables(archive: tarfile.TarFile, manifest: Manifest, database: Database, path: Path) -> None:
    if manifest.revision not in database.known_revisions():
        raise StoreError(f"{path}: was made by a newer release (revision {manifest.revision})")
    make_tables(database, manifest.revision)
    try:
        with database.write() as session:
            tables = reflected(session.connection())
            _check_tables(path, {str(t.name) for t in tables}, manifest)
            for table in tables:
                stream = archive.extractfile(f"tables/{table.name}")
                assert stream is not None  # noqa: S101 - the manifest was checked
                with gzip.GzipFile(fileobj=stream, mode="rb") as rows:
                    where = f"{path}, table {table.name}"
                    load_table(session, table, rows, manifest.tables[table.name], where)  # type: ignore[arg-type]
            continue_counting(session, tables)
    except BaseException:
        drop_tables(database)
        raise
    database.migrate()


def _check_tables(path: Path, names: set[str], manifest: Manifest) -> None:
    if names != set(manifest.tables):
        raise StoreError(f"{path}: its tables are not those of revision {manifest.revision}")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Files that survive a power cut: whole or not there, never half.

Whole files go through `write_atomically`: a temporary file in the same folder, flushed to the disk, renamed over the
target, and the folder flushed too, since a rename is only in the folder. A file that grows (`append`, `overwrite`)
promises nothing before `flush_file`. Stored documents are JSON with a version.

Every change to a file that delivery makes is one call of `Disk`: the tests put a recorder in its place and cut the
power after each.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path
from typing import TypeVar

import msgspec

from edge_agent.errors import FolderClaimedError, StorageError

D = TypeVar("D", bound="Document")
TEMPORARY_PREFIX = ".tmp-"
_PROBE_PREFIX = ".writable-"
_LOCK = "lock"
_LOOK_S = 0.2


class Disk:
    """The calls that change something. None of them is durable by itself but `sync` and `sync_folder`."""

    def write(self, path: Path, data: bytes) -> None:
        """Make a file with this content, in place of any other. Raises: OSError, as all of these."""
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)

    def put(self, path: Path, offset: int, data: bytes) -> None:
        """Write into a file (which is made if need be) at an offset."""
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.seek(offset)
            file.write(data)

    def truncate(self, path: Path, size: int) -> None:
        """Cut a file's end off."""
        os.truncate(path, size)

    def sync(self, path: Path) -> None:
        """Bring a file's content to the disk."""
        _sync(path, os.O_RDONLY)

    def sync_folder(self, folder: Path) -> None:
        """Bring a folder's entries (new files, renames, removals) to the disk."""
        _sync(folder, os.O_RDONLY | os.O_DIRECTORY)

    def rename(self, path: Path, target: Path) -> None:
        """Move a file over another."""
        path.replace(target)

    def unlink(self, path: Path) -> None:
        """Remove a file if it is there."""
        path.unlink(missing_ok=True)

    def mkdir(self, folder: Path) -> None:
        """Make a folder in one that exists; no error if it is there."""
        folder.mkdir(exist_ok=True)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


disk = Disk()


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """Base of stored documents. `version` grows when an older release could not read one any more."""

    version: int = 1


def write_atomically(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Replace `path` by `data`. `durable=False` skips the flush, for what may be lost at a power cut (status).

    Raises: StorageError: naming the file; the old content is then still in place.
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{path.name}")
    try:
        try:
            disk.write(temporary, data)
            if durable:
                disk.sync(temporary)
            disk.rename(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                disk.unlink(temporary)
            raise
        if durable:
            disk.sync_folder(path.parent)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error


def put(path: Path, offset: int, data: bytes) -> None:
    """Write into a growing file. Raises: StorageError."""
    try:
        disk.put(path, offset, data)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error


def truncate(path: Path, size: int) -> None:
    """Cut a growing file's end off. Raises: StorageError."""
    try:
        disk.truncate(path, size)
    except OSError as error:
        raise StorageError(f"{path}: cannot be cut to {size} bytes: {error.strerror or error}") from error


def flush_file(path: Path) -> None:
    """Bring a file's content, and its being there, to the disk. Raises: StorageError."""
    try:
        disk.sync(path)
        disk.sync_folder(path.parent)
    except OSError as error:
        raise StorageError(f"{path}: cannot be flushed: {error.strerror or error}") from error


def move_durably(path: Path, target: Path) -> None:
    """Move a file to its final name, content first. Raises: StorageError: it may be under either name, whole."""
    try:
        disk.sync(path)
        disk.rename(path, target)
        disk.sync_folder(target.parent)
        if path.parent != target.parent:
            disk.sync_folder(path.parent)
    except OSError as error:
        raise StorageError(f"{target}: cannot be put in place: {error.strerror or error}") from error


def remove(paths: list[Path]) -> None:
    """Remove files of one folder, if they are there. A power cut may bring them back. Raises: StorageError."""
    for path in paths:
        try:
            disk.unlink(path)
        except OSError as error:
            raise StorageError(f"{path}: cannot be removed: {error.strerror or error}") from error


def remove_durably(path: Path) -> None:
    """Remove a file if it is there, for good. Raises: StorageError."""
    remove([path])
    try:
        disk.sync_folder(path.parent)
    except OSError as error:
        raise StorageError(f"{path}: cannot be removed: {error.strerror or error}") from error


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, for good: what is stored in it later must not vanish with it.

    Raises: StorageError: naming the folder and the cause.
    """
    try:
        for one in [*reversed(folder.parents), folder]:
            if not one.exists() or (one == folder and not one.is_dir()):
                disk.mkdir(one)
                disk.sync_folder(one.parent)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be made: {error.strerror or error}") from error


def prepare_folder(folder: Path) -> None:
    """Make a folder and prove that it can be written. Raises: StorageError: naming the folder and the cause."""
    make_folder(folder)
    probe = folder / f"{_PROBE_PREFIX}{os.getpid()}"
    write_atomically(probe, b"")
    remove_durably(probe)


def lock_folder(folder: Path) -> int:
    """Claim the state folder for this process, until it ends; then clear what a power cut left half-written.

    Returns: the descriptor that holds the lock.
    Raises:  FolderClaimedError: another agent holds it. StorageError.
    """
    try:
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _locked(descriptor, fcntl.LOCK_EX):
            time.sleep(_LOOK_S)  # `is_claimed` holds it for as long as it takes to look
            if not _locked(descriptor, fcntl.LOCK_EX):
                raise FolderClaimedError(f"{folder}: another agent is running on this state folder")
        for pattern in (f"{TEMPORARY_PREFIX}*", f"{_PROBE_PREFIX}*"):
            for leftover in folder.rglob(pattern):
                disk.unlink(leftover)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be locked: {error.strerror or error}") from error
    return descriptor


def is_claimed(folder: Path) -> bool:
    """Whether a process holds the state folder right now. Raises: StorageError: it cannot be told."""
    try:
        descriptor = os.open(folder / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return not _locked(descriptor, fcntl.LOCK_SH)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StorageError(f"{folder}: whether an agent runs cannot be told: {error.strerror or error}") from error


def _locked(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def save_document(path: Path, document: Document) -> None:
    """Store a document as JSON for people and for us. Raises: StorageError."""
    write_atomically(path, msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")


def load_document(path: Path, kind: type[D]) -> D | None:
    """Read a stored document back; None when there is none yet.

    Raises: StorageError: unreadable, damaged, or written by a newer release.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        document = msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StorageError(f"{path}: expected a stored {kind.__name__}: {error}") from error
    known = kind().version
    if document.version > known:
        raise StorageError(f"{path}: written by a newer release: version {document.version}, this one reads {known}")
    return document

"""Files that survive a power cut: whole or not there, never half.

Everything goes through `write_atomically`: a temporary file in the same folder, flushed to the disk, renamed over the
target, and the folder flushed too, since a rename is only in the folder. Stored documents are JSON with a version.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from pathlib import Path
from typing import TypeVar

import msgspec

from edge_agent.errors import StorageError

D = TypeVar("D", bound="Document")
TEMPORARY_PREFIX = ".tmp-"


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """Base of stored documents. `version` grows when an older release could not read one any more."""

    version: int = 1


def write_atomically(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Replace `path` by `data`. `durable=False` skips the flush, for what may be lost at a power cut (status).

    Raises: StorageError: naming the file; the old content is then still in place.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                Path(name).unlink()
            raise
        if durable:
            flush_folder(path.parent)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error


def flush_folder(folder: Path) -> None:
    """Bring a folder's entries (renames, removals) to the disk. Raises: OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_durably(path: Path) -> None:
    """Remove a file if it is there, for good. Raises: StorageError."""
    try:
        path.unlink(missing_ok=True)
        flush_folder(path.parent)
    except OSError as error:
        raise StorageError(f"{path}: cannot be removed: {error.strerror or error}") from error


def prepare_folder(folder: Path) -> None:
    """Make a folder and prove that it can be written. Raises: StorageError: naming the folder and the cause."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be made: {error.strerror or error}") from error
    probe = folder / f".writable-{os.getpid()}"
    write_atomically(probe, b"")
    remove_durably(probe)


def lock_folder(folder: Path) -> int:
    """Claim the state folder for this process, until it ends; then clear what a power cut left half-written.

    Returns: the descriptor that holds the lock.
    Raises:  StorageError: another agent holds it.
    """
    try:
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for leftover in folder.rglob(f"{TEMPORARY_PREFIX}*"):
            leftover.unlink(missing_ok=True)
    except BlockingIOError as error:
        raise StorageError(f"{folder}: another agent is running on this state folder") from error
    except OSError as error:
        raise StorageError(f"{folder}: cannot be locked: {error.strerror or error}") from error
    return descriptor


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

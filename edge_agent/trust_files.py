"""What the trust worker keeps beside the metadata, two floors under this gateway's clock (see `trust_worker`), and how
it writes: under a lock, whole or not at all.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

FLOOR_STEP_S = 3600  # the floor is written this often at most, to spare the flash
_SIGNED_TIME = "signed_time.json"


class _SignedTime(msgspec.Struct, frozen=True):
    """When the newest timestamp was signed, and the key ids that the root named for timestamps then."""

    signed_s: float
    keyids: list[str]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Two workers on one folder would mix their metadata."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def read_floor(folder: Path) -> float:
    """The latest time at which metadata were found valid here, UTC seconds; 0 when there is none."""
    path = folder / "time_floor"
    try:
        return float(int(path.read_text(encoding="ascii")))
    except FileNotFoundError:
        return 0.0
    except ValueError as error:
        # Whoever can write this file could as well write a zero, so starting anew gives nothing away.
        sys.stderr.write(f"{path}: expected whole seconds, starting from 0: {error}\n")
        return 0.0


def signed_floor(folder: Path, keyids: list[str]) -> float:
    """When the hub signed what we kept, unless the root has taken that key out of use since.

    Args: keyids: of the keys that the newest root names for timestamps, in order.
    """
    try:
        known = msgspec.json.decode((folder / _SIGNED_TIME).read_bytes(), type=_SignedTime)
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        return 0.0
    return known.signed_s if known.keyids == keyids else 0.0


def raise_signed_floor(folder: Path, said_s: float, keyids: list[str]) -> float:
    """Note that the hub signed at this time, by a timestamp that was verified. Returns: the floor from now on."""
    before = signed_floor(folder, keyids)
    if said_s > before:
        write_atomic(folder / _SIGNED_TIME, msgspec.json.encode(_SignedTime(signed_s=said_s, keyids=keyids)))
    return max(before, said_s)


def raise_floor(folder: Path, now_s: float) -> None:
    """Let the floor follow, not more often than worth a write."""
    if now_s >= read_floor(folder) + FLOOR_STEP_S:
        write_atomic(folder / "time_floor", str(int(now_s)).encode())


def write_atomic(path: Path, data: bytes) -> None:
    """One fixed temporary name per file: we hold the lock, and a power cut leaves at most one behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""Files that are whole or not there."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.errors import StorageError
from edge_agent.storage import (
    Document,
    is_claimed,
    load_document,
    lock_folder,
    prepare_folder,
    remove_durably,
    save_document,
    write_atomically,
)


class Kept(Document, frozen=True, kw_only=True):
    name: str = ""


def test_a_write_replaces_the_whole_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old" * 100)
    write_atomically(path, b"new", durable=False)
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="file: cannot be written: No space left on device"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_documents_come_back_and_unknown_fields_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    assert load_document(path, Kept) is None
    save_document(path, Kept(name="x"))
    assert load_document(path, Kept) == Kept(name="x")
    path.write_text('{"version": 1, "name": "y", "later": true}')
    assert load_document(path, Kept) == Kept(name="y")


def test_a_newer_or_damaged_document_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    path.write_text('{"version": 2, "name": "y"}')
    with pytest.raises(StorageError, match=r"kept\.json: written by a newer release: version 2, this one reads 1"):
        load_document(path, Kept)
    path.write_text('{"version": 1, "na')
    with pytest.raises(StorageError, match=r"kept\.json: expected a stored Kept"):
        load_document(path, Kept)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file/state: cannot be made: Not a directory"):
        prepare_folder(tmp_path / "file" / "state")


def test_one_process_holds_the_folder_and_clears_leftovers(tmp_path: Path) -> None:
    (tmp_path / "slots").mkdir()
    (tmp_path / "slots" / ".tmp-half").write_text("half")
    descriptor = lock_folder(tmp_path)
    assert not (tmp_path / "slots" / ".tmp-half").exists()
    program = (
        f"from pathlib import Path; from edge_agent.storage import lock_folder; lock_folder(Path({str(tmp_path)!r}))"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert "another agent is running on this state folder" in other.stderr
    assert is_claimed(tmp_path)
    os.close(descriptor)
    assert not is_claimed(tmp_path)
    os.close(lock_folder(tmp_path))


def test_whoever_looks_whether_an_agent_runs_keeps_none_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not is_claimed(tmp_path)
    os.close(lock_folder(tmp_path))
    looking = os.open(tmp_path / "lock", os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    monkeypatch.setattr("time.sleep", lambda _: os.close(looking))
    os.close(lock_folder(tmp_path))


def test_removing_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    remove_durably(tmp_path / "none")

"""Looking at files that strangers brought: never in the hub's own process, but in one with bounds on memory and time.

Parsers of binary formats have faults, and a small file may unpack to more than there is memory. What can go wrong goes
wrong elsewhere; the hub reads only the JSON that comes back.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import threading
import zipfile
from pathlib import Path
from typing import Any

import msgspec

from cloud_hub.errors import DataError

_MEMORY_BYTES = 8 * 2**30  # of address space, most of which is libraries that are mapped and never touched
_SECONDS = 300.0
_MAX_JSON = 32 * 2**20
_MAX_MEMBERS = 256
_MAGIC = {"parquet": b"PAR1", "wav": b"RIFF", "npz": b"PK\x03\x04"}
_turn = threading.BoundedSemaphore(2)


def check_kind(path: Path, kind: str, most_bytes: int) -> None:
    """Whether a file begins as its kind does, and promises to unpack to no more than `most_bytes`.

    Raises: DataError: expected and got.
    """
    with path.open("rb") as file:
        head = file.read(4096)
    if not head:
        raise DataError("upload: the file is empty")
    magic = _MAGIC.get(kind)
    if magic is not None and not head.startswith(magic):
        raise DataError(f"upload: expected a {kind} file, which begins with {magic!r}, got {head[:8]!r}")
    if magic is None and b"\x00" in head and head[:2] not in {b"\xff\xfe", b"\xfe\xff"}:
        raise DataError(f"upload: expected text with columns, got binary data: {head[:8]!r}")
    if kind == "npz":
        _check_archive(path, most_bytes)


def _check_archive(path: Path, most_bytes: int) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise DataError(f"upload: not an npz file that can be read: {error}") from error
    size = sum(member.file_size for member in members)
    if len(members) > _MAX_MEMBERS or size > most_bytes:
        raise DataError(
            f"upload: expected at most {_MAX_MEMBERS} arrays of {most_bytes:,} bytes together, "
            f"got {len(members)} of {size:,}"
        )


def inspect_elsewhere(sources: list[str], extra: tuple[str, ...] = ()) -> dict[str, Any]:
    """What `cloud-hub inspect` says of files, as its JSON.

    Args:   sources: as for `cloud_hub.data.load.load`. extra: more options.
    Raises: DataError: it found no answer: the files are too much for it, or there is no such file.
    """
    with _turn, tempfile.TemporaryDirectory(prefix="millwright-") as folder:
        out = Path(folder) / "inspection.json"
        command = [sys.executable, "-m", "cloud_hub", "inspect", f"--json={out}", *extra, "--", *sources]
        code, said = _run(command)
        if not out.exists():
            last = said.strip().splitlines()[-1:] or [f"exit code {code}"]
            why = "it needs more memory than an inspection may have" if code < 0 or "MemoryError" in said else last[0]
            raise DataError(f"the data could not be inspected: {why.removeprefix('cloud-hub: ')}")
        if out.stat().st_size > _MAX_JSON:
            raise DataError(f"the data could not be inspected: over {_MAX_JSON:,} bytes of findings")
        found: dict[str, Any] = msgspec.json.decode(out.read_bytes())
        return found


def _run(command: list[str]) -> tuple[int, str]:
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    ) as child:
        resource.prlimit(child.pid, resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
        try:
            _, said = child.communicate(timeout=_SECONDS)
        except subprocess.TimeoutExpired as error:
            child.kill()
            raise DataError(f"the data could not be inspected within {_SECONDS:g} s") from error
        return child.returncode, said[-65_536:].decode("utf-8", "replace")

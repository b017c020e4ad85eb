"""One training as a process: a group of its own, its output kept within bounds, its progress read as it is told."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import msgspec

PROGRAM = (sys.executable, "-m", "cloud_hub")
_HEAD_BYTES, _TAIL_BYTES = 512 * 2**10, 128 * 2**10


class Told(msgspec.Struct):
    """A line of progress: see `cloud_hub.cli._progress`."""

    share: float = 0.0
    what: str = ""
    end: str = ""
    text: str = ""


class TrainingProcess:
    """Starts a command line that tells its progress in `folder`. `identity` names its process for a hub that comes
    back after a crash.
    """

    def __init__(self, command: Sequence[str], folder: Path, nice: int) -> None:
        """Raises: OSError: no process can be started."""
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}
        self._progress = folder / "progress.jsonl"
        self._offset = 0
        self.ended: Told | None = None
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        with contextlib.suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, self._child.pid, nice)
        self.identity = identity_of(self._child.pid) or ""
        self._log = threading.Thread(target=_keep, args=(self._child.stdout, folder / "log.txt"), daemon=True)
        self._log.start()

    def read_progress(self) -> Told | None:
        """The newest that was told since the last call; None: nothing new. The last word is kept in `ended`."""
        try:
            with self._progress.open("rb") as file:
                file.seek(self._offset)
                data = file.read(2**20)
        except FileNotFoundError:
            return None
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        newest = None
        for line in whole.splitlines():
            told = msgspec.json.decode(line, type=Told)
            if told.end:
                self.ended = told
            else:
                newest = told
        return newest

    def poll(self) -> int | None:
        """The exit code, once it has ended."""
        code = self._child.poll()
        if code is not None:
            self._log.join(5.0)
        return code

    def end(self, *, at_once: bool) -> None:
        """Ask the whole group to end, or end it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL if at_once else signal.SIGTERM)

    def wait(self, timeout_s: float) -> bool:
        """Whether it ended in time."""
        try:
            self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True


def identity_of(pid: int) -> str | None:
    """Number and start of a process, which no other process shares until the machine starts anew; None: no such one."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()[:8]
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before may hold anything
    return None if fields[0] == "Z" else f"{pid}:{fields[19]}:{boot}"


def end_orphan(identity: str) -> bool:
    """End the group of a process that a hub before this one had started. Returns: whether it was still there."""
    pid = int(identity.partition(":")[0] or 0)
    if not pid or identity_of(pid) != identity:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    return True


def _keep(stream: IO[bytes] | None, path: Path) -> None:
    """Keep the first and the last of what a process says; what is in between of a very talkative one is counted."""
    assert stream is not None  # noqa: S101 - it was asked for
    left, dropped = _HEAD_BYTES, 0
    tail = bytearray()
    with path.open("wb") as file, stream:
        while data := os.read(stream.fileno(), 65_536):
            file.write(data[:left])
            file.flush()
            tail += data[left:]
            left = max(0, left - len(data))
            if len(tail) > _TAIL_BYTES:
                dropped += len(tail) - _TAIL_BYTES
                del tail[:-_TAIL_BYTES]
        if dropped:
            file.write(b"\n... %d bytes are left out ...\n" % dropped)
        file.write(tail)


def last_line(path: Path) -> str:
    """The last thing that a process said."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
    except FileNotFoundError:
        return ""
    return lines[-1].removeprefix("cloud-hub: ") if lines else ""

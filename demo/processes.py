"""Starting the project's own commands as processes, and stopping every one of them again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
_STOP_S = 15.0


class StepFailedError(Exception):
    """Something that the story needs did not happen."""


class Processes:
    """Long-running commands, each with a log file; they end with the story, last started first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = dict(os.environ)

    def start(self, name: str, *command: str) -> None:
        """Start `command`, a console script of the project with its arguments."""
        log = (self._folder / f"{name}.log").open("ab")
        with log:
            self._running[name] = subprocess.Popen(
                [*_script(command[0]), *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,  # Ctrl-C is ours to hand on, in order
            )

    def run(self, name: str, *command: str, secret: bool = False) -> str:
        """Run a command to its end; its standard output. `secret`: which must not stand in a log.

        Raises: StepFailedError: it did not exit with 0; the text has the end of what it said.
        """
        done = subprocess.run(
            [*_script(command[0]), *command[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=self.environment,
            check=False,
        )
        with (self._folder / f"{name}.log").open("ab") as log:
            log.write(done.stderr if secret else done.stdout + done.stderr)
        if done.returncode != 0:
            said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
            raise StepFailedError(f"{' '.join(command[:2])} exited with {done.returncode}: {' '.join(said[-3:])}")
        return done.stdout.decode(errors="replace")

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a running command."""
        self._running[name].send_signal(number)

    def alive(self, name: str) -> bool:
        """Whether a command still runs."""
        return self._running[name].poll() is None

    def check(self) -> None:
        """Raise StepFailedError when one of the long-running commands has ended by itself with an error."""
        for name, process in self._running.items():
            code = process.poll()
            if code not in {None, 0}:
                tail = (self._folder / f"{name}.log").read_text(errors="replace").strip().splitlines()[-3:]
                raise StepFailedError(f"{name} ended with {code}: {' '.join(tail)}")

    def stop(self, name: str) -> None:
        """Ask a command to end, and wait for it."""
        process = self._running.pop(name)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def stop_all(self) -> None:
        """End everything."""
        for name in reversed(list(self._running)):
            self.stop(name)


def _script(name: str) -> list[str]:
    return [sys.executable, "-m", name.replace("-", "_")]


@contextmanager
def processes(folder: Path) -> Iterator[Processes]:
    """`Processes` that are gone when the block ends, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    started = Processes(folder)
    try:
        yield started
    finally:
        started.stop_all()


def wait_for(what: str, look: Callable[[], T | None], started: Processes, timeout_s: float = 60.0) -> T:
    """Look again and again until there is something.

    Raises: StepFailedError: nothing within `timeout_s`, or one of the processes has died.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        started.check()
        time.sleep(0.1)
    raise StepFailedError(f"{what}: did not happen within {timeout_s:g} s")


def read_ready(path: Path) -> dict[str, Any] | None:
    """What a command wrote when it was ready, None until then."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return content

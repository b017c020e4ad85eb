"""One thread for what takes long (verifying, loading): jobs in, answers out, both through the agent's own loop."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from models.errors import MillwrightError

log = logging.getLogger(__name__)

T = TypeVar("T")


class Worker(Protocol):
    """Runs jobs one after the other."""

    def submit(self, name: str, job: Callable[[], T], done: Callable[[T | MillwrightError], None]) -> None:
        """Run `job` soon; `done` is called from `poll` with what it returned, or with the error it raised."""

    def poll(self) -> None:
        """Call `done` for the jobs that have ended. An exception that is not a MillwrightError is raised here."""


class ThreadWorker:
    """The worker of a running agent. `wake` is called when a job has ended."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._jobs: queue.SimpleQueue[tuple[str, Callable[[], Any], Callable[[Any], None]]] = queue.SimpleQueue()
        self._ended: queue.SimpleQueue[tuple[Callable[[Any], None], Any]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="worker", daemon=True).start()

    def submit(self, name: str, job: Callable[[], T], done: Callable[[T | MillwrightError], None]) -> None:
        """See `Worker`."""
        self._jobs.put((name, job, done))

    def poll(self) -> None:
        """See `Worker`."""
        while not self._ended.empty():
            done, answer = self._ended.get()
            if isinstance(answer, BaseException) and not isinstance(answer, MillwrightError):
                raise answer
            done(answer)

    def _run(self) -> None:
        while True:
            name, job, done = self._jobs.get()
            log.debug("%s: begun", name)
            try:
                answer = job()
            except BaseException as error:  # noqa: BLE001 - handed over whole: `poll` raises what is not expected
                answer = error
            self._ended.put((done, answer))
            self._wake()

"""Who starts training jobs, watches them and brings their results in. One thread; the trainings are processes.

TensorFlow never comes into the hub's process: a training that runs out of memory, hangs or crashes ends alone.
"""

from __future__ import annotations

import logging
import platform
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from cloud_hub.errors import ConflictError, DataError, HubError
from cloud_hub.jobs.command import lay_out, order_of, train_arguments
from cloud_hub.jobs.places import Places
from cloud_hub.jobs.process import PROGRAM, TrainingProcess, end_orphan, last_line
from cloud_hub.jobs.states import JobEvent, JobState
from cloud_hub.observing.logs import about
from cloud_hub.settings import Settings
from cloud_hub.store import jobs as store
from cloud_hub.store.database import Database
from cloud_hub.store.dataset_queries import get_version
from cloud_hub.store.job_views import JobView
from cloud_hub.trust.files import write_atomic
from models.bundle.archive import SUFFIX, read_bundle
from models.contract.messages import MAX_BUNDLE_BYTES
from models.errors import BundleError

_log = logging.getLogger(__name__)
_POLL_S = 0.5
_RETRY_S = 5.0
_GRACE_S = 10.0
_REFUSED = 4
_MAX_REASON = 4000


@dataclass(slots=True)
class _Running:
    process: TrainingProcess
    folder: Path
    begun_s: float
    ends_s: float
    asked_s: float | None = None


class JobRunner:
    """`start` it, `wake` it when something was queued or cancelled, `stop` it. `failure`: a fault that ended it.
    `program`: what trains, when it is not this hub's own command line.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        now_s: Callable[[], float] = time.time,
        on_failure: Callable[[], None] = lambda: None,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self.failure: Exception | None = None
        self.name = f"{platform.node()}:{settings.home}"[:200]
        self._database = database
        self._places = Places.of(settings)
        self._most, self._nice, self._hours = settings.training_jobs, settings.training_nice, settings.training_hours
        self._now_s = now_s
        self._on_failure = on_failure
        self._program = program
        self._running: dict[str, _Running] = {}
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="training-jobs", daemon=True)

    def start(self) -> None:
        """Begin: first with what a hub before this one has left behind."""
        self._thread.start()

    def wake(self) -> None:
        """Look now."""
        self._wake.set()

    def stop(self) -> None:
        """End; trainings that run are ended with it and stand as interrupted."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(_GRACE_S + 15.0)

    def _run(self) -> None:
        recovered = False
        try:
            while not self._stop.is_set():
                try:
                    if not recovered:
                        self._recover()
                        recovered = True
                    self.step()
                    pause_s = _POLL_S
                except HubError as error:
                    pause_s = _RETRY_S
                    _log.error("training jobs: %s; trying again in %g s", error, pause_s)
                self._wake.wait(pause_s)
                self._wake.clear()
            self._leave()
        except Exception as error:  # noqa: BLE001 - told to whoever runs the hub
            _log.exception("training jobs failed")
            self.failure = error
            for running in self._running.values():
                running.process.end(at_once=True)
            self._on_failure()

    def _recover(self) -> None:
        """A hub that comes back ends what it had begun: nobody has been listening to it."""
        with self._database.read() as session:
            begun = store.begun_by(session, self.name)
        for job, process in begun:
            if process is not None and end_orphan(process):
                _log.warning("training job %s: its process of before was still there and is ended", job.id)
            with about(job=job.id):
                self._end(job.id, JobEvent.LOSE, reason="the hub was restarted while it ran")

    def step(self) -> None:
        """Bring in what has ended, begin what waits. Raises: HubError."""
        for job, running in list(self._running.items()):
            with about(job=job):
                self._watch(job, running)
        while len(self._running) < self._most and not self._stop.is_set():
            with self._database.read() as session:  # most of the time there is nothing, and nobody has to wait for us
                if not store.is_waiting(session):
                    return
            with self._database.write() as session:
                taken = store.take_next(session, self.name, self._most, self._now_s())
            if taken is None:
                return
            with about(job=taken.id):
                self._begin(taken)

    def _begin(self, job: JobView) -> None:
        folder = self._places.jobs / job.id
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            with self._database.read() as session:
                detail = get_version(session, job.dataset, job.version)
            links = lay_out(detail, self._places, folder / "data")
            words = train_arguments(order_of(job.asked), detail, links, folder)
            process = TrainingProcess([*self._program, *words], folder, self._nice)
        except (ConflictError, DataError, OSError) as error:
            self._end(job.id, JobEvent.FAIL, reason=str(error))
            return
        now = time.monotonic()
        self._running[job.id] = _Running(process, folder, now, now + self._hours * 3600)
        _log.info("training job %s: begun, data set %s version %d", job.id, job.dataset, job.version)
        with self._database.write() as session:
            store.tell(session, job.id, "starting", 0.0, process.identity)

    def _watch(self, job: str, running: _Running) -> None:
        code = running.process.poll()
        told = running.process.read_progress()
        if code is not None:
            self._bring_in(job, running, code)  # should the database be away, it is brought in the next time
            del self._running[job]
            return
        if told is not None:
            with self._database.write() as session:
                state = store.tell(session, job, told.what[:200], min(1.0, max(0.0, told.share)))
        else:
            with self._database.read() as session:
                state = store.state_of(session, job)
        late = time.monotonic() >= running.ends_s
        if state is JobState.CANCELLING or late:
            now = time.monotonic()
            running.asked_s = running.asked_s if running.asked_s is not None else now
            running.process.end(at_once=now - running.asked_s >= _GRACE_S)

    def _bring_in(self, job: str, running: _Running, code: int) -> None:
        ended = running.process.ended
        said = ended.text if ended is not None and ended.text else last_line(running.folder / "log.txt")
        if code == 0:
            try:
                self._keep_result(job, running.folder)
            except (BundleError, OSError, msgspec.DecodeError) as error:
                self._end(job, JobEvent.FAIL, exit_code=code, reason=f"its result cannot be read: {error}")
        elif code == _REFUSED:
            self._end(job, JobEvent.REFUSE, exit_code=code, reason=said)
        elif running.asked_s is not None and time.monotonic() >= running.ends_s:
            self._end(job, JobEvent.FAIL, exit_code=code, reason=f"took longer than {self._hours:g} h")
        else:
            what = f"ended by signal {-code}: " if code < 0 else ""
            self._end(job, JobEvent.FAIL, exit_code=code, reason=what + said)
        shutil.rmtree(running.folder / "data", ignore_errors=True)

    def _keep_result(self, job: str, folder: Path) -> None:
        """Files first, then the row that says they are there."""
        with (folder / "model.mwb").open("rb") as file:
            data = file.read(MAX_BUNDLE_BYTES + 1)
        bundle = read_bundle(data, f"training job {job}")
        summary: dict[str, Any] = msgspec.json.decode((folder / "result.json").read_bytes())
        for path in ("bundle", "report"):
            summary.pop(path, None)
        write_atomic(self._places.candidates / f"{bundle.sha256}{SUFFIX}", data)
        write_atomic(self._places.reports / f"{bundle.sha256}.html", (folder / "report.html").read_bytes())
        manifest = bundle.manifest
        new = store.NewCandidate(
            bundle.sha256, manifest.slot, manifest.version, manifest.family, bundle.length, bundle.manifest_json
        )
        with self._database.write() as session:
            changes: dict[str, Any] = {"exit_code": 0, "summary": summary, "stage": "done", "share": 1.0}
            if store.state_of(session, job) is JobState.RUNNING:
                changes["sha256"] = bundle.sha256
                store.add_candidate(session, job, new, self._now_s())
            store.move(session, job, JobEvent.SUCCEED, self._now_s(), **changes)
        with about(bundle=bundle.sha256):
            _log.info("training job %s: made %s/%s, %s", job, manifest.slot, manifest.version, bundle.sha256)

    def _end(self, job: str, event: JobEvent, *, reason: str, exit_code: int | None = None) -> None:
        with self._database.write() as session:
            _, after = store.move(
                session,
                job,
                event,
                self._now_s(),
                reason=reason[:_MAX_REASON] or "it said nothing",
                exit_code=exit_code,
            )
        _log.info("training job %s: %s: %s", job, after.state.value, reason)

    def _leave(self) -> None:
        for running in self._running.values():
            running.process.end(at_once=False)
        for job, running in self._running.items():
            if not running.process.wait(_GRACE_S):
                running.process.end(at_once=True)
                running.process.wait(_GRACE_S)
            try:
                self._end(job, JobEvent.LOSE, reason="the hub was stopped while it ran")
            except HubError as error:
                _log.error("training job %s: %s; the hub's next start tells it interrupted", job, error)

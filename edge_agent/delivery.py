"""Carrying out the update machine of one slot: fetch, verify, load, shadow, promote, confirm, roll back.

Each step first stores the new record, then lets the world follow. After a power cut between the two, `resume` finds a
record whose step is to be done (again); every step can be done twice. What a file is follows from its name, a digest,
so a leftover can never be taken for something else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from edge_agent.alarms import OpenAlarm
from edge_agent.errors import StorageError, TrustError
from edge_agent.fetch import ChunkFetcher
from edge_agent.install import check_fit, digest_of, load_bundle_file, load_network, prove
from edge_agent.slot import Outcome, Slot
from edge_agent.storage import Document, flush_folder, load_document, prepare_folder, save_document, write_atomically
from edge_agent.surroundings import Surroundings, reason_of
from edge_agent.update import Event, Installed, SlotRecord, State, advance, counted_start
from edge_agent.watch import Loaded
from models.bundle.archive import SUFFIX
from models.contract.messages import SlotState, WantedBundle
from models.errors import BundleMismatchError, MillwrightError, SignalError

log = logging.getLogger(__name__)

CALIBRATION_SUFFIX = ".cal"
SOUND_AFTER_S = 300.0
_RECORD = "slot.json"
_ALARMS = "alarms.json"


class StoredAlarms(Document, frozen=True, kw_only=True):
    """Open alarms by point name."""

    open: dict[str, OpenAlarm] = msgspec.field(default_factory=dict)


class SlotDelivery:
    """The machine of one slot at work. The agent's loop calls; slow things happen on the worker."""

    def __init__(self, slot: Slot, around: Surroundings) -> None:
        self.slot = slot
        self._around = around
        self._folder = around.state_dir / "slots" / slot.id
        self._loaded: Loaded | None = None
        self._job: object | None = None
        self._healthy = 0
        self._started_s = 0.0
        self.fetcher: ChunkFetcher | None = None
        self.trouble: str | None = None
        prepare_folder(self._folder)
        self.record = load_document(self._folder / _RECORD, SlotRecord) or SlotRecord()

    # ------------------------------------------------------------------------------------------------ the record

    def _store(self, record: SlotRecord) -> None:
        save_document(self._folder / _RECORD, record)
        self.record = record

    def _go(self, event: Event, *, reason: str | None = None, error: str | None = None) -> None:
        """Take one step. Raises: StorageError: the record stays as it was."""
        self._enact(event, advance(self.record, event, reason=reason, error=error))

    def _enact(self, event: Event, after: SlotRecord) -> None:
        """Store a step, then report it."""
        before = self.record.state
        self._store(after)
        self.trouble = None
        log.info("slot %s: %s -> %s on %s", self.slot.id, before.value, self.record.state.value, event.value)
        self._around.tell(self.slot.id, self.record, self.record.reason, self.record.error)

    def _refuse(self, error: MillwrightError) -> None:
        self._refuse_for(reason_of(error), str(error))

    def _refuse_for(self, reason: str, text: str) -> None:
        log.warning("slot %s: refused: %s", self.slot.id, text)
        self._drop_fetch()
        self._go(Event.REFUSED, reason=reason, error=text[:2000])
        self._loaded = None
        self._prune()

    def _fail(self, reason: str, text: str) -> None:
        """What runs on trial has failed: back to what ran before."""
        log.error("slot %s: rolled back: %s", self.slot.id, text)
        was_active = self.record.state is not State.SHADOW
        self._go(Event.FAILED, reason=reason, error=text[:2000])
        self.slot.end_shadow()
        self._loaded = None
        if was_active:
            self._install_active()
        self._prune()

    def path_of(self, sha256: str, suffix: str = SUFFIX) -> Path:
        """Where a bundle (or its calibration) lies."""
        return self._folder / f"{sha256}{suffix}"

    def _prune(self) -> None:
        """Remove the files of every bundle that the record does not name."""
        record = self.record
        named = {one.sha256 for one in (record.active, record.previous) if one is not None}
        if record.candidate is not None and record.state is not State.REFUSED:
            named.add(record.candidate.sha256)
        for path in self._folder.iterdir():
            if path.suffix in {SUFFIX, CALIBRATION_SUFFIX} and path.stem not in named:
                path.unlink(missing_ok=True)
        flush_folder(self._folder)

    # ------------------------------------------------------------------------------------------------ start

    def resume(self, now_s: float) -> None:
        """After a start: let run what ran, go on with what was on its way. Raises: StorageError."""
        self._started_s = now_s
        record = counted_start(self.record)
        if record is not self.record:
            self._store(record)
        alarms = load_document(self._folder / _ALARMS, StoredAlarms) or StoredAlarms()
        self.slot.take_over_alarms(alarms.open)
        if record.starts > self._around.settings.max_starts:
            text = f"the agent started {record.starts} times without running well with {self._on_trial()}"
            if record.state is not State.ACTIVE:
                self._install_active()
            stop = self._fail if record.state in {State.SHADOW, State.ACTIVE} else self._refuse_for
            stop("boot_loop", text)
            return
        self._install_active()
        if self.record.state is State.SHADOW:
            self._load_candidate(replay=False)
        self._prune()
        if self.record.state is State.FETCHING:
            self._begin_fetch(now_s)

    def _on_trial(self) -> str:
        one = self.record.candidate or self.record.active
        return f"bundle {one.version} ({one.sha256[:12]})" if one is not None else "no bundle"

    def _install_active(self) -> None:
        """Load what the record says should run. What cannot be loaded is rolled back, or given up and reported."""
        active = self.record.active
        if active is None:
            self.slot.install(None)
            return
        try:
            bundle = load_bundle_file(self.path_of(active.sha256), active.sha256)
            check_fit(bundle.manifest, self.slot.id, self.slot.points)
            loaded = load_network(bundle, self._around.runtime)
        except MillwrightError as error:
            self.slot.install(None)
            if self.record.state in {State.ACTIVE, State.CONFIRMED}:
                self._fail(reason_of(error), f"bundle {active.version} does not load any more: {error}")
            else:
                self._report(f"bundle {active.version} does not load any more: {error}")
                self._store(msgspec.structs.replace(self.record, active=None))
            return
        self._with_calibration(loaded, self.slot.install)

    def _with_calibration(self, loaded: Loaded, start: Callable[[Loaded, bytes | None], None]) -> None:
        """Start a bundle with what it has learned before, if that is there and readable; else it learns anew."""
        path = self.path_of(loaded.sha256, CALIBRATION_SUFFIX)
        try:
            start(loaded, path.read_bytes() if path.exists() else None)
        except (SignalError, OSError) as error:
            self._report(f"{path.name}: calibration is lost, points warm up anew: {error}")

    def _report(self, text: str) -> None:
        log.error("slot %s: %s", self.slot.id, text)
        self.trouble = text[:2000]

    # ------------------------------------------------------------------------------------------------ wants

    def want(self, wanted: WantedBundle | None, seq: int, begin_s: float) -> None:
        """What a verified want says about this slot; None: nothing. The same want twice changes nothing."""
        record = self.record
        active = record.active.sha256 if record.active is not None else None
        settled = record.state in {State.REFUSED, State.ROLLED_BACK}
        if wanted is None or wanted.sha256 == active:
            if (record.candidate is not None or settled) and seq != record.want_seq:
                self._abandon()
                self._go(Event.KEPT if active is not None else Event.WITHDRAWN)
                self._prune()
            return
        if seq == record.want_seq and (settled or record.candidate == wanted):
            return
        if not settled and record.candidate == wanted:
            self._store(msgspec.structs.replace(record, want_seq=seq))
            return
        self._abandon()
        self._enact(Event.WANTED, advance(record, Event.WANTED, candidate=wanted, want_seq=seq, begin_s=begin_s))
        self._prune()

    def _abandon(self) -> None:
        """Stop whatever is on its way."""
        self._drop_fetch()
        self._job = None
        self._loaded = None
        self._healthy = 0
        self.slot.end_shadow()

    def retry(self) -> None:
        """The hub has published anew: what was refused for want of proof gets another look."""
        record = self.record
        if record.state is State.REFUSED and (record.reason or "").startswith(("metadata_", "target_", "worker_")):
            self._go(Event.RETRIED)

    # ------------------------------------------------------------------------------------------------ fetching

    @property
    def part(self) -> Path | None:
        """Where the chunks of the candidate are gathered."""
        candidate = self.record.candidate
        return self._folder / f"{candidate.sha256}.part" if candidate is not None else None

    def _begin_fetch(self, now_s: float) -> None:
        candidate, part = self.record.candidate, self.part
        if candidate is None or part is None:
            return
        for other in self._folder.glob("*.part"):
            if other != part:
                other.unlink(missing_ok=True)
        try:
            self.fetcher = ChunkFetcher(candidate, part, self._around.settings.stall_s, now_s)
        except StorageError as error:
            self._refuse(error)

    def _drop_fetch(self) -> None:
        self.fetcher = None
        for part in self._folder.glob("*.part"):
            part.unlink(missing_ok=True)

    def chunk(self, sha256: str, index: int, payload: bytes, now_s: float) -> bool:
        """Take a chunk of the candidate. False: it is not one we lack."""
        fetcher = self.fetcher
        if fetcher is None or fetcher.wanted.sha256 != sha256:
            return False
        try:
            taken = fetcher.accept(index, payload, now_s)
        except StorageError as error:
            self._refuse(error)
            return False
        if taken:
            self.trouble = None
        return taken

    # ------------------------------------------------------------------------------------------------ one step

    def poll(self, metadata: bytes | None, now_s: float, utc_s: float) -> None:
        """Do the next step, if one is due. `now_s` is monotonic, `utc_s` the wall clock."""
        match self.record.state:
            case State.SEEN if utc_s >= self.record.begin_s:
                self._go(Event.BEGUN)
                self._begin_fetch(now_s)
            case State.FETCHING if self.fetcher is not None:
                self._poll_fetch(self.fetcher, now_s)
            case State.FETCHED if metadata is not None and self._job is None:
                self._verify(metadata, utc_s)
            case State.VERIFIED | State.REPLAYED if self._job is None:
                self._enter()
            case State.SHADOW if self.slot.champion is None or not self.slot.waits_for(utc_s):
                if self.slot.candidate is not None:
                    self._promote()
            case _:
                pass
        if self.record.starts and now_s - self._started_s > SOUND_AFTER_S:
            self.is_sound()

    def _poll_fetch(self, fetcher: ChunkFetcher, now_s: float) -> None:
        if fetcher.complete:
            self.fetcher = None
            self._go(Event.FETCHED)
        elif fetcher.stalled(now_s):
            text = (
                f"no chunk for a while at {fetcher.fetched_bytes} of {fetcher.wanted.length} bytes; "
                f"still waiting for {', '.join(map(str, sorted(fetcher.missing())))}"
            )
            self._report(text)
            self._around.tell(self.slot.id, self.record, "stalled", text)

    def _submit(self, name: str, job: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Run a job; its answer is dropped when the candidate was abandoned meanwhile."""
        token = object()
        self._job = token

        def finish(answer: object) -> None:
            if self._job is token:
                self._job = None
                done(answer)

        self._around.worker.submit(f"slot {self.slot.id}: {name}", job, finish)

    def _verify(self, metadata: bytes, utc_s: float) -> None:
        wanted, part = self.record.candidate, self.part
        if wanted is None or part is None:
            return
        destination = self.path_of(wanted.sha256)
        trust = self._around.trust

        def job() -> None:
            if not part.exists() and digest_of(destination) == wanted.sha256:
                return  # verified and renamed just before the power went
            if not part.exists():
                raise TrustError("target_length", f"{part.name}: expected {wanted.length} bytes, the file is gone")
            trust.verify_bundle(metadata, wanted, part, destination, utc_s)

        def done(answer: MillwrightError | None) -> None:
            if isinstance(answer, MillwrightError):
                self._refuse(answer)
            else:
                self._go(Event.VERIFIED)
                self._prune()

        self._submit("verify", job, done)

    def _enter(self) -> None:
        """Load the candidate; from `replayed` on it is known to give the right scores, and enters the slot."""
        if self.record.state is State.REPLAYED and self._loaded is not None:
            loaded, self._loaded = self._loaded, None
            self._healthy = 0
            if self.slot.champion is None:
                self._go(Event.ACTIVATED)
                self._with_calibration(loaded, self.slot.install)
            else:
                self._go(Event.SHADOWED)
                self._with_calibration(loaded, self.slot.begin_shadow)
            return
        self._load_candidate(replay=self.record.state is State.VERIFIED)

    def _load_candidate(self, *, replay: bool) -> None:
        wanted = self.record.candidate
        if wanted is None:
            return
        path, slot, runtime = self.path_of(wanted.sha256), self.slot, self._around.runtime

        def job() -> Loaded:
            bundle = load_bundle_file(path, wanted.sha256)
            check_fit(bundle.manifest, slot.id, slot.points)
            if bundle.manifest.version != wanted.version:
                text = f"{path.name}: expected version {wanted.version}, got {bundle.manifest.version}"
                raise BundleMismatchError(text)
            loaded = load_network(bundle, runtime)
            if replay:
                report = prove(bundle, loaded, runtime)
                difference, window_us = report.max_difference, report.window_us
                log.info("slot %s: scores differ by %.2g at most, %.0f us a window", slot.id, difference, window_us)
            return loaded

        self._submit("replay", job, lambda answer: self._candidate_loaded(answer, replay=replay))

    def _candidate_loaded(self, answer: Loaded | MillwrightError, *, replay: bool) -> None:
        if self.record.state is State.SHADOW:
            if isinstance(answer, Loaded):
                self._with_calibration(answer, self.slot.begin_shadow)
            else:
                self._fail(reason_of(answer), str(answer))
        elif isinstance(answer, Loaded):
            self._loaded = answer
            if replay:
                self._go(Event.REPLAYED)
        else:
            self._refuse(answer)

    def _promote(self) -> None:
        self._save_calibrations({self.slot.candidate.loaded.sha256} if self.slot.candidate is not None else set())
        self._healthy = 0
        self._go(Event.ACTIVATED)
        self.slot.promote()

    # ------------------------------------------------------------------------------------------------ running

    def ran(self, outcome: Outcome) -> None:
        """What a tick of the slot gave: trial, calibration and alarms are stored accordingly."""
        if outcome.learned:
            self._save_calibrations(outcome.learned)
        if outcome.alarms_changed:
            save_document(self._folder / _ALARMS, StoredAlarms(open=self.slot.open_alarms()))
        if outcome.candidate_failure is not None and self.record.state is State.SHADOW:
            self._fail("candidate_failed", outcome.candidate_failure)
        elif outcome.champion_failure is not None:
            self._champion_failed(outcome.champion_failure)
        elif outcome.windows:
            self._ran_well()

    def _champion_failed(self, text: str) -> None:
        if self.record.state is State.ACTIVE:
            self._fail("failed", text)
        elif text != self.trouble:
            self._report(text)

    def _ran_well(self) -> None:
        self._healthy += 1
        if self._healthy < self._around.settings.confirm_ticks:
            return
        if self.record.state is State.ACTIVE:
            self._go(Event.CONFIRMED)
        else:
            self.is_sound()

    def is_sound(self) -> None:
        """The agent has lived long enough, scored enough, or stops in good order: no boot loop."""
        if self.record.starts:
            self._store(msgspec.structs.replace(self.record, starts=0))

    def _save_calibrations(self, digests: set[str]) -> None:
        for watch in (self.slot.champion, self.slot.candidate):
            if watch is not None and watch.loaded.sha256 in digests:
                write_atomically(self.path_of(watch.loaded.sha256, CALIBRATION_SUFFIX), watch.monitor.save())

    def recalibrate(self, point: int) -> None:
        """Forget what is normal for a point, on the disk too."""
        self.slot.recalibrate(point)
        running = {w.loaded.sha256 for w in (self.slot.champion, self.slot.candidate) if w is not None}
        self._save_calibrations(running)

    # ------------------------------------------------------------------------------------------------ report

    def state(self, utc_s: float) -> SlotState:
        """The slot as it stands."""
        record = self.record
        error = record.error or self.trouble
        if record.state is State.SHADOW:
            waits = self.slot.waits_for(utc_s) if self.slot.candidate is not None else ["loading"]
            error = "; ".join(["in shadow, waiting for", *waits])[:2000]
        return SlotState(
            slot=self.slot.id,
            phase=record.state.phase,
            active_sha256=record.active.sha256 if record.active is not None else None,
            active_version=_version(record.active),
            candidate_sha256=record.candidate.sha256 if record.candidate is not None else None,
            error=error,
        )


def _version(installed: Installed | None) -> str | None:
    return installed.version if installed is not None else None

"""Carrying out the update machine of one slot: fetch, verify, load, shadow, promote, confirm, roll back.

Each step first stores the new record, then lets the world follow. After a power cut between the two, `resume` finds a
record whose step is to be done (again); every step can be done twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import msgspec

from edge_agent.candidate import load_candidate, verify_file
from edge_agent.errors import StorageError
from edge_agent.fetch import ChunkFetcher
from edge_agent.gather import REPAIRS, Gathering
from edge_agent.install import is_to_blame, load_installed
from edge_agent.learned import Learned
from edge_agent.shadowing import Shadowing
from edge_agent.slot import Outcome, Slot
from edge_agent.slot_folder import SlotFolder
from edge_agent.surroundings import Surroundings, reason_of
from edge_agent.update import Event, Installed, SlotRecord, State, advance, counted_start, heard
from edge_agent.watch import Loaded
from models.contract.messages import BlockBody, GetBody, SlotState, WantedBundle
from models.errors import MillwrightError

log = logging.getLogger(__name__)

SOUND_AFTER_S = 300.0
_AGAIN_S = 30.0


class SlotDelivery:
    """The machine of one slot at work. The agent's loop calls; slow things happen on the worker."""

    def __init__(self, slot: Slot, around: Surroundings) -> None:
        self.slot = slot
        self._around = around
        self._folder = SlotFolder(around.state_dir / "slots" / slot.id)
        self._gathering = Gathering(self._folder, around.settings.stall_s, around.pace)
        self._loaded: Loaded | None = None
        self._job: object | None = None
        self._healthy = 0
        self._started_s = 0.0
        self._shadowing = Shadowing(slot, self._folder)
        self._learned = Learned(slot, self._folder, self._report)
        self.trouble: str | None = None
        self._stopped: str | None = None  # why the active bundle does not run, through no fault of its own
        self._again_s = 0.0
        self.record = self._folder.load_record()

    # ------------------------------------------------------------------------------------------------ the record

    def _store(self, record: SlotRecord) -> None:
        self._folder.save_record(record)
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
        self._gathering.drop()
        self._go(Event.REFUSED, reason=reason, error=text[:2000])
        self._loaded = None
        self._folder.prune(self.record)

    def _fail(self, reason: str, text: str) -> None:
        """What runs on trial has failed: back to what ran before."""
        log.error("slot %s: rolled back: %s", self.slot.id, text)
        was_active = self.record.state is not State.SHADOW
        self._go(Event.FAILED, reason=reason, error=text[:2000])
        self.slot.end_shadow()
        self._loaded = None
        if was_active:
            self._install_active()
        self._folder.prune(self.record)

    # ------------------------------------------------------------------------------------------------ start

    def resume(self, now_s: float) -> None:
        """After a start: let run what ran, go on with what was on its way. Raises: StorageError."""
        self._started_s = now_s
        self._again_s = now_s + _AGAIN_S
        record = counted_start(self.record)
        try:
            if record is not self.record:
                self._store(record)
        except StorageError as error:  # a full disk: what ran goes on all the same
            self._report(f"this start is not counted: {error}")
            record = self.record
        self._learned.take_over_alarms()
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
        self._folder.prune(self.record)
        if self.record.state is State.FETCHING:
            self._begin_fetch(now_s)

    def _on_trial(self) -> str:
        one = self.record.candidate or self.record.active
        return f"bundle {one.version} ({one.sha256[:12]})" if one is not None else "no bundle"

    def _install_active(self) -> None:
        """Load what the record says should run. One that is itself the cause when it does not load is rolled back, or
        given up; else it stays the active one, and is tried again.
        """
        active = self.record.active
        before, self._stopped = self._stopped, None
        if active is None:
            self.slot.install(None)
            return
        path = self._folder.bundle(active.sha256)
        try:
            loaded = load_installed(path, active, self.slot.id, self.slot.points, self._around.runtime)
        except MillwrightError as error:
            self.slot.install(None)
            text = f"bundle {active.version} does not load any more: {error}"
            if not is_to_blame(error):
                self._stopped = f"nothing runs: {text}"[:2000]
                if self._stopped != before:
                    log.error("slot %s: %s", self.slot.id, self._stopped)  # noqa: TRY400 - the text says it all
            elif self.record.state in {State.ACTIVE, State.CONFIRMED}:
                self._fail(reason_of(error), text)
            else:
                self._report(text)
                self._store(msgspec.structs.replace(self.record, active=None))
            return
        self._learned.begin(loaded, self.slot.install)

    def _try_again(self, now_s: float) -> None:
        """Load the active bundle when it could not be read before: the disk may be well again."""
        if self._stopped is None or self.slot.champion is not None or self.slot.candidate is not None:
            return
        if now_s >= self._again_s:
            self._again_s = now_s + _AGAIN_S
            self._install_active()

    def _report(self, text: str) -> None:
        log.error("slot %s: %s", self.slot.id, text)
        self.trouble = text[:2000]

    # ------------------------------------------------------------------------------------------------ wants

    def want(self, wanted: WantedBundle | None, seq: int, begin_s: float) -> None:
        """What a verified want says about this slot; None: nothing. The same want twice changes nothing."""
        event = heard(self.record, wanted, seq)
        if event is None:
            return
        if event is not Event.AMENDED:
            self._abandon()
        self._enact(event, advance(self.record, event, candidate=wanted, want_seq=seq, begin_s=begin_s))
        self._folder.prune(self.record)

    def _abandon(self) -> None:
        """Stop whatever is on its way."""
        self._gathering.drop()
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
    def fetcher(self) -> ChunkFetcher | None:
        """The fetch that is under way, if any."""
        return self._gathering.fetcher

    def _begin_fetch(self, now_s: float) -> None:
        if self.record.candidate is None:
            return
        try:
            self._gathering.begin(self.record.candidate, self.record.repairs, now_s)
        except StorageError as error:
            self._refuse(error)

    def chunk(self, sha256: str, index: int, payload: bytes, now_s: float) -> bool:
        """Take a chunk of the candidate. False: it is not one we lack."""
        return self._gathering.wants(sha256) and self._take(lambda: self._gathering.chunk(index, payload, now_s))

    def block(self, block: BlockBody, now_s: float) -> bool:
        """Take a block that the hub was asked for. False: it was not."""
        return self._gathering.wants(block.sha256) and self._take(lambda: self._gathering.block(block, now_s))

    def _take(self, piece: Callable[[], bool]) -> bool:
        try:
            taken = piece()
        except StorageError as error:
            self._refuse(error)
            return False
        if taken:
            self.trouble = None
        return taken

    def request(self, now_s: float, gateway: str) -> GetBody | None:
        """What to ask the hub for now, if anything."""
        return self._gathering.request(now_s, gateway)

    # ------------------------------------------------------------------------------------------------ one step

    def poll(self, metadata: bytes | None, now_s: float, utc_s: float) -> None:
        """Do the next step, if one is due. `now_s` is monotonic, `utc_s` the wall clock."""
        match self.record.state:
            case State.SEEN if utc_s >= self.record.begin_s:
                self._go(Event.BEGUN)
                self._begin_fetch(now_s)
            case State.FETCHING if self.fetcher is not None:
                self._poll_fetch(self.fetcher, now_s)
            case State.FETCHING if now_s >= self._again_s:  # it could not begin, for want of room on the disk
                self._again_s = now_s + _AGAIN_S
                self._begin_fetch(now_s)
            case State.FETCHED if metadata is not None and self._job is None:
                self._verify(metadata, now_s, utc_s)
            case State.VERIFIED | State.REPLAYED if self._job is None:
                self._enter()
            case State.SHADOW if self.slot.candidate is not None:
                self._poll_shadow(now_s)
            case _:
                pass
        self._try_again(now_s)
        if self.record.starts and now_s - self._started_s > SOUND_AFTER_S:
            self.is_sound()

    def _poll_fetch(self, fetcher: ChunkFetcher, now_s: float) -> None:
        if fetcher.complete:
            self._gathering.fetcher = None
            self._go(Event.FETCHED)
            return
        try:
            text = self._gathering.stalled(now_s)
        except StorageError as error:
            self._refuse(error)
            return
        if text is not None:
            self._report(text)
            self._around.tell(self.slot.id, self.record, "stalled", text)

    def _poll_shadow(self, now_s: float) -> None:
        unfit = self.slot.unfit()
        if unfit is not None:
            self._fail(*unfit)
        elif self.slot.champion is None or not self._shadowing.waits_for(self.record.candidate):
            self._promote()
        else:
            self._shadowing.save_now_and_then(now_s)

    def _submit(self, name: str, job: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Run a job; its answer is dropped when the candidate was abandoned meanwhile."""
        token = object()
        self._job = token

        def finish(answer: object) -> None:
            if self._job is token:
                self._job = None
                done(answer)

        self._around.worker.submit(f"slot {self.slot.id}: {name}", job, finish)

    def _verify(self, metadata: bytes, now_s: float, utc_s: float) -> None:
        wanted = self.record.candidate
        if wanted is None:
            return
        part, mend = self._folder.part(wanted.sha256), self.record.repairs < REPAIRS
        trust = self._around.trust

        def done(answer: bool | MillwrightError) -> None:
            if isinstance(answer, MillwrightError):
                self._refuse(answer)
            elif answer:
                self._go(Event.VERIFIED)
                self._folder.prune(self.record)
            else:
                log.warning("slot %s: what was fetched is not what is wanted; mending it", self.slot.id)
                self._go(Event.DAMAGED)
                self._begin_fetch(now_s)

        self._submit("verify", lambda: verify_file(trust, metadata, wanted, part, mend=mend, utc_s=utc_s), done)

    def _enter(self) -> None:
        """Load the candidate; from `replayed` on it is known to give the right scores, and enters the slot."""
        if self.record.state is State.REPLAYED and self._loaded is not None:
            loaded, self._loaded = self._loaded, None
            self._healthy = 0
            if self.slot.champion is None:
                self._go(Event.ACTIVATED)
                self._learned.begin(loaded, self.slot.install)
            else:
                self._go(Event.SHADOWED)
                self._begin_shadow(loaded)
            return
        self._load_candidate(replay=self.record.state is State.VERIFIED)

    def _load_candidate(self, *, replay: bool) -> None:
        wanted = self.record.candidate
        if wanted is None:
            return
        path, slot, runtime = self._folder.bundle(wanted.sha256), self.slot, self._around.runtime
        proven_kb = self.record.memory_kb
        self._submit(
            "replay",
            lambda: load_candidate(path, wanted, slot, runtime, proven_kb=proven_kb, replay=replay),
            lambda answer: self._candidate_loaded(answer, replay=replay),
        )

    def _candidate_loaded(self, answer: Loaded | MillwrightError, *, replay: bool) -> None:
        if self.record.state is State.SHADOW:
            if isinstance(answer, Loaded):
                self._begin_shadow(answer)
            else:
                self._fail(reason_of(answer), str(answer))
        elif isinstance(answer, Loaded):
            self._loaded = answer
            if replay:
                self._enact(Event.REPLAYED, advance(self.record, Event.REPLAYED, memory_kb=answer.memory_kb))
        else:
            self._refuse(answer)

    def _begin_shadow(self, loaded: Loaded) -> None:
        self._learned.begin(loaded, self.slot.begin_shadow)
        try:
            self._shadowing.go_on()
        except StorageError as error:
            self._report(f"how far the shadow had come is lost, it begins anew: {error}")

    def _promote(self) -> None:
        self._learned.save({self.slot.candidate.loaded.sha256} if self.slot.candidate is not None else set())
        self._healthy = 0
        self._go(Event.ACTIVATED)
        self.slot.promote()
        self._folder.prune(self.record)

    # ------------------------------------------------------------------------------------------------ running

    def ran(self, outcome: Outcome) -> None:
        """What a tick of the slot gave: trial, calibration and alarms are stored accordingly.

        Raises: StorageError: what could not be stored now is stored with a later tick.
        """
        try:
            self._learned.ran(outcome)
        finally:  # what fails has to go, on a full disk as well
            self._judge_trial(outcome)

    def _judge_trial(self, outcome: Outcome) -> None:
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

    def closing(self, now_s: float) -> None:
        """The agent stops in good order."""
        self.is_sound()
        self._shadowing.save(now_s)

    def recalibrate(self, point: int) -> None:
        """Forget what is normal for a point, on the disk too. Raises: StorageError."""
        self._learned.recalibrate(point)

    # ------------------------------------------------------------------------------------------------ report

    def state(self) -> SlotState:
        """The slot as it stands."""
        record = self.record
        stopped = self._stopped if self.slot.champion is None else None
        error = stopped or record.error or self.trouble
        if record.state is State.SHADOW:
            waits = self._shadowing.waits_for(record.candidate)
            error = f"in shadow, waiting for: {'; '.join(waits) or 'its next turn'}"[:2000]
        champion, candidate = self.slot.behaviours()
        return SlotState(
            slot=self.slot.id,
            phase=record.state.phase,
            active_sha256=record.active.sha256 if record.active is not None else None,
            active_version=_version(record.active),
            candidate_sha256=record.candidate.sha256 if record.candidate is not None else None,
            error=error,
            champion=champion,
            candidate=candidate,
        )


def _version(installed: Installed | None) -> str | None:
    return installed.version if installed is not None else None

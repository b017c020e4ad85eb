"""One slot at work: the champion that decides, the candidate that learns beside it, trends and alarms of its points.

No file, no socket, no clock: samples and times in, an `Outcome` out. Points are numbered within the slot.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edge_agent.alarms import AlarmBook, Draft, OpenAlarm
from edge_agent.behaviour import Meter, StoredShadow, packed, unfit
from edge_agent.config import PointSettings
from edge_agent.errors import RuntimeLoadError
from edge_agent.trends import TrendAccumulator
from edge_agent.watch import Loaded, Tick, Watch
from models.contract.messages import SCORE_BINS, Behaviour, Diagnosis, Evidence, PointState, TrendRow
from models.errors import SignalError
from models.signal.arrays import F32
from models.signal.diagnose import diagnose
from models.signal.monitor import Result

SILENT_AFTER_S = 60.0  # a point without windows for so long (or 20 hops) does not hold a candidate back
_SILENT_HOPS = 20


@dataclass(frozen=True, slots=True)
class SlotEvent:
    """An alarm's event with all that explains it; the agent adds who, when and in what order."""

    draft: Draft
    point: PointSettings
    sha256: str
    version: str
    diagnosis: Diagnosis | None = None
    evidence: Evidence | None = None


@dataclass(slots=True)
class Outcome:
    """What one tick of a slot gave. `learned`: digests of bundles of which a point has just finished calibrating.
    `*_failure`: what went wrong when the bundle was run. `busy_s`: time it took.
    """

    rows: list[TrendRow] = field(default_factory=list)
    events: list[SlotEvent] = field(default_factory=list)
    learned: set[str] = field(default_factory=set)
    windows: int = 0
    busy_s: float = 0.0
    alarms_changed: bool = False
    champion_failure: str | None = None
    candidate_failure: str | None = None


class Slot:
    """See the module. `span_s`: of trend rows. `new_id`: makes ids of alarms."""

    def __init__(self, slot: str, points: Sequence[PointSettings], span_s: float, new_id: Callable[[], str]) -> None:
        self.id = slot
        self.points = tuple(points)
        self.names = tuple(point.name for point in points)
        self.champion: Watch | None = None
        self.candidate: Watch | None = None
        self._meter = Meter("", len(self.points))
        self._candidate_meter = Meter("", len(self.points))
        self._new_id = new_id
        self._trends = [TrendAccumulator(point.machine, point.point, span_s) for point in points]
        self._books = [AlarmBook(new_id, 1) for _ in points]
        self._look_again = [0] * len(points)
        self._scores: list[float | None] = [None] * len(points)
        self._last_window_s: list[float | None] = [None] * len(points)
        self._heard_s: list[float | None] = [None] * len(points)  # the same by `_steady_s`
        self._steady_s = 0.0
        self._carried = Outcome()

    # ---------------------------------------------------------------------------------------------- bundles

    def install(self, loaded: Loaded | None, calibration: bytes | None = None) -> None:
        """Let a bundle decide from now on (None: nothing watches). Open alarms go on until it has judged them.

        Raises: SignalError: `calibration` is damaged; the bundle is installed and its points warm up.
        """
        self.candidate = None
        self._take_champion(Watch(loaded, self.names) if loaded is not None else None)
        if self.champion is not None and calibration is not None:
            self.champion.monitor.restore(calibration)

    def begin_shadow(self, loaded: Loaded, calibration: bytes | None = None) -> None:
        """Let a bundle learn beside the champion; from now on both are measured. Raises: SignalError as `install`."""
        self.candidate = Watch(loaded, self.names)
        self._candidate_meter = Meter(loaded.sha256, len(self.points))
        if self.champion is not None:
            self._meter = Meter(self.champion.loaded.sha256, len(self.points))
        if calibration is not None:
            self.candidate.monitor.restore(calibration)

    def end_shadow(self) -> None:
        """Drop the candidate; the champion never noticed."""
        self.candidate = None

    def promote(self) -> None:
        """Let the candidate take over with all that it has learned."""
        self._take_champion(self.candidate)
        self.candidate = None

    def _take_champion(self, watch: Watch | None) -> None:
        self._close_rows()
        self.champion = watch
        self._meter = Meter(watch.loaded.sha256 if watch is not None else "", len(self.points))
        clear_windows = watch.loaded.manifest.decision.clear_windows if watch is not None else 1
        alarms = [book.open for book in self._books]
        self._books = [AlarmBook(self._new_id, clear_windows) for _ in self.points]
        for book, alarm in zip(self._books, alarms, strict=True):
            book.take_over(alarm)
        self._scores = [None] * len(self.points)

    def waits_for(self, windows: int = 0) -> list[str]:
        """What keeps the candidate from taking over at the time of the last tick, for people; empty when nothing does.

        It must have calibrated every point that delivers, and at least one: no machine goes unwatched meanwhile.

        Args: windows: how many it must have scored of each of these points.
        """
        if self.candidate is None or self.champion is None:
            return ["no candidate"]
        silent_s = max(SILENT_AFTER_S, _SILENT_HOPS * self.champion.hop_s)
        waiting, delivering = [], 0
        for at, name in enumerate(self.names):
            heard_s = self._heard_s[at]
            if heard_s is None or self._steady_s - heard_s > silent_s:
                continue
            delivering += 1
            left = self.candidate.monitor.warmup_left(at)
            if left:
                verdict = self.champion.monitor.verdict(at)
                held = f", held back while it is in {verdict}" if verdict in {"warn", "alarm"} else ""
                waiting.append(f"{name}: {left} windows to calibrate{held}")
            elif (scored := self._candidate_meter.scored[at]) < windows:
                waiting.append(f"{name}: {windows - scored} of {windows} windows to compare")
        return waiting if delivering else ["no point delivers frames"]

    def unfit(self) -> tuple[str, str] | None:
        """Why the candidate has to be given up, as (reason, text); None while nothing speaks against it."""
        if self.candidate is None or self.champion is None:
            return None
        loaded = self.candidate.loaded
        return unfit(self._candidate_meter, self._meter, loaded.manifest.budgets, loaded.memory_kb)

    def behaviours(self) -> tuple[Behaviour | None, Behaviour | None]:
        """Of champion and candidate, as far as they have scored anything."""
        ours = self._meter.behaviour(self.champion.loaded.memory_kb) if self.champion is not None else None
        if self.candidate is None:
            return ours, None
        return ours, self._candidate_meter.behaviour(self.candidate.loaded.memory_kb)

    def shadow(self) -> StoredShadow | None:
        """How far the shadow has come, for the disk."""
        return packed(self._meter, self._candidate_meter, self.names) if self.candidate is not None else None

    def go_on_with_shadow(self, kept: StoredShadow) -> None:
        """Take up a shadow where it was before a restart; of other bundles than these, nothing is taken."""
        scored = [kept.scored.get(name, 0) for name in self.names]
        pairs = ((self._meter, kept.champion), (self._candidate_meter, kept.candidate))
        for meter, before in pairs:
            if before is None or before.sha256 != meter.sha256 or len(before.scores) != SCORE_BINS:
                return
        for meter, before in pairs:
            if before is not None:
                meter.restore(before, scored)

    # ---------------------------------------------------------------------------------------------- samples

    def push(self, point: int, samples: F32, now_s: float, *, gap: bool) -> None:
        """Take samples (n, axes) of one point. What is due before a gap, or for want of room, is processed first."""
        watches = self._watches()
        if gap or not all(watch.has_room(point, len(samples)) for watch in watches):
            self._process(now_s)
        for watch in watches:
            if gap:
                watch.reset(point)
            watch.push(point, samples)
        if gap and self.champion is not None:
            self._close_row(point)

    def _watches(self) -> list[Watch]:
        return [watch for watch in (self.champion, self.candidate) if watch is not None]

    def tick(self, now_s: float, steady_s: float | None = None) -> Outcome:
        """Process what is due, and hand over everything since the last tick.

        Args: steady_s: the time by a clock that nobody sets, to tell who is silent; `now_s` if there is no other.
        """
        self._steady_s = now_s if steady_s is None else steady_s
        self._process(now_s)
        if self.champion is not None:
            for at, trend in enumerate(self._trends):
                if trend.due(self.champion.hop_s, now_s):
                    self._close_row(at)
        outcome, self._carried = self._carried, Outcome()
        return outcome

    def _process(self, now_s: float) -> None:
        began = time.perf_counter()
        outcome = self._carried
        if self.champion is not None:
            try:
                tick = self.champion.tick()
            except (SignalError, RuntimeLoadError) as error:
                outcome.champion_failure = str(error)
            else:
                if tick is not None:
                    self._meter.took(time.perf_counter() - began, len(tick.results))
                    self._judge(self.champion, tick, now_s)
        if self.candidate is not None:
            self._shadow(self.candidate, now_s)
        outcome.busy_s += time.perf_counter() - began

    def _judge(self, champion: Watch, tick: Tick, now_s: float) -> None:
        outcome = self._carried
        outcome.windows += len(tick.results)
        for row, result in enumerate(tick.results):
            at = result.point
            self._scores[at] = result.score
            self._last_window_s[at] = now_s
            self._heard_s[at] = self._steady_s
            self._measure(result, now_s)
            self._trends[at].add(result, tick.rms[row], now_s)
            if self._trends[at].due(champion.hop_s, now_s):
                self._close_row(at)
            before = self._books[at].open
            draft = self._books[at].observe(result, now_s)
            if draft is not None:
                event = self._explain(champion, draft, result, tick.windows[row])
                outcome.events.append(event)
                named = event.diagnosis is not None and event.diagnosis.fault is not None
                self._look_again[at] = 0 if named or draft.kind == "cleared" else self._full_after(champion)
            elif self._look_again[at]:
                self._look_once_more(champion, result, tick.windows[row], now_s)
            outcome.alarms_changed |= self._books[at].open != before
        self._learn(champion, tick)

    def _measure(self, result: Result, now_s: float) -> None:
        """Count what the champion does; beside a candidate only where that one scores too, so that both are measured on
        the same windows.
        """
        if self.candidate is None or not self.candidate.monitor.warmup_left(result.point):
            self._meter.observe(result, now_s)
            if self._meter.strange is not None:
                self._carried.champion_failure, self._meter.strange = self._meter.strange, None

    @staticmethod
    def _full_after(champion: Watch) -> int:
        """How many windows later the history holds nothing from before an alarm that is raised now."""
        return -(-champion.history // champion.loaded.manifest.input.hop)

    def _look_once_more(self, champion: Watch, result: Result, window: F32, now_s: float) -> None:
        """Explain an alarm again when the history holds only what came after it was raised.

        At first half of the stretch is still healthy, and a fault that cannot be named then often can be now.
        """
        at = result.point
        self._look_again[at] -= 1
        if self._look_again[at] or result.verdict != "alarm":
            return
        draft = self._books[at].again(result, now_s)
        if draft is None:
            return
        event = self._explain(champion, draft, result, window)
        if event.diagnosis is not None and event.diagnosis.fault is not None:
            self._carried.events.append(event)

    def _shadow(self, candidate: Watch, now_s: float) -> None:
        """Let the candidate see its windows, but not learn as healthy what the champion complains about."""
        held = frozenset(
            at
            for at in range(len(self.points))
            if self.champion is not None
            and candidate.monitor.warmup_left(at)
            and self.champion.monitor.verdict(at) in {"warn", "alarm"}
        )
        began = time.perf_counter()
        try:
            tick = candidate.tick(held)
        except (SignalError, RuntimeLoadError) as error:
            self._carried.candidate_failure = str(error)
            return
        if tick is None:
            return
        self._candidate_meter.took(time.perf_counter() - began, len(tick.results))
        for result in tick.results:
            self._candidate_meter.observe(result, now_s)
        self._learn(candidate, tick)

    def _learn(self, watch: Watch, tick: Tick) -> None:
        """For points that were calibrating in this tick: their healthy fault orders, and that they are done."""
        for at in {result.point for result in tick.results if result.verdict == "warming_up"}:
            watch.learn(at, self.points[at].facts)
            if watch.monitor.baseline(at) is not None:
                self._carried.learned.add(watch.loaded.sha256)

    def _close_row(self, point: int) -> None:
        row = self._trends[point].close(self.champion.hop_s) if self.champion is not None else None
        if row is not None:
            self._carried.rows.append(row)

    def _close_rows(self) -> None:
        for at in range(len(self.points)):
            self._close_row(at)

    # ---------------------------------------------------------------------------------------------- alarms

    def _explain(self, champion: Watch, draft: Draft, result: Result, window: F32) -> SlotEvent:
        point = self.points[result.point]
        manifest, sha256 = champion.loaded.manifest, champion.loaded.sha256
        baseline = champion.monitor.baseline(result.point)
        if draft.kind == "cleared" or baseline is None or result.raw is None:
            return SlotEvent(draft, point, sha256, manifest.version)
        evidence = Evidence(
            rate_hz=manifest.input.rate_hz,
            axes=list(manifest.input.axes),
            units=manifest.input.units,
            samples=len(window),
            window=np.ascontiguousarray(window, "<f4").tobytes(),
            shift=baseline.shift.astype("<f4").tobytes(),
            raw_score=result.raw,
            raw_limit=baseline.limit,
        )
        diagnosis = diagnose(champion.recent(result.point), result, champion.monitor, point.facts)
        return SlotEvent(draft, point, sha256, manifest.version, diagnosis, evidence)

    def recalibrate(self, point: int) -> None:
        """Forget what is normal for a point, in champion and candidate; its alarm, if any, is cleared."""
        self._close_row(point)
        for watch in self._watches():
            watch.forget(point)
        draft = self._books[point].end("warming_up", self._scores[point] or 0.0)
        self._scores[point] = None
        if draft is not None and self.champion is not None:
            loaded = self.champion.loaded
            self._carried.events.append(SlotEvent(draft, self.points[point], loaded.sha256, loaded.manifest.version))
            self._carried.alarms_changed = True

    def open_alarms(self) -> dict[str, OpenAlarm]:
        """The open alarms by point name, for the disk."""
        return {name: book.open for name, book in zip(self.names, self._books, strict=True) if book.open is not None}

    def take_over_alarms(self, alarms: Mapping[str, OpenAlarm]) -> None:
        """Go on with alarms from the disk."""
        for name, book in zip(self.names, self._books, strict=True):
            book.take_over(alarms.get(name))

    # ---------------------------------------------------------------------------------------------- report

    def point_states(self) -> list[PointState]:
        """The points as they stand."""
        return [self._point_state(at) for at in range(len(self.points))]

    def _point_state(self, at: int) -> PointState:
        point, champion = self.points[at], self.champion
        return PointState(
            machine=point.machine,
            point=point.point,
            slot=self.id,
            verdict=champion.monitor.verdict(at) if champion is not None else "warming_up",
            score=self._scores[at],
            windows=champion.windows_seen[at] if champion is not None else 0,
            warmup_left=champion.monitor.warmup_left(at) if champion is not None else 0,
            last_window_s=self._last_window_s[at],
        )

    def overwritten(self) -> int:
        """Samples lost because ticks came too late."""
        return sum(watch.overwritten() for watch in self._watches())

"""Windows to verdicts, trends and alarm events of one slot: batched, never across a gap, explained."""

from __future__ import annotations

import dataclasses
import itertools

import msgspec
import numpy as np
import pytest

from edge_agent.alarms import UPDATE_GROWTH, UPDATE_PAUSE_S, AlarmBook, OpenAlarm
from edge_agent.slot import Slot
from edge_agent.trends import TrendAccumulator, merge_rows
from edge_agent.watch import Watch
from models.contract.messages import TrendRow
from models.signal.diagnose import PointFacts
from models.signal.monitor import Result
from tests.edge_agent.kit import CALIBRATION, RATE_HZ, SLOT, WINDOW, faulty, healthy, loaded, point

HOP_S = WINDOW / RATE_HZ


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(21)


def make(count: int = 1, span_s: float = 1e6) -> Slot:
    ids = itertools.count()
    slot = Slot(SLOT, [point(f"p{at}", node=f"n{at}") for at in range(count)], span_s, lambda: f"alarm-{next(ids)}")
    slot.install(loaded())
    return slot


def calibrated(rng: np.random.Generator, count: int = 1, span_s: float = 1e6) -> Slot:
    slot = make(count, span_s)
    for at in range(count):
        slot.push(at, healthy(WINDOW * CALIBRATION, rng), 1.0, gap=True)
    slot.tick(1.0)
    assert all(state.warmup_left == 0 for state in slot.point_states())
    return slot


class TestBatching:
    def test_all_points_go_through_the_monitor_in_one_call(self, rng: np.random.Generator, monkeypatch) -> None:
        slot = calibrated(rng, 3)
        assert slot.champion is not None
        calls = []
        real = slot.champion.monitor.process
        monkeypatch.setattr(
            slot.champion.monitor,
            "process",
            lambda windows, owners: calls.append(list(owners)) or real(windows, owners),
        )
        for at in range(3):
            slot.push(at, healthy(WINDOW * (at + 1), rng), 2.0, gap=False)
        assert slot.tick(2.0).windows == 6
        assert calls == [[0, 1, 1, 2, 2, 2]]

    def test_nothing_due_costs_nothing(self, rng: np.random.Generator) -> None:
        slot = calibrated(rng)
        slot.push(0, healthy(WINDOW - 1, rng), 2.0, gap=False)
        outcome = slot.tick(2.0)
        assert (outcome.windows, outcome.rows, outcome.events) == (0, [], [])

    def test_no_window_spans_a_gap(self, rng: np.random.Generator) -> None:
        slot = calibrated(rng)
        slot.push(0, healthy(WINDOW - 1, rng), 2.0, gap=False)
        slot.push(0, healthy(WINDOW - 1, rng), 2.0, gap=True)
        assert slot.tick(2.0).windows == 0
        slot.push(0, healthy(1, rng), 2.0, gap=False)
        assert slot.tick(2.0).windows == 1

    def test_windows_that_are_complete_before_a_gap_count(self, rng: np.random.Generator) -> None:
        slot = calibrated(rng)
        slot.push(0, healthy(WINDOW + 5, rng), 2.0, gap=False)
        slot.push(0, healthy(10, rng), 2.0, gap=True)
        assert slot.tick(2.0).windows == 1

    def test_a_burst_larger_than_the_ring_loses_nothing(self, rng: np.random.Generator) -> None:
        slot = calibrated(rng)
        for _ in range(20):
            slot.push(0, healthy(4096, rng), 2.0, gap=False)
        assert slot.tick(2.0).windows == 20 * 4096 // WINDOW
        assert slot.overwritten() == 0


class TestTrends:
    def test_a_row_covers_its_span_and_flags_what_is_over_the_limit(self, rng: np.random.Generator) -> None:
        slot = calibrated(rng, span_s=10 * HOP_S)
        assert [row.verdict for row in slot.tick(1.0).rows] == []
        for make_samples in (healthy, faulty):
            slot.push(0, make_samples(WINDOW * 10, rng), 5.0, gap=False)
        good, bad = slot.tick(5.0).rows
        assert (good.windows, good.flagged) == (10, 0)
        assert good.span_s == pytest.approx(10 * HOP_S)
        assert good.rms[0] == pytest.approx(1.0, rel=0.1)
        assert (bad.windows, bad.flagged, bad.verdict) == (10, 10, "alarm")
        assert bad.score_max is not None
        assert bad.score_mean is not None
        assert bad.score_max >= bad.score_mean > 1.0
        assert bad.rms[0] == pytest.approx(np.sqrt(1 + 32), rel=0.1)

    def test_a_row_never_spans_a_gap(self, rng: np.random.Generator) -> None:
        slot = calibrated(rng)
        slot.tick(1.0)
        slot.push(0, healthy(WINDOW * 3, rng), 2.0, gap=False)
        slot.push(0, healthy(WINDOW * 4, rng), 3.0, gap=True)
        rows = slot.tick(3.0).rows
        assert [row.windows for row in rows] == [CALIBRATION + 3]

    def test_a_stream_that_falls_silent_gives_up_its_row(self, rng: np.random.Generator) -> None:
        slot = make(span_s=10.0)
        slot.push(0, healthy(WINDOW, rng), 100.0, gap=True)
        assert slot.tick(100.0).rows == []
        assert slot.tick(119.0).rows == []
        (row,) = slot.tick(121.0).rows
        assert (row.windows, row.verdict, row.score_mean, row.time_s) == (1, "warming_up", None, 100.0)

    def test_merged_rows_keep_what_can_be_kept(self) -> None:
        def row(windows: int, mean: float | None, worst: float | None, rms: float, **more: object) -> TrendRow:
            return TrendRow(
                machine="m", point="p", time_s=5.0, span_s=float(windows), windows=windows, score_mean=mean,
                score_max=worst, rms=[rms], **more,
            )  # fmt: skip

        merged = merge_rows(
            [
                row(10, 0.5, 0.6, 3.0, verdict="ok"),
                row(30, 0.9, 1.2, 4.0, flagged=2, verdict="alarm"),
                row(10, None, None, 1.0),
            ]
        )
        assert merged.windows == 50
        assert merged.span_s == 50.0
        assert merged.flagged == 2
        assert merged.score_mean == pytest.approx((10 * 0.5 + 30 * 0.9) / 40)
        assert merged.score_max == 1.2
        assert merged.rms[0] == pytest.approx(np.sqrt((10 * 9 + 30 * 16 + 10) / 50))
        assert merged.verdict == "alarm"

    def test_merging_rows_with_no_scores(self) -> None:
        one = TrendRow(machine="m", point="p", time_s=1.0, span_s=1.0, windows=1, rms=[1.0])
        assert merge_rows([one, one]).score_mean is None

    def test_an_empty_accumulator_has_no_row(self) -> None:
        assert TrendAccumulator("m", "p", 1.0).close(1.0) is None


class TestAlarms:
    def test_a_raised_event_brings_its_window_and_what_it_takes_to_score_it_again(
        self, rng: np.random.Generator
    ) -> None:
        slot = calibrated(rng)
        windows = faulty(WINDOW * 2, rng)
        slot.push(0, windows, 5.0, gap=True)
        (event,) = slot.tick(5.0).events
        assert event.draft.kind == "raised"
        assert event.evidence is not None
        np.testing.assert_array_equal(np.frombuffer(event.evidence.window, "<f4"), windows[WINDOW:, 0])
        champion = slot.champion
        assert champion is not None
        features = champion.monitor.scorer.extract(windows[WINDOW:][None])
        again = champion.monitor.scorer.score(features, np.frombuffer(event.evidence.shift, "<f4"))
        assert again.raw[0] == pytest.approx(event.evidence.raw_score, rel=1e-6)
        assert again.raw[0] / event.evidence.raw_limit == pytest.approx(event.draft.score, rel=1e-6)
        assert event.diagnosis is not None
        assert "Hz" in event.diagnosis.summary

    def test_recalibrate_clears_the_alarm_and_learns_anew(self, rng: np.random.Generator) -> None:
        slot = calibrated(rng)
        slot.push(0, faulty(WINDOW * 4, rng), 5.0, gap=False)
        slot.tick(5.0)
        assert slot.open_alarms()
        slot.recalibrate(0)
        (event,) = slot.tick(6.0).events
        assert (event.draft.kind, event.draft.verdict) == ("cleared", "warming_up")
        assert slot.point_states()[0].warmup_left == CALIBRATION
        assert not slot.open_alarms()


class TestHealthyOrders:
    FACTS = PointFacts(shaft_hz=200.0, orders={"BPFO": 3.585, "BPFI": 5.415})

    def slot(self, rng: np.random.Generator, calibration: bytes | None = None) -> Slot:
        slot = Slot(SLOT, [point(facts=self.FACTS)], 1e6, lambda: "alarm-1")
        slot.install(loaded(), calibration)
        if calibration is None:
            slot.push(0, healthy(WINDOW * CALIBRATION, rng), 1.0, gap=True)
            assert slot.tick(1.0).learned == {loaded().sha256}
        return slot

    def test_are_learnt_while_a_point_calibrates_and_stand_in_the_diagnosis(self, rng: np.random.Generator) -> None:
        slot = self.slot(rng)
        assert slot.champion is not None
        kept = slot.champion.monitor.healthy_orders(0)
        assert set(kept) == {"BPFO", "BPFI"}
        again = self.slot(rng, slot.champion.monitor.save())
        for each in (slot, again):
            each.push(0, faulty(WINDOW * CALIBRATION, rng), 5.0, gap=True)
            (event,) = each.tick(5.0).events
            assert event.diagnosis is not None
            told = {match.fault: match.healthy_depth for match in event.diagnosis.orders}
            assert told == {fault: order.depth[0] for fault, order in kept.items()}

    def test_are_not_learnt_from_what_comes_after_the_calibration(self, rng: np.random.Generator) -> None:
        slot = self.slot(rng)
        assert slot.champion is not None
        before = dict(slot.champion.monitor.healthy_orders(0))
        for _ in range(20):
            slot.push(0, healthy(4096, rng), 2.0, gap=False)
            slot.tick(2.0)
        assert slot.champion.monitor.healthy_orders(0) == before

    def test_are_forgotten_and_learnt_anew_with_the_calibration(self, rng: np.random.Generator) -> None:
        slot = self.slot(rng)
        assert slot.champion is not None
        before = dict(slot.champion.monitor.healthy_orders(0))
        slot.recalibrate(0)
        assert slot.champion.monitor.healthy_orders(0) == {}
        slot.push(0, healthy(WINDOW * CALIBRATION, rng), 3.0, gap=False)
        slot.tick(3.0)
        after = slot.champion.monitor.healthy_orders(0)
        assert set(after) == set(before)
        assert after != before
        assert all(order.stretches == 1 for order in after.values())

    def test_a_long_calibration_gives_a_stretch_for_each_full_history(self, rng: np.random.Generator) -> None:
        manifest = loaded().manifest
        windows = 3 * 65_536 // WINDOW
        long = msgspec.structs.replace(
            manifest, calibration=msgspec.structs.replace(manifest.calibration, windows=windows)
        )
        watch = Watch(dataclasses.replace(loaded(), manifest=long), ["p"])
        for _ in range(windows * WINDOW // 4096):
            watch.push(0, healthy(4096, rng))
            watch.tick()
            watch.learn(0, self.FACTS)
        assert watch.monitor.warmup_left(0) == 0
        expected = windows * WINDOW // watch.history
        assert all(order.stretches == expected for order in watch.monitor.healthy_orders(0).values())

    def test_a_candidate_learns_its_own(self, rng: np.random.Generator) -> None:
        slot = self.slot(rng)
        slot.begin_shadow(loaded())
        slot.push(0, healthy(WINDOW * CALIBRATION, rng), 2.0, gap=False)
        slot.tick(2.0)
        assert slot.candidate is not None
        assert set(slot.candidate.monitor.healthy_orders(0)) == {"BPFO", "BPFI"}


def result(score: float | None, verdict: str) -> Result:
    return Result(0, verdict, score, score, None, np.zeros(1, np.float32), None)  # type: ignore[arg-type]


class TestAlarmBook:
    def book(self) -> AlarmBook:
        ids = itertools.count()
        return AlarmBook(lambda: f"a{next(ids)}", clear_windows=2)

    def test_one_alarm_is_raised_updated_when_clearly_worse_and_cleared(self) -> None:
        book = self.book()
        told = []
        steps = [
            (0.0, 0.5, "ok"), (1.0, 2.0, "alarm"), (2.0, 2.0 * UPDATE_GROWTH, "alarm"),
            (1.0 + UPDATE_PAUSE_S, 2.1, "alarm"), (2.0 + UPDATE_PAUSE_S, 3.0, "alarm"),
            (3.0 + UPDATE_PAUSE_S, 9.0, "alarm"), (200.0, 0.1, "ok"), (201.0, 0.1, "ok"),
        ]  # fmt: skip
        for now_s, score, verdict in steps:
            draft = book.observe(result(score, verdict), now_s)
            if draft is not None:
                told.append((draft.kind, draft.alarm, draft.score, draft.peak))
        assert told == [("raised", "a0", 2.0, 2.0), ("updated", "a0", 3.0, 3.0), ("cleared", "a0", 0.1, 9.0)]

    def test_a_clock_that_was_set_back_does_not_silence_an_alarm_that_gets_worse(self) -> None:
        book = self.book()
        assert book.observe(result(2.0, "alarm"), 1e9) is not None
        told = [book.observe(result(score, "alarm"), now_s) for now_s, score in ((10.0, 4.0), (11.0, 8.0), (71.0, 9.0))]
        assert [draft.kind if draft is not None else None for draft in told] == ["updated", None, "updated"]

    def test_an_alarm_from_before_is_confirmed_or_cleared_by_the_new_verdicts(self) -> None:
        old = OpenAlarm(id="old", raised_s=0.0, peak=5.0, reported_peak=5.0, reported_s=0.0)
        book = self.book()
        book.take_over(old)
        assert book.observe(result(None, "warming_up"), 1.0) is None
        assert book.observe(result(2.0, "alarm"), 2.0) is None
        draft = book.observe(result(0.1, "ok"), 3.0)
        assert draft is not None
        assert (draft.kind, draft.alarm) == ("cleared", "old")

        book.take_over(old)
        quiet = [book.observe(result(0.1, verdict), 4.0) for verdict in ("ok", "warn", "ok", "ok")]
        assert [draft.kind if draft else None for draft in quiet] == [None, None, None, "cleared"]

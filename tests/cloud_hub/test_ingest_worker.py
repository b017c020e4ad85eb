"""The ingest worker: a scripted broker on one side, SQLite on the other."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, select

from cloud_hub.errors import StoreError, StoreUnavailableError
from cloud_hub.ingest.assemble import assemble_capture
from cloud_hub.ingest.rescoring import RescoreWorker
from cloud_hub.ingest.status import KEPT_REJECTIONS, IngestStatus
from cloud_hub.ingest.worker import BatchLimits, IngestWorker, receipt_messages
from cloud_hub.store import fleet_queries, history_queries, once
from cloud_hub.store import tables as t
from cloud_hub.store.database import Database, rows_with
from cloud_hub.store.paging import Paging
from cloud_hub.store.writer import Outcome, Receipts, Received, Writer
from cloud_hub.transport import Incoming
from models.contract.messages import MAX_JSON_BYTES, Evidence, Message, ReceiptBody, decode
from models.errors import BundleDigestError
from tests.simulators.hub import (
    BOOT,
    SHA,
    QueueBroker,
    ack,
    as_newer,
    chunks,
    event,
    incoming,
    point,
    state,
    trends,
)
from tests.simulators.postgres import Postgres

NOW_S = 10_000.0
ALL = Paging(500)


def eventually(check: Callable[[], Any]) -> None:
    until = time.monotonic() + 30
    while not check():
        assert time.monotonic() < until
        time.sleep(0.01)


class Bench:
    """A worker that is driven batch by batch, without its thread."""

    def __init__(self, database: Database, folder: Path, **options: Any) -> None:
        self.database = database
        self.broker = QueueBroker()
        self.worker = IngestWorker(database, self.broker, folder, now_s=lambda: NOW_S, **options)
        self.captures_dir = folder

    def take(self, *messages: Message | Incoming) -> None:
        self.worker.take([m if isinstance(m, Incoming) else incoming(m) for m in messages])
        self.worker._assemble_due()

    def count(self, row: type[t.Base]) -> int:
        with self.database.read() as session:
            return session.scalar(select(func.count()).select_from(row)) or 0

    @property
    def counters(self) -> dict[str, int]:
        return self.worker.status.view().counters

    def gateway(self, name: str = "gw-1") -> Any:
        with self.database.read() as session:
            return fleet_queries.get_gateway(session, name)


@pytest.fixture
def bench(database: Database, tmp_path: Path) -> Bench:
    return Bench(database, tmp_path / "captures")


# ------------------------------------------------------------------------------------------------ states


def test_a_state_is_shown_as_it_was_reported(bench: Bench) -> None:
    bench.take(state(points=[point("de"), point("nde", verdict="warming_up", score=None, warmup_left=7)]))
    shown = bench.gateway()
    assert shown.gateway.online
    assert (shown.gateway.boot_id, shown.gateway.agent_version, shown.gateway.runtime) == (BOOT, "0.1.0", "litert")
    assert (shown.gateway.state_s, shown.gateway.last_seen_s, shown.gateway.want_seq) == (1000.0, NOW_S, 3)
    assert shown.counters == {"frames": 10}
    assert [(s.slot, s.phase, s.active_sha256) for s in shown.slots] == [("pump-vibration", "active", SHA)]
    assert [(p.point, p.verdict, p.score, p.warmup_left) for p in shown.points] == [
        ("de", "ok", 0.4, 0),
        ("nde", "warming_up", None, 7),
    ]


def test_a_last_will_only_takes_the_gateway_offline(bench: Bench) -> None:
    bench.take(state())
    bench.take(state(online=False, slots=[], points=[], counters={}, rss_mb=0.0))
    shown = bench.gateway()
    assert not shown.gateway.online
    assert shown.gateway.rss_mb == 61.5
    assert len(shown.slots) == len(shown.points) == 1
    with bench.database.read() as session:
        assert not fleet_queries.get_machine(session, "P-101").machine.online


def test_within_a_batch_the_last_state_counts(bench: Bench) -> None:
    will = state(online=False, slots=[], points=[])
    bench.take(state(rss_mb=1.0), will, state(rss_mb=2.0, points=[point("other")]))
    shown = bench.gateway()
    assert shown.gateway.online
    assert shown.gateway.rss_mb == 2.0
    bench.take(state(rss_mb=3.0), will)
    assert not bench.gateway().gateway.online
    assert bench.gateway().gateway.rss_mb == 3.0


def test_a_point_no_longer_listed_stays_but_is_not_current(bench: Bench) -> None:
    bench.take(state(points=[point("de"), point("nde")]))
    bench.take(state(points=[point("nde")], slots=[]))
    shown = bench.gateway()
    assert [(p.point, p.current) for p in shown.points] == [("de", False), ("nde", True)]
    assert shown.slots == ()


def test_a_kept_state_does_not_show_that_the_gateway_lives(bench: Bench) -> None:
    clock = iter([1.0, 2.0, 3.0, 4.0])
    writer = Writer(bench.database, lambda: next(clock))
    writer.store([Received(state())])
    writer.store([Received(state(), retained=True)])
    writer.store([Received(state(online=False))])
    assert bench.gateway().gateway.last_seen_s == 1.0
    writer.store([Received(ack())])
    assert bench.gateway().gateway.last_seen_s == 4.0


def test_two_gateways_may_watch_one_machine_and_neither_can_touch_the_others_points(bench: Bench) -> None:
    bench.take(state("gw-1", points=[point(score=0.4)]), state("gw-2", points=[point(score=1.7, verdict="alarm")]))
    with bench.database.read() as session:
        detail = fleet_queries.get_machine(session, "P-101")
    assert detail.machine.gateways == ("gw-1", "gw-2")
    assert (detail.machine.verdict, detail.machine.score) == ("alarm", 1.7)
    assert [(p.gateway, p.score) for p in detail.points] == [("gw-1", 0.4), ("gw-2", 1.7)]


# ------------------------------------------------------------------------------------------------ once, and receipted


def test_an_event_is_an_alarm_with_evidence_and_a_receipt(bench: Bench) -> None:
    bench.take(event(1, evidence=True))
    with bench.database.read() as session:
        (alarm,) = history_queries.list_alarms(session, ALL).items
        evidence = history_queries.get_evidence(session, alarm.id)
    assert (alarm.id, alarm.status, alarm.score) == ("gw-1.a1", "raised", 1.5)
    assert alarm.diagnosis is not None
    assert alarm.diagnosis.orders[0].harmonics == (87.4, 174.8)
    assert np.frombuffer(evidence.window, "<f4").tolist() == list(range(512))
    assert evidence.summary.raw_score == 7.25
    assert bench.broker.receipts() == ({(BOOT, 1)}, set())


def test_the_same_alarm_id_at_two_gateways_is_two_alarms(bench: Bench) -> None:
    bench.take(event(1), event(1, "cleared", gateway="gw-2"))
    with bench.database.read() as session:
        alarms = {a.id: a.status for a in history_queries.list_alarms(session, ALL).items}
    assert alarms == {"gw-1.a1": "raised", "gw-2.a1": "cleared"}


def test_duplicates_are_dropped_and_receipted_again(bench: Bench) -> None:
    first = [event(1, evidence=True), trends(2), *chunks(total=2), ack()]
    bench.take(*first, *first)
    bench.broker.published.clear()
    bench.take(*first)
    assert bench.count(t.AlarmEvent) == bench.count(t.AlarmEvidence) == bench.count(t.Ack) == 1
    assert (bench.count(t.TrendBatch), bench.count(t.Trend), bench.count(t.Health)) == (1, 2, 1)
    assert bench.count(t.CaptureChunk) == 2
    assert bench.broker.receipts() == ({(BOOT, 1), (BOOT, 2)}, {("cap-1", 0), ("cap-1", 1)})
    counters = bench.counters
    assert {k: v for k, v in counters.items() if k.startswith("duplicate")} == {
        "duplicate.event": 2,
        "duplicate.trend": 2,
        "duplicate.chunk": 4,
        "duplicate.ack": 2,
    }


def test_the_same_seq_after_a_reboot_or_of_another_gateway_is_new(bench: Bench) -> None:
    bench.take(trends(1), trends(1, boot_id="f" * 16), trends(1, gateway="gw-2"))
    assert bench.count(t.TrendBatch) == 3
    assert bench.broker.receipts("gw-1")[0] == {(BOOT, 1), ("f" * 16, 1)}
    assert bench.broker.receipts("gw-2")[0] == {(BOOT, 1)}


DELIVERIES = st.lists(
    st.one_of(
        st.builds(
            event,
            seq=st.integers(0, 4),
            kind=st.sampled_from(["raised", "cleared"]),
            gateway=st.sampled_from(["gw-1", "gw-2"]),
        ),
        st.builds(trends, seq=st.integers(0, 4), gateway=st.sampled_from(["gw-1", "gw-2"])),
        st.sampled_from(chunks(samples=2)),
        st.sampled_from([incoming(state()), Incoming("mw/1/u/0/gw-1/ev", b"{", False)]),
    ),
    max_size=12,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(batches=st.lists(DELIVERIES, max_size=4), receipts_lost=st.lists(st.booleans(), min_size=4, max_size=4))
def test_whatever_the_delivery_everything_is_stored_exactly_once(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[Any]], receipts_lost: list[bool]
) -> None:
    folder = tmp_path_factory.mktemp("once")
    with Database(f"sqlite:///{folder / 'hub.sqlite3'}") as database:
        database.migrate()
        bench = Bench(database, folder)
        for batch, lost in zip(batches, receipts_lost, strict=False):
            bench.broker.down = lost
            bench.take(*batch)
        sent = [m for batch in batches for m in batch if not isinstance(m, Incoming)]
        events = {(m.gateway, m.boot_id, m.seq) for m in sent if hasattr(m, "kind")}
        batches_sent = {(m.gateway, m.boot_id, m.seq) for m in sent if hasattr(m, "rows")}
        indices = {m.index for m in sent if hasattr(m, "index")}
        with database.read() as session:
            key = (t.AlarmEvent.gateway_id, t.AlarmEvent.boot_id, t.AlarmEvent.seq)
            assert sorted(tuple(r) for r in session.execute(select(*key))) == sorted(events)
            key = (t.TrendBatch.gateway_id, t.TrendBatch.boot_id, t.TrendBatch.seq)
            assert sorted(tuple(r) for r in session.execute(select(*key))) == sorted(batches_sent)
            assert set(session.scalars(select(t.CaptureChunk.index))) == indices
        assert bench.count(t.Trend) == 2 * len(batches_sent)
        receipted = {(g, *e) for g in ("gw-1", "gw-2") for e in bench.broker.receipts(g)[0]}
        assert receipted <= events | batches_sent
        if not any(receipts_lost):
            assert receipted == events | batches_sent


# ------------------------------------------------------------------------------------------------ bad input


def test_bad_messages_are_counted_kept_and_do_not_touch_the_good_ones(bench: Bench) -> None:
    good = incoming(event(1))
    bad = [
        Incoming(good.topic, b"\x00garbage", False),
        Incoming(good.topic, as_newer(event(2)), False),
        Incoming(incoming(event(2, gateway="gw-2")).topic, incoming(event(2)).payload, False),
        Incoming("mw/1/u/99/gw-1/ev", good.payload, False),
        Incoming(good.topic, b" " * (MAX_JSON_BYTES + 1), False),
        incoming(msgspec.structs.replace(chunks()[0], data=b"123")),
    ]
    bench.take(*bad, good, Incoming("mw/1/u/10/gw-1/get", b"", False))
    counters = bench.counters
    assert {k: v for k, v in counters.items() if k.startswith("rejected")} == {
        "rejected.message": 2,
        "rejected.schema": 1,
        "rejected.gateway": 1,
        "rejected.topic": 2,  # gw-1 is not in shard 10 either
        "rejected.bounds": 1,
    }
    assert (counters["received"], counters["stored.event"]) == (8, 1)
    kept = bench.worker.status.view().rejections
    assert [r.reason for r in kept] == ["topic", "bounds", "message", "topic", "gateway", "schema", "message"]
    assert kept[-1].topic == good.topic
    assert kept[-1].time_s == NOW_S
    assert "not a valid AlarmEvent" in kept[-1].text
    assert bench.broker.receipts() == ({(BOOT, 1)}, set())


def test_no_more_than_the_last_rejections_are_kept_and_texts_are_cut() -> None:
    status = IngestStatus()
    for i in range(KEPT_REJECTIONS + 50):
        status.reject(float(i), "t" * 100_000, "message", "x" * 100_000, 1)
    kept = status.view().rejections
    assert len(kept) == KEPT_REJECTIONS
    assert kept[0].time_s == KEPT_REJECTIONS + 49
    assert len(kept[0].text) == len(kept[0].topic) == 500
    assert status.view().counters["rejected.message"] == KEPT_REJECTIONS + 50


def test_nul_in_free_text_is_replaced(bench: Bench) -> None:
    bench.take(ack(detail="a\x00b", reason="r"))
    with bench.database.read() as session:
        (step,) = fleet_queries.list_acks(session, ALL).items
    assert step.detail == "a\N{REPLACEMENT CHARACTER}b"


# ------------------------------------------------------------------------------------------------ trouble with the store


class FailingWriter:
    """A writer that fails as scripted before it works; some messages it never takes."""

    def __init__(self, bench: Bench, failures: Iterable[StoreError] = (), poison: Iterable[int] = ()) -> None:
        self._writer = bench.worker._writer
        self._status = bench.worker.status
        self._failures = list(failures)
        self._poison = set(poison)
        self.shown: list[str | None] = []
        bench.worker._writer = self  # type: ignore[assignment]

    def store(self, batch: list[Received]) -> Outcome:
        self.shown.append(self._status.view().store_error)
        if self._failures:
            raise self._failures.pop(0)
        if any(getattr(r.message, "seq", None) in self._poison for r in batch):
            raise StoreError("database: DataError: this one")
        return self._writer.store(batch)


def test_while_the_store_is_away_the_batch_waits_without_receipt(database: Database, tmp_path: Path) -> None:
    bench = Bench(database, tmp_path, limits=BatchLimits(retry_s=0.0))
    writer = FailingWriter(bench, [StoreUnavailableError("database: OperationalError: disk full")] * 3)
    bench.take(event(1))
    assert writer.shown == [None] + ["database: OperationalError: disk full"] * 3
    assert bench.worker.status.view().store_error is None
    assert bench.counters["store_failures"] == 3
    assert len(bench.broker.published) == 1
    assert bench.broker.receipts() == ({(BOOT, 1)}, set())


def test_a_stop_while_the_store_is_away_gives_no_receipt(database: Database, tmp_path: Path) -> None:
    bench = Bench(database, tmp_path, limits=BatchLimits(retry_s=60.0))
    FailingWriter(bench, [StoreUnavailableError("database: away")] * 100)
    bench.broker.incoming.put(incoming(event(1)))
    bench.worker.start()
    eventually(lambda: bench.worker.status.view().store_error)
    bench.worker.stop()
    assert bench.broker.published == []
    assert bench.count(t.AlarmEvent) == 0


def test_one_message_that_cannot_be_stored_does_not_hold_up_the_others(bench: Bench) -> None:
    FailingWriter(bench, poison=[5])
    bench.take(*(trends(seq) for seq in range(16)))
    assert bench.count(t.TrendBatch) == 15
    assert bench.broker.receipts()[0] == {(BOOT, seq) for seq in range(16) if seq != 5}
    (rejection,) = bench.worker.status.view().rejections
    assert (rejection.reason, rejection.topic) == ("store", incoming(trends(5)).topic)


def test_another_hub_may_store_the_same_at_the_same_moment(postgres: Postgres, tmp_path: Path) -> None:
    """Two hubs look, neither finds the message, both store it: one is refused, does it again, and says duplicate."""
    with postgres.database() as url, Database(url) as first, Database(url) as second:
        messages = [Received(event(seq, alarm=f"a{seq}", evidence=seq == 2)) for seq in range(40)]
        messages += [Received(trends(seq)) for seq in range(40)]
        writer = Writer(first, lambda: NOW_S)
        writer.store([Received(state())])
        both = threading.Barrier(2)
        look = rows_with

        def look_together(*arguments: Any, **more: Any) -> Iterator[Any]:
            found = list(look(*arguments, **more))
            with contextlib.suppress(threading.BrokenBarrierError):
                both.wait(20)
            both.abort()  # only the first looks of each are at once
            return iter(found)

        outcomes: list[Outcome] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(once, "rows_with", look_together)
            other = threading.Thread(
                target=lambda: outcomes.append(Writer(second, lambda: NOW_S).store(messages)), daemon=True
            )
            other.start()
            outcomes.append(writer.store(messages))
            other.join(60)
        assert sorted((o.stored["event"], o.duplicates["event"]) for o in outcomes) == [(0, 40), (40, 0)]
        assert sorted((o.stored["trend"], o.duplicates["trend"]) for o in outcomes) == [(0, 40), (40, 0)]
        assert sum(o.evidence for o in outcomes) == 1
        assert all(len(o.receipts["gw-1"].events) == 80 for o in outcomes)
        bench = Bench(first, tmp_path)
        assert (bench.count(t.AlarmEvent), bench.count(t.TrendBatch), bench.count(t.Trend)) == (40, 40, 80)
        assert (bench.count(t.Alarm), bench.count(t.AlarmEvidence)) == (40, 1)


def test_what_is_remembered_but_gone_is_stored_again(bench: Bench) -> None:
    """Somebody has emptied the database below a running hub, for example to put a backup in its place."""
    bench.take(event(1), trends(1))
    with bench.database.write() as session:
        for row in (t.AlarmEvent, t.Alarm, t.TrendBatch, t.Trend, t.Health, t.Point, t.Machine, t.Gateway):
            session.execute(delete(row))
    bench.take(event(1), trends(1))
    assert bench.counters["stored.event"] == bench.counters["stored.trend"] == 2
    assert "rejected.store" not in bench.counters
    assert (bench.count(t.Gateway), bench.count(t.Machine), bench.count(t.Point)) == (1, 1, 1)


def test_receipts_that_cannot_be_sent_are_counted(bench: Bench) -> None:
    bench.broker.down = True
    bench.take(event(1))
    bench.broker.connected = False
    bench.take(event(2))
    assert bench.count(t.AlarmEvent) == 2
    assert bench.counters["receipts_unsent"] == 2
    bench.broker.connected, bench.broker.down = True, False
    bench.take(event(1), event(2))
    assert bench.broker.receipts()[0] == {(BOOT, 1), (BOOT, 2)}


def test_receipts_keep_to_the_contracts_bounds() -> None:
    events = [(BOOT, seq) for seq in range(2500)]
    pairs = [("cap-1", index) for index in range(1200)]
    messages = receipt_messages({"gw-1": Receipts(events, pairs)})
    bodies = [decode(ReceiptBody, payload, topic) for topic, payload in messages]
    assert [e for b in bodies for e in b.events] == events
    assert [c for b in bodies for c in b.chunks] == pairs
    assert len(bodies) == 3


# ------------------------------------------------------------------------------------------------ captures


@pytest.fixture
def capture_file(bench: Bench) -> Path:
    return bench.captures_dir / "cap-1.npz"


def test_a_capture_becomes_a_file_in_whatever_order_it_comes(bench: Bench, capture_file: Path) -> None:
    first, second, third = chunks()
    bench.take(third)
    bench.take(first, third)
    assert not capture_file.exists()
    bench.take(second)
    with np.load(capture_file, allow_pickle=False) as loaded:
        assert sorted(loaded) == ["axes", "data", "gaps", "gateway", "machine", "point", "rate_hz", "time_s", "units"]
        assert loaded["data"].dtype == np.float32
        np.testing.assert_array_equal(loaded["data"], np.arange(600, dtype=np.float32).reshape(300, 2))
        assert loaded["axes"].tolist() == ["x", "y"]
        assert (float(loaded["rate_hz"]), float(loaded["time_s"])) == (12_000.0, 5000.0)
        assert (str(loaded["units"]), str(loaded["machine"]), str(loaded["point"])) == ("m/s2", "P-101", "de")
        assert str(loaded["gateway"]) == "gw-1"
        assert loaded["gaps"].tolist() == [200]
    assert list(bench.captures_dir.iterdir()) == [capture_file]
    with bench.database.read() as session:
        assert history_queries.get_capture(session, "cap-1").status == "stored"
        assert session.scalars(select(t.CaptureChunk.data)).all() == [None] * 3
    assert bench.counters["stored.capture"] == 1


def test_a_late_duplicate_after_the_file_is_only_receipted(bench: Bench, capture_file: Path) -> None:
    bench.take(*chunks())
    made = capture_file.stat().st_mtime_ns
    bench.broker.published.clear()
    bench.take(chunks()[1])
    assert capture_file.stat().st_mtime_ns == made
    assert bench.broker.receipts() == (set(), {("cap-1", 1)})


@pytest.mark.parametrize(
    ("changes", "reason", "text"),
    [
        ({"gateway": "gw-2"}, "capture_owner", "belongs to gw-1, got a chunk of gw-2"),
        ({"rate_hz": 6000.0}, "capture_differs", "rate_hz: expected 12000.0 as before, got 6000.0"),
        ({"axes": ["x", "z"]}, "capture_differs", "axes: expected ['x', 'y'] as before, got ['x', 'z']"),
        ({"total": 4}, "capture_differs", "total: expected 3 as before, got 4"),
        ({"point": "nde"}, "capture_differs", "point: expected 'de' as before, got 'nde'"),
    ],
)
def test_a_chunk_that_does_not_fit_is_refused(bench: Bench, changes: dict[str, Any], reason: str, text: str) -> None:
    bench.take(chunks()[0])
    bench.take(msgspec.structs.replace(chunks()[1], **changes))
    (rejection,) = bench.worker.status.view().rejections
    assert rejection.reason == reason
    assert text in rejection.text
    assert bench.count(t.CaptureChunk) == 1
    assert bench.broker.receipts("gw-2") == (set(), set())
    assert bench.broker.receipts() == (set(), {("cap-1", 0)})


def test_a_capture_has_a_largest_size(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud_hub.store.capture_writer.MAX_CAPTURE_BYTES", 1000)
    bench.take(chunks()[0])
    bench.take(chunks()[1])
    (rejection,) = bench.worker.status.view().rejections
    assert rejection.reason == "capture_size"
    assert "expected at most 1000 bytes, got 1600" in rejection.text


def test_a_file_that_could_not_be_written_is_tried_again(bench: Bench, capture_file: Path) -> None:
    bench.captures_dir.write_text("in the way of the folder")
    bench.take(*chunks())
    assert bench.counters["capture_failures"] == 1
    assert bench.broker.receipts()[1] == {("cap-1", i) for i in range(3)}
    bench.captures_dir.unlink()
    bench.worker._captures_due["cap-1"] = 0.0
    bench.worker._assemble_due()
    assert capture_file.exists()


def test_a_capture_left_without_a_file_gets_it_at_the_next_start(bench: Bench, capture_file: Path) -> None:
    Writer(bench.database, lambda: NOW_S).store([Received(c) for c in chunks()])
    bench.worker.start()
    eventually(capture_file.exists)
    bench.worker.stop()


def test_a_torn_file_of_an_earlier_run_is_replaced(bench: Bench, capture_file: Path) -> None:
    Writer(bench.database, lambda: NOW_S).store([Received(c) for c in chunks()])
    bench.captures_dir.mkdir()
    (bench.captures_dir / "cap-1.npz.part").write_bytes(b"half")
    assemble_capture(bench.database, "cap-1", bench.captures_dir, NOW_S)
    with np.load(capture_file) as loaded:
        assert len(loaded["data"]) == 300


# ------------------------------------------------------------------------------------------------ the thread


def test_the_thread_batches_and_drains_before_it_stops(database: Database, tmp_path: Path) -> None:
    bench = Bench(database, tmp_path)
    for seq in range(1200):
        bench.broker.incoming.put(incoming(trends(seq, rows=1)))
    bench.worker.start()
    bench.worker.stop()
    assert bench.count(t.TrendBatch) == 1200
    assert len(bench.broker.receipts()[0]) == 1200
    assert len(bench.broker.published) < 50
    assert bench.worker.failure is None


def test_a_fault_of_our_own_is_told_not_hidden(database: Database, tmp_path: Path) -> None:
    told = threading.Event()
    bench = Bench(database, tmp_path, on_failure=told.set)

    def broken(_: object) -> list[tuple[str, bytes]]:
        raise KeyError("a bug")

    bench.worker._after_commit = broken  # type: ignore[method-assign]
    bench.broker.incoming.put(incoming(event(1)))
    bench.worker.start()
    assert told.wait(30)
    bench.worker.stop()
    assert isinstance(bench.worker.failure, KeyError)


# ------------------------------------------------------------------------------------------------ re-scoring


@pytest.fixture
def rescored(database: Database) -> Iterator[Callable[..., RescoreWorker]]:
    workers = []

    def start(rescore: Callable[[str, Evidence], float]) -> RescoreWorker:
        workers.append(RescoreWorker(database, rescore, lambda: NOW_S))
        workers[-1].start()
        return workers[-1]

    yield start
    for worker in workers:
        worker.stop()


def summary(bench: Bench, alarm: str = "gw-1.a1") -> Any:
    with bench.database.read() as session:
        return history_queries.get_evidence(session, alarm).summary


def test_evidence_is_scored_again_with_its_own_bundle(bench: Bench, rescored: Callable[..., RescoreWorker]) -> None:
    calls: list[tuple[str, int]] = []

    def rescore(bundle: str, evidence: Evidence) -> float:
        calls.append((bundle, len(evidence.window)))
        return evidence.raw_score

    bench.take(event(1, evidence=True), event(2, "updated"))
    assert summary(bench).rescored_raw is None
    worker = rescored(rescore)
    eventually(lambda: summary(bench).rescored_raw == 7.25)
    bench.take(event(3, evidence=True, alarm="a2"))
    worker.wake()
    eventually(lambda: summary(bench, "gw-1.a2").rescored_raw == 7.25)
    assert calls == [(SHA, 256 * 2 * 4)] * 2


def test_evidence_that_cannot_be_scored_says_why_and_is_not_tried_for_ever(
    bench: Bench, rescored: Callable[..., RescoreWorker]
) -> None:
    calls: list[str] = []

    def rescore(bundle: str, _: Evidence) -> float:
        calls.append(bundle)
        if len(calls) == 1:
            raise BundleDigestError("bundle abab: expected another digest")
        if len(calls) == 2:
            raise ZeroDivisionError("odd window")
        return float("nan")

    bench.take(*(event(i, evidence=True, alarm=f"a{i}") for i in (1, 2, 3)))
    worker = rescored(rescore)
    eventually(lambda: summary(bench, "gw-1.a3").rescore_error)
    assert summary(bench, "gw-1.a3").rescore_error == "expected a finite score, got nan"
    assert summary(bench).rescore_error == "bundle abab: expected another digest"
    assert summary(bench, "gw-1.a2").rescore_error == "ZeroDivisionError: odd window"
    assert summary(bench).rescored_raw is None
    worker.wake()
    worker.stop()
    assert len(calls) == 3

"""The ingest worker in trouble: bad messages, a store that is away, a fault of its own."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import delete

from cloud_hub.errors import StoreError, StoreUnavailableError
from cloud_hub.ingest.status import KEPT_REJECTIONS, IngestStatus
from cloud_hub.ingest.worker import BatchLimits, receipt_messages
from cloud_hub.store import fleet_queries, once
from cloud_hub.store import tables as t
from cloud_hub.store.database import Database, rows_with
from cloud_hub.store.writer import Outcome, Receipts, Received, Writer
from cloud_hub.transport import Incoming
from models.contract.messages import MAX_JSON_BYTES, Message, ReceiptBody, decode
from tests.cloud_hub.ingest_kit import ALL, NOW_S, Bench, eventually
from tests.simulators.hub import BOOT, ack, as_newer, chunks, event, incoming, state, trends
from tests.simulators.postgres import Postgres

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


# ------------------------------------------------------------------------------------------------ the threads


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


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("limits", "messages", "expected"),
    [
        (BatchLimits(messages=250), [event(seq) for seq in range(600)], [250, 250, 100]),
        (BatchLimits(rows=1000), [trends(seq, rows=10) for seq in range(250)], [100, 100, 50]),
        (BatchLimits(rows=1000), [trends(seq, rows=4) for seq in range(350)], [300, 50]),
        (BatchLimits(rows=1), [event(seq) for seq in range(150)], [150]),
        (BatchLimits(payload_bytes=2000), chunks(total=7), [3, 3, 1]),
    ],
    ids=["messages", "rows", "fewer rows", "events bring no rows", "bytes"],
)
def test_a_batch_is_bounded_in_messages_rows_and_bytes(
    database: Database, tmp_path: Path, limits: BatchLimits, messages: list[Message], expected: list[int]
) -> None:
    """Rows are known once a hundred messages are parsed, so a batch goes over by less than those."""
    bench = Bench(database, tmp_path, limits=limits)
    stored: list[int] = []
    store = bench.worker._writer.store

    def counting(batch: list[Received]) -> Outcome:
        stored.append(len(batch))
        return store(batch)

    bench.worker._writer.store = counting  # type: ignore[method-assign, assignment]
    for message in messages:
        bench.broker.incoming.put(incoming(message))
    bench.worker.start()
    bench.worker.stop()
    assert bench.worker.failure is None
    assert stored == expected


def test_messages_of_which_none_is_good_do_not_end_the_draining(database: Database, tmp_path: Path) -> None:
    bench = Bench(database, tmp_path, limits=BatchLimits(messages=10))
    for _ in range(30):
        bench.broker.incoming.put(Incoming(incoming(event(1)).topic, b"garbage", False))
    bench.broker.incoming.put(incoming(event(1)))
    bench.worker._stop.set()
    bench.worker.start()
    bench.worker.stop()
    assert bench.counters["rejected.message"] == 30
    assert bench.count(t.AlarmEvent) == 1


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

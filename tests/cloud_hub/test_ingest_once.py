"""Whatever is delivered, how often and in what order: stored once, receipted only then."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from cloud_hub.store import history_queries
from cloud_hub.store import tables as t
from cloud_hub.store.database import Database
from cloud_hub.transport import Incoming
from tests.cloud_hub.ingest_kit import ALL, Bench
from tests.simulators.hub import BOOT, ack, chunks, event, incoming, state, trends


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

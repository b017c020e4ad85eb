"""What gateways report of themselves, stored by the ingest worker."""

from __future__ import annotations

from cloud_hub.store import fleet_queries
from cloud_hub.store.writer import Received, Writer
from tests.cloud_hub.ingest_kit import NOW_S, Bench
from tests.simulators.hub import BOOT, SHA, ack, point, state


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

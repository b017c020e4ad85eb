"""What the overview says of a fleet whose past is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cloud_hub.delivery.registry import BundleRecord
from cloud_hub.store import overview_queries as overview
from cloud_hub.store.database import Database
from cloud_hub.store.registry import SqlRegistry
from cloud_hub.store.writer import Message, Received, Writer
from tests.simulators.hub import SHA, ack, event, point, state

Store = Callable[..., None]


@pytest.fixture
def store(database: Database) -> Store:
    """Stores messages as if they came at a time of the hub's clock."""

    def at(now_s: float, *messages: Message) -> None:
        Writer(database, lambda: now_s).store([Received(m) for m in messages])

    return at


def test_a_machine_is_as_bad_as_its_worst_point_and_as_there_as_its_gateways(database: Database, store: Store) -> None:
    store(
        1.0,
        state(
            "gw-1",
            points=[
                point("a", machine="M1", verdict="ok", score=0.4),
                point("b", machine="M1", verdict="warn", score=0.9),
            ],
        ),
        state(
            "gw-2",
            points=[point("c", machine="M1", verdict="ok"), point("a", machine="M2", verdict="warming_up", score=None)],
        ),
        state("gw-3", points=[point("a", machine="M3", verdict="alarm", score=3.0)]),
        state("gw-2", online=False, time_s=2000.0),
    )
    with database.read() as session:
        seen = overview.health_map(session)
    tiles = {t.machine: t for t in seen.tiles}
    assert [t.machine for t in seen.tiles] == ["M1", "M2", "M3"]
    assert (tiles["M1"].verdict, tiles["M1"].score, tiles["M1"].points, tiles["M1"].online) == ("warn", 0.9, 3, False)
    assert tiles["M2"].score is None
    assert tiles["M3"].online
    assert seen.counts["alarm"] == seen.counts["warn"] == 1
    assert seen.machines == 3


def test_of_too_many_machines_the_worst_are_shown_and_all_are_counted(database: Database, store: Store) -> None:
    verdicts = ["ok", "warn", "alarm", "ok", "warming_up", "alarm"]
    store(1.0, state(points=[point(machine=f"M{i}", verdict=v) for i, v in enumerate(verdicts)]))
    with database.read() as session:
        seen = overview.health_map(session, limit=3)
    assert [t.machine for t in seen.tiles] == ["M2", "M5", "M1"]
    assert seen.counts == {"alarm": 2, "warn": 1, "warming_up": 1, "ok": 2}


def test_a_point_that_is_no_longer_listed_does_not_count(database: Database, store: Store) -> None:
    store(1.0, state(points=[point(machine="M1", verdict="alarm"), point(machine="M2")]))
    store(2.0, state(points=[point(machine="M2")], time_s=2000.0))
    with database.read() as session:
        assert overview.health_map(session).counts["alarm"] == 0


def test_an_empty_fleet(database: Database) -> None:
    with database.read() as session:
        assert overview.health_map(session).machines == 0
        assert overview.gateway_counts(session) == overview.GatewayCounts(0, 0)
        assert overview.gateway_changes(session, 0.0) == ()
        assert overview.bundles_installed(session, 0.0) == ()
        assert overview.alarms_raised(session, 0.0) == overview.AlarmCount(0, more=False)


def test_gateways_that_came_and_went_since_then(database: Database, store: Store) -> None:
    store(10.0, state("old"), state("gone-before"))
    store(20.0, state("gone-before", online=False, time_s=1001.0))
    store(100.0, state("new"), state("old", time_s=1002.0))
    store(120.0, state("old", online=False, time_s=1003.0))
    with database.read() as session:
        changes = overview.gateway_changes(session, 50.0)
        assert overview.gateway_counts(session) == overview.GatewayCounts(3, 1)
    assert [(c.gateway, c.kind) for c in changes] == [("old", "gone"), ("new", "new")]


def test_alarms_raised_since_then(database: Database, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store(1.0, *(event(i, alarm=f"a{i}", time_s=100.0 + i) for i in range(5)))
    with database.read() as session:
        assert overview.alarms_raised(session, 102.0) == overview.AlarmCount(3, more=False)
        monkeypatch.setattr(overview, "MAX_COUNTED", 2)
        assert overview.alarms_raised(session, 102.0) == overview.AlarmCount(2, more=True)


def test_bundles_that_gateways_confirmed_since_then(database: Database, store: Store) -> None:
    SqlRegistry(database).add_bundle(BundleRecord(SHA, "pump-vibration", "7", "spectral", "t", 1, 1.0, "{}"))

    def steps(gateway: str, phase: str = "confirmed", **more: Any) -> Message:
        return ack(gateway=gateway, phase=phase, **{"sha256": SHA} | more)

    store(10.0, steps("early"))
    store(100.0, steps("gw-1"), steps("gw-1", time_s=1501.0), steps("gw-2"), steps("gw-3", "refused"))
    store(110.0, steps("gw-4", slot="fan", sha256="cd" * 32))
    with database.read() as session:
        found = overview.bundles_installed(session, 50.0)
    assert [(b.slot, b.version, b.gateways, b.last_s) for b in found] == [
        ("fan", None, 1, 110.0),
        ("pump-vibration", "7", 2, 100.0),
    ]

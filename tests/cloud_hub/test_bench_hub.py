"""The benchmark of the hub works, tried with next to nothing: every part, on both databases."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud_hub.store.database import Database
from tests.benchmarks.hub import ingest, queries, served
from tests.simulators.postgres import Postgres

SIZE = queries.Size(gateways=40, alarms=400, trend_rows=4_000)


def test_all_queries_are_asked(database: Database) -> None:
    queries.fill(database, SIZE)
    found = queries.measure(database, "x", SIZE, times=2)
    assert [each.query for each in found] == list(queries.asks(SIZE))
    assert all(0 < each.p50_ms <= each.p99_ms for each in found)
    with database.read() as session:
        answers = {name: ask(session, 1) for name, ask in queries.asks(SIZE).items()}
    # What is measured is there: no figure is that of an empty answer.
    assert len(answers["the operator's list"].items) == SIZE.gateways // 20
    assert sum(answers["overview, health map"].counts.values()) == SIZE.gateways
    assert len(answers["trend, last hour, rows"].items) == 60
    assert answers["trend, last day, 300 points"].resolution_s == 0
    assert answers["outlook of a point"].rows == SIZE.trend_rows // SIZE.gateways
    assert answers["alarms, second page"].items
    assert answers["an alarm"].events


@pytest.mark.broker
def test_a_served_hub_shows_pages_and_tells_viewers(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'hub.sqlite3'}"
    with Database(url) as database:
        database.migrate()
        queries.fill(database, SIZE)
    with ingest.deep_broker(tmp_path) as settings, served.served(url, settings, tmp_path) as hub:
        loads, memory = served.measure_pages(hub, "SQLite", SIZE, times=1, browser=False)
        assert [each.page for each in loads] == list(served.pages(SIZE))
        assert all(each.kilobytes > 1 for each in loads)
        assert 20 < memory.started_mb <= memory.after_pages_mb + 20
        live = served.measure_viewers(hub, settings, "SQLite", viewers=3, alarms=4, pause_s=0.0)
        assert live.delivered == live.expected == 12


@pytest.mark.broker
def test_all_readers_read_all(postgres: Postgres) -> None:
    found = ingest.measure(postgres, 60, kinds=("events",))
    assert [each.reader.partition(",")[0] for each in found] == [
        "plain client", "the hub's link", "ingest worker", "ingest worker", "bare COPY",
    ]  # fmt: skip
    assert all(each.per_s > 0 for each in found)

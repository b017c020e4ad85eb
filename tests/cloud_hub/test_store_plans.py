"""Lists are read through an index, also from the middle: no list may get slower as the data gets older.

Points of a machine are sorted (they are few); all acks are read in the order of their table, which is that of the list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event as sql_event

from cloud_hub.store import fleet_queries as fleet
from cloud_hub.store import history_queries as history
from cloud_hub.store import overview_queries as overview
from cloud_hub.store.database import Database, Session
from cloud_hub.store.paging import Page, Paging
from cloud_hub.store.writer import Received, Writer
from tests.simulators.hub import ack, chunks, event, point, state, trends

Query = Callable[[Session, Paging], Page[Any]]
QUERIES: dict[str, Query] = {
    "gateways": fleet.list_gateways,
    "machines": fleet.list_machines,
    "machines of a gateway": lambda s, p: fleet.list_machines(s, p, gateway="gw-1"),
    "points": fleet.list_points,
    "acks": fleet.list_acks,
    "acks of a gateway": lambda s, p: fleet.list_acks(s, p, gateway="gw-1"),
    "alarms": history.list_alarms,
    "open alarms": lambda s, p: history.list_alarms(s, p, status="raised"),
    "alarms of a machine": lambda s, p: history.list_alarms(s, p, machine="P-101", since_s=10.0),
    "alarms of a gateway": lambda s, p: history.list_alarms(s, p, gateway="gw-1"),
    "trends": history.list_trends,
    "trends of a point": lambda s, p: history.list_trends(s, p, machine="P-101", point="de", since_s=1.0, until_s=9e9),
    "trends of a machine": lambda s, p: history.list_trends(s, p, machine="P-101"),
    "health": lambda s, p: history.list_health(s, p, "gw-1"),
    "captures": history.list_captures,
}


@contextmanager
def recorded(database: Database) -> Iterator[list[tuple[str, Any]]]:
    """The statements that run inside."""
    statements: list[tuple[str, Any]] = []

    def record(_c: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        statements.append((statement, parameters))

    sql_event.listen(database.engine, "before_cursor_execute", record)
    yield statements
    sql_event.remove(database.engine, "before_cursor_execute", record)


@pytest.fixture
def filled(database: Database) -> Database:
    writer = Writer(database, lambda: 1.0)
    for i in range(5):
        writer.store(
            [
                Received(m)
                for m in (
                    state(f"gw-{i}", points=[point(machine="P-101"), point(machine=f"M-{i}")]),
                    event(i, alarm=f"a{i}"),
                    trends(i),
                    ack(i),
                    ack(i, gateway=f"gw-{i}"),
                    *chunks(f"cap-{i}"),
                )
            ]
        )
    return database


@pytest.mark.parametrize("name", QUERIES)
def test_no_list_sorts_or_reads_a_whole_table(filled: Database, name: str) -> None:
    query = QUERIES[name]
    with recorded(filled) as statements, filled.read() as session:
        first = query(session, Paging(limit=1))
        if first.next is not None:
            query(session, Paging(limit=1, cursor=first.next))
    selects = [(s, p) for s, p in statements if s.lstrip().startswith("SELECT")]
    assert selects
    with filled.engine.connect() as connection:
        for statement, parameters in selects:
            plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
            text = f"{statement}\n{plan}"
            assert not any("TEMP B-TREE" in step for step in plan), text
            assert all("USING" in step or step == "SCAN acks" for step in plan if step.startswith("SCAN")), text


@pytest.mark.parametrize(
    ("query", "history_table"),
    [(overview.alarms_raised, "alarms"), (overview.bundles_installed, "acks")],
    ids=["alarms_raised", "bundles_installed"],
)
def test_the_overview_reads_history_from_its_newest_end(
    filled: Database, query: Callable[[Session, float], Any], history_table: str
) -> None:
    """Through an index or by key, bounded; never the whole table."""
    with recorded(filled) as statements, filled.read() as session:
        query(session, 0.5)
    steps = []
    with filled.engine.connect() as connection:
        for statement, parameters in statements:
            if statement.lstrip().startswith("SELECT"):
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                steps += [(statement, row[3]) for row in plan]
    about = [(s, step) for s, step in steps if history_table in step]
    assert about
    for statement, step in about:
        newest_first = step == f"SCAN {history_table}" and "ORDER BY acks.id DESC" in statement and "LIMIT" in statement
        assert step.startswith("SEARCH") or newest_first, (statement, step)

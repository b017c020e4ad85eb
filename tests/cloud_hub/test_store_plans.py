"""Lists are read through an index, also from the middle: no list may get slower as the data gets older.

Twice over: SQLite's plans are read, and on both databases each query's work is counted (PostgreSQL: pages touched;
SQLite: steps of its machine), with little and with ten times as much history behind the same fleet.

Points of a machine are sorted (they are few); all acks are read in the order of their table, which is that of the list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
from sqlalchemy import Table
from sqlalchemy import event as sql_event

from cloud_hub.store import accounts_queries, jobs, rollout_queries
from cloud_hub.store import alarm_queries as alarms
from cloud_hub.store import fleet_queries as fleet
from cloud_hub.store import history_queries as history
from cloud_hub.store import live_queries as live
from cloud_hub.store import overview_queries as overview
from cloud_hub.store import tables as t
from cloud_hub.store.alarm_metrics import alarm_metrics
from cloud_hub.store.alarm_queries import AlarmFilter
from cloud_hub.store.database import Database, Session, insert_all, rows_with
from cloud_hub.store.gateway_queries import standing_of
from cloud_hub.store.once import SEQ_KEY
from cloud_hub.store.paging import Page, Paging
from cloud_hub.store.trend_buckets import fold_rows, trend_series
from cloud_hub.store.views import AlarmState
from cloud_hub.store.writer import Received, Writer
from tests.cloud_hub.sorts_kit import add_lists
from tests.simulators.hub import BOOT, ack, chunks, event, point, state, trends

Query = Callable[[Session, Paging], Page[Any]]
OPEN: tuple[AlarmState, ...] = ("unacknowledged", "acknowledged", "returned")
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
    "the operator's list": lambda s, p: alarms.search_alarms(s, p, AlarmFilter(states=OPEN)),
    "shelved alarms": lambda s, p: alarms.search_alarms(s, p, AlarmFilter(states=["shelved"])),
    "alarms changed last": lambda s, p: alarms.search_alarms(s, p, AlarmFilter(), "changed"),
    "worst alarms": lambda s, p: alarms.search_alarms(s, p, AlarmFilter(), "peak"),
    "alarms of an assignee": lambda s, p: alarms.search_alarms(s, p, AlarmFilter(assignee="otto")),
    "false alarms": lambda s, p: alarms.search_alarms(s, p, AlarmFilter(review="false")),
    "actions of an alarm": lambda s, p: alarms.list_actions(s, p, "gw-1.a1"),
    "trends": history.list_trends,
    "trends of a point": lambda s, p: history.list_trends(s, p, machine="P-101", point="de", since_s=1.0, until_s=9e9),
    "trends of a machine": lambda s, p: history.list_trends(s, p, machine="P-101"),
    "health": lambda s, p: history.list_health(s, p, "gw-1"),
    "captures": history.list_captures,
    "bundles by slot": lambda s, p: fleet.list_bundles(s, p, sort="slot"),
    "rollouts by name": lambda s, p: rollout_queries.list_rollouts(s, p, sort="name"),
    "training jobs": jobs.list_jobs,
    "training jobs, oldest first": lambda s, p: jobs.list_jobs(s, p, sort="oldest"),
    "training jobs by state": lambda s, p: jobs.list_jobs(s, p, sort="state"),
    "audit": accounts_queries.list_audit,
    "audit, oldest first": lambda s, p: accounts_queries.list_audit(s, p, sort="oldest"),
    "audit by target": lambda s, p: accounts_queries.list_audit(s, p, sort="target"),
}
# What is sorted for every page: the fleet, which has no index by what changes with every message. Its size is bounded,
# and its work must not grow with the history behind it.
OF_THE_FLEET: dict[str, Query] = {
    "gateways silent for longest": lambda s, p: fleet.list_gateways(s, p, sort="silent"),
    "gateways with the fullest outbox": lambda s, p: fleet.list_gateways(s, p, sort="outbox"),
    "machines with the highest score": lambda s, p: fleet.list_machines(s, p, sort="score"),
    "machines named last": lambda s, p: fleet.list_machines(s, p, sort="new"),
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
    add_lists(database)
    return database


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
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


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
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


# ------------------------------------------------------------------------------------------------ work, counted

NOW_S = 2_000_000.0
STEP_S = 60.0
FLEET = 5
Look = Callable[[Session], Any]


def _first_and_second(query: Query) -> Look:
    def look(session: Session) -> None:
        first = query(session, Paging(limit=20))
        if first.next is not None:
            query(session, Paging(limit=20, cursor=first.next))

    return look


LOOKS: dict[str, Look] = {name: _first_and_second(query) for name, query in (QUERIES | OF_THE_FLEET).items()} | {
    "alarms of an hour": lambda s: overview.alarms_raised(s, NOW_S - 3600.0),
    "bundles of an hour": lambda s: overview.bundles_installed(s, NOW_S - 3600.0),
    "a gateway": lambda s: fleet.get_gateway(s, "gw-1"),
    "a machine": lambda s: fleet.get_machine(s, "M-1"),
    "an alarm": lambda s: history.get_alarm(s, "gw-1.a1"),
    "overview, gateways gone or new": lambda s: overview.gateway_changes(s, NOW_S - 3600.0),
    "alarms, in what states": alarms.count_alarms,
    "alarms, load of an hour": lambda s: alarm_metrics(s, NOW_S - 3600.0, NOW_S, NOW_S),
    "live, what changed": lambda s: live.changed_alarms(s, NOW_S - 600.0, 500),
    "gateways of a page, their standing": lambda s: standing_of(s, [f"gw-{g}" for g in range(FLEET)], NOW_S),
    "what is stored of a batch": lambda s: list(
        rows_with(s, t.table_of(t.AlarmEvent), SEQ_KEY, SEQ_KEY, [("gw-1", BOOT, n) for n in range(0, 40, 2)])
    ),
    "alarms of a batch": lambda s: list(
        rows_with(s, t.table_of(t.Alarm), ["id"], ("gateway_id", "alarm"), [("gw-1", f"a{n}") for n in range(20)])
    ),
    "a day of a point": lambda s: trend_series(s, "M-1", "de", since_s=NOW_S - 5000.0, until_s=NOW_S, max_points=50),
    "an hour of a point": lambda s: trend_series(s, "M-1", "de", since_s=NOW_S - 600.0, until_s=NOW_S),
}


def add_history(database: Database, first: int, last: int) -> None:
    """What happened `first` to `last` steps before now, at every gateway; the newest alarm of each is raised."""
    trend_rows, healths, alarms, events, acks, captures, audit = [], [], [], [], [], [], []
    for g in range(FLEET):
        gateway, machine = f"gw-{g}", f"M-{g}"
        for n in range(first, last):
            at_s = NOW_S - STEP_S * (n + 1)
            trend_rows.append({"gateway_id": gateway, "machine_id": machine, "point": "de", "time_s": at_s, "span_s": 60.0,
                               "windows": 5, "flagged": 0, "score_mean": 0.5, "score_max": 0.6, "rms": [1.0],
                               "verdict": "ok"})  # fmt: skip
            healths.append({"gateway_id": gateway, "boot_id": BOOT, "time_s": at_s, "rss_mb": 1.0, "cpu_s": 1.0,
                            "windows": 1, "window_us": 1.0, "outbox_bytes": 0})  # fmt: skip
            alarms.append({"gateway_id": gateway, "alarm": f"a{n}", "machine_id": machine, "point": "de", "slot": "s",
                           "bundle_sha256": "ab" * 32, "bundle_version": "1", "verdict": "alarm", "raised_s": at_s,
                           "status": "raised" if n == 0 else "cleared", "cleared_s": None, "updated_s": at_s,
                           "score": 1.0, "peak": 1.0, "summary": "", "diagnosis": None, "newest_key": "k",
                           "diagnosis_key": "", "changed_s": at_s, "announced_s": at_s,
                           "state": "unacknowledged" if n == 0 else "normal", "open": n == 0})  # fmt: skip
            events.append({"gateway_id": gateway, "boot_id": BOOT, "seq": n, "alarm": f"a{n}", "kind": "raised",
                           "verdict": "alarm", "time_s": at_s, "received_s": at_s, "score": 1.0, "peak": 1.0,
                           "diagnosis": None})  # fmt: skip
            acks.append({"gateway_id": gateway, "seq": n, "slot": "s", "phase": "seen", "time_s": at_s,
                         "received_s": at_s})  # fmt: skip
            captures.append({"id": f"c-{g}-{n}", "gateway_id": gateway, "machine_id": machine, "point": "de",
                             "rate_hz": 1.0, "axes": ["x"], "units": "g", "total": 1, "received": 1, "samples": 1,
                             "first_s": at_s, "stored_s": at_s})  # fmt: skip
            audit.append({"time_s": at_s, "who": "olga", "kind": "user", "action": "alarm.comment",
                          "target": f"alarm:{gateway}.a{n}"})  # fmt: skip
    with database.write() as session:
        for row, values in (
            (t.Trend, trend_rows), (t.Health, healths), (t.Alarm, alarms), (t.AlarmEvent, events), (t.Ack, acks),
            (t.Capture, captures), (t.AuditEntry, audit),
        ):  # fmt: skip
            insert_all(session, cast(Table, row.__table__), values)
    while True:
        with database.write() as session:
            if not fold_rows(session, 5000):
                break
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")


def work(database: Database, look: Look) -> int:
    """Steps of SQLite's machine, or pages that PostgreSQL touches."""
    if database.is_sqlite:
        steps = 0

        def count() -> int:
            nonlocal steps
            steps += 1
            return 0

        with database.read() as session:
            driver: Any = session.connection().connection.driver_connection
            driver.set_progress_handler(count, 10)
            look(session)
            driver.set_progress_handler(None, 0)
        return steps * 10
    with recorded(database) as statements, database.read() as session:
        look(session)
    pages = 0
    with database.engine.connect() as connection:
        for statement, parameters in statements:
            if statement.lstrip().startswith("SELECT") and "advisory" not in statement:
                explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
                plan = connection.exec_driver_sql(explain, parameters).scalar_one()[0]["Plan"]
                pages += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    return int(pages)


def test_no_query_works_more_as_the_data_gets_older(database: Database) -> None:
    messages = [state(f"gw-{g}", points=[point("de", machine=f"M-{g}")]) for g in range(FLEET)]
    Writer(database, lambda: NOW_S).store([Received(m) for m in messages])
    add_history(database, 0, 300)
    before = {name: work(database, look) for name, look in LOOKS.items()}
    add_history(database, 300, 3000)
    slack = 3000 if database.is_sqlite else 25
    after = {name: work(database, look) for name, look in LOOKS.items()}
    grown = {n: (before[n], after[n]) for n in LOOKS if after[n] > 1.5 * before[n] + slack}
    assert grown == {}


def test_a_query_that_does_grow_is_found(database: Database) -> None:
    """The measure can fail: the alarms of no gateway, looked for by a column that has no index of its own."""
    messages = [state(f"gw-{g}", points=[point("de", machine=f"M-{g}")]) for g in range(FLEET)]
    Writer(database, lambda: NOW_S).store([Received(m) for m in messages])

    def look(session: Session) -> None:
        history.list_alarms(session, Paging(limit=20), point="nowhere")

    add_history(database, 0, 300)
    before = work(database, look)
    add_history(database, 300, 3000)
    assert work(database, look) > 4 * before

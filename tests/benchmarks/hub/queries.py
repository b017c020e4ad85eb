"""How long the pages' queries take behind a large fleet with a long history.

The rows are made inside the database, in the order of time as they would have come; indexes are made when all rows are
there, which takes a fraction of the time. Every query asks for another gateway, machine or span each time. Times are of
the query and of making its answer, in this process, without HTTP.
"""

# ruff: noqa: ISC004, S608 - statements of many lines, made of numbers only
from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from cloud_hub.store import alarm_queries as alarms
from cloud_hub.store import fleet_queries as fleet
from cloud_hub.store import history_queries as history
from cloud_hub.store import live_queries as live
from cloud_hub.store import overview_queries as overview
from cloud_hub.store import tables as t
from cloud_hub.store.alarm_metrics import alarm_metrics
from cloud_hub.store.alarm_queries import AlarmFilter
from cloud_hub.store.database import Database, Session
from cloud_hub.store.gateway_queries import standing_of
from cloud_hub.store.paging import Paging
from cloud_hub.store.trend_buckets import RESOLUTIONS_S, trend_series

NOW_S = float(int(time.time()))  # a hub that is served looks back from its own clock
STEP_S = 60.0
OPEN = ("unacknowledged", "acknowledged", "returned")
_DAY_S = 86_400.0
_GROWING: tuple[type[t.Base], ...] = (t.Trend, t.TrendBucket, t.Health, t.Alarm, t.AlarmEvent)
_PAGE = Paging(limit=50)
Ask = Callable[[Session, int], Any]


class Size(msgspec.Struct, frozen=True):
    """How much there is."""

    gateways: int = 10_000
    alarms: int = 100_000
    trend_rows: int = 10_000_000


class QueryTime(msgspec.Struct, frozen=True):
    """One query, asked many times."""

    database: str
    query: str
    asked: int
    p50_ms: float
    p99_ms: float


def fill(database: Database, size: Size) -> float:
    """A gateway with one machine with one point each, everything it has sent, and its alarms. Returns: seconds."""
    started = time.perf_counter()
    engine = database.engine.execution_options(write="alone")
    indexes = [index for row in _GROWING for index in t.table_of(row).indexes]
    with engine.begin() as connection:
        for index in indexes:
            index.drop(connection)
    steps = size.trend_rows // size.gateways
    per_gateway = size.alarms // size.gateways
    statements = [
        ("INSERT INTO gateways (id, first_seen_s, last_seen_s, online, boot_id, state_s, agent_version, runtime, want_seq,"
         " rss_mb, outbox_bytes, counters) SELECT 'gw-' || n, 1.0, {now}, n % 10 > 0, NULL, {now}, '0.1', 'litert',"
         " 0, 60.0, 0, '{{}}' FROM {series}", size.gateways),
        ("INSERT INTO machines SELECT 'M-' || n, 1.0 FROM {series}", size.gateways),
        ("INSERT INTO points SELECT 'gw-' || n, 'M-' || n, 'de', 's', CASE WHEN n % 50 = 0 THEN 'alarm' ELSE 'ok' END,"
         " 0.5, 100, 0, {now}, true FROM {series}", size.gateways),
        ("INSERT INTO trends (gateway_id, machine_id, point, time_s, span_s, windows, flagged, score_mean, score_max, rms,"
         " verdict) SELECT 'gw-' || (n % {gateways}), 'M-' || (n % {gateways}), 'de',"
         " {now} - {step} * ({steps} - n / {gateways}), {step}, 5, 0, 0.5, 0.6, '[1.0,2.0]', 'ok' FROM {series}",
         steps * size.gateways),
        *(("INSERT INTO trend_buckets SELECT 'M-' || (n / " + str(count) + "), 'de', " + str(resolution_s) + ","
           " {now} - " + str(resolution_s) + ".0 * (1 + n % " + str(count) + "), 'gw-' || (n / " + str(count) + "),"
           " 5, 25, 0, 25, 12.5, 0.6, 25, '[25.0,50.0]', 'ok' FROM {series}", size.gateways * count)
          for resolution_s in RESOLUTIONS_S for count in [max(1, int(steps * STEP_S / resolution_s))]),
        ("INSERT INTO trend_marks SELECT 'folded', (SELECT max(id) FROM trends) FROM {series}", 1),
        ("INSERT INTO health (gateway_id, boot_id, time_s, rss_mb, cpu_s, windows, window_us, outbox_bytes)"
         " SELECT 'gw-' || (n % {gateways}), '00', {now} - {step} * (n / {gateways}), 60.0, 1.0, 1, 40.0, 0 FROM {series}",
         size.gateways * 10),
        ("INSERT INTO alarms (gateway_id, alarm, machine_id, point, slot, bundle_sha256, bundle_version, verdict, status,"
         " raised_s, cleared_s, updated_s, score, peak, summary, newest_key, diagnosis_key, state, open, announced_s,"
         " changed_s)"
         " SELECT 'gw-' || (n % {gateways}), 'a' || (n / {gateways}), 'M-' || (n % {gateways}), 'de', 's', 'ab', '1',"
         " 'alarm', CASE WHEN n < {alarms} - {gateways} / 50 THEN 'cleared' ELSE 'raised' END,"
         " {now} - 8000000.0 + 80.0 * n, CASE WHEN n < {alarms} - {gateways} / 50 THEN {now} - 7999000.0 + 80.0 * n END,"
         " {now}, 1.5, 1.5, 'text', 'k', '', CASE WHEN n < {alarms} - {gateways} / 20 THEN 'normal' WHEN"
         " n < {alarms} - {gateways} / 50 THEN 'returned' ELSE 'unacknowledged' END, n >= {alarms} - {gateways} / 20,"
         " {now} - 8000000.0 + 80.0 * n, {now} - 7999000.0 + 80.0 * n FROM {series}",
         per_gateway * size.gateways),
        ("INSERT INTO alarm_events (gateway_id, boot_id, seq, alarm, kind, verdict, time_s, received_s, score, peak)"
         " SELECT 'gw-' || (n % {gateways}), '00', n / {gateways}, 'a' || (n / {gateways}), 'raised', 'alarm',"
         " {now} - 8000000.0 + 80.0 * n, {now}, 1.5, 1.5 FROM {series}", per_gateway * size.gateways),
    ]  # fmt: skip
    for statement, rows in statements:
        series = (
            f"(WITH RECURSIVE c(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM c WHERE n + 1 < {rows}) SELECT n FROM c) AS c"
            if database.is_sqlite
            else f"generate_series(0, {rows} - 1) AS c(n)"
        )
        text = statement.format(
            now=NOW_S,
            step=STEP_S,
            steps=steps,
            gateways=size.gateways,
            alarms=per_gateway * size.gateways,
            series=series,
        )
        with engine.begin() as connection:
            connection.exec_driver_sql(text if database.is_sqlite else text.replace("%", "%%"))
    with engine.begin() as connection:
        for index in indexes:
            index.create(connection)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE" if database.is_sqlite else "VACUUM ANALYZE")
    return time.perf_counter() - started


def asks(size: Size) -> dict[str, Ask]:
    """The pages' queries; `n` chooses what they ask for."""
    days = size.trend_rows // size.gateways * STEP_S / _DAY_S
    fifty = [f"gw-{i}" for i in range(50)]

    def series(session: Session, n: int, span_s: float, points: int) -> Any:
        return trend_series(session, f"M-{n}", "de", since_s=NOW_S - span_s, until_s=NOW_S, max_points=points)

    def next_page(session: Session, n: int) -> Any:
        first = history.list_alarms(session, _PAGE)
        return history.list_alarms(session, Paging(limit=50, cursor=first.next))

    return {
        "machines, a page": lambda s, n: fleet.list_machines(s, _PAGE),
        "machines of a gateway": lambda s, n: fleet.list_machines(s, _PAGE, gateway=f"gw-{n}"),
        "a machine": lambda s, n: fleet.get_machine(s, f"M-{n}"),
        "gateways, a page": lambda s, n: fleet.list_gateways(s, _PAGE),
        "a gateway": lambda s, n: fleet.get_gateway(s, f"gw-{n}"),
        "gateways of a page, their standing": lambda s, n: standing_of(s, fifty, NOW_S),
        "overview, health map": lambda s, n: overview.health_map(s),
        "overview, gateways counted": lambda s, n: overview.gateway_counts(s),
        "overview, gateways gone or new": lambda s, n: overview.gateway_changes(s, NOW_S - _DAY_S),
        "overview, alarms of a day": lambda s, n: overview.alarms_raised(s, NOW_S - _DAY_S),
        "overview, bundles of a day": lambda s, n: overview.bundles_installed(s, NOW_S - _DAY_S),
        "live, what changed": lambda s, n: live.changed_alarms(s, NOW_S - 30.0, 500),
        "live, who is away": lambda s, n: live.offline_gateways(s),
        "the operator's list": lambda s, n: alarms.search_alarms(s, _PAGE, AlarmFilter(states=OPEN)),
        "alarms, in what states": lambda s, n: alarms.count_alarms(s),
        "alarms, worst first": lambda s, n: alarms.search_alarms(s, _PAGE, AlarmFilter(), "peak"),
        "alarms, load of a day": lambda s, n: alarm_metrics(s, NOW_S - _DAY_S, NOW_S, NOW_S),
        "alarms, newest": lambda s, n: history.list_alarms(s, _PAGE),
        "alarms, second page": next_page,
        "alarms, open": lambda s, n: history.list_alarms(s, _PAGE, status="raised"),
        "alarms of a machine": lambda s, n: history.list_alarms(s, _PAGE, machine=f"M-{n}"),
        "an alarm": lambda s, n: history.get_alarm(s, f"gw-{n}.a0"),
        "trend, last hour, rows": lambda s, n: series(s, n, 3600.0, 500),
        "trend, last day, 300 points": lambda s, n: series(s, n, _DAY_S, 300),
        f"trend, all {days:.1f} days, 500 points": lambda s, n: series(s, n, days * _DAY_S, 500),
        "outlook of a point": lambda s, n: history.get_outlook(s, f"M-{n}", "de"),
        "health of a gateway": lambda s, n: history.list_health(s, _PAGE, f"gw-{n}"),
    }


def measure(database: Database, name: str, size: Size, times: int, seed: int = 7) -> list[QueryTime]:
    """Every query `times` times, in a mixed order so that none has the caches to itself."""
    rng = np.random.default_rng(seed)
    queries = asks(size)
    took: dict[str, list[float]] = {query: [] for query in queries}
    for query in rng.permutation(np.repeat(list(queries), times)):
        n = int(rng.integers(size.gateways))
        started = time.perf_counter()
        with database.read() as session:
            msgspec.json.encode(queries[query](session, n))
        took[query].append(time.perf_counter() - started)
    return [
        QueryTime(name, query, times, float(np.median(each)) * 1e3, float(np.quantile(each, 0.99)) * 1e3)
        for query, each in took.items()
    ]

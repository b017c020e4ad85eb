"""`make bench-hub`: prints the tables, and writes them with `--json FILE`."""

# ruff: noqa: T201 - a program
from __future__ import annotations

import argparse
import contextlib
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from cloud_hub.store.database import Database
from tests.benchmarks.hub import ingest, queries
from tests.simulators.postgres import MISSING, Postgres, find_programs, running_postgres


class Report(msgspec.Struct, frozen=True):
    """All that was measured. `load`: of the machine when it began, `peak_mb`: of this process, all told."""

    cores: int
    load: float
    ingest: list[ingest.IngestRate]
    size: queries.Size
    fill_s: dict[str, float]
    queries: list[queries.QueryTime]
    peak_mb: float


@contextmanager
def _database(kind: str, postgres: Postgres) -> Iterator[Database]:
    if kind == "PostgreSQL":
        with postgres.database() as url, Database(url) as database:
            yield database
        return
    with (
        tempfile.TemporaryDirectory(prefix="millwright-bench-") as folder,
        Database(f"sqlite:///{folder}/hub.sqlite3") as database,
    ):
        database.migrate()
        yield database


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(prog="make bench-hub", description=__doc__)
    parser.add_argument("--messages", type=int, default=20_000, help="messages for each reader")
    parser.add_argument("--gateways", type=int, default=queries.Size().gateways)
    parser.add_argument("--alarms", type=int, default=queries.Size().alarms)
    parser.add_argument("--trend-rows", type=int, default=queries.Size().trend_rows)
    parser.add_argument("--times", type=int, default=200, help="how often each query is asked")
    parser.add_argument("--databases", default="PostgreSQL,SQLite", help="for the queries")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    programs = find_programs()
    if programs is None:
        sys.exit(MISSING)
    load = os.getloadavg()[0]
    size = queries.Size(chosen.gateways, chosen.alarms, chosen.trend_rows)
    fill_s: dict[str, float] = {}
    times: list[queries.QueryTime] = []
    with running_postgres(programs, "shared_buffers=512MB", "max_wal_size=4GB") as postgres:
        rates = ingest.measure(postgres, chosen.messages)
        print(f"{'reader':34}{'messages':>10}{'per second':>12}{'ratio':>8}")
        for rate in rates:
            print(f"{rate.reader:34}{rate.messages:>10}{rate.per_s:12,.0f}{rate.ratio:8.2f}")
        for kind in filter(None, chosen.databases.split(",")):
            with _database(kind, postgres) as database:
                started = time.perf_counter()
                fill_s[kind] = queries.fill(database, size)
                print(f"\n{kind}: {size.gateways:,} gateways, {size.alarms:,} alarms, {size.trend_rows:,} trend rows, "
                      f"made in {time.perf_counter() - started:,.0f} s")  # fmt: skip
                found = queries.measure(database, kind, size, chosen.times)
            print(f"{'query':40}{'p50 ms':>10}{'p99 ms':>10}")
            for each in found:
                print(f"{each.query:40}{each.p50_ms:10.1f}{each.p99_ms:10.1f}")
            times += found
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    report = Report(os.cpu_count() or 0, load, rates, size, fill_s, times, peak_mb)
    if chosen.json is not None:
        chosen.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main()

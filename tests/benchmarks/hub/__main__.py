"""`make bench-hub`: prints the tables, and writes them with `--json FILE`. `--size small` tries all of it in a minute."""

# ruff: noqa: T201 - a program
from __future__ import annotations

import argparse
import contextlib
import os
import resource
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from cloud_hub.store.database import Database
from tests.benchmarks.hub import ingest, queries, served
from tests.simulators.postgres import MISSING, Postgres, find_programs, running_postgres


class Scale(msgspec.Struct, frozen=True):
    """How much of everything. `times`: each query; `page_times`: each page."""

    messages: int
    size: queries.Size
    times: int
    page_times: int
    viewers: int
    alarms: int


SCALES = {
    "full": Scale(60_000, queries.Size(), 200, 100, 200, 200),
    "small": Scale(600, queries.Size(100, 1_000, 20_000), 3, 2, 5, 5),
}


class Report(msgspec.Struct, frozen=True):
    """All that was measured. `load`: of the machine when it began and when it ended, `peak_mb`: of this process, all
    told.
    """

    cores: int
    load: tuple[float, float]
    scale: Scale
    ingest: list[ingest.IngestRate]
    fill_s: dict[str, float]
    queries: list[queries.QueryTime]
    pages: list[served.PageLoad]
    memory: list[served.Memory]
    viewers: list[served.Viewers]
    peak_mb: float


@contextmanager
def _database(kind: str, postgres: Postgres) -> Iterator[str]:
    if kind == "PostgreSQL":
        with postgres.database() as url:
            yield url
        return
    with tempfile.TemporaryDirectory(prefix="millwright-bench-") as folder:
        url = f"sqlite:///{folder}/hub.sqlite3"
        with Database(url) as database:
            database.migrate()
        yield url


def run(scale: Scale, postgres: Postgres, kinds: Sequence[str], parts: Sequence[str]) -> Report:
    """Measure, and print each table when it is there."""
    began = os.getloadavg()[0]
    rates: list[ingest.IngestRate] = []
    fill_s: dict[str, float] = {}
    times: list[queries.QueryTime] = []
    pages: list[served.PageLoad] = []
    memory: list[served.Memory] = []
    viewers: list[served.Viewers] = []
    print(f"load average {began:.1f} on {os.cpu_count()} cores")
    if "ingest" in parts:
        rates = ingest.measure(postgres, scale.messages)
        table(["reader", "messages", "per second", "ratio"],
              [[r.reader, r.messages, f"{r.per_s:,.0f}", f"{r.ratio:.2f}"] for r in rates])  # fmt: skip
    for kind in kinds if {"queries", "pages", "viewers"} & set(parts) else ():
        with _database(kind, postgres) as url, tempfile.TemporaryDirectory(prefix="millwright-bench-") as scratch:
            with Database(url) as database:
                fill_s[kind] = queries.fill(database, scale.size)
                s = scale.size
                print(f"\n{kind}: {s.gateways:,} gateways, {s.alarms:,} alarms, {s.trend_rows:,} trend rows, "
                      f"made in {fill_s[kind]:,.0f} s")  # fmt: skip
                if "queries" in parts:
                    found = queries.measure(database, kind, scale.size, scale.times)
                    times += found
                    table([f"query, {kind}", "p50 ms", "p99 ms"],
                          [[q.query, f"{q.p50_ms:.1f}", f"{q.p99_ms:.1f}"] for q in found])  # fmt: skip
            if not {"pages", "viewers"} & set(parts):
                continue
            folder = Path(scratch)
            with ingest.deep_broker(folder) as settings, served.served(url, settings, folder) as hub:
                if "pages" in parts:
                    loads, held = served.measure_pages(hub, kind, scale.size, scale.page_times)
                    pages += loads
                    memory.append(held)
                    table([f"page, {kind}", "KB", "p50 ms", "p99 ms", "loaded ms"],
                          [[p.page, f"{p.kilobytes:.0f}", f"{p.p50_ms:.0f}", f"{p.p99_ms:.0f}",
                            "-" if p.load_ms is None else f"{p.load_ms:.0f}"] for p in loads])  # fmt: skip
                    print(
                        f"memory of the hub: {held.started_mb:.0f} MB at its start, {held.after_pages_mb:.0f} MB after these pages"
                    )
                if "viewers" in parts:
                    live = served.measure_viewers(hub, settings, kind, scale.viewers, scale.alarms)
                    viewers.append(live)
                    table([f"live, {kind}", "delivered", "expected", "lag p50 ms", "lag p99 ms", "KB each"],
                          [[f"{live.viewers} viewers", f"{live.delivered:,}", f"{live.expected:,}",
                            f"{live.lag_p50_ms:.0f}", f"{live.lag_p99_ms:.0f}", f"{live.kb_each:.0f}"]])  # fmt: skip
    ended = os.getloadavg()[0]
    print(f"\nload average {ended:.1f}")
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Report(
        os.cpu_count() or 0, (began, ended), scale, rates, fill_s, times, pages, memory, viewers, peak_mb
    )  # fmt: skip


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """As Markdown, ready for the README."""
    print()
    print("| " + " | ".join(head) + " |")
    print("|---" * len(head) + "|")
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")
    sys.stdout.flush()


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(prog="make bench-hub", description=__doc__)
    parser.add_argument("--size", choices=sorted(SCALES), default="full")
    parser.add_argument("--messages", type=int, help="for each reader")
    parser.add_argument("--parts", default="ingest,queries,pages,viewers")
    parser.add_argument("--databases", default="PostgreSQL,SQLite")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    programs = find_programs()
    if programs is None:
        sys.exit(MISSING)
    scale = SCALES[chosen.size]
    if chosen.messages is not None:
        scale = msgspec.structs.replace(scale, messages=chosen.messages)
    # The tests' clusters do not wait for the disk; what is called durable here must.
    with running_postgres(programs, "shared_buffers=512MB", "max_wal_size=4GB", "fsync=on") as postgres:
        report = run(scale, postgres, chosen.databases.split(","), chosen.parts.split(","))
    if chosen.json is not None:
        chosen.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main()

"""Alarms and trends as files."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from pyarrow import parquet

from cloud_hub.api.routes import exports as route
from cloud_hub.store import alarm_queries
from cloud_hub.store.database import Database
from tests.cloud_hub.test_api import Hub
from tests.cloud_hub.test_store_plans import recorded
from tests.simulators.hub import diagnosis, event, trends


@pytest.fixture
def hub(database: Database, tmp_path: Path) -> Hub:
    return Hub(database, tmp_path)


def test_alarms_as_csv(hub: Hub) -> None:
    hub.store(event(1, diagnosis=diagnosis('=HYPERLINK("http://x")')), event(2, alarm="a2", machine="P-102"))
    answer = hub.api.get("/api/v1/exports/alarms")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="alarms.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["id"], row["state"], row["raised_s"]) for row in rows] == [
        ("gw-1.a2", "unacknowledged", "2002.0"),
        ("gw-1.a1", "unacknowledged", "2001.0"),
    ]
    assert rows[1]["summary"] == '\'=HYPERLINK("http://x")'  # no spreadsheet runs it
    assert rows[1]["cleared_s"] == ""
    only = hub.api.get("/api/v1/exports/alarms", machine="P-102").text
    assert len(only.splitlines()) == 2


def test_trends_as_parquet_in_several_groups(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud_hub.api.files._GROUP_ROWS", 500)
    hub.store(*(trends(i, rows=600) for i in range(2)))
    answer = hub.api.get("/api/v1/exports/trends", format="parquet", machine="P-101")
    file = parquet.ParquetFile(io.BytesIO(answer.content))
    assert file.metadata.num_row_groups >= 2
    table = file.read()
    assert table.num_rows == 1200
    assert table.column("rms").to_pylist()[0] == [1.0, 2.0]
    times = table.column("time_s").to_pylist()
    assert times == sorted(times, reverse=True)
    assert len(set(times)) == 1200
    some = hub.api.get("/api/v1/exports/trends", since=times[10], until=times[0])
    assert len(some.text.splitlines()) == 1 + 10


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_file_without_rows(hub: Hub, kind: str) -> None:
    content = hub.api.get("/api/v1/exports/trends", format=kind).content
    if kind == "csv":
        assert content.startswith(b"gateway,machine,point,time_s")
        assert content.count(b"\n") == 1
    else:
        assert parquet.read_table(io.BytesIO(content)).num_rows == 0


def test_too_much_is_refused_and_not_cut_off(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route, "MAX_ROWS", 3)
    hub.store(trends(1, rows=4), event(1))
    assert "more than 3 rows" in hub.problem("/api/v1/exports/trends", 422).detail
    assert hub.api.get("/api/v1/exports/alarms").status_code == 200
    hub.store(*(event(n, alarm=f"a{n}") for n in range(2, 5)))
    assert "more than 3 rows" in hub.problem("/api/v1/exports/alarms", 422).detail
    assert len(hub.api.get("/api/v1/exports/trends", since=3040, until=3070).text.splitlines()) == 4


def test_a_search_text_is_looked_for_in_parts_never_in_the_whole_list(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alarm_queries, "TEXT_WINDOW", 2)
    hub.store(*(event(n, alarm=f"a{n}") for n in range(1, 6)))
    with recorded(hub.database) as statements:
        found = hub.api.get("/api/v1/exports/alarms", text="a5").text.splitlines()
    assert [line.split(",")[0] for line in found] == ["id", "gw-1.a5"]
    looking = [(s, p) for s, p in statements if "LIKE" in s.upper()]
    assert len(looking) == 3
    for statement, _ in looking:  # what is looked through is cut off before it is looked through
        assert "LIMIT" in statement[: statement.upper().index("LIKE")], statement
    monkeypatch.setattr(route, "MAX_ROWS", 4)
    assert "more than 4 rows" in hub.problem("/api/v1/exports/alarms", 422, text="a5").detail
    assert hub.api.get("/api/v1/exports/alarms", text="a5", until=2005).status_code == 200

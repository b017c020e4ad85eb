"""The list of models reads keys, and the manifests of one page."""

from __future__ import annotations

from typing import cast

import pytest
from sqlalchemy import Table

from cloud_hub.store import tables as t
from cloud_hub.store.database import Database, insert_all
from cloud_hub.store.model_queries import list_models
from cloud_hub.store.paging import Paging
from cloud_hub.store.sorts import ModelSort
from tests.cloud_hub.sorts_kit import add_lists
from tests.cloud_hub.test_store_plans import recorded, work

MANIFEST = '{"title": "%s", "rest": "' + "x" * 2000 + '"}'


def add_models(database: Database, first: int, last: int) -> None:
    """Of three, one is published only, one a candidate only, one both; the later the longer."""
    bundles, candidates = [], []
    for n in range(first, last):
        row = {"sha256": f"{n:064x}", "slot": f"s{n % 7}", "version": f"{n:05}", "family": "spectral", "length": n,
               "created_s": 1000.0 + n, "manifest_json": MANIFEST % n}  # fmt: skip
        if n % 3 != 1:
            bundles.append({**row, "target": "x"})
        if n % 3 != 0:
            candidates.append({**row, "job": "m1"})
    with database.write() as session:
        insert_all(session, cast(Table, t.Bundle.__table__), bundles)
        insert_all(session, cast(Table, t.Candidate.__table__), candidates)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")


@pytest.fixture
def models(database: Database) -> Database:
    add_lists(database)
    with database.write() as session:
        session.query(t.Rollout).delete()
        session.query(t.Bundle).delete()
    add_models(database, 0, 60)
    return database


@pytest.mark.parametrize("sort", ["created", "slot", "length"])
@pytest.mark.parametrize("published", [None, True, False])
def test_pages_hold_each_model_once_and_in_order(models: Database, sort: ModelSort, published: bool | None) -> None:
    found, cursor = [], None
    with models.read() as session:
        while True:
            page = list_models(session, Paging(7, cursor), sort=sort, published=published)
            found += page.items
            cursor = page.next
            if cursor is None:
                break
    wanted = [n for n in range(60) if published is None or published is (n % 3 != 1)]
    if sort == "slot":
        wanted.sort(key=lambda n: (n % 7, n))
    else:
        wanted.reverse()
    assert [m.title for m in found] == [str(n) for n in wanted]
    assert all(m.published is (m.length % 3 != 1) for m in found)
    assert all((m.job is not None) is (m.length % 3 != 0) for m in found)


def test_filters(models: Database) -> None:
    with models.read() as session:
        assert {m.slot for m in list_models(session, Paging(50), slot="s3").items} == {"s3"}
        assert list_models(session, Paging(50), family="none").items == ()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_newest_come_by_an_index_and_bring_no_manifest(models: Database) -> None:
    with recorded(models) as statements, models.read() as session:
        first = list_models(session, Paging(5))
        list_models(session, Paging(5, first.next))
    ordering = [(s, p) for s, p in statements if "UNION ALL" in s]
    assert len(ordering) == 2
    with models.engine.connect() as connection:
        for statement, parameters in ordering:
            assert "manifest_json" not in statement
            plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
            for index in ("ix_bundles_created_s_sha256", "ix_candidates_created_s_sha256"):
                assert any(f"USING COVERING INDEX {index}" in step for step in plan), plan
            sorted_ones = [plan[n - 1] for n, step in enumerate(plan) if "TEMP B-TREE" in step]
            assert all(step.startswith("SCAN anon") for step in sorted_ones), plan  # the two pages of keys alone


def test_a_page_costs_the_same_however_many_models_there_are(models: Database) -> None:
    before = work(models, lambda session: list_models(session, Paging(5)))
    add_models(models, 60, 6000)
    after = work(models, lambda session: list_models(session, Paging(5)))
    assert after <= 1.5 * before + (300 if models.is_sqlite else 25)

"""Trends fold into buckets exactly once and go when their days are over, whatever comes late and whatever dies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from sqlalchemy import func, select

from cloud_hub.errors import NotFoundError
from cloud_hub.services import retention as service
from cloud_hub.services.retention import Retention
from cloud_hub.settings import Settings
from cloud_hub.store import tables as t
from cloud_hub.store.database import Database
from cloud_hub.store.trend_buckets import fold_rows, trend_series
from cloud_hub.store.views import TrendSeriesView
from cloud_hub.store.writer import Received, Writer
from tests.cloud_hub.people import Town
from tests.simulators.callers import VIEWER
from tests.simulators.hub import ApiClient, ack, chunks, event, trends

DAY_S = 86_400.0
T0 = 1_800_000_000.0 // 3600 * 3600


def rows(start_s: float, count: int, step_s: float = 10.0, **changes: Any) -> list[Any]:
    (model,) = trends(rows=1).rows
    values = [{"score_mean": 0.1 + (i % 7) / 10, "score_max": 0.2 + (i % 7) / 10, "windows": 1 + i % 3,
               "flagged": i % 2, "rms": [float(i), 2.0 * i]} for i in range(count)]  # fmt: skip
    return [
        msgspec.structs.replace(model, time_s=start_s + i * step_s, span_s=step_s, **value | changes)
        for i, value in enumerate(values)
    ]


def store(database: Database, made: list[Any], seq: int = 1, now_s: float = T0, gateway: str = "gw-1") -> None:
    batch = msgspec.structs.replace(trends(seq, gateway=gateway, health=False), rows=made)
    Writer(database, lambda: now_s).store([Received(batch)])


def fold(database: Database, limit: int = 1000) -> int:
    with database.write() as session:
        return fold_rows(session, limit)


def series(database: Database, since_s: float, until_s: float, max_points: int = 500, **more: Any) -> TrendSeriesView:
    with database.read() as session:
        return trend_series(session, "P-101", "de", since_s=since_s, until_s=until_s, max_points=max_points, **more)


def count(database: Database, row: type[t.Base], *where: Any) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(row).where(*where)) or 0


def test_a_bucket_is_the_mean_of_its_rows_weighted_by_windows(database: Database) -> None:
    made = rows(T0, 60)
    made[3] = msgspec.structs.replace(made[3], score_mean=None, score_max=None, verdict="warming_up")
    made[4] = msgspec.structs.replace(made[4], verdict="warn")
    store(database, made)
    while fold(database, limit=7):  # buckets grow over several transactions
        pass
    coarse = series(database, T0, T0 + 600, max_points=2)
    assert (coarse.resolution_s, len(coarse.items)) == (300, 2)
    for item, part in zip(coarse.items, (made[:30], made[30:]), strict=True):
        weights = np.array([r.windows for r in part])
        scored = [(r.windows, r.score_mean) for r in part if r.score_mean is not None]
        assert item.windows == weights.sum()
        assert item.flagged == sum(r.flagged for r in part)
        assert item.score_mean == pytest.approx(np.average([s for _, s in scored], weights=[w for w, _ in scored]))
        assert item.score_max == max(r.score_max for r in part if r.score_max is not None)
        assert item.rms == pytest.approx(np.average([r.rms for r in part], axis=0, weights=weights))
    assert [i.verdict for i in coarse.items] == ["warn", "ok"]
    assert [i.time_s for i in coarse.items] == [T0, T0 + 300]


def test_late_rows_join_their_bucket_and_no_row_is_folded_twice(database: Database) -> None:
    made = rows(T0, 60)
    store(database, made[30:])
    assert fold(database) == 30
    store(database, made[:30], seq=2)
    store(database, made[:30], seq=2)  # a duplicate
    assert (fold(database), fold(database)) == (30, 0)
    (hour,) = series(database, T0, T0 + 3600, max_points=1).items
    assert hour.windows == sum(r.windows for r in made)
    assert hour.rms == pytest.approx(np.average([r.rms for r in made], axis=0, weights=[r.windows for r in made]))


def test_a_crash_in_between_folds_nothing_twice(database: Database) -> None:
    store(database, rows(T0, 20))

    def fold_and_die() -> None:
        with database.write() as session:
            fold_rows(session, 10)
            raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            fold_and_die()
    assert count(database, t.TrendBucket) == 0
    assert fold(database) == 20
    assert series(database, T0, T0 + 3600, max_points=1).items[0].windows == sum(r.windows for r in rows(T0, 20))


def test_the_finest_resolution_that_fits_and_reaches_back(database: Database, tmp_path: Path) -> None:
    made = rows(T0, 6 * 60 * 12)  # twelve hours
    for start in range(0, len(made), 360):
        store(database, made[start : start + 360], seq=start)
    before = series(database, T0, T0 + 43_200, max_points=100)
    assert before.resolution_s == 432  # nothing folded yet: made of the rows themselves
    assert sum(i.windows for i in before.items) == sum(r.windows for r in made)
    while fold(database):
        pass
    found = {n: series(database, T0, T0 + 43_200, max_points=n) for n in (5, 12, 144, 2000)}
    assert {n: s.resolution_s for n, s in found.items()} == {5: 10_800, 12: 3600, 144: 300, 2000: 300}
    assert series(database, T0 + 3600, T0 + 7200).resolution_s == 0
    for shown in found.values():
        assert sum(i.windows for i in shown.items) == sum(r.windows for r in made)
        assert [i.time_s for i in shown.items] == sorted(i.time_s for i in shown.items)
    clock = [T0 + 43_200]
    settings = Settings(home=tmp_path, keep_trends_days=1)
    clock[0] = T0 + DAY_S + 21_600
    Retention(database, settings, lambda: clock[0])()
    assert series(database, T0, T0 + 43_200).resolution_s == 300  # the rows no longer reach back that far
    assert series(database, T0 + 30_000, T0 + 33_000).resolution_s == 0


def test_two_gateways_at_one_point_stay_apart(database: Database) -> None:
    store(database, rows(T0, 10, score_mean=0.2))
    store(database, rows(T0, 10, score_mean=0.8), gateway="gw-2")
    fold(database)
    shown = series(database, T0, T0 + 300, max_points=2)
    assert [(i.gateway, round(i.score_mean or 0, 6)) for i in shown.items] == [("gw-1", 0.2), ("gw-2", 0.8)]
    assert [i.gateway for i in series(database, T0, T0 + 300, max_points=1, gateway="gw-2").items] == ["gw-2"]


def test_a_point_that_nobody_reports(database: Database) -> None:
    with pytest.raises(NotFoundError, match="point P-101/de: no gateway reports it"):
        series(database, 0.0, 1.0)


def test_what_is_over_its_days_goes_in_small_steps_and_the_rest_stays(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "EXPIRE_ROWS", 20)
    monkeypatch.setattr(service, "EXPIRE_POINTS", 1)
    settings = Settings(home=tmp_path, keep_captures_days=100)
    settings.captures_dir.mkdir()
    (settings.captures_dir / "cap-1.npz").write_bytes(b"")
    for n, age_days in enumerate((3000, 1000, 100, 20, 0)):
        at_s = T0 - age_days * DAY_S
        store(database, rows(at_s, 45), seq=n, now_s=at_s)
        messages = [event(n, alarm=f"a{n}", evidence=True, time_s=at_s), ack(n, time_s=at_s),
                    *chunks(f"cap-{n}", total=1)]  # fmt: skip
        Writer(database, lambda at=at_s: at).store([Received(m) for m in messages])
    with database.write() as session:
        session.query(t.Capture).update({"stored_s": T0})
        session.add(t.TrendKeep(machine_id="P-101", point="de", resolution_s=3600, days=2000))
    retention = Retention(database, settings, lambda: T0)
    retention()
    assert count(database, t.Trend) == 45  # 14 days
    b = t.TrendBucket
    starts = {r: count(database, b, b.resolution_s == r) for r in (300, 3600)}
    assert starts == {
        300: 4,
        3600: 4,
    }  # 90 days: two of the spans, each in two buckets or one; this point's hours: 2000
    assert count(database, t.AlarmEvent) == 4  # 1825 days
    assert count(database, t.AlarmEvidence) == 3  # 365 days
    assert count(database, t.Alarm) == 5
    assert count(database, t.Ack) == 3
    assert count(database, t.TrendBatch) == 3  # 180 days
    assert count(database, t.Capture) == 3
    assert not (settings.captures_dir / "cap-1.npz").exists()
    deleted = retention.deleted
    retention()
    assert retention.deleted == deleted


def test_the_newest_row_stays_so_that_its_id_is_not_given_again(database: Database, tmp_path: Path) -> None:
    store(database, rows(T0 - 60 * DAY_S, 10))
    retention = Retention(database, Settings(home=tmp_path), lambda: T0)
    retention()
    assert (retention.folded, retention.deleted, count(database, t.Trend)) == (10, 9, 1)
    store(database, rows(T0, 10), seq=2)
    retention()
    assert (retention.folded, count(database, t.TrendBucket)) == (20, 4)


def test_one_round_ends_when_its_time_is_over_and_the_next_goes_on(database: Database, tmp_path: Path) -> None:
    for seq in range(3):
        store(database, rows(T0 - 60 * DAY_S + 600 * seq, 30), seq=seq)
    retention = Retention(database, Settings(home=tmp_path), lambda: T0, round_s=0.0)
    for _ in range(12):
        retention()
    assert count(database, t.Trend) == 1


def test_a_trend_over_http_and_on_its_page_has_a_resolution_that_fits(database: Database, tmp_path: Path) -> None:
    """All there is in one answer, however much that is; and a page draws the same."""
    town = Town(database, tmp_path)
    town.now_s = T0 + 4 * 3600
    made = rows(T0, 1440)  # four hours
    store(database, made)
    api = ApiClient(town.app, VIEWER)
    path = "/api/v1/machines/P-101/points/de/trend"
    assert len(api.get(path, max_points=2000).json()["time_s"]) == 1440
    few = api.get(path, max_points=100).json()  # nothing is folded yet, and nobody has said from when to when
    assert 90 <= len(few["time_s"]) <= 101
    fold(database, 2000)
    whole = api.get(path, max_points=100).json()
    assert (whole["resolution_s"], len(whole["time_s"])) == (300, 48)
    assert whole["score_max"] == [pytest.approx(max(r.score_max for r in made[i : i + 30])) for i in range(0, 1440, 30)]
    assert {len(values) for name, values in whole.items() if isinstance(values, list)} == {48}
    assert api.get("/api/v1/machines/P-101/points/nowhere/trend").status_code == 404
    page = api.get("/machines/P-101", point="de", days=1).text
    assert "Each point stands for 5 min:" in page
    assert 'class="band series-1"' in page

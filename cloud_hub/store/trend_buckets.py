"""Trends at coarser resolutions: rows fold into buckets soon after they come, and go when their days are over.

Every row is folded exactly once, however late it comes and whatever dies when: rows are taken in the order of their
ids, and how far that went is written in the transaction that changes the buckets. It runs alone (`Database.write`), so
no transaction still holds a smaller id than one that can be seen. A bucket holds sums, never averages of averages.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, delete, func, select, tuple_
from sqlalchemy.orm import Session

from cloud_hub.errors import NotFoundError
from cloud_hub.store import tables as t
from cloud_hub.store import views as v
from cloud_hub.store.database import rows_with, upsert

RESOLUTIONS_S = (300, 3600)
MAX_POINTS = 2000
_MARK = "folded"
_WORST_LAST = ("ok", "warming_up", "warn", "alarm")
_KEY = ("machine_id", "point", "resolution_s", "time_s", "gateway_id")
_SUMS = ("rows", "windows", "flagged", "scored", "score_sum", "score_max", "weight", "rms_sum", "verdict")
_MAX_COARSE_ROWS = 200_000
_BUCKETS = t.table_of(t.TrendBucket)


@dataclass(slots=True)
class Sums:
    """What a bucket holds; see `tables.TrendBucket`."""

    rows: int = 0
    windows: int = 0
    flagged: int = 0
    scored: int = 0
    score_sum: float = 0.0
    score_max: float | None = None
    weight: int = 0
    rms_sum: list[float] = field(default_factory=list)
    verdict: str = "ok"

    def add(self, other: Sums) -> None:
        """Take in another one. Rows with another number of axes than most start the mean of `rms` anew."""
        if len(self.rms_sum) != len(other.rms_sum):
            if other.weight >= self.weight:
                self.weight, self.rms_sum = other.weight, list(other.rms_sum)
        else:
            self.weight += other.weight
            self.rms_sum = [a + b for a, b in zip(self.rms_sum, other.rms_sum, strict=True)]
        self.verdict = max(self.verdict, other.verdict, key=_WORST_LAST.index) if self.rows else other.verdict
        self.rows += other.rows
        self.windows += other.windows
        self.flagged += other.flagged
        self.scored += other.scored
        self.score_sum += other.score_sum
        scores = [s for s in (self.score_max, other.score_max) if s is not None]
        self.score_max = max(scores, default=None)


def fold_rows(session: Session, limit: int) -> int:
    """Fold the next rows into their buckets; how many there were. In a transaction that runs alone."""
    mark = session.get(t.TrendMark, _MARK)
    if mark is None:
        mark = t.TrendMark(name=_MARK, last_id=0)
        session.add(mark)
    query = select(t.Trend).where(t.Trend.id > mark.last_id).order_by(t.Trend.id).limit(limit)
    rows = session.scalars(query).all()
    if not rows:
        return 0
    buckets: defaultdict[tuple[Any, ...], Sums] = defaultdict(Sums)
    for row in rows:
        sums = _sums_of(row)
        for resolution_s in RESOLUTIONS_S:
            start_s = row.time_s // resolution_s * resolution_s
            buckets[row.machine_id, row.point, resolution_s, start_s, row.gateway_id].add(sums)
    _add_stored(session, buckets)
    values = [
        dict(zip(_KEY, key, strict=True)) | {name: getattr(sums, name) for name in _SUMS}
        for key, sums in buckets.items()
    ]
    upsert(session, _BUCKETS, values, key=_KEY, update=_SUMS)
    mark.last_id = rows[-1].id
    return len(rows)


def _sums_of(row: t.Trend) -> Sums:
    weight = max(1, row.windows)  # a row without a window still says what it has seen
    scored = weight if row.score_mean is not None else 0
    return Sums(
        rows=1,
        windows=row.windows,
        flagged=row.flagged,
        scored=scored,
        score_sum=scored * (row.score_mean or 0.0),
        score_max=row.score_max,
        weight=weight if row.rms else 0,
        rms_sum=[weight * value for value in row.rms],
        verdict=row.verdict,
    )


def _add_stored(session: Session, buckets: dict[tuple[Any, ...], Sums]) -> None:
    """Add what is in the database already."""
    for resolution_s in RESOLUTIONS_S:
        mine = [key for key in buckets if key[2] == resolution_s]
        times = [key[3] for key in mine]
        where = [
            t.TrendBucket.resolution_s == resolution_s,
            t.TrendBucket.time_s >= min(times),
            t.TrendBucket.time_s <= max(times),
        ]
        points = {(key[0], key[1]) for key in mine}
        for row in rows_with(session, _BUCKETS, (*_KEY, *_SUMS), ("machine_id", "point"), points, where=where):
            found = buckets.get(tuple(getattr(row, name) for name in _KEY))
            if found is not None:
                found.add(Sums(**{name: getattr(row, name) for name in _SUMS}))


def expire_points(
    session: Session, after: tuple[str, str] | None, points: int, days: dict[int, float], now_s: float, limit: int
) -> tuple[int, tuple[str, str] | None, bool]:
    """Delete what is over its days at the next points; resolution 0 of `days` is the rows as they came.

    Args:   after: the last point of the call before. limit: rows to delete of each point and resolution at most.
    Returns: rows deleted, the last point that was looked at (None: that was all), and whether some may be left.
    """
    position = tuple_(t.Point.machine_id, t.Point.point)
    query = select(t.Point.machine_id, t.Point.point).distinct().order_by(t.Point.machine_id, t.Point.point)
    if after is not None:
        query = query.where(position > after)
    some = [(machine, point) for machine, point in session.execute(query.limit(points))]
    kept: dict[tuple[str, str, int], float] = {
        (row.machine_id, row.point, row.resolution_s): row.days
        for row in session.scalars(select(t.TrendKeep).where(t.TrendKeep.machine_id.in_({m for m, _ in some})))
    }
    folded = session.scalar(select(t.TrendMark.last_id).where(t.TrendMark.name == _MARK)) or 0
    newest = session.scalar(select(func.max(t.Trend.id))) or 0
    last = min(folded, newest - 1)  # SQLite gives the highest id again once its row is gone
    deleted, more = 0, False
    for machine, point in some:
        for resolution_s, usual in days.items():
            before_s = now_s - 86_400 * kept.get((machine, point, resolution_s), usual)
            gone = _expire(session, machine, point, resolution_s, before_s, last, limit)
            deleted += gone
            more = more or gone == limit
    return deleted, some[-1] if len(some) == points else None, more


def _expire(
    session: Session, machine: str, point: str, resolution_s: int, before_s: float, last_id: int, limit: int
) -> int:
    if resolution_s == 0:
        where: list[ColumnElement[bool]] = [
            t.Trend.machine_id == machine, t.Trend.point == point, t.Trend.time_s < before_s, t.Trend.id <= last_id
        ]  # fmt: skip
        chosen = select(t.Trend.id).where(*where).order_by(t.Trend.time_s, t.Trend.id).limit(limit)
        return _deleted(session.execute(delete(t.Trend).where(t.Trend.id.in_(chosen))))
    b = t.TrendBucket
    where = [b.machine_id == machine, b.point == point, b.resolution_s == resolution_s, b.time_s < before_s]
    latest = select(b.time_s).where(*where).order_by(b.time_s).limit(limit)
    until_s = session.scalar(select(func.max(latest.subquery().c.time_s)))
    if until_s is None:
        return 0
    return min(limit, _deleted(session.execute(delete(b).where(*where, b.time_s <= until_s))))


def _deleted(result: Any) -> int:  # noqa: ANN401 - a cursor result
    return int(result.rowcount)


def trend_series(
    session: Session,
    machine: str,
    point: str,
    *,
    since_s: float,
    until_s: float,
    max_points: int = 500,
    gateway: str | None = None,
) -> v.TrendSeriesView:
    """A point over a span of time, oldest first, at the finest resolution that has at most `max_points` of it.

    Rows as they came, else buckets of 5 minutes, else of an hour, else several of those together; but never a finer
    one that does not reach back as far as a coarser one does. `until_s` is exclusive. The newest minute may not be in
    the buckets yet.

    Raises: NotFoundError: no gateway reports this point.
    """
    known = select(t.Point.point).where(t.Point.machine_id == machine, t.Point.point == point).limit(1)
    if session.scalar(known) is None:
        raise NotFoundError(f"point {machine}/{point}: no gateway reports it")
    max_points = max(1, min(max_points, MAX_POINTS))
    coarsest = RESOLUTIONS_S[-1]
    reaches_s = _first_s(session, machine, point, coarsest)
    for resolution_s in (0, *RESOLUTIONS_S[:-1]):
        first_s = _first_s(session, machine, point, resolution_s)
        wanted_s = max(since_s, reaches_s + coarsest) if reaches_s is not None else since_s
        if first_s is None or (reaches_s is not None and first_s > wanted_s):
            continue
        query, order = _query(machine, point, resolution_s, since_s, until_s, gateway)
        beyond = query.with_only_columns(order[0]).order_by(*order).offset(max_points).limit(1)
        if session.scalar(beyond) is None:  # in the index alone; no row is read that is not shown
            items = _items(session, machine, point, resolution_s, since_s, until_s, gateway, max_points)
            return v.TrendSeriesView(machine, point, resolution_s, tuple(items))
    source_s = coarsest if reaches_s is not None else 0  # 0: nothing was folded yet
    items = _items(session, machine, point, source_s, since_s, until_s, gateway, _MAX_COARSE_ROWS)
    covered_s = items[-1].time_s - items[0].time_s if items else 0.0  # less than was asked for, where it is "all"
    span_s = coarsest * max(1, -(-len(items) // max_points)) if source_s else int(covered_s / max_points) + 1
    return v.TrendSeriesView(machine, point, span_s, tuple(_merged(items, span_s)))


def _first_s(session: Session, machine: str, point: str, resolution_s: int) -> float | None:
    if resolution_s == 0:
        query = select(t.Trend.time_s).where(t.Trend.machine_id == machine, t.Trend.point == point)
        return session.scalar(query.order_by(t.Trend.time_s, t.Trend.id).limit(1))
    b = t.TrendBucket
    buckets = select(b.time_s).where(b.machine_id == machine, b.point == point, b.resolution_s == resolution_s)
    return session.scalar(buckets.order_by(b.time_s).limit(1))


def _items(
    session: Session,
    machine: str,
    point: str,
    resolution_s: int,
    since_s: float,
    until_s: float,
    gateway: str | None,
    limit: int,
) -> list[v.TrendView]:
    """Rows or buckets that begin in the span, oldest first."""
    query, order = _query(machine, point, resolution_s, since_s, until_s, gateway)
    view = _row_view if resolution_s == 0 else _bucket_view
    return [view(machine, point, found) for found in session.execute(query.order_by(*order).limit(limit))]


def _query(
    machine: str, point: str, resolution_s: int, since_s: float, until_s: float, gateway: str | None
) -> tuple[Select[Any], tuple[Any, Any]]:
    """Rows or buckets that begin in the span, and the columns of their order."""
    row = t.Trend if resolution_s == 0 else t.TrendBucket
    columns = _ROW_COLUMNS if resolution_s == 0 else _BUCKET_COLUMNS
    query: Select[Any] = select(*columns).where(row.machine_id == machine, row.point == point)
    if resolution_s:
        query = query.where(t.TrendBucket.resolution_s == resolution_s)
        since_s = since_s // resolution_s * resolution_s
    query = query.where(row.time_s >= since_s, row.time_s < until_s)
    if gateway is not None:
        query = query.where(row.gateway_id == gateway)
    return query, (row.time_s, t.Trend.id) if resolution_s == 0 else (row.time_s, row.gateway_id)


_ROW_COLUMNS = (t.Trend.gateway_id, t.Trend.time_s, t.Trend.span_s, t.Trend.windows, t.Trend.flagged,
                t.Trend.score_mean, t.Trend.score_max, t.Trend.rms, t.Trend.verdict)  # fmt: skip
_BUCKET_COLUMNS = tuple(getattr(t.TrendBucket, name) for name in ("gateway_id", "time_s", "resolution_s", *_SUMS))


def _row_view(machine: str, point: str, row: Row[Any]) -> v.TrendView:
    return v.TrendView(
        gateway=row.gateway_id, machine=machine, point=point, time_s=row.time_s, span_s=row.span_s,
        windows=row.windows, flagged=row.flagged, score_mean=row.score_mean, score_max=row.score_max,
        rms=tuple(row.rms), verdict=row.verdict,
    )  # fmt: skip


def _bucket_view(machine: str, point: str, row: Row[Any]) -> v.TrendView:
    return v.TrendView(
        gateway=row.gateway_id,
        machine=machine,
        point=point,
        time_s=row.time_s,
        span_s=float(row.resolution_s),
        windows=row.windows,
        flagged=row.flagged,
        score_mean=row.score_sum / row.scored if row.scored else None,
        score_max=row.score_max,
        rms=tuple(value / row.weight for value in row.rms_sum) if row.weight else (),
        verdict=row.verdict,
    )


def _merged(items: Iterable[v.TrendView], span_s: int) -> list[v.TrendView]:
    """Buckets of one hour as buckets of several, for each gateway; means weighted by windows."""
    groups: defaultdict[tuple[float, str], list[v.TrendView]] = defaultdict(list)
    for item in items:
        groups[item.time_s // span_s * span_s, item.gateway].append(item)
    return [_together(start_s, float(span_s), group) for (start_s, _), group in groups.items()]


def _together(start_s: float, span_s: float, group: list[v.TrendView]) -> v.TrendView:
    scored = [(max(1, i.windows), i.score_mean) for i in group if i.score_mean is not None]
    axes = max(len(i.rms) for i in group)
    felt = [(max(1, i.windows), i.rms) for i in group if len(i.rms) == axes]
    weight = sum(w for w, _ in felt)
    return v.TrendView(
        gateway=group[0].gateway,
        machine=group[0].machine,
        point=group[0].point,
        time_s=start_s,
        span_s=span_s,
        windows=sum(i.windows for i in group),
        flagged=sum(i.flagged for i in group),
        score_mean=sum(w * s for w, s in scored) / sum(w for w, _ in scored) if scored else None,
        score_max=max((i.score_max for i in group if i.score_max is not None), default=None),
        rms=tuple(sum(w * rms[axis] for w, rms in felt) / weight for axis in range(axes)),
        verdict=max((i.verdict for i in group), key=_WORST_LAST.index),
    )

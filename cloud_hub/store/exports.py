"""Alarms and trends row by row, for files: in batches, each in a transaction of its own, so that none lasts long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from sqlalchemy import Select, func, select

from cloud_hub.store import alarm_queries, history_queries
from cloud_hub.store import tables as t
from cloud_hub.store import views as v
from cloud_hub.store.alarm_queries import AlarmFilter
from cloud_hub.store.database import Database, Session
from cloud_hub.store.paging import MAX_LIMIT, Page, Paging

Kind = Literal["text", "real", "whole", "reals"]
Row = tuple[Any, ...]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Table:
    """What a file holds: its columns, and its rows in batches."""

    name: str
    columns: tuple[tuple[str, Kind], ...]
    batches: Iterator[list[Row]]


@dataclass(frozen=True, slots=True)
class TrendFilter:
    """Which trend rows are asked for; None: any."""

    machine: str | None = None
    point: str | None = None
    gateway: str | None = None
    since_s: float | None = None
    until_s: float | None = None


_ALARM_COLUMNS: tuple[tuple[str, Kind], ...] = (
    ("id", "text"), ("gateway", "text"), ("machine", "text"), ("point", "text"), ("slot", "text"),
    ("bundle_version", "text"), ("verdict", "text"), ("status", "text"), ("state", "text"), ("raised_s", "real"),
    ("cleared_s", "real"), ("announced_s", "real"), ("acknowledged_s", "real"), ("acknowledged_by", "text"),
    ("assignee", "text"), ("score", "real"), ("peak", "real"), ("summary", "text"), ("review", "text"),
    ("review_fault", "text"), ("reviewed_by", "text"),
)  # fmt: skip
_TREND_COLUMNS: tuple[tuple[str, Kind], ...] = (
    ("gateway", "text"), ("machine", "text"), ("point", "text"), ("time_s", "real"), ("span_s", "real"),
    ("windows", "whole"), ("flagged", "whole"), ("score_mean", "real"), ("score_max", "real"), ("rms", "reals"),
    ("verdict", "text"),
)  # fmt: skip


def count_alarms(session: Session, wanted: AlarmFilter, most: int) -> int:
    """How many alarms must be looked at for a file, counted no further than one above `most`. A text counts for nothing
    here: no index finds it, so that to count what holds it would be to read all of them at once.
    """
    wanted = replace(wanted, text=None)
    return _count(session, alarm_queries.filtered(select(t.Alarm), wanted).with_only_columns(t.Alarm.id), most)


def count_trends(session: Session, wanted: TrendFilter, most: int) -> int:
    """The same for trend rows."""
    query = select(t.Trend.id)
    equal = ((t.Trend.machine_id, wanted.machine), (t.Trend.point, wanted.point), (t.Trend.gateway_id, wanted.gateway))
    query = query.where(*(column == value for column, value in equal if value is not None))
    if wanted.since_s is not None:
        query = query.where(t.Trend.time_s >= wanted.since_s)
    if wanted.until_s is not None:
        query = query.where(t.Trend.time_s < wanted.until_s)
    return _count(session, query, most)


def alarm_table(database: Database, wanted: AlarmFilter) -> Table:
    """Alarms, those raised last first."""

    def page(session: Session, paging: Paging) -> Page[v.AlarmView]:
        return alarm_queries.search_alarms(session, paging, wanted)

    return Table("alarms", _ALARM_COLUMNS, _batches(database, page, _ALARM_COLUMNS))


def trend_table(database: Database, wanted: TrendFilter) -> Table:
    """Trend rows, newest first."""

    def page(session: Session, paging: Paging) -> Page[v.TrendView]:
        return history_queries.list_trends(
            session,
            paging,
            machine=wanted.machine,
            point=wanted.point,
            gateway=wanted.gateway,
            since_s=wanted.since_s,
            until_s=wanted.until_s,
        )

    return Table("trends", _TREND_COLUMNS, _batches(database, page, _TREND_COLUMNS))


def _batches(
    database: Database, page: Callable[[Session, Paging], Page[T]], columns: tuple[tuple[str, Kind], ...]
) -> Iterator[list[Row]]:
    cursor: str | None = None
    while True:
        with database.read() as session:
            found = page(session, Paging(MAX_LIMIT, cursor))
        yield [tuple(getattr(item, name) for name, _ in columns) for item in found.items]
        cursor = found.next
        if cursor is None:
            return


def _count(session: Session, query: Select[int], most: int) -> int:
    return session.scalar(select(func.count()).select_from(query.limit(most + 1).subquery())) or 0

"""The trend of one point as columns, for a chart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sqlalchemy import select
from sqlalchemy.orm import Session

from cloud_hub.errors import NotFoundError
from cloud_hub.store import tables as t

MOST_ROWS = 2000
F64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TrendColumns:
    """Trend rows, oldest first: (n,). `mean` and `peak` are NaN where not known. `rms`: of each axis, in its unit.
    `more`: there are older rows than the first one.
    """

    gateways: tuple[str, ...]
    time_s: F64
    span_s: F64
    mean: F64
    peak: F64
    rms: tuple[tuple[float, ...], ...]
    more: bool


def trend_columns(
    session: Session,
    machine: str,
    point: str,
    *,
    since_s: float | None = None,
    until_s: float | None = None,
    most: int = MOST_ROWS,
) -> TrendColumns:
    """The newest rows in [since, until), `most` at most. Raises: NotFoundError: no gateway reports this point."""
    known = select(t.Point.point).where(t.Point.machine_id == machine, t.Point.point == point).limit(1)
    if session.scalar(known) is None:
        raise NotFoundError(f"point {machine}/{point}: no gateway reports it")
    r = t.Trend
    query = select(r.gateway_id, r.time_s, r.span_s, r.score_mean, r.score_max, r.rms)
    query = query.where(r.machine_id == machine, r.point == point)
    if since_s is not None:
        query = query.where(r.time_s >= since_s)
    if until_s is not None:
        query = query.where(r.time_s < until_s)
    rows = session.execute(query.order_by(r.time_s.desc(), r.id.desc()).limit(most + 1)).all()
    more = len(rows) > most
    rows = rows[:most][::-1]

    def column(k: int) -> F64:
        return np.array([np.nan if row[k] is None else row[k] for row in rows], np.float64)

    return TrendColumns(
        gateways=tuple(row[0] for row in rows),
        time_s=column(1),
        span_s=column(2),
        mean=column(3),
        peak=column(4),
        rms=tuple(tuple(row[5]) for row in rows),
        more=more,
    )

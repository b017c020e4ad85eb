"""Machines: all of them, and one with its points, the trend of each, its alarms."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import numpy as np
from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from cloud_hub.accounts.permissions import Permission, Principal
from cloud_hub.alarms.actions import MAX_TEXT, ActionError
from cloud_hub.api.context import ContextDep, PagingDep, SessionDep
from cloud_hub.api.guard import needs, request_id_of
from cloud_hub.api.pages.flash import redirect
from cloud_hub.api.pages.rendering import render
from cloud_hub.charts import Mark, Svg, trend_chart
from cloud_hub.errors import ConflictError, RetentionError, StaleError
from cloud_hub.services import alarms as service
from cloud_hub.services import keeping
from cloud_hub.store import alarm_queries, fleet_queries, history_queries
from cloud_hub.store import views as v
from cloud_hub.store.alarm_queries import AlarmFilter
from cloud_hub.store.keep_views import KeptDays
from cloud_hub.store.paging import Paging
from cloud_hub.store.trend_buckets import trend_series

router = APIRouter(include_in_schema=False)
Keeper = Annotated[Principal, Depends(needs(Permission.DATA_WRITE))]
Actor = Annotated[Principal, Depends(needs(Permission.ALARMS_ACT))]
_READS = [Depends(needs(Permission.FLEET_READ))]
_DAY_S = 86_400.0
_SHOWN = Paging(limit=50)
_LIMIT = 1.0


_Days = Annotated[str, Form(max_length=20)]


@router.get("/machines", response_class=HTMLResponse, dependencies=_READS)
def list_machines(request: Request, session: SessionDep, paging: PagingDep) -> HTMLResponse:
    """All machines."""
    return render(request, "machines/list.html.j2", machines=fleet_queries.list_machines(session, paging))


@router.get("/machines/{machine}", response_class=HTMLResponse, dependencies=_READS)
def get_machine(
    *,
    request: Request,
    session: SessionDep,
    context: ContextDep,
    machine: str,
    point: Annotated[str | None, Query(max_length=64)] = None,
    days: Annotated[int, Query(ge=1, le=366)] = 7,
    outlook: bool = False,
) -> HTMLResponse:
    """One machine; the trend is that of the point chosen, or of the worst one. `outlook`: half a second of computing,
    so only when somebody asks.
    """
    detail = fleet_queries.get_machine(session, machine)
    now_s = context.now_s()
    chosen = point or _worst(detail.points)
    names = {one.point for one in detail.points}
    alarms = alarm_queries.search_alarms(session, _SHOWN, AlarmFilter(machine=machine))
    trend = None
    if chosen:  # a gateway's clock may be ahead of ours
        trend = trend_series(session, machine, chosen, since_s=now_s - days * _DAY_S, until_s=now_s + _DAY_S)
    return render(
        request,
        "machines/page.html.j2",
        detail=detail,
        machine=detail.machine,
        chosen=chosen,
        days=days,
        trend=trend,
        chart=_chart(trend, f"{machine} / {chosen}", alarms.items, chosen, now_s, days) if trend is not None else None,
        outlook=history_queries.get_outlook(session, machine, chosen) if chosen and outlook else None,
        kept=keeping.get(session, context.keeps, machine, chosen) if chosen in names else None,
        alarms=alarms,
        silenced=alarm_queries.list_suppressions(session, _SHOWN, now_s, machine=machine),
    )


def _worst(points: tuple[v.PointView, ...]) -> str | None:
    ranked = sorted(points, key=lambda p: (not p.current, -(p.score if p.score is not None else -1.0), p.point))
    return ranked[0].point if ranked else None


def _chart(
    trend: v.TrendSeriesView, title: str, alarms: tuple[v.AlarmView, ...], point: str | None, now_s: float, days: int
) -> Svg | None:
    if not trend.items:
        return None
    times_s, mean, peak = (
        np.array([getattr(item, name) for item in trend.items], np.float64)  # NaN for None
        for name in ("time_s", "score_mean", "score_max")
    )
    marks = [
        Mark(alarm.raised_s, "alarm", f"Alarm raised: {alarm.summary}") for alarm in alarms if alarm.point == point
    ]
    return trend_chart(
        "score-trend",
        f"Score of {title}",
        times_s,
        mean,
        high=peak,
        label="Score (1 = the limit)",
        limit=_LIMIT,
        marks=marks,
        span_s=(now_s - days * _DAY_S, max(now_s, float(times_s[-1]))),
    )


@router.post("/machines/{machine}/out-of-service")
def take_out(
    *,
    request: Request,
    context: ContextDep,
    caller: Actor,
    machine: str,
    point: Annotated[str, Form(max_length=64)] = "",
    reason: Annotated[str, Form(max_length=4 * MAX_TEXT)] = "",
) -> RedirectResponse:
    """Take a machine, or one point of it, out of service."""
    back = f"/machines/{quote(machine, safe='')}"
    now_s, request_id = context.now_s(), request_id_of(request)
    try:
        count = service.take_out_of_service(
            context.database, caller, machine, point or None, reason, now_s=now_s, request_id=request_id
        )
    except (ActionError, ConflictError) as error:
        return redirect(request, back, f"Not done. {error}", "problem")
    return redirect(request, back, f"Out of service; {count} alarms are silent.")


@router.post("/machines/{machine}/in-service")
def restore(
    request: Request,
    context: ContextDep,
    caller: Actor,
    machine: str,
    point: Annotated[str, Form(max_length=64)] = "",
) -> RedirectResponse:
    """Back into service."""
    back = f"/machines/{quote(machine, safe='')}"
    now_s, request_id = context.now_s(), request_id_of(request)
    try:
        count = service.restore_to_service(
            context.database, caller, machine, point or None, now_s=now_s, request_id=request_id
        )
    except ConflictError as error:
        return redirect(request, back, f"Not done. {error}", "problem")
    return redirect(request, back, f"Back in service; {count} alarms ask for attention again.")


@router.post("/machines/{machine}/retention")
def keep(
    *,
    request: Request,
    context: ContextDep,
    caller: Keeper,
    machine: str,
    point: Annotated[str, Form(max_length=64)],
    revision: Annotated[int, Form(ge=0, lt=2**62)],
    rows: _Days = "",
    five_minutes: _Days = "",
    hours: _Days = "",
) -> RedirectResponse:
    """Say how long a point's trends are kept; what is left empty is as for all points."""
    back = f"/machines/{quote(machine, safe='')}?point={quote(point, safe='')}"
    try:
        own = KeptDays(*(float(text) if text.strip() else None for text in (rows, five_minutes, hours)))
        said = keeping.put(
            context.database, caller, context.keeps, machine, point, own, now_s=context.now_s(), revision=revision,
            request_id=request_id_of(request),
        )  # fmt: skip
    except (ValueError, RetentionError, StaleError) as error:
        return redirect(request, back, f"Not done. {error}", "problem")
    return redirect(request, back, f"Trends of {said.point} are kept so from now on.")

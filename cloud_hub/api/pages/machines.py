"""Machines: all of them, and one with its points, the trend of each, its alarms, and what its gateways are asked."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import numpy as np
from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from cloud_hub.accounts.permissions import Permission, Principal
from cloud_hub.alarms.actions import MAX_TEXT, ActionError
from cloud_hub.api.context import ContextDep, PagingDep, SessionDep, WorkshopDep
from cloud_hub.api.guard import needs, request_id_of
from cloud_hub.api.pages.flash import redirect
from cloud_hub.api.pages.rendering import render
from cloud_hub.charts import Mark, Svg, trend_chart
from cloud_hub.errors import ConflictError, HubError, RetentionError, StaleError
from cloud_hub.services import alarms as service
from cloud_hub.services import commands, keeping
from cloud_hub.store import alarm_queries, fleet_queries, history_queries
from cloud_hub.store import views as v
from cloud_hub.store.alarm_queries import AlarmFilter
from cloud_hub.store.keep_views import KeptDays
from cloud_hub.store.paging import Paging
from cloud_hub.store.trend_buckets import trend_series

router = APIRouter(include_in_schema=False)
Keeper = Annotated[Principal, Depends(needs(Permission.DATA_WRITE))]
Asker = Annotated[Principal, Depends(needs(Permission.GATEWAYS_COMMAND))]
Actor = Annotated[Principal, Depends(needs(Permission.ALARMS_ACT))]
_READS = [Depends(needs(Permission.FLEET_READ))]
_DAY_S = 86_400.0
_SHOWN = Paging(limit=50)
_LIMIT = 1.0


_Days = Annotated[str, Form(max_length=20)]
_Place = Annotated[str, Form(max_length=129, description="Gateway and point, a slash between them.")]


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
        asked=_asked(detail.points) if context.workshop is not None and context.workshop.command is not None else [],
        alarms=alarms,
        silenced=alarm_queries.list_suppressions(session, _SHOWN, now_s, machine=machine),
    )


def _asked(points: tuple[v.PointView, ...]) -> list[tuple[str, v.PointView]]:
    """Points that a gateway can be asked about; two gateways may report one of the same name."""
    return [(f"{one.gateway}/{one.point}", one) for one in points if one.current]


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


@router.post("/machines/{machine}/capture")
def record(
    *,
    request: Request,
    context: ContextDep,
    workshop: WorkshopDep,
    caller: Asker,
    machine: str,
    record_of: _Place,
    seconds: Annotated[str, Form(max_length=20)] = "",
) -> RedirectResponse:
    """Have raw samples of a point sent up."""
    gateway, _, point = record_of.partition("/")
    back = f"/machines/{quote(machine, safe='')}?point={quote(point, safe='')}"
    if not (seconds.strip().isdecimal() and 1 <= int(seconds) <= commands.MAX_CAPTURE_S):
        return redirect(
            request, back, f"Not asked: expected 1 to {commands.MAX_CAPTURE_S} whole seconds, got {seconds[:20]!r}.",
            "problem",
        )  # fmt: skip
    now_s = context.now_s()
    body = commands.capture(gateway, machine, point, int(seconds), commands.deadline(now_s))
    try:
        sent = commands.send(
            context.database, caller, workshop.command, body, now_s=now_s, request_id=request_id_of(request)
        )
    except HubError as error:
        return redirect(request, back, f"Not done. {error}", "problem")
    return redirect(request, back, f"{gateway} is asked for {seconds.strip()} s of {point}: capture {sent.id}.")


@router.post("/machines/{machine}/recalibrate")
def recalibrate(
    *,
    request: Request,
    context: ContextDep,
    workshop: WorkshopDep,
    caller: Asker,
    machine: str,
    learn_of: _Place,
) -> RedirectResponse:
    """Have a point learn its healthy state anew."""
    gateway, _, point = learn_of.partition("/")
    back = f"/machines/{quote(machine, safe='')}?point={quote(point, safe='')}"
    now_s = context.now_s()
    body = commands.recalibrate(gateway, machine, point, commands.deadline(now_s))
    try:
        commands.send(context.database, caller, workshop.command, body, now_s=now_s, request_id=request_id_of(request))
    except HubError as error:
        return redirect(request, back, f"Not done. {error}", "problem")
    return redirect(request, back, f"{gateway} is asked to learn the healthy state of {point} anew.")

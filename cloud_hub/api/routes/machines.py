"""What a machine's points do: trends as columns, and the spectra and the waveform behind an alarm."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

import msgspec
import numpy as np
from fastapi import APIRouter, Depends, Query, Response

from cloud_hub.accounts.permissions import Permission
from cloud_hub.alarms.spectra import spectra, window_of
from cloud_hub.api.answers import CurveBody, SpectrumBody, TrendBody, WaveformBody
from cloud_hub.api.context import MAX_INTEGER, SessionDep, TimeFilter
from cloud_hub.api.guard import needs
from cloud_hub.api.problems import problem_responses
from cloud_hub.charts.thin import m4
from cloud_hub.store import alarm_queries, trend_buckets

router = APIRouter(tags=["machines"], dependencies=[Depends(needs(Permission.FLEET_READ))])
_DENIED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_ONE = problem_responses(HTTPStatus.NOT_FOUND, *_DENIED)
_RAW = [Depends(needs(Permission.DATA_READ))]
_EVER_S = 1e11
Axis = Annotated[str | None, Query(max_length=200, description="By default the one where the fault stands out most.")]
Event = Annotated[int | None, Query(ge=1, le=MAX_INTEGER, description="An event's id; else the highest score's.")]


@router.get("/machines/{machine}/points/{point}/trend", responses=_ONE)
def get_trend(
    session: SessionDep,
    machine: str,
    point: str,
    since: TimeFilter = None,
    until: TimeFilter = None,
    max_points: Annotated[int, Query(ge=1, le=trend_buckets.MAX_POINTS)] = trend_buckets.MAX_POINTS,
) -> TrendBody:
    """The trend of a point by column, from `since` up to but without `until`, at the finest resolution that has at most
    so many points of it.
    """
    found = trend_buckets.trend_series(
        session, machine, point, since_s=since or 0.0, until_s=_EVER_S if until is None else until,
        max_points=max_points,
    )  # fmt: skip
    items = found.items
    return TrendBody(
        resolution_s=found.resolution_s,
        gateway=[item.gateway for item in items],
        time_s=[item.time_s for item in items],
        span_s=[item.span_s for item in items],
        score_mean=[item.score_mean for item in items],
        score_max=[item.score_max for item in items],
        rms=[list(item.rms) for item in items],
        limit=1.0,
    )


@router.get("/alarms/{alarm}/spectrum", response_model=SpectrumBody, responses=_ONE, dependencies=_RAW)
def get_spectrum(session: SessionDep, alarm: str, event: Event = None, axis: Axis = None) -> Response:
    """Amplitude and envelope spectrum of the raw window behind an alarm, with the orders of the machine's faults."""
    found = spectra(*alarm_queries.get_evidence(session, alarm, event), axis)
    body = {name: getattr(found, name) for name in SpectrumBody.__dataclass_fields__}
    columns = {name: body[name].tolist() for name in ("hz", "amplitude", "envelope_hz", "envelope")}
    return Response(msgspec.json.encode(body | columns), media_type="application/json")


@router.get("/alarms/{alarm}/waveform", responses=_ONE, dependencies=_RAW)
def get_waveform(
    session: SessionDep,
    alarm: str,
    event: Event = None,
    columns: Annotated[int, Query(ge=10, le=4000, description="How wide the picture is.")] = 500,
) -> WaveformBody:
    """The raw window behind an alarm for a picture: at most four points for each of its columns."""
    evidence, _ = alarm_queries.get_evidence(session, alarm, event)
    summary = evidence.summary
    window = window_of(evidence).astype(np.float64)
    time_s = np.arange(len(window)) / summary.rate_hz
    curves = []
    for name, values in zip(summary.axes, window.T, strict=True):
        kept = m4(time_s, values, columns)
        curves.append(CurveBody(axis=name, time_s=time_s[kept].tolist(), value=values[kept].tolist()))
    return WaveformBody(
        alarm=alarm,
        event=evidence.event,
        units=summary.units,
        rate_hz=summary.rate_hz,
        samples=summary.samples,
        curves=curves,
    )

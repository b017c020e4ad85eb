"""Evidence of alarms, trends, agents' health, captures."""

from __future__ import annotations

import io
from http import HTTPStatus
from typing import Annotated, Literal

import msgspec
import numpy as np
from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import FileResponse

from cloud_hub.accounts.permissions import Permission
from cloud_hub.api.answers import EvidenceBody
from cloud_hub.api.context import MAX_INTEGER, ContextDep, IdFilter, PagingDep, SessionDep, TimeFilter
from cloud_hub.api.guard import needs
from cloud_hub.api.problems import problem_responses
from cloud_hub.errors import NotFoundError
from cloud_hub.store import history_queries as queries
from cloud_hub.store import trend_buckets
from cloud_hub.store import views as v
from cloud_hub.store.paging import Page

router = APIRouter(tags=["history"], dependencies=[Depends(needs(Permission.FLEET_READ))])
_RAW = [Depends(needs(Permission.DATA_READ))]  # what a customer's machines really did
_LIST = problem_responses(HTTPStatus.BAD_REQUEST)
_ONE = problem_responses(HTTPStatus.NOT_FOUND)
_NPZ = "application/vnd.numpy.npz"


@router.get(
    "/alarms/{alarm}/evidence",
    response_model=EvidenceBody,
    dependencies=_RAW,
    responses={**_ONE, 200: {"content": {_NPZ: {"schema": {"type": "string", "format": "binary"}}}}},
)
def get_evidence(
    session: SessionDep,
    alarm: str,
    event: Annotated[
        int | None, Query(ge=1, le=MAX_INTEGER, description="An event's id; else the highest score's.")
    ] = None,
    format: Annotated[Literal["json", "npz"], Query()] = "json",  # noqa: A002 - the name that callers see
) -> Response:
    """The raw window behind an alarm, as JSON or as a NumPy file with keys data, rate_hz, axes, units and more."""
    evidence = queries.get_evidence(session, alarm, event)
    if format == "npz":
        name = f"{alarm}-{evidence.event}.npz"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(_evidence_npz(evidence), media_type=_NPZ, headers=headers)
    return Response(_evidence_json(evidence), media_type="application/json")


def _window(evidence: v.EvidenceWindow) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.frombuffer(evidence.window, "<f4").reshape(evidence.summary.samples, len(evidence.summary.axes))


def _evidence_json(evidence: v.EvidenceWindow) -> bytes:
    """Written by msgspec: half a million numbers are too many for a response model."""
    s = evidence.summary
    body = {
        "alarm": evidence.alarm,
        "event": evidence.event,
        "gateway": evidence.gateway,
        "machine": evidence.machine,
        "point": evidence.point,
        "bundle_sha256": evidence.bundle_sha256,
        "time_s": evidence.time_s,
        "rate_hz": s.rate_hz,
        "axes": s.axes,
        "units": s.units,
        "raw_score": s.raw_score,
        "raw_limit": s.raw_limit,
        "rescored_raw": s.rescored_raw,
        "rescore_error": s.rescore_error,
        "window": _window(evidence).tolist(),
    }
    return msgspec.json.encode(body)


def _evidence_npz(evidence: v.EvidenceWindow) -> bytes:
    s = evidence.summary
    file = io.BytesIO()
    np.savez(
        file,
        allow_pickle=False,
        data=_window(evidence),
        rate_hz=np.float64(s.rate_hz),
        axes=np.array(s.axes, dtype=np.str_),
        units=np.str_(s.units),
        machine=np.str_(evidence.machine),
        point=np.str_(evidence.point),
        gateway=np.str_(evidence.gateway),
        time_s=np.float64(evidence.time_s),
        raw_score=np.float64(s.raw_score),
    )
    return file.getvalue()


@router.get("/trends", responses=_LIST)
def list_trends(
    session: SessionDep,
    paging: PagingDep,
    machine: IdFilter = None,
    point: IdFilter = None,
    gateway: IdFilter = None,
    since: TimeFilter = None,
    until: TimeFilter = None,
) -> Page[v.TrendView]:
    """Trends, newest first, from `since` up to but without `until`."""
    return queries.list_trends(
        session, paging, machine=machine, point=point, gateway=gateway, since_s=since, until_s=until
    )


@router.get("/machines/{machine}/points/{point}/outlook", responses={**_LIST, **_ONE})
def get_outlook(
    session: SessionDep,
    machine: str,
    point: str,
    limit: Annotated[float, Query(gt=0, le=1e6, description="The score that counts as reached.")] = 1.0,
    coverage: Annotated[float, Query(ge=0.5, le=0.99, description="Probability of low_s to high_s.")] = 0.8,
    until: TimeFilter = None,
) -> v.OutlookView:
    """Where a point's score is heading: time until the limit with an interval, or that it is not rising."""
    return queries.get_outlook(session, machine, point, limit=limit, coverage=coverage, until_s=until)


@router.get("/machines/{machine}/points/{point}/series", responses={**_LIST, **_ONE})
def get_series(
    session: SessionDep,
    machine: str,
    point: str,
    since: Annotated[float, Query(ge=0, le=1e11, allow_inf_nan=False, description="UTC seconds since 1970.")],
    until: Annotated[float, Query(ge=0, le=1e11, allow_inf_nan=False, description="UTC seconds, exclusive.")],
    max_points: Annotated[int, Query(ge=1, le=trend_buckets.MAX_POINTS)] = 500,
    gateway: IdFilter = None,
) -> v.TrendSeriesView:
    """A point's trend over a span of time, at the finest resolution that has at most so many points of it."""
    return trend_buckets.trend_series(
        session, machine, point, since_s=since, until_s=until, max_points=max_points, gateway=gateway
    )


@router.get("/gateways/{gateway}/health", responses=_LIST)
def list_health(session: SessionDep, paging: PagingDep, gateway: str) -> Page[v.HealthView]:
    """The health of one gateway's agent over time, newest first."""
    return queries.list_health(session, paging, gateway)


@router.get("/captures", responses=_LIST, dependencies=_RAW)
def list_captures(
    session: SessionDep,
    paging: PagingDep,
    machine: IdFilter = None,
    point: IdFilter = None,
    gateway: IdFilter = None,
) -> Page[v.CaptureView]:
    """Captures, those that began last first."""
    return queries.list_captures(session, paging, machine=machine, point=point, gateway=gateway)


@router.get("/captures/{capture}", responses=_ONE, dependencies=_RAW)
def get_capture(session: SessionDep, capture: str) -> v.CaptureView:
    """One capture."""
    return queries.get_capture(session, capture)


@router.get(
    "/captures/{capture}/file",
    response_class=FileResponse,
    dependencies=_RAW,
    responses={**_ONE, 200: {"content": {_NPZ: {"schema": {"type": "string", "format": "binary"}}}}},
)
def get_capture_file(session: SessionDep, context: ContextDep, capture: str) -> FileResponse:
    """A capture's NumPy file: data (n, axes) float32, rate_hz, axes, units, machine, point, gateway, time_s, gaps."""
    view = queries.get_capture(session, capture)
    if view.status != "stored":
        raise NotFoundError(
            f"capture {capture}: no file yet, {view.chunks_received} of {view.chunks_total} chunks have come"
        )
    path = context.captures_dir / f"{view.id}.npz"
    if not path.is_file():
        raise NotFoundError(f"capture {capture}: its file is gone from the hub's captures folder")
    return FileResponse(path, media_type=_NPZ, filename=path.name)

"""Alarms and trends as files for spreadsheets and notebooks."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Query
from starlette.responses import StreamingResponse

from cloud_hub.accounts.permissions import Permission
from cloud_hub.api.context import ContextDep, IdFilter, TimeFilter
from cloud_hub.api.files import CSV, PARQUET, csv_bytes, parquet_bytes
from cloud_hub.api.guard import needs
from cloud_hub.api.problems import problem_responses
from cloud_hub.api.routes.alarms import AlarmFilterDep
from cloud_hub.store import exports

router = APIRouter(tags=["exports"], dependencies=[Depends(needs(Permission.FLEET_READ))])
MAX_ROWS = 1_000_000
Format = Annotated[Literal["csv", "parquet"], Query()]
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FILE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/csv": _BINARY, PARQUET: _BINARY}, "description": "The file."},
    **problem_responses(HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN),
}


@router.get("/exports/alarms", response_class=StreamingResponse, responses=_FILE)
def export_alarms(context: ContextDep, wanted: AlarmFilterDep, format: Format = "csv") -> StreamingResponse:  # noqa: A002 - the name that callers see
    """Alarms, those raised last first, with the filters of the list. More than a million are refused, not cut off; with
    a search text, more than a million to look through.
    """
    with context.database.read() as session:
        _check(exports.count_alarms(session, wanted, MAX_ROWS))
    return _file(exports.alarm_table(context.database, wanted), format)


@router.get("/exports/trends", response_class=StreamingResponse, responses=_FILE)
def export_trends(
    context: ContextDep,
    machine: IdFilter = None,
    point: IdFilter = None,
    gateway: IdFilter = None,
    since: TimeFilter = None,
    until: TimeFilter = None,
    format: Format = "csv",  # noqa: A002 - the name that callers see
) -> StreamingResponse:
    """Trend rows, newest first, from `since` up to but without `until`. More than a million are refused."""
    wanted = exports.TrendFilter(machine, point, gateway, since, until)
    with context.database.read() as session:
        _check(exports.count_trends(session, wanted, MAX_ROWS))
    return _file(exports.trend_table(context.database, wanted), format)


def _check(rows: int) -> None:
    if rows > MAX_ROWS:
        detail = f"more than {MAX_ROWS:,} rows: ask for less at once, by since and until or another filter"
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, detail)


def _file(table: exports.Table, kind: str) -> StreamingResponse:
    body, media_type = (csv_bytes(table), CSV) if kind == "csv" else (parquet_bytes(table), PARQUET)
    headers = {"Content-Disposition": f'attachment; filename="{table.name}.{kind}"'}
    return StreamingResponse(body, media_type=media_type, headers=headers)

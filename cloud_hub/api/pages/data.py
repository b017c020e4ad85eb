"""Data: captures and what people say of them, labels on spans of time, files that people bring."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, cast, get_args

from fastapi import APIRouter, Depends, Form, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse

from cloud_hub.accounts.permissions import Permission, Principal
from cloud_hub.api.context import ContextDep, PagingDep, SessionDep, WorkshopDep
from cloud_hub.api.guard import RequestIdDep, needs
from cloud_hub.api.pages.flash import redirect
from cloud_hub.api.pages.rendering import render
from cloud_hub.api.receiving import bounded_form, file_of_form
from cloud_hub.data.stretches import Verdict
from cloud_hub.errors import ConflictError, DataError, HubError
from cloud_hub.services import datasets as dataset_services
from cloud_hub.services import labels as services
from cloud_hub.store import dataset_queries, history_queries
from cloud_hub.store import labels as queries
from models.contract.ids import ID_PATTERN, SHA256_PATTERN

router = APIRouter(include_in_schema=False)
_READS = [Depends(needs(Permission.DATA_READ))]
Writer = Annotated[Principal, Depends(needs(Permission.DATA_WRITE))]
Name = Annotated[str, Path(pattern=rf"^{ID_PATTERN}$")]
Filter = Annotated[str, Query(max_length=64)]
Text = Annotated[str, Form(max_length=2000)]


@router.get("/data/captures", response_class=HTMLResponse, dependencies=_READS)
def list_captures(
    request: Request, session: SessionDep, paging: PagingDep, machine: Filter = "", point: Filter = ""
) -> HTMLResponse:
    """Captures, those that began last first, with what was said of each."""
    page = history_queries.list_captures(session, paging, machine=machine or None, point=point or None)
    labels = queries.labels_of(session, [one.id for one in page.items])
    return render(request, "data/captures.html.j2", page=page, labels=labels, machine=machine, point=point)


@router.post("/data/captures/{capture}/label")
def label_capture(
    request: Request,
    context: ContextDep,
    caller: Writer,
    request_id: RequestIdDep,
    capture: Name,
    verdict: Text,
    fault: Text = "",
    note: Text = "",
) -> RedirectResponse:
    """Say something about all of a capture."""
    try:
        services.label_capture(
            context.database, caller, capture, _saying(verdict, fault, note), now_s=context.now_s(),
            request_id=request_id,
        )  # fmt: skip
    except (DataError, ConflictError) as error:
        return redirect(request, "/data/captures", str(error), "problem")
    return redirect(request, "/data/captures", f"Capture {capture} is labelled.")


@router.get("/data/labels", response_class=HTMLResponse, dependencies=_READS)
def list_labels(
    request: Request, session: SessionDep, paging: PagingDep, machine: Filter = "", verdict: Filter = ""
) -> HTMLResponse:
    """Labels, those said last first."""
    wanted = verdict if verdict in get_args(Verdict) else None
    page = queries.list_labels(session, paging, machine=machine or None, verdict=wanted)
    return render(request, "data/labels.html.j2", page=page, machine=machine, verdict=verdict)


@router.post("/data/labels")
def label_span(
    request: Request,
    context: ContextDep,
    caller: Writer,
    request_id: RequestIdDep,
    machine: Text,
    point: Text,
    begin: Text,
    end: Text,
    verdict: Text,
    fault: Text = "",
    note: Text = "",
) -> RedirectResponse:
    """Say something about a span of time of a point; times as UTC."""
    try:
        span = (_moment("from", begin), _moment("to", end))
        services.label_span(
            context.database, caller, machine.strip(), point.strip(), span, _saying(verdict, fault, note),
            now_s=context.now_s(), request_id=request_id,
        )  # fmt: skip
    except DataError as error:
        return redirect(request, "/data/labels", str(error), "problem")
    return redirect(request, "/data/labels", f"{machine}/{point} is labelled.")


@router.post("/data/labels/{label}/remove")
def remove_label(
    request: Request,
    context: ContextDep,
    caller: Writer,
    request_id: RequestIdDep,
    label: Annotated[int, Path(ge=1, lt=2**63)],
    revision: Annotated[int, Form(ge=1)],
) -> RedirectResponse:
    """Take a label away."""
    try:
        services.remove(context.database, caller, label, revision, now_s=context.now_s(), request_id=request_id)
    except HubError as error:
        return redirect(request, "/data/labels", str(error), "problem")
    return redirect(request, "/data/labels", "The label is gone. Data sets made with it stay as they are.")


@router.get("/data/uploads", response_class=HTMLResponse, dependencies=_READS)
def list_uploads(request: Request, session: SessionDep, workshop: WorkshopDep, paging: PagingDep) -> HTMLResponse:
    """Files that people brought, newest first, and the form to bring one."""
    page = dataset_queries.list_uploads(session, paging)
    return render(request, "data/uploads.html.j2", page=page, most=workshop.places.upload_max)


def _bounded(request: Request, workshop: WorkshopDep) -> None:
    """Before anything reads the form: nobody sends more than is allowed."""
    bounded_form(request, workshop.places.upload_max)


@router.post("/data/uploads", dependencies=[Depends(_bounded)])
async def upload(
    request: Request, context: ContextDep, workshop: WorkshopDep, caller: Writer, request_id: RequestIdDep
) -> RedirectResponse:
    """Keep a file."""
    places = workshop.places
    async with file_of_form(request, "file", places.uploads, places.upload_max) as (name, partial):

        def keep() -> str:
            made = dataset_services.keep_upload(
                context.database, caller, places, name, partial, now_s=context.now_s(), request_id=request_id
            )
            return f"{made.name}: {made.rows:,} rows are here."

        try:
            said = await run_in_threadpool(keep)
        except (DataError, ConflictError) as error:
            return redirect(request, "/data/uploads", str(error), "problem")
    return redirect(request, "/data/uploads", said)


@router.post("/data/uploads/{sha256}/remove")
def remove_upload(
    request: Request,
    context: ContextDep,
    workshop: WorkshopDep,
    caller: Writer,
    request_id: RequestIdDep,
    sha256: Annotated[str, Path(pattern=rf"^{SHA256_PATTERN}$")],
) -> RedirectResponse:
    """Remove a file that no data set holds."""
    try:
        dataset_services.remove_upload(
            context.database, caller, workshop.places, sha256, now_s=context.now_s(), request_id=request_id
        )
    except ConflictError as error:
        return redirect(request, "/data/uploads", str(error), "problem")
    return redirect(request, "/data/uploads", "The file is removed.")


def _saying(verdict: str, fault: str, note: str) -> services.Saying:
    """What the form says; the service refuses what is none."""
    return services.Saying(cast(Verdict, verdict), fault.strip() or None, note.strip())


def _moment(what: str, text: str) -> float:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    except ValueError as error:
        raise DataError(f"label, {what}: expected a time such as 2031-05-01T02:00, got {text[:40]!r}") from error

"""Data sets: the list, one version with its files, inspection and models, and the form of a new one."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Literal, cast
from urllib.parse import quote

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.responses import Response

from cloud_hub.accounts.permissions import Permission, Principal
from cloud_hub.api.context import ContextDep, PagingDep, SessionDep, WorkshopDep
from cloud_hub.api.guard import RequestIdDep, needs
from cloud_hub.api.pages.flash import redirect
from cloud_hub.api.pages.rendering import render
from cloud_hub.errors import ConflictError, DataError, NotFoundError
from cloud_hub.services import datasets as services
from cloud_hub.services.datasets import Item, Recipe
from cloud_hub.store import dataset_queries as queries
from cloud_hub.store import history_queries
from cloud_hub.store.labels import labels_of
from cloud_hub.store.paging import Paging

router = APIRouter(include_in_schema=False)
_READS = [Depends(needs(Permission.DATA_READ))]
Writer = Annotated[Principal, Depends(needs(Permission.DATA_WRITE))]
Version = Annotated[int, Path(ge=1, lt=2**62)]
_SHOWN = Paging(limit=100)


@router.get("/data", response_class=HTMLResponse, dependencies=_READS)
def list_datasets(request: Request, session: SessionDep, paging: PagingDep) -> HTMLResponse:
    """Data sets, those changed last first."""
    return render(request, "data/sets.html.j2", page=queries.list_datasets(session, paging))


@router.get("/data/sets/new", response_class=HTMLResponse)
def get_form(
    request: Request,
    session: SessionDep,
    _caller: Writer,
    base: Annotated[str, Query(alias="from", max_length=64)] = "",
) -> HTMLResponse:
    """The form of a new data set, or of a new version of one, filled in as the newest is."""
    given: dict[str, str] = {"name": base, "title": "", "note": "", "test_percent": "20", "expected": ""}
    if base:
        known = queries.get_dataset(session, base)
        detail = queries.get_version(session, base)
        given |= {"title": known.title, "expected": str(known.version)}
        given["test_percent"] = f"{100 * detail.version.test_share:g}"
        for source in detail.sources:
            given[f"use-{source.kind}-{source.ref}"] = source.role
            given[f"fault-{source.kind}-{source.ref}"] = source.fault or ""
    return _form(request, session, given)


@router.post("/data/sets/new", response_class=HTMLResponse)
async def post_form(
    request: Request, context: ContextDep, workshop: WorkshopDep, caller: Writer, request_id: RequestIdDep
) -> Response:
    """Make it. The form has a field for each file that there is."""
    form = await request.form(max_fields=1000)
    given = {name: value for name, value in form.items() if isinstance(value, str)}

    def make() -> Response:
        try:
            made = services.make_version(
                context.database, caller, workshop.places, given.get("name", "").strip(), _recipe(given),
                int(given["expected"]) if given.get("expected") else None, now_s=context.now_s(),
                request_id=request_id,
            )  # fmt: skip
        except (DataError, ConflictError, NotFoundError, ValueError) as error:
            with context.database.read() as session:
                return _form(request, session, given, str(error))
        one = made.version
        said = f"Version {one.version} of {one.dataset} stands."
        return redirect(request, f"/data/sets/{quote(one.dataset, safe='')}/{one.version}", said)

    return await run_in_threadpool(make)


@router.get("/data/sets/{name}", dependencies=_READS)
def newest(request: Request, session: SessionDep, name: str) -> RedirectResponse:
    """To the newest version."""
    found = queries.get_dataset(session, name)
    return redirect(request, f"/data/sets/{quote(name, safe='')}/{found.version}")


@router.get("/data/sets/{name}/{version}", response_class=HTMLResponse, dependencies=_READS)
def show_version(request: Request, session: SessionDep, name: str, version: Version) -> HTMLResponse:
    """One version: its files and parts, what an inspection says, what was trained on it."""
    return render(
        request,
        "data/version.html.j2",
        known=queries.get_dataset(session, name),
        detail=queries.get_version(session, name, version),
        versions=queries.list_versions(session, _SHOWN, name).items,
        inspection=queries.get_inspection(session, name, version),
        models=queries.bundles_from(session, name, version),
    )


@router.post("/data/sets/{name}/{version}/inspect", dependencies=_READS)
def inspect(
    request: Request, context: ContextDep, workshop: WorkshopDep, name: str, version: Version
) -> RedirectResponse:
    """Have its training part looked at; what is found is kept with it."""
    path = f"/data/sets/{quote(name, safe='')}/{version}"
    try:
        services.inspect_version(context.database, workshop.places, name, version)
    except (DataError, ConflictError) as error:
        return redirect(request, path, str(error), "problem")
    return redirect(request, f"{path}#inspection", "It was inspected.")


def _recipe(given: dict[str, str]) -> Recipe:
    """What the form asks for. Raises: DataError, ValueError: it says nothing that can be read."""
    items = []
    for field, role in given.items():
        use, kind, ref = (*field.split("-", 2), "", "")[:3]
        if use == "use" and kind in {"capture", "upload"} and role in {"healthy", "fault"}:
            fault = given.get(f"fault-{kind}-{ref}", "").strip() if role == "fault" else ""
            items.append(
                Item(
                    cast(Literal["capture", "upload"], kind),
                    cast(Literal["healthy", "fault"], role),
                    ref,
                    fault or None,
                )
            )
    if not items:
        raise DataError("choose at least one file, and say what it is")
    percent = float(given.get("test_percent", "20"))
    return Recipe(
        tuple(items), percent / 100, given.get("title", "").strip()[:200], given.get("note", "").strip()[:2000]
    )


def _form(request: Request, session: SessionDep, given: dict[str, str], error: str = "") -> HTMLResponse:
    captures = [one for one in history_queries.list_captures(session, _SHOWN).items if one.status == "stored"]
    return render(
        request,
        "data/new.html.j2",
        status=HTTPStatus.UNPROCESSABLE_ENTITY if error else HTTPStatus.OK,
        given={"name": "", "title": "", "note": "", "test_percent": "20", "expected": ""} | given,
        error=error,
        captures=captures,
        labels=labels_of(session, [one.id for one in captures]),
        uploads=queries.list_uploads(session, _SHOWN).items,
    )

"""Taking in files from outside: as they come, to disk, never more than allowed, and gone when something is wrong."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

from fastapi import HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

FORM_BYTES = 16_384  # what a form has around its file
_BLOCK = 2**20


@asynccontextmanager
async def body_in(request: Request, folder: Path, most_bytes: int) -> AsyncIterator[Path]:
    """The body of a request in a file of the folder; removed at the end unless it was moved away.

    Raises: HTTPException: 413 too large.
    """
    _check_length(request, most_bytes)
    path = _partial(folder)
    try:
        size = 0
        with path.open("wb") as file:
            async for part in request.stream():
                size += len(part)
                if size > most_bytes:
                    raise _too_large(most_bytes)
                await run_in_threadpool(file.write, part)
        yield path
    finally:
        path.unlink(missing_ok=True)


@asynccontextmanager
async def file_of_form(request: Request, field: str, folder: Path, most_bytes: int) -> AsyncIterator[tuple[str, Path]]:
    """The name and content of the one file of a form.

    Raises: HTTPException: 411 its length is not said, 413 too large, 422 no file in it.
    """
    bounded_form(request, most_bytes)
    form = await request.form(max_files=1, max_fields=16)
    path = _partial(folder)
    try:
        found = form.get(field)
        if not isinstance(found, UploadFile) or not found.filename:
            raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, f"{field}: expected a file, got none")
        with path.open("wb") as file:
            while part := await found.read(_BLOCK):
                await run_in_threadpool(file.write, part)
        yield found.filename, path
    finally:
        path.unlink(missing_ok=True)
        await form.close()


def bounded_form(request: Request, most_bytes: int) -> None:
    """Whether a form with a file of at most so many bytes may be read at all. As a dependency of the route it comes
    before whatever else reads the form, such as the check of its token.

    Raises: HTTPException: 411 its length is not said, 413 too large.
    """
    if "content-length" not in request.headers:
        raise HTTPException(HTTPStatus.LENGTH_REQUIRED, "a form with a file must say how long it is")
    _check_length(request, most_bytes + FORM_BYTES)


def _partial(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f".incoming-{secrets.token_hex(8)}"


def _check_length(request: Request, most_bytes: int) -> None:
    told = request.headers.get("content-length", "0")
    if not told.isdigit() or int(told) > most_bytes:
        raise _too_large(most_bytes)


def _too_large(most_bytes: int) -> HTTPException:
    return HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {most_bytes:,} bytes")

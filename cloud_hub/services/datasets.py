"""Files that people bring, and data sets made of them and of captures: named versions that never change."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from cloud_hub.accounts.permissions import Principal
from cloud_hub.data.stretches import Run, Said, Stretch, paint, split, usable
from cloud_hub.errors import ConflictError, DataError
from cloud_hub.jobs.command import digest_of, lay_out, source_texts
from cloud_hub.jobs.looking import check_kind, inspect_elsewhere
from cloud_hub.jobs.places import KINDS, Places, safe_name
from cloud_hub.store import audit
from cloud_hub.store import datasets as store
from cloud_hub.store.data_views import Role, SourceKind, UploadView, VersionDetail
from cloud_hub.store.database import Database, Session
from cloud_hub.store.dataset_queries import get_inspection, get_upload, get_version
from cloud_hub.store.datasets import CaptureSpan, NewSource, NewUpload
from cloud_hub.store.labels import labels_over
from cloud_hub.trust.files import sync_folder
from models.contract.ids import check_id
from models.errors import TopicError

MAX_SOURCES = 500
_MAX_TEST_SHARE = 0.9
_UNPACKED = 8  # a file may unpack to so many times what an upload may have


@dataclass(frozen=True, slots=True)
class Item:
    """What a data set is to hold: a capture (by id), an upload (by digest), or all that was captured of a point in a
    span of time (`machine`, `point`, `from_s`, `to_s`). `start`, `end`: the part of an upload, as fractions.

    `fault`: which one, for the role fault; None takes every span that is labelled as a fault, and those without label.
    """

    kind: Literal["capture", "upload", "span"]
    role: Role
    ref: str = ""
    fault: str | None = None
    machine: str = ""
    point: str = ""
    from_s: float = 0.0
    to_s: float = math.inf
    start: float = 0.0
    end: float = 1.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """A version that is to be. `test_share`: the share at the end of each source that training shall not see."""

    items: tuple[Item, ...]
    test_share: float = 0.2
    title: str = ""
    note: str = ""


# ---------------------------------------------------------------------------------------------------------- uploads


def keep_upload(
    database: Database,
    principal: Principal,
    places: Places,
    name: str,
    partial: Path,
    *,
    now_s: float,
    request_id: str | None = None,
) -> UploadView:
    """Keep a file that has come in, under its digest. The same bytes again: the upload there is.

    Args:   partial: the file as it came, in `places.uploads`; it is gone when this returns, whatever comes of it.
    Raises: DataError: not a kind that is read, too large, or it cannot be read. ConflictError: no more room.
    """
    try:
        name = safe_name(name)
        kind = KINDS[Path(name).suffix]
        length = partial.stat().st_size
        if length > places.upload_max:
            raise DataError(f"upload {name}: expected at most {places.upload_max:,} bytes, got {length:,}")
        check_kind(partial, kind, _UNPACKED * places.upload_max)
        sha256 = digest_of(partial)
        path = places.upload(sha256, kind)
        with database.read() as session:
            room = places.uploads_max - store.uploads_bytes(session)
        if length > room and not path.exists():
            raise ConflictError(f"upload {name}: {length:,} bytes, but there is room for {max(0, room):,}: remove some")
        report = _read_report(partial, kind, name)
        partial.replace(path)
        sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)
    first: dict[str, Any] = report["files"][0]
    new = NewUpload(sha256, name, kind, length, int(first["rows"]), first.get("seconds"), report)
    with database.write() as session:
        if store.add_upload(session, new, principal.name, now_s):
            after = {"name": name, "length": length, "rows": new.rows}
            audit.record(
                session, principal, "upload.add", f"upload:{sha256}", before=None, after=after, now_s=now_s,
                request_id=request_id,
            )  # fmt: skip
        return get_upload(session, sha256)


def _read_report(partial: Path, kind: str, name: str) -> dict[str, Any]:
    """Look at a file before it has its name: readers go by the suffix."""
    link = partial.with_name(f"{partial.name}.{kind}")
    try:
        link.symlink_to(partial.name)
        report = inspect_elsewhere([str(link)])
    finally:
        link.unlink(missing_ok=True)
    error = report["files"][0].get("error")
    if error is not None:
        raise DataError(f"upload {name}: cannot be read: {error}")
    for file in report["files"]:
        file["source"] = file["path"] = name
    report.pop("proposal", None)  # its command line names a file that is gone
    report["findings"] = [f | {"where": f["where"].replace(str(link), name)} for f in report["findings"]]
    return report


def remove_upload(
    database: Database,
    principal: Principal,
    places: Places,
    sha256: str,
    *,
    now_s: float,
    request_id: str | None = None,
) -> None:
    """Forget a file that no data set holds. Raises: NotFoundError, ConflictError."""
    with database.write() as session:
        row = store.remove_upload(session, sha256)
        before = {"name": row.name, "length": row.length}
        audit.record(
            session, principal, "upload.remove", f"upload:{sha256}", before=before, after=None, now_s=now_s,
            request_id=request_id,
        )  # fmt: skip
        places.upload(sha256, row.kind).unlink(missing_ok=True)


# --------------------------------------------------------------------------------------------------------- data sets


def make_version(
    database: Database,
    principal: Principal,
    places: Places,
    name: str,
    recipe: Recipe,
    expected: int | None,
    *,
    now_s: float,
    request_id: str | None = None,
) -> VersionDetail:
    """Make a data set, or a new version of one. Equal contents again: the version there is.

    Args:   expected: the newest version that the caller knows; None: the data set is to be new.
    Raises: DataError: nothing is left of an item, or it says what cannot be. NotFoundError, ConflictError, StaleError.
    """
    _check_recipe(name, recipe)
    with database.read() as session:
        chosen = _chosen(session, recipe.items)
        sources = [_source(session, item, recipe.test_share) for item in chosen]
    sources = [_with_digest(source, places) for source in sources]
    _check_apart(sources)
    sha256 = contents_digest(sources, recipe.test_share)
    with database.write() as session:
        known = store.version_with(session, name, sha256)
        if known is not None and expected is not None:
            return get_version(session, name, known)
        version = store.add_version(
            session, name, recipe.title, expected, sources, sha256=sha256, test_share=recipe.test_share,
            note=recipe.note, by=principal.name, now_s=now_s,
        )  # fmt: skip
        after = {"version": version, "sha256": sha256, "sources": len(sources), "test_share": recipe.test_share}
        audit.record(
            session, principal, "data-set.version", f"data-set:{name}",
            before={"version": expected} if expected is not None else None, after=after, now_s=now_s,
            request_id=request_id,
        )  # fmt: skip
        return get_version(session, name, version)


def inspect_version(database: Database, places: Places, name: str, version: int) -> dict[str, Any]:
    """What `cloud-hub inspect` says of the healthy training part of a version; kept, for neither ever changes.

    Raises: NotFoundError; ConflictError: a file is gone; DataError: there is nothing healthy, or no answer.
    """
    with database.read() as session:
        kept = get_inspection(session, name, version)
        detail = get_version(session, name, version)
    if kept is not None:
        return kept
    folder = places.jobs / f"inspect-{name}-{version}"
    try:
        links = lay_out(detail, places, folder)
        texts = [
            text
            for source in detail.sources
            if source.role == "healthy"
            for text in source_texts(links[source.number], source.train)
        ]
        if not texts:
            raise DataError(
                f"data set {name}, version {version}: nothing in it is healthy: there is nothing to inspect"
            )
        found = inspect_elsewhere(texts)
    finally:
        for link in folder.glob("*"):
            link.unlink(missing_ok=True)
        if folder.is_dir():
            folder.rmdir()
    text = msgspec.json.encode(found).decode().replace(f"{folder}/", "")  # people know files by their names
    inspection: dict[str, Any] = msgspec.json.decode(text)
    with database.write() as session:
        store.keep_inspection(session, name, version, inspection)
    return inspection


def contents_digest(sources: Iterable[NewSource], test_share: float) -> str:
    """SHA-256 over what a version holds: files by their digests, roles, parts and split; not names, not order."""
    rows = sorted(
        [one.sha256, one.role, one.fault or "", [p[:2] for p in one.train], [p[:2] for p in one.test]]
        for one in sources
    )
    return hashlib.sha256(msgspec.json.encode([test_share, rows])).hexdigest()


def _check_recipe(name: str, recipe: Recipe) -> None:
    try:
        check_id(name, "data set")
        for item in recipe.items:
            if item.fault is not None:
                check_id(item.fault, f"data set {name}, fault")
    except TopicError as error:
        raise DataError(str(error)) from error
    if not 1 <= len(recipe.items) <= MAX_SOURCES:
        raise DataError(f"data set {name}: expected 1 to {MAX_SOURCES} items, got {len(recipe.items)}")
    if not 0 <= recipe.test_share <= _MAX_TEST_SHARE:
        raise DataError(f"data set {name}: expected a test share of 0 to {_MAX_TEST_SHARE}, got {recipe.test_share:g}")
    for item in recipe.items:
        if item.role == "healthy" and item.fault is not None:
            raise DataError(f"data set {name}: what is healthy has no fault, got {item.fault!r}")
        if not 0 <= item.start < item.end <= 1:
            raise DataError(f"data set {name}: expected 0 <= start < end <= 1, got {item.start:g} and {item.end:g}")
        if not item.from_s < item.to_s:
            raise DataError(f"data set {name}: expected from_s < to_s, got {item.from_s:g} and {item.to_s:g}")


def _chosen(session: Session, items: Sequence[Item]) -> list[Item]:
    """Items with spans of time taken apart into the captures that reach into them."""
    chosen: list[Item] = []
    for item in items:
        if item.kind != "span":
            chosen.append(item)
            continue
        found = store.captures_over(session, item.machine, item.point, item.from_s, item.to_s, MAX_SOURCES)
        if not found:
            raise DataError(
                f"{item.machine}/{item.point}: nothing was captured between {item.from_s:g} and {item.to_s:g}"
            )
        chosen += [_of(item, ref) for ref in found]
    if len(chosen) > MAX_SOURCES:
        raise DataError(f"data set: expected at most {MAX_SOURCES} files, got {len(chosen)}")
    return chosen


def _of(item: Item, capture: str) -> Item:
    return Item("capture", item.role, capture, item.fault, from_s=item.from_s, to_s=item.to_s)


def _source(session: Session, item: Item, test_share: float) -> NewSource:
    """One file with the parts of it that fit its role. A capture's digest is found later, outside the transaction."""
    if item.kind == "upload":
        row = store.upload_of(session, item.ref)
        first, last = round(item.start * row.rows), round(item.end * row.rows)
        rate_hz = row.rows / row.seconds if row.seconds else None
        return _cut(item, [Stretch(first, last)], row.rows, rate_hz, test_share, row.name, row.sha256)
    span = store.capture_span(session, item.ref)
    said = [
        Said(label.from_s, label.to_s, label.verdict, label.fault)
        for label in labels_over(session, span.machine, span.point, span.from_s, span.to_s)
    ]
    stretches = usable(paint(_runs_within(span, item), span.rate_hz, said), item.role, item.fault)
    if not stretches:
        what = item.fault or item.role
        raise DataError(
            f"capture {span.id} of {span.machine}/{span.point}: no part of it is {what}: its labels say otherwise, or "
            "it lies outside of the span"
        )
    return _cut(item, stretches, span.samples, span.rate_hz, test_share, f"{span.id}.npz", "")


def _runs_within(span: CaptureSpan, item: Item) -> list[Run]:
    """The rows of a capture that were taken between the times of an item."""
    runs = []
    for run in span.runs:
        first = max(run.start, run.start + math.ceil((item.from_s - run.time_s) * span.rate_hz))
        last = run.stop
        if math.isfinite(item.to_s):
            last = min(run.stop, run.start + math.ceil((item.to_s - run.time_s) * span.rate_hz))
        if first < last:
            runs.append(Run(first, last, run.time_s + (first - run.start) / span.rate_hz))
    return runs


def _cut(
    item: Item, stretches: list[Stretch], rows: int, rate_hz: float | None, test_share: float, name: str, sha256: str
) -> NewSource:
    train, test = split(stretches, test_share)

    def parts(some: list[Stretch]) -> tuple[tuple[float, float, float | None], ...]:
        lengths = [(one.stop - one.start) / rate_hz if rate_hz else None for one in some]
        return tuple((s.start / rows, s.stop / rows, length) for s, length in zip(some, lengths, strict=True))

    if not train and not test:
        raise DataError(f"{name}: no row lies between {item.start:g} and {item.end:g}")
    used = sum(one.stop - one.start for one in stretches)
    kind: SourceKind = "upload" if item.kind == "upload" else "capture"
    return NewSource(
        kind, item.ref, sha256, name, item.role, item.fault, used / rate_hz if rate_hz else None, parts(train),
        parts(test),
    )  # fmt: skip


def _with_digest(source: NewSource, places: Places) -> NewSource:
    if source.sha256:
        return source
    try:
        sha256 = digest_of(places.source(source.kind, source.ref, source.name))
    except OSError as error:
        raise ConflictError(f"capture {source.ref}: its file cannot be read: {error}") from error
    return replace(source, sha256=sha256)


def _check_apart(sources: Sequence[NewSource]) -> None:
    """No row twice: not in two parts, and never healthy and faulty at once."""
    parts: dict[str, list[tuple[float, float, str]]] = {}
    for one in sources:
        mine = [(start, end, one.name) for start, end, _ in (*one.train, *one.test)]
        for start, end, name in mine:
            for other_start, other_end, other in parts.get(one.sha256, []):
                if start < other_end and other_start < end:
                    raise DataError(f"{name}: the same rows are in {other} too: each may be in a data set once")
        parts.setdefault(one.sha256, []).extend(mine)

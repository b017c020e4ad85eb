"""Reads about uploads and data sets. Views as in `views`: frozen, plain, handed out as they are."""

from __future__ import annotations

from typing import Any, cast

import msgspec
from sqlalchemy import func, select
from sqlalchemy.orm import Session, defer

from cloud_hub.errors import NotFoundError
from cloud_hub.store import tables as t
from cloud_hub.store.data_views import (
    DatasetView,
    LineageView,
    PartView,
    Role,
    SourceKind,
    SourceView,
    UploadView,
    VersionDetail,
    VersionView,
)
from cloud_hub.store.datasets import upload_of
from cloud_hub.store.paging import Order, Page, Paging, fetch_page
from cloud_hub.store.sorts import DatasetSort

_BY_UPLOAD = Order("uploads", (t.Upload.added_s, t.Upload.sha256), (float, str), descending=True)
_DATASETS = {
    "changed": Order("data sets", (t.Dataset.changed_s, t.Dataset.name), (float, str), descending=True),
    "name": Order("data sets-name", (t.Dataset.name,), (str,)),
}
_BY_VERSION = Order("data set versions", (t.DatasetVersion.version,), (int,), descending=True)


def list_uploads(session: Session, paging: Paging, *, kind: str | None = None) -> Page[UploadView]:
    """Uploads, newest first."""
    query = select(t.Upload)
    if kind is not None:
        query = query.where(t.Upload.kind == kind)
    return fetch_page(session, query, _BY_UPLOAD, paging, upload_view)


def get_upload(session: Session, sha256: str) -> UploadView:
    """One upload. Raises: NotFoundError."""
    return upload_view(upload_of(session, sha256))


def list_datasets(session: Session, paging: Paging, *, sort: DatasetSort = "changed") -> Page[DatasetView]:
    """Data sets, those changed last first, or as `sort` says."""
    page = fetch_page(session, select(t.Dataset), _DATASETS[sort], paging, lambda row: row)
    names = [row.name for row in page.items]
    v, s, d = t.DatasetVersion, t.DatasetSource, t.Dataset
    newest = (d.name == v.dataset) & (d.version == v.version)
    contents = select(v.dataset, v.sha256).join(d, newest).where(d.name.in_(names))
    digests: dict[str, str] = {name: sha256 for name, sha256 in session.execute(contents)}  # noqa: C416 - typed
    on = (d.name == s.dataset) & (d.version == s.version)
    counts = select(s.dataset, func.count()).join(d, on).where(d.name.in_(names)).group_by(s.dataset)
    sources = {n: k for n, k in session.execute(counts)}  # noqa: C416 - typed
    return Page(
        tuple(
            DatasetView(r.name, r.title, r.version, digests[r.name], sources.get(r.name, 0), r.created_s, r.changed_s)
            for r in page.items
        ),
        page.next,
    )


def get_dataset(session: Session, name: str) -> DatasetView:
    """One data set. Raises: NotFoundError."""
    row = session.get(t.Dataset, name)
    if row is None:
        raise NotFoundError(f"data set {name!r}: there is none")
    detail = get_version(session, name, row.version)
    return DatasetView(
        row.name, row.title, row.version, detail.version.sha256, len(detail.sources), row.created_s, row.changed_s
    )


def list_versions(session: Session, paging: Paging, name: str) -> Page[VersionView]:
    """Versions of a data set, newest first. Raises: NotFoundError."""
    get_dataset(session, name)
    v = t.DatasetVersion
    inspected = set(session.scalars(select(v.version).where(v.dataset == name, v.inspection.is_not(None))))
    query = select(v).where(v.dataset == name).options(defer(v.inspection))
    return fetch_page(session, query, _BY_VERSION, paging, lambda row: _version(row, row.version in inspected))


def get_version(session: Session, name: str, version: int | None = None) -> VersionDetail:
    """A version; None: the newest. Raises: NotFoundError."""
    if version is None:
        found = session.get(t.Dataset, name)
        if found is None:
            raise NotFoundError(f"data set {name!r}: there is none")
        version = found.version
    v, s = t.DatasetVersion, t.DatasetSource
    row = session.get(v, (name, version), options=[defer(v.inspection)])
    if row is None:
        raise NotFoundError(f"data set {name!r}: there is no version {version}")
    has = session.scalar(select(v.version).where(v.dataset == name, v.version == version, v.inspection.is_not(None)))
    query = select(s).where(s.dataset == name, s.version == version).order_by(s.number)
    return VersionDetail(_version(row, has is not None), tuple(_source(one) for one in session.scalars(query)))


def get_inspection(session: Session, name: str, version: int) -> dict[str, Any] | None:
    """What an inspection found; None: there was none yet. Raises: NotFoundError."""
    row = session.get(t.DatasetVersion, (name, version))
    if row is None:
        raise NotFoundError(f"data set {name!r}: there is no version {version}")
    return row.inspection


def versions_with(session: Session, digests: set[str]) -> list[tuple[str, int]]:
    """Versions that hold all of these files for training, the newest first: where a bundle's data come from."""
    if not digests:
        return []
    s, v = t.DatasetSource, t.DatasetVersion
    query = (
        select(s.dataset, s.version, v.made_s)
        .join(v, (v.dataset == s.dataset) & (v.version == s.version))
        .where(s.sha256.in_(digests), s.role == "healthy")
        .group_by(s.dataset, s.version, v.made_s)
        .having(func.count(s.sha256.distinct()) == len(digests))
        .order_by(v.made_s.desc())
        .limit(20)
    )
    return [(name, version) for name, version, _ in session.execute(query)]


def bundles_from(session: Session, name: str, version: int) -> list[LineageView]:
    """Bundles that were trained on a version: by a job of this hub, or elsewhere on exactly its files."""
    detail = get_version(session, name, version)
    j, c = t.TrainingJob, t.Candidate
    query = select(c).join(j, c.job == j.id).where(j.dataset == name, j.version == version).order_by(c.created_s.desc())
    found = [
        LineageView(row.sha256, row.slot, row.version, row.published_s is not None, row.job)
        for row in session.scalars(query)
    ]
    known = {one.sha256 for one in found}
    digests = {source.sha256 for source in detail.sources if source.role == "healthy" and source.train}
    if digests:
        b = t.Bundle
        some = select(b).where(b.manifest_json.contains(min(digests), autoescape=True)).order_by(b.created_s.desc())
        found += [
            LineageView(row.sha256, row.slot, row.version, published=True, job=None)
            for row in session.scalars(some)
            if row.sha256 not in known and data_of(row.manifest_json) == digests
        ]
    return found


class _Provenance(msgspec.Struct):
    data: dict[str, str] = {}


class _Manifest(msgspec.Struct):
    provenance: _Provenance = msgspec.field(default_factory=_Provenance)


def data_of(manifest_json: str) -> set[str]:
    """Digests of what a bundle was trained on, as its manifest tells."""
    return set(msgspec.json.decode(manifest_json, type=_Manifest).provenance.data.values())


def upload_view(row: t.Upload) -> UploadView:
    """A row for people."""
    files = (row.report or {}).get("files") or [{}]
    clock = files[0].get("clock") or {}
    columns = tuple(f"{c['name']} ({c['role']})" for c in files[0].get("channels", ()))
    return UploadView(
        row.sha256, row.name, row.kind, row.length, row.rows, row.seconds, clock.get("rate_hz"), columns, row.added_s,
        row.added_by,
    )  # fmt: skip


def _version(row: t.DatasetVersion, inspected: bool) -> VersionView:
    return VersionView(
        row.dataset, row.version, row.sha256, row.test_share, row.note, row.made_s, row.made_by, inspected
    )


def _source(row: t.DatasetSource) -> SourceView:
    return SourceView(
        number=row.number,
        kind=cast(SourceKind, row.kind),
        ref=row.ref,
        sha256=row.sha256,
        name=row.name,
        role=cast(Role, row.role),
        fault=row.fault,
        seconds=row.seconds,
        train=tuple(PartView(**part) for part in row.train),
        test=tuple(PartView(**part) for part in row.test),
    )

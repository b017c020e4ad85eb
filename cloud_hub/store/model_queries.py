"""Reads about models: published bundles and candidates in one list, where each runs, which rollouts brought it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Select, func, or_, select, tuple_, union_all
from sqlalchemy.orm import Session

from cloud_hub.errors import NotFoundError
from cloud_hub.store import tables as t
from cloud_hub.store.dataset_queries import data_of, versions_with
from cloud_hub.store.model_views import DataOrigin, ModelPlace, ModelRollout, ModelUse, ModelView
from cloud_hub.store.paging import MAX_LIMIT, Page, Paging, decode_cursor, encode_cursor
from cloud_hub.store.sorts import ModelSort

# Bundles and candidates have no index together: of each the keys of as many as a page holds, then those in order. The
# newest first come by an index; by slot or length the keys are sorted, never the manifests.
_ORDERS: dict[ModelSort, tuple[str, tuple[str, ...], tuple[type, ...], bool]] = {
    "created": ("models", ("created_s", "sha256"), (float, str), True),
    "slot": ("models-slot", ("slot", "version", "sha256"), (str, str, str), False),
    "length": ("models-length", ("length", "sha256"), (int, str), True),
}


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """A bundle as the database has it."""

    model: ModelView
    manifest_json: str


class _Title(msgspec.Struct):
    title: str = ""


def list_models(
    session: Session,
    paging: Paging,
    *,
    slot: str | None = None,
    family: str | None = None,
    published: bool | None = None,
    sort: ModelSort = "created",
) -> Page[ModelView]:
    """Models, newest first, or as `sort` says."""
    name, keys, types, descending = _ORDERS[sort]
    limit = max(1, min(paging.limit, MAX_LIMIT))
    place = decode_cursor(paging.cursor, name, types) if paging.cursor is not None else None
    branches: list[Select[Any]] = []
    for entity in (t.Bundle, t.Candidate):
        if published is not None and published is not (entity is t.Bundle):
            continue
        columns = [getattr(entity, key) for key in keys]
        query = select(*columns)
        if entity is t.Candidate:
            # Not as a join: PostgreSQL takes each candidate for a bundle, and would read both tables to join them.
            published_too = select(t.Bundle.sha256).where(t.Bundle.sha256 == t.Candidate.sha256).scalar_subquery()
            query = query.where(published_too.is_(None))
        if slot is not None:
            query = query.where(entity.slot == slot)
        if family is not None:
            query = query.where(entity.family == family)
        if place is not None:
            position = tuple_(*columns)
            query = query.where(position < place if descending else position > place)
        order = (column.desc() if descending else column.asc() for column in columns)
        branches.append(select(query.order_by(*order).limit(limit + 1).subquery()))
    both = union_all(*branches).subquery()
    order = (both.c[key].desc() if descending else both.c[key].asc() for key in keys)
    ordered = select(*(both.c[key] for key in keys)).order_by(*order).limit(limit + 1)
    found = [tuple(row) for row in session.execute(ordered)]
    views = _views(session, [key[-1] for key in found[:limit]])
    items = tuple(views[key[-1]] for key in found[:limit])
    return Page(items, encode_cursor(name, found[limit - 1]) if len(found) > limit else None)


def _views(session: Session, digests: Sequence[str]) -> dict[str, ModelView]:
    """Bundles and candidates by digest, published or not."""
    b, c = t.Bundle, t.Candidate
    running = _running(session, digests)
    jobs = {sha: job for sha, job in session.execute(select(c.sha256, c.job).where(c.sha256.in_(digests)))}  # noqa: C416 - typed
    views: dict[str, ModelView] = {}
    for e in (c, b):  # one that is both is a bundle
        query = select(e.sha256, e.slot, e.version, e.family, e.length, e.created_s, e.manifest_json)
        for row in session.execute(query.where(e.sha256.in_(digests))):
            views[row.sha256] = ModelView(
                row.sha256, row.slot, row.version, row.family, _title(row.manifest_json), row.length, row.created_s,
                e is b, jobs.get(row.sha256), running.get(row.sha256, 0),
            )  # fmt: skip
    return views


def get_model(session: Session, sha256: str) -> ModelRecord:
    """A bundle, published or not. Raises: NotFoundError."""
    bundle, candidate = session.get(t.Bundle, sha256), session.get(t.Candidate, sha256)
    row = bundle or candidate
    if row is None:
        raise NotFoundError(f"model {sha256[:80]!r}: none was published or trained here under this digest")
    model = ModelView(
        row.sha256, row.slot, row.version, row.family, _title(row.manifest_json), row.length, row.created_s,
        bundle is not None, candidate.job if candidate is not None else None,
        _running(session, [sha256]).get(sha256, 0),
    )  # fmt: skip
    return ModelRecord(model, row.manifest_json)


def get_use(session: Session, sha256: str) -> ModelUse:
    """Where a bundle is."""
    s, g, r = t.GatewaySlot, t.Gateway, t.Rollout
    query = (
        select(s, g.online)
        .join(g, g.id == s.gateway_id)
        .where(or_(s.active_sha256 == sha256, s.candidate_sha256 == sha256))
        .order_by(s.gateway_id, s.slot)
        .limit(500)
    )
    places = [
        ModelPlace(
            slot.gateway_id, slot.slot, "decides" if slot.active_sha256 == sha256 else "in shadow", slot.phase, online
        )
        for slot, online in session.execute(query)
    ]
    rollouts = session.scalars(select(r).where(r.sha256 == sha256).order_by(r.created_s.desc()).limit(100))
    return ModelUse(
        tuple(places), tuple(ModelRollout(row.id, row.status, row.created_s, row.created_by) for row in rollouts)
    )


def get_origins(session: Session, record: ModelRecord) -> list[DataOrigin]:
    """The versions of data sets that a bundle's data are in: by its job, else by the digests in its manifest."""
    found: list[DataOrigin] = []
    job = session.get(t.TrainingJob, record.model.job) if record.model.job is not None else None
    if job is not None:
        found.append(DataOrigin(job.dataset, job.version, by_job=True))
    for name, version in versions_with(session, data_of(record.manifest_json)):
        if not any((one.dataset, one.version) == (name, version) for one in found):
            found.append(DataOrigin(name, version, by_job=False))
    return found


def slots_known(session: Session) -> list[str]:
    """Slots that any bundle is for, for people to choose from."""
    slots = set(session.scalars(select(t.Bundle.slot).distinct())) | set(
        session.scalars(select(t.Candidate.slot).distinct())
    )
    return sorted(slots)


def _running(session: Session, digests: Iterable[str]) -> dict[str, int]:
    s = t.GatewaySlot
    query = select(s.active_sha256, func.count()).where(s.active_sha256.in_(list(digests))).group_by(s.active_sha256)
    return {sha256: count for sha256, count in session.execute(query) if sha256 is not None}


def _title(manifest_json: str) -> str:
    return msgspec.json.decode(manifest_json, type=_Title).title

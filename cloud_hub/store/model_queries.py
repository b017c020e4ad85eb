"""Reads about models: published bundles and candidates in one list, where each runs, which rollouts brought it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
from sqlalchemy import Select, func, literal, null, or_, select, tuple_, union_all
from sqlalchemy.orm import Session

from cloud_hub.errors import NotFoundError
from cloud_hub.store import tables as t
from cloud_hub.store.dataset_queries import data_of, versions_with
from cloud_hub.store.model_views import DataOrigin, ModelPlace, ModelRollout, ModelUse, ModelView
from cloud_hub.store.paging import MAX_LIMIT, Page, Paging, decode_cursor, encode_cursor
from cloud_hub.store.sorts import ModelSort

# Bundles and candidates in one list have no index together: they are put in order for each page, whichever it is.
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
    rows = _all().subquery()
    query = select(rows)
    if slot is not None:
        query = query.where(rows.c.slot == slot)
    if family is not None:
        query = query.where(rows.c.family == family)
    if published is not None:
        query = query.where(rows.c.published.is_(published))
    name, keys, types, descending = _ORDERS[sort]
    columns = [rows.c[key] for key in keys]
    limit = max(1, min(paging.limit, MAX_LIMIT))
    if paging.cursor is not None:
        place = decode_cursor(paging.cursor, name, types)
        position = tuple_(*columns)
        query = query.where(position < place if descending else position > place)
    order = (column.desc() if descending else column.asc() for column in columns)
    found = session.execute(query.order_by(*order).limit(limit + 1)).all()
    last = found[limit - 1] if len(found) > limit else None
    running = _running(session, [row.sha256 for row in found[:limit]])
    items = tuple(
        ModelView(
            row.sha256, row.slot, row.version, row.family, _title(row.manifest_json), row.length, row.created_s,
            bool(row.published), row.job, running.get(row.sha256, 0),
        )
        for row in found[:limit]
    )  # fmt: skip
    end = tuple(getattr(last, key) for key in keys) if last is not None else None
    return Page(items, encode_cursor(name, end) if end is not None else None)


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


def _all() -> Select[tuple[object, ...]]:
    b, c = t.Bundle, t.Candidate
    published = select(
        b.sha256, b.slot, b.version, b.family, b.length, b.created_s, b.manifest_json,
        literal(True).label("published"), c.job,
    ).outerjoin(c, c.sha256 == b.sha256)  # fmt: skip
    waiting = (
        select(
            c.sha256, c.slot, c.version, c.family, c.length, c.created_s, c.manifest_json,
            literal(False).label("published"), c.job,
        )
        .outerjoin(b, b.sha256 == c.sha256)
        .where(b.sha256.is_(null()))
    )  # fmt: skip
    rows = union_all(published, waiting).subquery()
    return select(rows)


def _running(session: Session, digests: Iterable[str]) -> dict[str, int]:
    s = t.GatewaySlot
    query = select(s.active_sha256, func.count()).where(s.active_sha256.in_(list(digests))).group_by(s.active_sha256)
    return {sha256: count for sha256, count in session.execute(query) if sha256 is not None}


def _title(manifest_json: str) -> str:
    return msgspec.json.decode(manifest_json, type=_Title).title

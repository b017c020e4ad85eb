"""How long trends of single points are kept."""

from __future__ import annotations

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from cloud_hub.errors import NotFoundError
from cloud_hub.store import tables as t
from cloud_hub.store.keep_views import KeptDays, KeptView
from cloud_hub.store.revisions import revision_of
from cloud_hub.store.trend_buckets import RESOLUTIONS_S

_RESOLUTIONS_S = (0, *RESOLUTIONS_S)


def get_kept(session: Session, machine: str, point: str, usual: KeptDays) -> KeptView:
    """How long they are kept. Raises: NotFoundError: no such point."""
    known = select(t.Point.point).where(t.Point.machine_id == machine, t.Point.point == point).limit(1)
    if session.scalar(known) is None:
        raise NotFoundError(f"point {machine}/{point}: there is none")
    k = t.TrendKeep
    rows = session.execute(select(k.resolution_s, k.days).where(k.machine_id == machine, k.point == point))
    said = {resolution_s: days for resolution_s, days in rows}  # noqa: C416 - typed
    own = KeptDays(*(said.get(resolution_s) for resolution_s in _RESOLUTIONS_S))
    days = KeptDays(*(mine if mine is not None else all_ for mine, all_ in zip(own.all(), usual.all(), strict=True)))
    return KeptView(machine, point, own, days, revision_of(list(own.all())) if said else 0)


def put_kept(session: Session, machine: str, point: str, own: KeptDays, usual: KeptDays) -> KeptView:
    """Say it; what was said before is replaced. Raises: NotFoundError."""
    k = t.TrendKeep
    session.execute(delete(k).where(k.machine_id == machine, k.point == point))
    for resolution_s, days in zip(_RESOLUTIONS_S, own.all(), strict=True):
        if days is not None:
            session.add(k(machine_id=machine, point=point, resolution_s=resolution_s, days=days))
    session.flush()
    return get_kept(session, machine, point, usual)

"""Labels in the database, and reads about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from cloud_hub.data.stretches import Verdict
from cloud_hub.errors import NotFoundError, StaleError
from cloud_hub.store import tables as t
from cloud_hub.store.data_views import LabelView
from cloud_hub.store.paging import Order, Page, Paging, fetch_page

_BY_LABEL = Order("labels", (t.Label.said_s, t.Label.id), (float, int), descending=True)


def list_labels(
    session: Session,
    paging: Paging,
    *,
    machine: str | None = None,
    point: str | None = None,
    capture: str | None = None,
    verdict: str | None = None,
) -> Page[LabelView]:
    """Labels, those said last first."""
    query = select(t.Label)
    if machine is not None:
        query = query.where(t.Label.machine_id == machine)
    if point is not None:
        query = query.where(t.Label.point == point)
    if capture is not None:
        query = query.where(t.Label.capture_id == capture)
    if verdict is not None:
        query = query.where(t.Label.verdict == verdict)
    return fetch_page(session, query, _BY_LABEL, paging, label_view)


def get_label(session: Session, label: int) -> LabelView:
    """One label. Raises: NotFoundError."""
    return label_view(_row(session, label))


def labels_over(session: Session, machine: str, point: str, from_s: float, to_s: float) -> list[LabelView]:
    """What has been said of a point between two times, the oldest first."""
    query = (
        select(t.Label)
        .where(t.Label.machine_id == machine, t.Label.point == point, t.Label.from_s < to_s, t.Label.to_s > from_s)
        .order_by(t.Label.said_s, t.Label.id)
    )
    return [label_view(row) for row in session.scalars(query)]


def labels_of(session: Session, captures: Sequence[str]) -> dict[str, LabelView]:
    """What was said last about each of these captures as a whole, where anything was."""
    query = select(t.Label).where(t.Label.capture_id.in_(captures)).order_by(t.Label.said_s, t.Label.id)
    return {str(row.capture_id): label_view(row) for row in session.scalars(query)}


def add_label(
    session: Session,
    *,
    machine: str,
    point: str,
    capture: str | None,
    span_s: tuple[float, float],
    verdict: Verdict,
    fault: str | None,
    note: str,
    by: str,
    now_s: float,
) -> LabelView:
    """Write a label down."""
    row = t.Label(
        machine_id=machine,
        point=point,
        capture_id=capture,
        from_s=span_s[0],
        to_s=span_s[1],
        verdict=verdict,
        fault=fault,
        note=note,
        said_by=by[:200],
        said_s=now_s,
        revision=1,
    )
    session.add(row)
    session.flush()
    return label_view(row)


def change_label(
    session: Session,
    label: int,
    revision: int | None,
    *,
    verdict: Verdict,
    fault: str | None,
    note: str,
    by: str,
    now_s: float,
) -> tuple[LabelView, LabelView]:
    """Say something else about the same span. Returns: before, after. Raises: NotFoundError, StaleError."""
    row = _fresh(session, label, revision)
    before = label_view(row)
    row.verdict, row.fault, row.note = verdict, fault, note
    row.said_by, row.said_s, row.revision = by[:200], now_s, row.revision + 1
    session.flush()
    return before, label_view(row)


def remove_label(session: Session, label: int, revision: int | None) -> LabelView:
    """Take it away. Returns: what it was. Raises: NotFoundError, StaleError."""
    row = _fresh(session, label, revision)
    before = label_view(row)
    session.delete(row)
    return before


def _row(session: Session, label: int) -> t.Label:
    row = session.get(t.Label, label)
    if row is None:
        raise NotFoundError(f"label {label}: there is none")
    return row


def _fresh(session: Session, label: int, revision: int | None) -> t.Label:
    row = _row(session, label)
    if revision is not None and row.revision != revision:
        raise StaleError(f"label {label}: expected revision {revision}, it is at {row.revision}: read it again")
    return row


def label_view(row: t.Label) -> LabelView:
    """A row for people."""
    return LabelView(
        id=row.id,
        machine=row.machine_id,
        point=row.point,
        capture=row.capture_id,
        from_s=row.from_s,
        to_s=row.to_s,
        verdict=cast(Verdict, row.verdict),  # checked before it was stored
        fault=row.fault,
        note=row.note,
        said_by=row.said_by,
        said_s=row.said_s,
        revision=row.revision,
    )

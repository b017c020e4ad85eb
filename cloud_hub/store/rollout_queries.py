"""Reads about rollouts, and about where gateways are. Views as in `views`: frozen, plain, handed out as they are."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from cloud_hub.errors import NotFoundError
from cloud_hub.rollout.plan import Plan
from cloud_hub.store import tables as t
from cloud_hub.store.database import upsert
from cloud_hub.store.paging import Order, Page, Paging, fetch_page
from cloud_hub.store.revisions import revision_of
from cloud_hub.store.rollout_views import (
    CheckView,
    CohortView,
    MemberView,
    NoteView,
    RolloutDetail,
    RolloutView,
    SiteView,
)
from cloud_hub.store.sorts import RolloutSort
from cloud_hub.store.tables import table_of

_ROLLOUTS = {
    "created": Order("rollouts", (t.Rollout.created_s, t.Rollout.id), (float, str), descending=True),
    "name": Order("rollouts-name", (t.Rollout.id,), (str,)),
}
_BY_MEMBER = Order("rollout members", (t.RolloutMember.gateway,), (str,))
_BY_NOTE = Order("rollout notes", (t.RolloutNote.id,), (int,), descending=True)
_BY_SITE = Order("sites", (t.GatewaySite.gateway,), (str,))


def list_rollouts(
    session: Session, paging: Paging, *, status: str | None = None, sort: RolloutSort = "created"
) -> Page[RolloutView]:
    """Rollouts, newest first, or as `sort` says."""
    query = select(t.Rollout)
    if status is not None:
        query = query.where(t.Rollout.status == status)
    page = fetch_page(session, query, _ROLLOUTS[sort], paging, lambda row: row)
    versions = _versions(session, page.items)
    return Page(tuple(_rollout(row, versions) for row in page.items), page.next)


def get_rollout(session: Session, rollout: str) -> RolloutDetail:
    """One rollout. Raises: NotFoundError."""
    row = _row(session, rollout)
    stages: defaultdict[int, Counter[str]] = defaultdict(Counter)
    failures: defaultdict[int, Counter[str]] = defaultdict(Counter)
    m = t.RolloutMember
    counts = select(m.cohort, m.stage, m.kind, func.count()).where(m.rollout_id == rollout)
    for cohort, stage, kind, count in session.execute(counts.group_by(m.cohort, m.stage, m.kind)):
        stages[cohort][stage] += count
        if kind is not None:
            failures[cohort][kind] += count
    plan = _plan(row)
    names = [(c.name, c.errors, c.success) for c in plan.cohorts] if plan is not None else []
    names += [("?", "?", "?")] * (max(stages, default=-1) + 1 - len(names))
    return RolloutDetail(
        rollout=_rollout(row, _versions(session, [row])),
        cohorts=tuple(
            CohortView(name, sum(stages[i].values()), dict(stages[i]), dict(failures[i]), errors, success)
            for i, (name, errors, success) in enumerate(names)
        ),
        checks=tuple(CheckView(c["rule"], c["verdict"], c["text"]) for c in row.checks),
        accepted=tuple(row.accepted),
        plan_json=row.plan_json,
    )


def list_members(
    session: Session, paging: Paging, rollout: str, *, stage: str | None = None, cohort: int | None = None
) -> Page[MemberView]:
    """The gateways of a rollout. Raises: NotFoundError."""
    _row(session, rollout)
    query = select(t.RolloutMember).where(t.RolloutMember.rollout_id == rollout)
    if stage is not None:
        query = query.where(t.RolloutMember.stage == stage)
    if cohort is not None:
        query = query.where(t.RolloutMember.cohort == cohort)
    return fetch_page(session, query, _BY_MEMBER, paging, _member)


def list_notes(session: Session, paging: Paging, rollout: str) -> Page[NoteView]:
    """The log of a rollout, newest first. Raises: NotFoundError."""
    _row(session, rollout)
    query = select(t.RolloutNote).where(t.RolloutNote.rollout_id == rollout)
    return fetch_page(session, query, _BY_NOTE, paging, lambda n: NoteView(n.time_s, n.event, n.text, n.by))


def list_sites(session: Session, paging: Paging) -> Page[SiteView]:
    """What people have said about gateways."""
    return fetch_page(session, select(t.GatewaySite), _BY_SITE, paging, _site)


def get_site(session: Session, gateway: str) -> SiteView:
    """What people have said about one gateway; nothing, when they have not."""
    row = session.get(t.GatewaySite, gateway)
    return _site(row) if row is not None else SiteView(gateway, None, {})


def put_site(session: Session, site: SiteView) -> None:
    """Say where a gateway is and what it is labelled; all that was said before is replaced."""
    row = {"gateway": site.gateway, "time_zone": site.time_zone, "labels": site.labels}
    upsert(session, table_of(t.GatewaySite), [row], key=["gateway"], update=["time_zone", "labels"])


def _row(session: Session, rollout: str) -> t.Rollout:
    row = session.get(t.Rollout, rollout)
    if row is None:
        raise NotFoundError(f"rollout {rollout!r}: there is none")
    return row


def _plan(row: t.Rollout) -> Plan | None:
    """The plan as far as it can be shown: one that cannot be read is shown as its JSON."""
    try:
        return msgspec.json.decode(row.plan_json, type=Plan)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _versions(session: Session, rows: Sequence[t.Rollout]) -> Mapping[str, str]:
    query = select(t.Bundle.sha256, t.Bundle.version).where(t.Bundle.sha256.in_({r.sha256 for r in rows}))
    return {sha: version for sha, version in session.execute(query)}  # noqa: C416 - typed


def _rollout(row: t.Rollout, versions: Mapping[str, str]) -> RolloutView:
    plan = _plan(row)
    known = plan is not None and row.cohort < len(plan.cohorts)
    values: dict[str, Any] = {
        name: getattr(row, name) for name in RolloutView.__dataclass_fields__ if name not in {"version", "cohort_name"}
    }
    name = plan.cohorts[row.cohort].name if plan is not None and known else "?"
    return RolloutView(**values, version=versions.get(row.sha256, "?"), cohort_name=name)


def _member(row: t.RolloutMember) -> MemberView:
    return MemberView(**{name: getattr(row, name) for name in MemberView.__dataclass_fields__})


def _site(row: t.GatewaySite) -> SiteView:
    revision = revision_of([row.time_zone, sorted(row.labels.items())])
    return SiteView(row.gateway, row.time_zone, row.labels, revision)

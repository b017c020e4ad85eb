"""Training jobs and candidates in the database. Every change of a state goes through `move`, which asks the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from cloud_hub.errors import NotFoundError, StaleError
from cloud_hub.jobs.states import ACTIVE, JobEvent, JobState, after
from cloud_hub.store import tables as t
from cloud_hub.store.job_views import JobDetail, JobView
from cloud_hub.store.paging import Order, Page, Paging, fetch_page
from cloud_hub.store.sorts import JobSort

_AGE = (t.TrainingJob.created_s, t.TrainingJob.id)
_ORDERS = {
    "created": Order("training jobs", _AGE, (float, str), descending=True),
    "oldest": Order("training jobs-oldest", _AGE, (float, str)),
    "state": Order("training jobs-state", (t.TrainingJob.state, *_AGE), (str, float, str), descending=True),
}


@dataclass(frozen=True, slots=True)
class NewCandidate:
    """A bundle that a job made, read and checked."""

    sha256: str
    slot: str
    version: str
    family: str
    length: int
    manifest_json: str


def list_jobs(
    session: Session,
    paging: Paging,
    *,
    state: str | None = None,
    dataset: str | None = None,
    sort: JobSort = "created",
) -> Page[JobView]:
    """Jobs, newest first, or as `sort` says."""
    query = select(t.TrainingJob)
    if state is not None:
        query = query.where(t.TrainingJob.state == state)
    if dataset is not None:
        query = query.where(t.TrainingJob.dataset == dataset)
    return fetch_page(session, query, _ORDERS[sort], paging, job_view)


def get_job(session: Session, job: str) -> JobDetail:
    """One job. Raises: NotFoundError."""
    row = _row(session, job)
    return JobDetail(job_view(row), row.summary)


def add_job(
    session: Session, job: str, dataset: str, version: int, asked: dict[str, Any], by: str, now_s: float
) -> JobView:
    """Queue a job."""
    row = t.TrainingJob(
        id=job, dataset=dataset, version=version, asked=asked, state=JobState.QUEUED.value, revision=1,
        created_s=now_s, created_by=by[:200], stage="", share=0.0,
    )  # fmt: skip
    session.add(row)
    session.flush()
    return job_view(row)


def move(
    session: Session, job: str, event: JobEvent, now_s: float, *, revision: int | None = None, **changes: object
) -> tuple[JobView, JobView]:
    """Let something happen to a job. `changes`: columns set with it.

    Returns: before, after.
    Raises:  NotFoundError; ConflictError: it has no place now; StaleError: `revision` is given and not the current one.
    """
    row = _row(session, job)
    before = job_view(row)
    if revision is not None and row.revision != revision:
        raise StaleError(f"training job {job}: expected revision {revision}, it is at {row.revision}: read it again")
    state = after(before.state, event, job)
    row.state, row.revision = state.value, row.revision + 1
    if state in ACTIVE and row.started_s is None:
        row.started_s = now_s
    if state not in ACTIVE:
        row.ended_s, row.process = now_s, None
    for name, value in changes.items():
        setattr(row, name, value)
    session.flush()
    return before, job_view(row)


def take_next(session: Session, runner: str, most: int, now_s: float) -> JobView | None:
    """Begin the job that has waited longest, unless this runner has `most` already; None: nothing to begin."""
    j = t.TrainingJob
    active = [state.value for state in ACTIVE]
    busy = session.scalar(select(func.count()).where(j.state.in_(active), j.runner == runner)) or 0
    if busy >= most:
        return None
    waiting = select(j.id).where(j.state == JobState.QUEUED.value).order_by(j.created_s, j.id).limit(1)
    found = session.scalar(waiting.with_for_update(skip_locked=True))
    return None if found is None else move(session, found, JobEvent.START, now_s, runner=runner)[1]


def is_waiting(session: Session) -> bool:
    """Whether any job waits to begin."""
    j = t.TrainingJob
    return session.scalar(select(j.id).where(j.state == JobState.QUEUED.value).limit(1)) is not None


def begun_by(session: Session, runner: str) -> list[tuple[JobView, str | None]]:
    """Jobs that this runner has begun and not ended, each with its process."""
    j = t.TrainingJob
    query = select(j).where(j.state.in_([s.value for s in ACTIVE]), j.runner == runner).order_by(j.created_s)
    return [(job_view(row), row.process) for row in session.scalars(query)]


def tell(session: Session, job: str, stage: str, share: float, process: str | None = None) -> JobState:
    """Note how far a job is. Returns: its state, for somebody may have cancelled it."""
    row = _row(session, job)
    if (row.stage, row.share) != (stage, share) or (process is not None and process != row.process):
        row.stage, row.share, row.revision = stage, share, row.revision + 1
        row.process = process if process is not None else row.process
    return JobState(row.state)


def state_of(session: Session, job: str) -> JobState:
    """Where a job is. Raises: NotFoundError."""
    return JobState(_row(session, job).state)


def add_candidate(session: Session, job: str, new: NewCandidate, now_s: float) -> None:
    """Remember the bundle of a job; the same training twice gives the same bundle, which the first job keeps."""
    if session.get(t.Candidate, new.sha256) is None:
        session.add(
            t.Candidate(
                sha256=new.sha256, job=job, slot=new.slot, version=new.version, family=new.family, length=new.length,
                created_s=now_s, manifest_json=new.manifest_json, published_s=None, published_by=None,
            )
        )  # fmt: skip


def mark_published(session: Session, sha256: str, by: str, now_s: float) -> None:
    """Note that a candidate, if it is one, was published."""
    row = session.get(t.Candidate, sha256)
    if row is not None and row.published_s is None:
        row.published_s, row.published_by = now_s, by[:200]


def job_view(row: t.TrainingJob) -> JobView:
    """A row for people."""
    names = (n for n in JobView.__dataclass_fields__ if n != "state")
    return JobView(state=JobState(row.state), **{name: getattr(row, name) for name in names})


def _row(session: Session, job: str) -> t.TrainingJob:
    row = session.get(t.TrainingJob, job)
    if row is None:
        raise NotFoundError(f"training job {job!r}: there is none")
    return row

"""Starting and cancelling trainings. It only writes the database; a running hub carries it out within a second."""

from __future__ import annotations

import secrets

import msgspec

from cloud_hub.accounts.permissions import Principal
from cloud_hub.jobs.command import TrainingOrder, check_order, order_of
from cloud_hub.jobs.states import JobEvent
from cloud_hub.store import audit
from cloud_hub.store import jobs as store
from cloud_hub.store.database import Database
from cloud_hub.store.dataset_queries import get_version
from cloud_hub.store.job_views import JobView


def start(
    database: Database,
    principal: Principal,
    dataset: str,
    version: int | None,
    order: TrainingOrder,
    *,
    now_s: float,
    request_id: str | None = None,
) -> JobView:
    """Queue a training on a version of a data set (None: the newest).

    Raises: NotFoundError: no such version. DataError: it cannot be trained on so.
    """
    with database.write() as session:
        detail = get_version(session, dataset, version)
        check_order(order, detail)
        asked = msgspec.to_builtins(order)
        asked = {name: value for name, value in asked.items() if value not in (None, [])}
        job = f"job-{secrets.token_hex(6)}"
        made = store.add_job(session, job, dataset, detail.version.version, asked, principal.name, now_s)
        after = {"data_set": dataset, "version": made.version, **asked}
        audit.record(
            session, principal, "training-job.start", f"training-job:{job}", before=None, after=after, now_s=now_s,
            request_id=request_id,
        )  # fmt: skip
        return made


def again(
    database: Database, principal: Principal, job: str, *, now_s: float, request_id: str | None = None
) -> JobView:
    """Queue the same training once more. Raises: NotFoundError."""
    with database.read() as session:
        before = store.get_job(session, job).job
    order = order_of(before.asked)
    return start(database, principal, before.dataset, before.version, order, now_s=now_s, request_id=request_id)


def cancel(
    database: Database,
    principal: Principal,
    job: str,
    *,
    revision: int | None = None,
    now_s: float,
    request_id: str | None = None,
) -> JobView:
    """End a training, or keep it from beginning.

    Args:   revision: what the caller has seen; None: whatever it is.
    Raises: NotFoundError; ConflictError: it is over; StaleError.
    """
    with database.write() as session:
        before, after = store.move(session, job, JobEvent.CANCEL, now_s, revision=revision)
        audit.record(
            session, principal, "training-job.cancel", f"training-job:{job}", before={"state": before.state.value},
            after={"state": after.state.value}, now_s=now_s, request_id=request_id,
        )  # fmt: skip
        return after

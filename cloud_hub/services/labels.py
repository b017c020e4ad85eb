"""What people say about spans of time: healthy, a fault, not to be used. The last word counts where they overlap."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from cloud_hub.accounts.permissions import Principal
from cloud_hub.data.stretches import Verdict
from cloud_hub.errors import DataError
from cloud_hub.store import audit
from cloud_hub.store import labels as store
from cloud_hub.store.data_views import LabelView
from cloud_hub.store.database import Database, Session
from cloud_hub.store.datasets import capture_span
from models.contract.ids import check_id
from models.errors import TopicError

_MAX_NOTE = 2000


@dataclass(frozen=True, slots=True)
class Saying:
    """What is said. `fault`: which one, when the verdict is fault, an id such as `outer-race`."""

    verdict: Verdict
    fault: str | None = None
    note: str = ""


def label_span(
    database: Database,
    principal: Principal,
    machine: str,
    point: str,
    span_s: tuple[float, float],
    saying: Saying,
    *,
    now_s: float,
    request_id: str | None = None,
) -> LabelView:
    """Say something about a span of time of a point. Raises: DataError: not a span, an id, a saying."""
    _check(saying)
    _ids(machine=machine, point=point)
    from_s, to_s = span_s
    if not (math.isfinite(from_s) and math.isfinite(to_s) and 0 <= from_s < to_s):
        raise DataError(f"label: expected 0 <= from_s < to_s, got {from_s:g} and {to_s:g}")
    with database.write() as session:
        return _add(session, principal, (machine, point, None), span_s, saying, now_s, request_id)


def label_capture(
    database: Database,
    principal: Principal,
    capture: str,
    saying: Saying,
    *,
    now_s: float,
    request_id: str | None = None,
) -> LabelView:
    """Say something about all of a capture. Raises: NotFoundError; ConflictError: not all of it is here yet."""
    _check(saying)
    with database.write() as session:
        span = capture_span(session, capture)
        where = (span.machine, span.point, capture)
        return _add(session, principal, where, (span.from_s, span.to_s), saying, now_s, request_id)


def change(
    database: Database,
    principal: Principal,
    label: int,
    revision: int | None,
    saying: Saying,
    *,
    now_s: float,
    request_id: str | None = None,
) -> LabelView:
    """Say something else about the same span. Raises: NotFoundError; StaleError: somebody else has changed it."""
    _check(saying)
    with database.write() as session:
        before, after = store.change_label(
            session, label, revision, verdict=saying.verdict, fault=saying.fault, note=saying.note,
            by=principal.name, now_s=now_s,
        )  # fmt: skip
        audit.record(
            session, principal, "label.change", f"label:{label}", before=asdict(before), after=asdict(after),
            now_s=now_s, request_id=request_id,
        )  # fmt: skip
        return after


def remove(
    database: Database,
    principal: Principal,
    label: int,
    revision: int | None,
    *,
    now_s: float,
    request_id: str | None = None,
) -> None:
    """Take a label away; data sets that were made with it stay as they are. Raises: NotFoundError, StaleError."""
    with database.write() as session:
        before = store.remove_label(session, label, revision)
        audit.record(
            session, principal, "label.remove", f"label:{label}", before=asdict(before), after=None,
            now_s=now_s, request_id=request_id,
        )  # fmt: skip


def _add(
    session: Session,
    principal: Principal,
    where: tuple[str, str, str | None],
    span_s: tuple[float, float],
    saying: Saying,
    now_s: float,
    request_id: str | None,
) -> LabelView:
    machine, point, capture = where
    made = store.add_label(
        session, machine=machine, point=point, capture=capture, span_s=span_s, verdict=saying.verdict,
        fault=saying.fault, note=saying.note, by=principal.name, now_s=now_s,
    )  # fmt: skip
    audit.record(
        session, principal, "label.add", f"label:{made.id}", before=None, after=asdict(made), now_s=now_s,
        request_id=request_id,
    )  # fmt: skip
    return made


def _check(saying: Saying) -> None:
    if saying.verdict not in {"healthy", "fault", "exclude"}:
        raise DataError(f"label, verdict: expected healthy, fault or exclude, got {saying.verdict!r}")
    if (saying.verdict == "fault") != (saying.fault is not None):
        raise DataError(f"label: a fault is named with the verdict fault, and only then; got {saying.fault!r}")
    if saying.fault is not None:
        _ids(fault=saying.fault)
    if len(saying.note) > _MAX_NOTE:
        raise DataError(f"label, note: expected at most {_MAX_NOTE} characters, got {len(saying.note)}")


def _ids(**names: str) -> None:
    try:
        for what, name in names.items():
            check_id(name, f"label, {what}")
    except TopicError as error:
        raise DataError(str(error)) from error

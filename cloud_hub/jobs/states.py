"""The states of a training job, as one table. A pair that is not in it cannot happen; asking for it is an error.

`refused` is a result, not a fault: a gate between training and publishing held the model back. `interrupted` is what
becomes of a job whose hub went away; its order can be given again.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from cloud_hub.errors import ConflictError


class JobState(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    REFUSED = "refused"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


class JobEvent(StrEnum):
    """What happens to a job."""

    START = "start"  # its process begins
    CANCEL = "cancel"  # somebody asks
    SUCCEED = "succeed"  # exit code 0, and the bundle reads
    REFUSE = "refuse"  # exit code 4: a gate, or a bundle that does not read back
    FAIL = "fail"  # any other end
    LOSE = "lose"  # the hub stopped, or came back and found the process gone


_S, _E = JobState, JobEvent
# A job that was asked to end is cancelled, whatever its process had got to by then.
TRANSITIONS: Mapping[tuple[JobState, JobEvent], JobState] = {
    (_S.QUEUED, _E.START): _S.RUNNING,
    (_S.QUEUED, _E.CANCEL): _S.CANCELLED,
    (_S.QUEUED, _E.FAIL): _S.FAILED,  # its data are gone or changed: no process ever begins
    (_S.RUNNING, _E.CANCEL): _S.CANCELLING,
    (_S.RUNNING, _E.SUCCEED): _S.SUCCEEDED,
    (_S.RUNNING, _E.REFUSE): _S.REFUSED,
    (_S.RUNNING, _E.FAIL): _S.FAILED,
    (_S.RUNNING, _E.LOSE): _S.INTERRUPTED,
    (_S.CANCELLING, _E.CANCEL): _S.CANCELLING,
    (_S.CANCELLING, _E.SUCCEED): _S.CANCELLED,
    (_S.CANCELLING, _E.REFUSE): _S.CANCELLED,
    (_S.CANCELLING, _E.FAIL): _S.CANCELLED,
    (_S.CANCELLING, _E.LOSE): _S.CANCELLED,
}
OVER = frozenset({_S.SUCCEEDED, _S.REFUSED, _S.FAILED, _S.CANCELLED, _S.INTERRUPTED})
ACTIVE = frozenset({_S.RUNNING, _S.CANCELLING})


def after(state: JobState, event: JobEvent, job: str) -> JobState:
    """The state after an event. Raises: ConflictError: it has no place in this state."""
    found = TRANSITIONS.get((state, event))
    if found is None:
        raise ConflictError(f"training job {job}: is {state.value}, {event.value} has no place there")
    return found

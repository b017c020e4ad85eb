"""What is told about rollouts, and about where gateways are: as in `views`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

RolloutStatus = Literal["awaiting_approval", "trying", "releasing", "paused", "aborting", "aborted", "finished"]


MemberStage = Literal["waiting", "sent", "shadow", "released", "running", "done", "failed", "returned"]


@dataclass(frozen=True, slots=True)
class RolloutView:
    """A rollout. `cohort` counts from 0. `cause`, `detail`: why it is paused. `waits`: for what, while it runs.
    `revision` grows with every change, progress included.
    """

    id: str
    slot: str
    sha256: str
    version: str
    status: RolloutStatus
    cohort: int
    cohort_name: str
    cause: str | None
    detail: str | None
    waits: str
    created_s: float
    created_by: str
    cohort_ends_s: float
    ends_s: float
    revision: int


@dataclass(frozen=True, slots=True)
class CheckView:
    """What a rule says of the cohort as a whole: see `cloud_hub.rollout.evidence`."""

    rule: str
    verdict: Literal["pass", "wait", "breach", "off"]
    text: str


@dataclass(frozen=True, slots=True)
class CohortView:
    """How far the gateways of a cohort are: `stages` counts them, `failures` counts why."""

    name: str
    size: int
    stages: dict[str, int]
    failures: dict[str, int]
    errors: str
    success: str


@dataclass(frozen=True, slots=True)
class RolloutDetail:
    """A rollout with its progress. `plan_json`: as it was asked for. `accepted`: rules it was resumed in spite of."""

    rollout: RolloutView
    cohorts: tuple[CohortView, ...]
    checks: tuple[CheckView, ...]
    accepted: tuple[str, ...]
    plan_json: str


@dataclass(frozen=True, slots=True)
class MemberView:
    """A gateway in a rollout: how far it is; `kind`, `detail`: why it failed. `sent`: nothing is left to be sent."""

    gateway: str
    cohort: int
    stage: MemberStage
    want_seq: int
    sent: bool
    since_s: float
    windows: int
    kind: str | None
    detail: str | None
    previous: str | None
    forgiven: bool


@dataclass(frozen=True, slots=True)
class NoteView:
    """An entry in a rollout's log."""

    time_s: float
    event: str
    text: str
    by: str


@dataclass(frozen=True, slots=True)
class SiteView:
    """Where a gateway is, and its labels. `revision`: of what is said, 0 while nothing is."""

    gateway: str
    time_zone: str | None
    labels: dict[str, str]
    revision: int = 0

"""What is told about trainings: as in `views`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cloud_hub.jobs.states import JobState


@dataclass(frozen=True, slots=True)
class JobView:
    """A training. `stage`, `share`: what it is doing and how far it is, 0 to 1. `reason`: why it was refused or failed.
    `sha256`: the bundle that came of it. `revision` grows with every change.
    """

    id: str
    dataset: str
    version: int
    asked: dict[str, Any]
    state: JobState
    revision: int
    created_s: float
    created_by: str
    started_s: float | None
    ended_s: float | None
    stage: str
    share: float
    exit_code: int | None
    reason: str | None
    sha256: str | None


@dataclass(frozen=True, slots=True)
class JobDetail:
    """A training with what it told at its end: figures, and the test on what was held out."""

    job: JobView
    summary: dict[str, Any] | None

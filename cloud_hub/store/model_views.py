"""What is told about models: as in `views`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelView:
    """A bundle. `published`: gateways can be given it. `job`: the training here that made it. `running`: on how many
    gateways it decides.
    """

    sha256: str
    slot: str
    version: str
    family: str
    title: str
    length: int
    created_s: float
    published: bool
    job: str | None
    running: int


@dataclass(frozen=True, slots=True)
class ModelPlace:
    """A gateway that has a bundle, and as what."""

    gateway: str
    slot: str
    role: str
    phase: str
    online: bool


@dataclass(frozen=True, slots=True)
class ModelRollout:
    """A rollout that brought a bundle."""

    id: str
    status: str
    created_s: float
    created_by: str


@dataclass(frozen=True, slots=True)
class ModelUse:
    """Where a bundle is: on gateways (the first 500), in rollouts (the newest 100)."""

    gateways: tuple[ModelPlace, ...]
    rollouts: tuple[ModelRollout, ...]


@dataclass(frozen=True, slots=True)
class DataOrigin:
    """A version of a data set that holds what a bundle was trained on. `by_job`: a job here trained on exactly it."""

    dataset: str
    version: int
    by_job: bool

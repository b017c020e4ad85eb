"""What events tell: how a thing is now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["alarm", "point", "rollout", "gateway", "job"]
KINDS: tuple[Kind, ...] = ("alarm", "point", "rollout", "gateway", "job")


@dataclass(frozen=True, slots=True)
class AlarmChange:
    """An alarm as it is now."""

    id: str
    gateway: str
    machine: str
    point: str
    state: str
    status: str
    verdict: str
    score: float
    peak: float
    revision: int
    changed_s: float
    summary: str


@dataclass(frozen=True, slots=True)
class PointChange:
    """A point as its gateway last reported it."""

    gateway: str
    machine: str
    point: str
    verdict: str
    score: float | None
    last_window_s: float | None


@dataclass(frozen=True, slots=True)
class RolloutChange:
    """How far a rollout has come. `stages`: how many gateways are in each."""

    id: str
    slot: str
    status: str
    cohort: int
    revision: int
    stages: dict[str, int]


@dataclass(frozen=True, slots=True)
class GatewayChange:
    """Whether a gateway is there."""

    id: str
    gateway: str
    online: bool


@dataclass(frozen=True, slots=True)
class JobChange:
    """How far a training is. `share`: 0 to 1."""

    id: str
    dataset: str
    version: int
    state: str
    stage: str
    share: float
    revision: int
    created_s: float
    sha256: str | None


Change = AlarmChange | PointChange | RolloutChange | GatewayChange | JobChange
WHAT: Mapping[str, type[Change]] = {
    "alarm": AlarmChange,
    "point": PointChange,
    "rollout": RolloutChange,
    "gateway": GatewayChange,
    "job": JobChange,
}
"""What the data of each kind of event is, where it is not empty."""

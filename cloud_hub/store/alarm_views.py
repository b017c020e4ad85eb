"""What is told about alarms as a whole, and about many at once: as in `views`."""

from __future__ import annotations

from dataclasses import dataclass

from cloud_hub.alarms.floods import Load, Targets


@dataclass(frozen=True, slots=True)
class BadActor:
    """A point that asked for attention often. `share`: of all alarms of the span."""

    gateway: str
    machine: str
    point: str
    slot: str
    alarms: int
    share: float


@dataclass(frozen=True, slots=True)
class StandingAlarm:
    """An alarm whose condition has lasted for more than a day, in sight."""

    id: str
    machine: str
    point: str
    state: str
    announced_s: float


@dataclass(frozen=True, slots=True)
class AlarmMetrics:
    """Alarms that asked for attention in [since, until). `acknowledge_s`: median time until somebody acknowledged one,
    of the `acknowledged` ones. `standing`: now, in sight; `stale`: of these, longer than a day, the oldest in
    `oldest`. `false_share`: of the `reviewed` alarms of the span, those that were none.
    """

    since_s: float
    until_s: float
    load: Load
    targets: Targets
    acknowledged: int
    acknowledge_s: float | None
    bad_actors: tuple[BadActor, ...]
    standing: int
    stale: int
    oldest: tuple[StandingAlarm, ...]
    reviewed: int
    false_share: float | None


@dataclass(frozen=True, slots=True)
class BulkRefusal:
    """Why one alarm of many was left as it is."""

    alarm: str
    reason: str


@dataclass(frozen=True, slots=True)
class BulkOutcome:
    """What became of many: all that could be done is done."""

    done: tuple[str, ...]
    refused: tuple[BulkRefusal, ...]

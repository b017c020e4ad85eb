"""What is told about the fleet as a whole: as in `views`."""

from __future__ import annotations

from dataclasses import dataclass

from cloud_hub.store.views import Verdict

MAX_TILES = 300


@dataclass(frozen=True, slots=True)
class Tile:
    """A machine on the health map: its worst verdict, its highest score, whether all of its gateways are there."""

    machine: str
    verdict: Verdict
    score: float | None
    points: int
    online: bool


@dataclass(frozen=True, slots=True)
class HealthMap:
    """The machines of the fleet. `counts`: how many there are of each verdict. `tiles`: all of them by name, or the
    `MAX_TILES` worst where there are more.
    """

    counts: dict[Verdict, int]
    tiles: tuple[Tile, ...]

    @property
    def machines(self) -> int:
        """How many there are."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class GatewayCounts:
    """Gateways: all, those that are there."""

    total: int
    online: int


@dataclass(frozen=True, slots=True)
class GatewayChange:
    """A gateway that is not there any more ("gone"), or that was never there before ("new"). `time_s`: when it was
    last, or first, heard.
    """

    gateway: str
    kind: str
    time_s: float


@dataclass(frozen=True, slots=True)
class Installed:
    """A bundle that gateways have put into service: on how many, and when last."""

    slot: str
    sha256: str
    version: str | None
    gateways: int
    last_s: float


@dataclass(frozen=True, slots=True)
class AlarmCount:
    """How many alarms were raised; `more`: at least so many."""

    count: int
    more: bool


@dataclass(frozen=True, slots=True)
class Overview:
    """The fleet at a glance, and what has changed since `since_s`: gateways that came or went, bundles that were put
    into service.
    """

    health: HealthMap
    gateways: GatewayCounts
    since_s: float
    alarms_raised: AlarmCount
    gateway_changes: tuple[GatewayChange, ...]
    bundles_installed: tuple[Installed, ...]

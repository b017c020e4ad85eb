"""What is told about how long trends are kept: as in `views`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KeptDays:
    """Days for each resolution. None: as for all points."""

    rows: float | None = None
    five_minutes: float | None = None
    hours: float | None = None

    def all(self) -> tuple[float | None, float | None, float | None]:
        """From the finest to the coarsest."""
        return self.rows, self.five_minutes, self.hours


@dataclass(frozen=True, slots=True)
class KeptView:
    """How long a point's trends are kept: `own` where somebody has said so, `days` in effect. `revision`: of what is
    said, 0 while nothing is.
    """

    machine: str
    point: str
    own: KeptDays
    days: KeptDays
    revision: int

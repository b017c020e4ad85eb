"""Every error that the simulator raises itself (what comes from outside is in `models.errors`).

SimError                   never raised itself; `exit_code` is what the program ends with
├── ScenarioError          a scenario is wrong: 3
├── DataError              a recording cannot be replayed: 1
└── LinkError              the broker cannot be reached or refuses us, or a file cannot be written: 1
"""

from __future__ import annotations

from models.errors import MillwrightError


class SimError(MillwrightError):
    """Base of the simulator's own errors."""

    exit_code = 1


class ScenarioError(SimError):
    """A scenario is wrong. `problems` holds every one of them, not only the first."""

    exit_code = 3

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class DataError(SimError):
    """A recording cannot be replayed; the text names file, channel and what was expected."""


class LinkError(SimError):
    """The broker cannot be reached or refuses us, or a file cannot be written."""

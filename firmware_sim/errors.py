"""Errors of the simulator: `SimError`, with the exit code that the program ends with."""

from __future__ import annotations

from models.errors import MillwrightError


class SimError(MillwrightError):
    """A scenario, a recording or a link that cannot be used."""

    exit_code = 1


class ScenarioError(SimError):
    """A scenario is wrong. The text holds every problem, with file and key."""

    exit_code = 3

"""Faults: when they start and how they grow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from firmware_sim.machines.running import F64

Kind = Literal[
    "outer_race", "inner_race", "ball", "cage", "imbalance", "misalignment", "gear_wear", "gear_crack", "cavitation",
    "valve_closing",
]  # fmt: skip
Growth = Literal["exponential", "linear"]
_EXPONENTIAL_SPAN = 100.0


@dataclass(slots=True)
class Fault:
    """One fault of one machine. Until `start_s` is set (simulated seconds) it waits and does nothing.

    Severity grows from 0 to `severity` over `growth_s` and then stays there: exponentially, as a spall does over most
    of its life (Randall 2011, "Vibration-based Condition Monitoring", section 6.3: log-linear trends), or linearly.
    """

    kind: Kind
    severity: float
    growth_s: float
    growth: Growth = "exponential"
    start_s: float | None = None

    def at(self, t: F64) -> F64:
        """Severity at times t (s): 0 before the start, continuous, never falling."""
        if self.start_s is None:
            return np.zeros_like(t)
        share = np.clip((t - self.start_s) / self.growth_s, 0.0, 1.0)
        if self.growth == "exponential":
            share = (_EXPONENTIAL_SPAN**share - 1.0) / (_EXPONENTIAL_SPAN - 1.0)
        return self.severity * share

    def active(self, until_s: float) -> bool:
        """Whether it does anything before `until_s`. Most faults of a scenario sleep, and then cost nothing."""
        return self.start_s is not None and self.start_s < until_s


def severity_of(faults: Iterable[Fault], kind: Kind, t: F64) -> F64 | None:
    """Severities of all faults of one kind together at times t, None where none is active."""
    total: F64 | None = None
    for fault in faults:
        if fault.kind == kind and fault.active(float(t[-1])):
            total = fault.at(t) if total is None else total + fault.at(t)
    return total


def of_kinds(faults: Sequence[Fault], kinds: Iterable[Kind]) -> list[Fault]:
    """The faults that are of one of these kinds."""
    wanted = set(kinds)
    return [fault for fault in faults if fault.kind in wanted]

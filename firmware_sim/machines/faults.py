"""Faults: when they start and how they grow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from firmware_sim.machines.running import F64

KINDS = (
    "outer_race", "inner_race", "ball", "cage", "imbalance", "misalignment", "tooth", "cavitation", "valve_closing",
)  # fmt: skip


@dataclass(slots=True)
class Fault:
    """One fault of one machine. Until `start_s` is set (simulated seconds) it does not exist.

    Severity grows from 1 % to `severity` over `growth_s` and then stays: exponentially, as crack growth does over most
    of its life (Paris & Erdogan 1963), or linearly.
    """

    kind: str
    severity: float
    growth_s: float
    exponential: bool = True
    start_s: float | None = None

    def at(self, t: F64) -> F64:
        """Severity at times t (s): 0 before the start."""
        if self.start_s is None:
            return np.zeros_like(t)
        share = np.clip((t - self.start_s) / max(self.growth_s, 1e-9), 0.0, 1.0)
        grown = 0.01 ** (1.0 - share) if self.exponential else share
        return np.where(t < self.start_s, 0.0, self.severity * grown)

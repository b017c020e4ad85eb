"""What one more copy of a network costs in memory, measured as a gateway measures it before a bundle may run there."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from cloud_hub.runtime import Int8Model

_BATCH = 64  # windows at once: the largest batch of a gateway
_MEASUREMENTS = 2
_PAGE_BYTES = 4096


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """`network_kb`: what a further copy added to this process; `budget_kb`: what the manifest promises at most."""

    network_kb: float
    budget_kb: float

    def failed(self) -> list[str]:
        """What speaks against shipping, as texts."""
        if self.network_kb <= self.budget_kb:
            return []
        return [f"its network takes {self.network_kb:.0f} KB of memory, its budget is {self.budget_kb:.0f} KB"]


def measure_memory(model: bytes, budget_kb: float) -> Memory:
    """Load copies of a `.tflite`, run each on a full batch, and see how far this process grows.

    The first copy also pays for the runtime's own start and does not count; of the others the smallest growth does,
    since everything else in the process can only add to it. All are kept, or one would take the place of another.
    """
    kept, grown = [_loaded(model)], []
    for _ in range(_MEASUREMENTS):
        before = _resident_bytes()
        kept.append(_loaded(model))
        grown.append(_resident_bytes() - before)
    return Memory(network_kb=max(0, min(grown)) / 1024, budget_kb=budget_kb)


def _loaded(model: bytes) -> Int8Model:
    network = Int8Model(model)
    network.invoke(np.zeros((_BATCH, network.spec.input.size), np.int8))
    return network


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES

"""What happens to frames between a board and its gateway: loss, copies, wrong order, damage, strangers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from firmware_sim.machines.spec import Share, Spec


class Flaws(Spec, frozen=True, kw_only=True):
    """Chances per frame, each drawn by itself.

    drop: never arrives. duplicate: arrives twice. reorder: arrives after its successor. corrupt: one bit is wrong.
    cut_short: its end is missing. nan: bears a NaN sample. stray: arrives under a node id that nobody has configured.
    """

    drop: Share = 0.0
    duplicate: Share = 0.0
    reorder: Share = 0.0
    corrupt: Share = 0.0
    cut_short: Share = 0.0
    nan: Share = 0.0
    stray: Share = 0.0


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One payload as it leaves for the broker."""

    payload: bytes
    stray: bool = False


class RoughPath:
    """Applies flaws to frames in order. `counts`: how many of each, by the flaw's name."""

    def __init__(self, flaws: Flaws, rng: np.random.Generator) -> None:
        self._flaws = flaws
        self._rng = rng
        self._held: bytes | None = None
        self.counts: Counter[str] = Counter()

    def spoils_values(self) -> bool:
        """Whether the next frame is to bear a NaN; asked before it is packed."""
        return self._happens("nan")

    def carry(self, payload: bytes) -> Iterator[Outgoing]:
        """What arrives when `payload` is sent: nothing, it, or more than one frame."""
        if self._happens("drop"):
            return
        if self._happens("corrupt"):
            damaged = bytearray(payload)
            damaged[int(self._rng.integers(len(damaged)))] ^= 1 << int(self._rng.integers(8))
            payload = bytes(damaged)
        if self._happens("cut_short"):
            payload = payload[: int(self._rng.integers(len(payload)))]
        if self._held is None and self._happens("reorder"):
            self._held = payload
            return
        yield Outgoing(payload)
        if self._happens("duplicate"):
            yield Outgoing(payload)
        if self._happens("stray"):
            yield Outgoing(payload, stray=True)
        if self._held is not None:
            held, self._held = self._held, None
            yield Outgoing(held)

    def _happens(self, name: str) -> bool:
        chance: float = getattr(self._flaws, name)
        if chance <= 0.0 or self._rng.random() >= chance:
            return False
        self.counts[name] += 1
        return True

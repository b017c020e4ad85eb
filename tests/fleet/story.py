"""What was done to the fleet, step by step, as a table: step, hosts, time, changed, result."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.fleet.ansible import Played

_HEAD = ("step", "hosts", "time", "changed", "result")


@dataclass
class Step:
    """One line. `played`: what Ansible did in it; `seen`: what was then seen from outside."""

    name: str
    hosts: tuple[str, ...]
    seconds: float = 0.0
    played: list[Played] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    ok: bool = False

    def row(self) -> tuple[str, ...]:
        changed = str(sum(one.changes for one in self.played)) if self.played else "-"
        result = "; ".join(self.seen) if self.ok else "; ".join([*self.seen, "FAILED"])
        return self.name, ", ".join(self.hosts), f"{self.seconds:.0f} s", changed, result


class Story:
    """Steps in order. A step that comes after one that failed is not begun: it would say nothing."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    @contextmanager
    def step(self, name: str, *hosts: str) -> Iterator[Step]:
        """One step, for as long as the block lasts."""
        if any(not step.ok for step in self.steps):
            raise AssertionError(f"{name}: not begun, since {self.steps[-1].name!r} failed")
        step = Step(name, hosts)
        self.steps.append(step)
        begun = time.monotonic()
        try:
            yield step
            step.ok = True
        finally:
            step.seconds = time.monotonic() - begun
            self.say(" | ".join(step.row()))

    def say(self, text: str) -> None:
        """While it happens: some steps take minutes."""
        print(text, flush=True)  # noqa: T201

    def table(self) -> str:
        """All of it."""
        total = ("", "", f"{sum(step.seconds for step in self.steps):.0f} s", "", f"{len(self.steps)} steps")
        rows = [_HEAD, *(step.row() for step in self.steps), total]
        widths = [max(len(row[at]) for row in rows) for at in range(len(_HEAD) - 1)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)) for row in rows]
        return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])

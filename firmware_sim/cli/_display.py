"""Live progress of a run, on standard error; silent when that is not a terminal."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

_EVERY_S = 0.2


class Display:
    """One line that says how far the simulation is. `total_s`: simulated seconds until the end, where it is known."""

    def __init__(self, console: Console, title: str, total_s: float | None) -> None:
        columns = [SpinnerColumn(), TextColumn("{task.description}")]
        if total_s is not None:
            columns.append(BarColumn(30))
        self._progress = Progress(
            *columns,
            TextColumn("{task.fields[status]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task(title, total=total_s, status="")
        self._shown_s = self._began_s = time.monotonic()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._progress.stop()

    def show(self, sim_s: float, sent: int, dropped: int, note: str = "") -> None:
        """Say how far it is; cheap enough to be called for each frame."""
        now_s = time.monotonic()
        if self._progress.disable or now_s - self._shown_s < _EVERY_S:
            return
        self._shown_s = now_s
        rate = sim_s / max(now_s - self._began_s, 1e-9)
        status = f"{sim_s:,.0f} s simulated ({rate:.1f} x) · {sent:,} frames"
        if dropped:
            status += f" · [yellow]{dropped:,} dropped[/]"
        if note:
            status += f" · {note}"
        self._progress.update(self._task, completed=sim_s, status=status)

"""What the reader of the demo sees: numbered steps with a spinner, then facts, then a table."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text


class Screen:
    """Steps are numbered as they come; `steps` keeps them for the summary."""

    def __init__(self, total: int) -> None:
        self.console = Console(highlight=False)
        self.steps: list[dict[str, Any]] = []
        self._total = total

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """One step: a spinner while it runs, then a line with its time, then what it noted."""
        number = len(self.steps) + 1
        step = Step()
        began = time.monotonic()
        record: dict[str, Any] = {"step": title, "ok": False, "seconds": 0.0}
        self.steps.append(record)
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        try:
            with Progress(*columns, console=self.console, transient=True) as progress:
                task = progress.add_task(f"{number}/{self._total}  {title}")
                step.show = lambda doing: progress.update(
                    task, description=f"{number}/{self._total}  {title}: [dim]{doing}[/dim]"
                )
                yield step
            record["ok"] = True
        finally:
            record["seconds"] = round(time.monotonic() - began, 2)
            mark = Text("done ", "green") if record["ok"] else Text("FAILED ", "bold red")
            line = Text.assemble(mark, (f"{number}/{self._total} ", "dim"), (title, "bold"))
            self.console.print(Text.assemble(line, (f"  {record['seconds']:.1f} s", "dim")))
            for note in step.notes:
                self.console.print(f"       {note}")

    def table(self, title: str, headers: list[str], rows: list[list[str]]) -> None:
        """A table; all but the first column to the right."""
        table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
        for i, header in enumerate(headers):
            table.add_column(header, justify="left" if i == 0 else "right", overflow="fold", no_wrap=i == 0)
        for row in rows:
            table.add_row(*row)
        self.console.print()
        self.console.print(table)


class Step:
    """One step that is running. `show` says what is being done right now, `note` leaves a line behind."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.show: Callable[[str], None] = _nowhere

    def note(self, text: str) -> None:
        """Leave a line under the step."""
        self.notes.append(text)


def _nowhere(_doing: str) -> None:
    """Until the step is on the screen."""

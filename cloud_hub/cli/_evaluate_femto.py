"""`cloud-hub evaluate femto`: bearings run to failure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cloud_hub.cli._common import JsonOption

if TYPE_CHECKING:
    from cloud_hub.evaluate.femto import Course


def femto(
    data: Annotated[Path, typer.Option("--data", help="The folder of bearings, or one that holds it as femto/.")],
    json_file: JsonOption = None,
) -> None:
    """Train on each bearing's first 15 %, tell when an alarm comes that lasts, beside RMS and kurtosis."""
    import msgspec
    from rich.console import Console
    from rich.table import Table

    from cloud_hub.evaluate.femto import evaluate_femto

    result = evaluate_femto(data)
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    table = Table(title="Bearings run to failure", title_justify="left")
    for name in ("bearing", "score"):
        table.add_column(name)
    for name in ("life, s", "first alarm, s", "lasting alarm, s", "before the end, s", "in the first third"):
        table.add_column(name, justify="right")
    for row in result.bearings:
        ways: list[tuple[str, Course]] = [("int8 bundle", row), ("RMS", row.rms), ("kurtosis", row.kurtosis)]
        for name, course in ways:
            table.add_row(row.name, name, f"{row.life_s:.0f}", *_cells(course))
    Console(width=110).print(table)


def _cells(course: Course) -> list[str]:
    times = (course.first_alarm_s, course.lasting_alarm_s, course.before_end_s)
    return [*("none" if t is None else f"{t:.0f}" for t in times), str(course.alarms_in_first_third)]

"""`cloud-hub evaluate outlook`: whether the time until a point's limit is told truly."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cloud_hub.cli._common import JsonOption


def outlook(
    data: Annotated[Path, typer.Option("--data", help="The folder that holds femto/ or cmapss/.")],
    made: Annotated[int, typer.Option("--made", help="Made-up histories of each kind.", min=1)] = 60,
    json_file: JsonOption = None,
) -> None:
    """Replay histories of scores, ask for the outlook on the way: how often its 80 % interval holds the truth."""
    import msgspec
    from rich.console import Console
    from rich.table import Table

    from cloud_hub.evaluate.outlook import evaluate_outlook

    result = evaluate_outlook(data, made)
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    table = Table(title=f"Outlook: intervals of {result.nominal:.0%}", title_justify="left")
    table.add_column("histories", min_width=18)
    columns = (
        "reach it",
        "asks",
        "none seen",
        "wrongly",
        "rising",
        "false",
        "inside",
        "early",
        "late",
        "open",
        "width",
    )
    for name in columns:
        table.add_column(name, justify="right")
    for row in result.rows:
        coverage = row.coverage
        table.add_row(
            row.name,
            f"{row.crossing}/{row.histories}",
            *map(str, (row.asks, row.none_in_sight, row.wrong_none, row.rising, row.false_rises)),
            "-" if coverage is None else f"{row.inside}/{row.judged} {coverage:.0%}",
            *map(str, (row.early, row.late, row.open)),
            "-" if row.width is None else f"{row.width:.2f}",
        )
    Console(width=130).print(table)

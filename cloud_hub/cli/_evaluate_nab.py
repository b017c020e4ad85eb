"""`cloud-hub evaluate nab`: the NAB machine temperature series."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cloud_hub.cli._common import JsonOption


def nab(
    data: Annotated[Path, typer.Option("--data", help="The folder with the series, or one that holds it as nab/.")],
    json_file: JsonOption = None,
) -> None:
    """Train on the first 15 % (at most 750 rows), find the four labelled windows, count false alarms."""
    import msgspec
    from rich.console import Console
    from rich.table import Table

    from cloud_hub.evaluate.nab import evaluate_nab

    result = evaluate_nab(data)
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    table = Table("labelled window", "found", "first alarm", title="NAB machine temperature", title_justify="left")
    for row in result.windows:
        table.add_row(f"{row.start[:16]} to {row.end[:16]}", "yes" if row.found else "no", (row.first_alarm or "")[:16])
    console = Console()
    console.print(table)
    console.print(
        f"{result.found} of {len(result.windows)} windows found, {result.false_alarms} false alarms in "
        f"{result.days:.0f} days, in alarm for {result.alarmed_share:.1%} of the time outside the windows; "
        f"{result.rows} rows after {result.reordered} step back and {result.repeated} repeated stamps were mended"
    )

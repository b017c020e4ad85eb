"""`cloud-hub evaluate cmapss`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cloud_hub.cli._common import JsonOption


def cmapss(
    data: Annotated[Path, typer.Option("--data", help="The folder of FD001's three files.", exists=True)],
    seed: Annotated[int, typer.Option(help="Of everything random.", min=0)] = 1,
    json_file: JsonOption = None,
) -> None:
    """Remaining life on C-MAPSS FD001: train on its training units, score the int8 bundle on its test units."""
    import msgspec
    from rich.console import Console
    from rich.table import Table

    from cloud_hub.evaluate.cmapss import evaluate_cmapss

    result = evaluate_cmapss(data, seed)
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    table = Table(title=f"C-MAPSS FD001, {result.units} test units, RMSE in cycles", title_justify="left")
    table.add_column("predictor")
    table.add_column("RMSE", justify="right")
    rows = [("int8 bundle, truth as given", result.rmse), ("the same, both capped at 125", result.rmse_capped)]
    rows += [("float network", result.rmse_float), ("ridge, same windows", result.ridge)]
    rows += [("constant", result.constant), *((f"published: {p.name}", p.rmse) for p in result.published)]
    for name, value in rows:
        table.add_row(name, f"{value:.2f}")
    console = Console()
    console.print(table)
    console.print(
        f"PHM08 score {result.score:.0f}; {result.interval:.0%} interval holds {result.coverage:.0%} of the units "
        f"({result.coverage_capped:.0%} of the capped truth), {result.width:.0f} cycles wide; network "
        f"{result.network_bytes / 1024:.0f} KB; {result.padded} units shorter than a window were filled up"
    )

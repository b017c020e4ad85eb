"""`cloud-hub inspect`: what is in people's files, what is wrong with them, and how to train on them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cloud_hub.cli._common import JsonOption
from cloud_hub.cli._inspection import show_inspection


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("inspect")(inspect)


def inspect(
    data: Annotated[list[str], typer.Argument(help="Healthy: files (CSV, Parquet, WAV, npz), folders, FILE@0.0-0.6.")],
    family: Annotated[str, typer.Option(help="Model family; default: what fits the data.")] = "",
    axes: Annotated[str, typer.Option(help="Columns to use, in order, with commas; default: all that move.")] = "",
    rate: Annotated[float | None, typer.Option(help="Sampling rate in Hz, when the files do not say.")] = None,
    units: Annotated[str | None, typer.Option(help="Unit, when the files do not say.")] = None,
    column_points: Annotated[
        bool | None,
        typer.Option("--column-points/--one-point", help="Columns are points of their own, or axes of one point."),
    ] = None,
    out: Annotated[str, typer.Option(help="The bundle that the proposed command line names.")] = "model.mwb",
    json_file: JsonOption = None,
) -> None:
    """Look at files before training: rates, units, gaps, stuck or clipped channels, duplicates, and enough windows?

    Proposes the exact `cloud-hub train` command line. Exit code 1 when training would refuse the data as they are.
    """
    from rich.console import Console

    from cloud_hub.inspecting.inspect import encode, first_stop, inspect_data
    from cloud_hub.inspecting.propose import Given

    given = Given(
        family=family or None,
        units=units,
        rate_hz=rate,
        axes=tuple(a.strip() for a in axes.split(",") if a.strip()),
        column_points=column_points,
    )
    inspection, _ = inspect_data(data, given, out)
    if json_file is not None:
        Path(json_file).write_bytes(encode(inspection))
    show_inspection(Console(), inspection)
    if first_stop(inspection) is not None:
        raise typer.Exit(1)

"""`cloud-hub evaluate`: what a bundle is worth on given data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cloud_hub.cli._common import JsonOption
from cloud_hub.cli._evaluate_bundle import bundle
from cloud_hub.cli._evaluate_cmapss import cmapss
from cloud_hub.cli._evaluate_cwru import cwru
from cloud_hub.cli._evaluate_femto import femto
from cloud_hub.cli._evaluate_nab import nab
from cloud_hub.cli._evaluate_network import network
from cloud_hub.cli._evaluate_outlook import outlook
from cloud_hub.cli._evaluate_skab import skab

if TYPE_CHECKING:
    from cloud_hub.evaluate.recordings import RecordingsResult

_FILES = "A file or folder, FILE@0.6-1.0 is a part. May be repeated."


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Score bundles on recordings, through the gateway's own code.")
    group.command("recordings")(recordings)
    group.command("cmapss")(cmapss)
    group.command("network")(network)
    group.command("skab")(skab)
    group.command("femto")(femto)
    group.command("nab")(nab)
    group.command("cwru")(cwru)
    group.command("outlook")(outlook)
    group.command("bundle")(bundle)
    app.add_typer(group, name="evaluate")


def recordings(
    model: Annotated[Path, typer.Option("--model", help="The bundle (.mwb).", exists=True, dir_okay=False)],
    calibrate: Annotated[list[str], typer.Option("--calibrate", help="Healthy, to calibrate each point. " + _FILES)],
    healthy: Annotated[list[str] | None, typer.Option("--healthy", help="Healthy, unseen. " + _FILES)] = None,
    faulty: Annotated[list[str] | None, typer.Option("--faulty", help="Faulty. " + _FILES)] = None,
    axes: Annotated[str, typer.Option(help="Columns to use, in order, with commas; default: all.")] = "",
    rate: Annotated[float | None, typer.Option(help="Sampling rate in Hz, when the files do not say.")] = None,
    units: Annotated[str | None, typer.Option(help="Unit, when the files do not say.")] = None,
    column_points: Annotated[  # noqa: FBT002 - a flag on the command line
        bool, typer.Option("--column-points", help="Each column is a point of its own, not an axis.")
    ] = False,
    mend_time: Annotated[  # noqa: FBT002
        bool, typer.Option("--mend-time", help="Sort rows by stamp and keep the first of equal stamps.")
    ] = False,
    json_file: JsonOption = None,
) -> None:
    """Run recordings through a bundle: windows flagged, time to the first alarm, the classical baseline beside it."""
    import msgspec

    from cloud_hub.data.load import Options, load
    from cloud_hub.evaluate.recordings import evaluate_recordings
    from models.bundle.archive import read_bundle

    options = Options(tuple(a.strip() for a in axes.split(",") if a.strip()), rate, units, column_points, mend_time)
    result = evaluate_recordings(
        read_bundle(model.read_bytes(), str(model)),
        load(calibrate, options),
        load(healthy, options) if healthy else [],
        load(faulty, options) if faulty else [],
    )
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    _show(result)


def _show(result: RecordingsResult) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{result.bundle} on recordings", title_justify="left")
    table.add_column("recording", overflow="fold", min_width=22)
    table.add_column("truth")
    for name in ("windows", "flagged", "first alarm, s", "median score", f"{result.baseline_name} flagged"):
        table.add_column(name, justify="right")
    for row in result.rows:
        table.add_row(
            row.name,
            "faulty" if row.faulty else "healthy",
            str(row.windows),
            f"{row.flagged_share:.1%}",
            "none" if row.first_alarm_s is None else f"{row.first_alarm_s:.2f}",
            f"{row.score_median:.2f}",
            f"{row.baseline_flagged_share:.1%}",
        )
    console = Console()
    console.print(table)
    console.print(f"alarmed {result.alarmed} of {result.faulty} faulty recordings, false alarms: {result.false_alarms}")
    if result.auc_int8 is not None and result.auc_baseline is not None:
        console.print(f"AUC over windows: int8 {result.auc_int8:.4f}, {result.baseline_name} {result.auc_baseline:.4f}")

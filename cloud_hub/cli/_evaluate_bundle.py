"""`cloud-hub evaluate bundle`: a bundle of the melspectrum family on labelled clips of log-mel frames."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cloud_hub.cli._common import JsonOption


def bundle(
    model: Annotated[Path, typer.Option("--model", help="The bundle (.mwb).", exists=True, dir_okay=False)],
    clips: Annotated[Path, typer.Option("--clips", help="npz with X (clips, frames, mels) and y, 0 healthy, 1 not.")],
    json_file: JsonOption = None,
) -> None:
    """Score labelled log-mel clips through a bundle's int8 network: AUC over clips, the plain scores beside it."""
    import msgspec
    from rich.console import Console
    from rich.table import Table

    from cloud_hub.data.clips import load_clips
    from cloud_hub.evaluate.clips import MAX_FPR, evaluate_clips
    from cloud_hub.runtime import Int8Model
    from models.bundle.archive import read_bundle

    read = read_bundle(model.read_bytes(), str(model))
    result = evaluate_clips(read, Int8Model(read.model).network(), load_clips(clips, labels=True))
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    table = Table(title=f"{result.bundle} on {result.clips_name}: {result.clips} clips", title_justify="left")
    table.add_column("score")
    table.add_column("AUC", justify="right")
    table.add_column(f"pAUC (FPR <= {MAX_FPR:g})", justify="right")
    table.add_row("the bundle, int8", f"{result.auc:.4f}", f"{result.pauc:.4f}")
    for name, row in result.baselines.items():
        table.add_row(name, f"{row.auc:.4f}", f"{row.pauc:.4f}")
    console = Console()
    console.print(table)
    console.print(f"{result.anomalous} of {result.clips} clips are anomalous")

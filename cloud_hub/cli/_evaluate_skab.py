"""`cloud-hub evaluate skab`: the SKAB outlier task, with the published rows scored anew beside ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cloud_hub.cli._common import JsonOption


def skab(
    data: Annotated[Path, typer.Option("--data", help="SKAB's folder, or one that holds it as skab/.", exists=True)],
    json_file: JsonOption = None,
) -> None:
    """Train on each file's first 400 rows, say 0 or 1 for every later row, pool over all 34 files."""
    import msgspec
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Table

    from cloud_hub.evaluate.skab import evaluate_skab

    errors = Console(stderr=True)
    with Progress(TextColumn("{task.description:<24}"), BarColumn(), TimeElapsedColumn(), console=errors) as bar:
        task = bar.add_task("starting TensorFlow", total=1.0)
        result = evaluate_skab(data, lambda what, share: bar.update(task, description=what, completed=share))
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    table = Table(title=f"SKAB, {result.points} rows, {result.anomalous} anomalous", title_justify="left")
    table.add_column("algorithm")
    for name in ("F1", "FAR %", "MAR %"):
        table.add_column(name, justify="right")
    ours = result.ours
    for row in [ours, ours.without_hysteresis, *sorted(result.published, key=lambda row: -row.f1)]:
        table.add_row(row.name, f"{row.f1:.3f}", f"{row.far:.2f}", f"{row.mar:.2f}")
    console = Console()
    console.print(table)
    spans = "  ".join(
        f"{name} {low:.3g} to {high:.3g}"
        for name, (low, high) in (("F1", ours.interval.f1), ("FAR", ours.interval.far), ("MAR", ours.interval.mar))
    )
    console.print(f"95 % over resampled files: {spans}")
    console.print(
        f"AUC of the score: mean over files {ours.auc_mean:.3f}, pooled {ours.auc_pooled:.3f}; network "
        f"{ours.model_bytes:,} B"
    )

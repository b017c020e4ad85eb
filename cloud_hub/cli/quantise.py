"""`cloud-hub quantise`: a Keras network that somebody else made becomes int8, as cheaply as its score allows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cloud_hub.cli._common import JsonOption
from cloud_hub.errors import DataError, GateError

if TYPE_CHECKING:
    from cloud_hub.training.outside import OutsideResult


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(quantise)


def quantise(
    model: Annotated[Path, typer.Option("--model", help="Keras network (.h5, .keras), one input, one output.")],
    representative: Annotated[
        Path, typer.Option("--representative", help="npz, X healthy: (n, inputs) or clips (n, frames, mels).")
    ],
    out: Annotated[Path, typer.Option("--out", help="The .tflite to write.", dir_okay=False)],
    clips: Annotated[
        Path | None, typer.Option("--clips", help="npz with clips X and labels y: their AUC is checked too.")
    ] = None,
    allow_16x8: Annotated[  # noqa: FBT002 - a flag on the command line
        bool,
        typer.Option("--allow-16x8/--no-16x8", help="Whether activations may be int16."),
    ] = True,
    accept: Annotated[str | None, typer.Option(help="Write the closest although no rung passes, and why.")] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.", min=0)] = 1,
    json_file: JsonOption = None,
) -> None:
    """Quantise by the cheapest rung of a ladder whose score still ranks as the float one does; without labels."""
    import msgspec

    from cloud_hub.data.clips import load_clips
    from cloud_hub.training.outside import load_keras, quantise_outside

    labelled = load_clips(clips, labels=True) if clips is not None else None
    outside = load_keras(model)
    quantised, result = quantise_outside(outside, model.name, representative, labelled, seed, sixteen=allow_16x8)
    if not quantised.passed:
        result = msgspec.structs.replace(result, accepted=accept)
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    _show(result)
    if quantised.refused and accept is None:
        raise GateError(
            f"{model}: no rung passes, the closest is {result.rung}; nothing is written. To write it all the same: "
            "--accept REASON"
        )
    if not quantised.passed and not quantised.refused:
        typer.echo(
            f"{model}: no rung is proven to keep the order of scores with {result.rows:,} rows; {result.rung}, which "
            "turns fewest pairs, is written",
            err=True,
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(quantised.model)
    except OSError as error:
        raise DataError(f"{out}: cannot be written: {error}") from error
    typer.echo(f"{result.rung}: {len(quantised.model):,} bytes to {out}")


def _show(result: OutsideResult) -> None:
    from rich.console import Console
    from rich.table import Table

    labelled = result.auc_float is not None
    table = Table(title=f"{result.model} on {result.rows:,} representative rows", title_justify="left")
    table.add_column("rung")
    names = ["bytes", "AUC shift", "its bound", "pairs turned", "Kendall"]
    for name in names + ["AUC lost"] * labelled:
        table.add_column(name, justify="right")
    table.add_column("passes")
    for rung in result.rungs:
        f = rung.fidelity
        cells = ["-"] * 5
        if f is not None:
            cells = [
                f"{rung.bytes:,}",
                f"{f.auc_shift:.4f}",
                f"{f.auc_shift_bound:.4f}",
                f"{f.flips:.2%}",
                f"{f.kendall:.4f}",
            ]
        loss = [] if not labelled else ["-" if rung.labelled_auc_loss is None else f"{rung.labelled_auc_loss:+.4f}"]
        table.add_row(rung.name, *cells, *loss, "yes" if rung.passed else "no")
    console = Console()
    console.print(table)
    for rung in result.rungs:
        if not rung.passed:
            console.print(f"{rung.name}: {rung.why_not}", soft_wrap=True, highlight=False)

"""`cloud-hub evaluate cwru`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cloud_hub.cli._common import JsonOption

if TYPE_CHECKING:
    from cloud_hub.evaluate.cwru import CwruResult


def cwru(
    data: Annotated[Path, typer.Option("--data", help="Folder of npz files, or one with cwru/ in it.")],
    healthy: Annotated[
        Path | None, typer.Option("--train", help="Folder of healthy data; default: normal files of --data.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of training.")] = 0,
    json_file: JsonOption = None,
) -> None:
    """Bearing recordings named like CWRU's: detection beside plain RMS, and the fault kind by order matching."""
    import msgspec

    from cloud_hub.evaluate.cwru import evaluate_cwru

    result = evaluate_cwru(data, healthy, seed, lambda _text, _share: None)
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    _show(result)


def _show(result: CwruResult) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="CWRU-like bearing recordings", title_justify="left")
    table.add_column("recording", overflow="fold", min_width=22)
    for name in ("flagged", "alarm, s", "score", "RMS flagged", "label", "guess", "named", "confidence"):
        table.add_column(name, justify="right")
    for row in result.rows:
        table.add_row(
            row.name,
            f"{row.flagged_share:.1%}",
            "none" if row.first_alarm_s is None else f"{row.first_alarm_s:.2f}",
            f"{row.score_median:.2f}",
            f"{row.rms_flagged_share:.1%}",
            row.label or "healthy",
            row.best_guess or "",
            row.fault or ("unknown" if row.faulty else ""),
            "" if row.confidence is None else f"{row.confidence:.2f}",
        )
    console = Console(width=120)
    console.print(table)
    summary = Table(title="Int8 network through the gateway's pipeline, and plain RMS", title_justify="left")
    for name in ("", "macro AUROC over bearings", "faults alarmed", "false alarms"):
        summary.add_column(name, justify="right")
    for name, auroc, alarmed, false in (
        ("ours", result.macro_auroc, result.alarmed, result.false_alarms),
        ("RMS", result.rms.macro_auroc, result.rms.alarmed, result.rms.false_alarms),
    ):
        summary.add_row(
            name,
            "-" if auroc is None else f"{auroc:.4f}",
            f"{alarmed} of {result.faulty}",
            f"{false} of {result.healthy}",
        )
    console.print(summary)
    if result.fault_top1 is not None:
        console.print(
            f"fault kind: best guess right for {result.fault_top1:.1%} of {result.faulty}; named {result.fault_named}, "
            f"of which right {result.fault_named_right}"
        )
    for gate in result.gates:
        console.print(f"gate failed: {gate}")

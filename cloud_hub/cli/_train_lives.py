"""`cloud-hub train --family remaining_life`: from a file of whole lives to a checked bundle and a report."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from cloud_hub.cli._progress import ProgressFile
from cloud_hub.errors import DataError

if TYPE_CHECKING:
    from rich.console import Console

FAMILY = "remaining_life"
SLOT = "remaining-life"


def train_from_lives(
    data: list[str],
    out: Path,
    console: Console,
    *,
    axes: tuple[str, ...],
    slot: str,
    version: str,
    title: str,
    seed: int,
    accept: str | None,
    report: Path,
    json_file: Path | None,
    tell: ProgressFile,
) -> None:
    """Train, write bundle, report and summary, say what came out.

    Raises: DataError: no such file, not lives, columns that are not there. GateError: the model is refused.
    """
    import msgspec
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from cloud_hub.data.lives import picked, read_lives
    from models.families import family_named

    if len(data) != 1:
        raise DataError(f"--data: family {FAMILY} learns from one file of whole lives, got {len(data)}")
    lives = picked(read_lives(Path(data[0])), axes)
    family = family_named(FAMILY)
    began, now_s = time.monotonic(), int(time.time())
    with Progress(TextColumn("{task.description:<58}"), BarColumn(), TimeElapsedColumn(), console=console) as bar:
        task = bar.add_task("starting TensorFlow", total=1.0)

        from cloud_hub.report.lives import render_lives
        from cloud_hub.training.remaining_life import train_lives
        from cloud_hub.training.train import Order

        order = Order(
            family=family,
            slot=slot or SLOT,
            version=version or time.strftime("%Y%m%d.%H%M%S", time.gmtime(now_s)),
            title=title or family.title,
            quantity=next(iter(family.quantities)),
            seed=seed,
            created_s=now_s,
            accept=accept,
        )

        def say(what: str, share: float) -> None:
            bar.update(task, description=what, completed=share)
            tell(what, share)

        trained = train_lives(order, lives, say)
        bar.update(task, description="done", completed=1.0)
    page = render_lives(trained)
    train_s = time.monotonic() - began
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(trained.data)
        report.write_text(page, encoding="utf-8")
    except OSError as error:
        raise DataError(f"{out}: cannot be written: {error}") from error
    found, bundle = trained.evaluation, trained.bundle
    summary = {
        "bundle": str(out),
        "report": str(report),
        "slot": order.slot,
        "version": order.version,
        "sha256": bundle.sha256,
        "bundle_bytes": len(trained.data),
        "network_bytes": len(bundle.model),
        "quantised": found.rung,
        "train_s": round(train_s, 2),
        "units": found.units,
        "sensors": bundle.manifest.input.axes,
        "rmse_unseen": {
            "network": found.rmse_unseen,
            "ridge": found.rmse_unseen_ridge,
            "constant": found.rmse_unseen_constant,
        },
        "rmse_int8_loss": found.rmse_int8_loss,
        "memory_kb": found.memory.network_kb,
        "window_us": round(trained.replay.window_us, 1),
        "gates_failed": trained.gates,
    }
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=1) + b"\n")
    console.print(
        f"[bold]{order.slot}/{order.version}[/bold] {bundle.sha256[:12]}  {len(trained.data) / 1024:.0f} KB "
        f"(network {len(bundle.model) / 1024:.0f} KB) in {train_s:.1f} s\n"
        f"RMSE in cycles on unseen units, up to {found.cap:g} left: network {found.rmse_unseen:.2f}  ridge "
        f"{found.rmse_unseen_ridge:.2f}  constant {found.rmse_unseen_constant:.2f}   int8 loses "
        f"{found.rmse_int8_loss:+.2f}\n{out}  {report}"
    )

"""`cloud-hub train`: from recordings to a checked bundle and a report."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cloud_hub.cli._common import JsonOption
from cloud_hub.cli._inspection import show_assumptions
from cloud_hub.cli._train_lives import FAMILY as LIVES_FAMILY
from cloud_hub.cli._train_lives import train_from_lives
from cloud_hub.errors import DataError

if TYPE_CHECKING:
    from rich.console import Console

    from cloud_hub.data.clips import Clips
    from cloud_hub.data.recording import Recording
    from cloud_hub.inspecting.propose import Given
    from cloud_hub.inspecting.settle import Settled

CHOOSE = "choose"
CLIPS_FAMILY, CLIPS_SLOT = "melspectrum", "sound"
_DATA_HELP = "A file (CSV, Parquet, WAV, npz) or folder; FILE@0.0-0.6 is its first 60 %. May be repeated."


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(train)


def train(
    data: Annotated[list[str], typer.Option("--data", help="Healthy. " + _DATA_HELP)],
    out: Annotated[Path, typer.Option("--out", help="The bundle to write (.mwb).", dir_okay=False)],
    family: Annotated[str, typer.Option(help="Model family; default: what fits the data.")] = CHOOSE,
    slot: Annotated[str, typer.Option(help="The job on a gateway that the bundle is for; default: by family.")] = "",
    version: Annotated[str, typer.Option(help="Any text of A-Z a-z 0-9 . _ -; default: the time, UTC.")] = "",
    title: Annotated[str, typer.Option(help="One line for people.")] = "",
    faulty: Annotated[list[str] | None, typer.Option("--faulty", help="Only evaluated on. " + _DATA_HELP)] = None,
    axes: Annotated[str, typer.Option(help="Columns to use, in order, with commas; default: all that move.")] = "",
    rate: Annotated[float | None, typer.Option(help="Sampling rate in Hz, when the files do not say.")] = None,
    units: Annotated[str | None, typer.Option(help="Unit, when the files do not say: g, m/s2, degC, ...")] = None,
    quantity: Annotated[str, typer.Option(help="Physical quantity; default: the one that has the unit.")] = "",
    column_points: Annotated[
        bool | None,
        typer.Option("--column-points/--one-point", help="Columns are points of their own, or axes of one point."),
    ] = None,
    mend_time: Annotated[
        bool | None,
        typer.Option(
            "--mend-time/--no-mend-time",
            help="Sort rows by stamp and keep the first of equal stamps, or refuse; default: mend, and say so.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.", min=0)] = 1,
    seeds: Annotated[int, typer.Option(help="Trainings, to see how steady the result is.", min=1, max=100)] = 5,
    accept: Annotated[str | None, typer.Option(help="Ship although a gate fails, and why; it is recorded.")] = None,
    report: Annotated[Path | None, typer.Option(help="HTML report; default: beside the bundle.")] = None,
    json_file: JsonOption = None,
) -> None:
    """Train a network on healthy data, quantise it, check it against float and baseline, and pack a bundle.

    What is not given is taken from the data as `cloud-hub inspect` would propose it, and said. Family remaining_life
    learns from whole lives instead: one file with columns unit and cycle, or C-MAPSS text.
    """
    import msgspec
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from cloud_hub.inspecting.propose import Given
    from models.families import family_named

    console = Console(stderr=True)
    named = tuple(a.strip() for a in axes.split(",") if a.strip())
    report = report or out.with_suffix(".html")
    if family == LIVES_FAMILY:
        others = {"faulty": faulty, "rate": rate, "units": units, "quantity": quantity or None}
        others |= {"column-points": column_points, "mend-time": mend_time}
        given_too = [f"--{name}" for name, value in others.items() if value is not None]
        if given_too:
            raise DataError(f"{', '.join(given_too)}: not for --family {family}, which learns from whole lives")
        train_from_lives(
            data, out, console, axes=named, slot=slot, version=version, title=title, seed=seed, accept=accept,
            report=report, json_file=json_file,
        )  # fmt: skip
        return
    given = Given(
        family=None if family == CHOOSE else family,
        slot=slot or None,
        quantity=quantity or None,
        units=units,
        rate_hz=rate,
        axes=named,
        column_points=column_points,
        mend_time=mend_time,
    )
    clips = _clips(data, family, faulty)
    settled = None if clips else _settle(data, faulty or [], given, console)
    chosen = family_named(settled.proposal.family if settled else CLIPS_FAMILY)
    slot = settled.proposal.slot if settled else slot or CLIPS_SLOT
    began = time.monotonic()
    with Progress(TextColumn("{task.description:<58}"), BarColumn(), TimeElapsedColumn(), console=console) as bar:
        task = bar.add_task("starting TensorFlow", total=1.0)

        from cloud_hub.report.render import render_report
        from cloud_hub.training.clips import train_clips
        from cloud_hub.training.train import Order
        from cloud_hub.training.train import train as run

        now_s = int(time.time())
        order = Order(
            family=chosen,
            slot=slot,
            version=version or time.strftime("%Y%m%d.%H%M%S", time.gmtime(now_s)),
            title=title or (settled.title if settled else chosen.title),
            quantity=settled.proposal.quantity if settled else quantity or next(iter(chosen.quantities)),
            seed=seed,
            created_s=now_s,
            accept=accept,
            seeds=seeds,
        )

        def say(what: str, share: float) -> None:
            bar.update(task, description=what, completed=share)

        trained = train_clips(order, clips, say) if clips else run(order, *_recordings(settled), say)
        page = render_report(trained)
    train_s = time.monotonic() - began
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(trained.data)
        report.write_text(page, encoding="utf-8")
    except OSError as error:
        raise DataError(f"{out}: cannot be written: {error}") from error
    auc = trained.evaluation.auc
    summary = {
        "bundle": str(out),
        "report": str(report),
        "slot": slot,
        "version": order.version,
        "sha256": trained.bundle.sha256,
        "bundle_bytes": len(trained.data),
        "network_bytes": len(trained.bundle.model),
        "quantised": trained.quantised.rung,
        "train_s": round(train_s, 2),
        "auc": {"float": auc.real, "int8": auc.int8, "baseline": auc.baseline},
        "baseline": trained.evaluation.baseline_name,
        "faults": trained.evaluation.faults,
        "false_alarms": trained.evaluation.false_alarms,
        "window_us": round(trained.replay.window_us, 1),
        "gates_failed": trained.gates,
    }
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=1) + b"\n")
    console.print(
        f"[bold]{slot}/{order.version}[/bold] {trained.bundle.sha256[:12]}  {len(trained.data) / 1024:.0f} KB "
        f"(network {len(trained.bundle.model) / 1024:.0f} KB) in {train_s:.1f} s\n"
        f"AUC float {auc.real:.4f}  int8 {auc.int8:.4f}  {trained.evaluation.baseline_name} {auc.baseline:.4f}   "
        f"false alarms on held-out healthy data: {trained.evaluation.false_alarms}\n{out}  {report}"
    )


def _settle(data: list[str], faulty: list[str], given: Given, console: Console) -> Settled:
    from cloud_hub.inspecting.settle import settle

    settled = settle(data, faulty, given)
    show_assumptions(console, settled.inspection)
    return settled


def _recordings(settled: Settled | None) -> tuple[list[Recording], list[Recording]]:
    return (settled.healthy, settled.faulty) if settled else ([], [])


def _clips(data: list[str], family: str, faulty: list[str] | None) -> Clips | None:
    """Clips of log-mel frames, when that is what the files are; None: recordings."""
    from cloud_hub.data.clips import holds_clips, load_clips, pool_clips

    files = [Path(one) for one in data]
    found = [holds_clips(path) for path in files]
    if not any(found):
        return None
    if not all(found):
        raise DataError(
            f"{files[found.index(False)]}: expected log-mel clips as in {files[found.index(True)]}, got none"
        )
    if family not in {CHOOSE, CLIPS_FAMILY}:
        raise DataError(f"{files[0]}: log-mel clips are for --family {CLIPS_FAMILY}, got {family}")
    if faulty:
        raise DataError(
            "--faulty: clips are trained with made-up faults; score labelled ones by `evaluate bundle --clips`"
        )
    return pool_clips([load_clips(path, labels=False) for path in files])

"""`cloud-hub train`: from recordings to a checked bundle and a report."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cloud_hub.cli._common import JsonOption, write_json
from cloud_hub.cli._inspection import show_assumptions
from cloud_hub.cli._progress import ProgressFile
from cloud_hub.cli._train_lives import FAMILY as LIVES_FAMILY
from cloud_hub.cli._train_lives import train_from_lives
from cloud_hub.errors import DataError

if TYPE_CHECKING:
    from rich.console import Console

    from cloud_hub.data.clips import Clips
    from cloud_hub.data.recording import Recording
    from cloud_hub.evaluate.held_out import HeldOutTest
    from cloud_hub.inspecting.propose import Given
    from cloud_hub.inspecting.settle import Settled
    from cloud_hub.training.train import Trained

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
    test_healthy: Annotated[
        list[str] | None, typer.Option("--test-healthy", help="Scored at the end, never seen before. " + _DATA_HELP)
    ] = None,
    test_faulty: Annotated[list[str] | None, typer.Option("--test-faulty", help="The same, faulty.")] = None,
    progress: Annotated[Path | None, typer.Option(help="Also tell progress here, as lines of JSON.")] = None,
    json_file: JsonOption = None,
) -> None:
    """Train a network on healthy data, quantise it, check it against float and baseline, and pack a bundle.

    What is not given is taken from the data as `cloud-hub inspect` would propose it, and said. Family remaining_life
    learns from whole lives instead: one file with columns unit and cycle, or C-MAPSS text.
    """
    from rich.console import Console

    from cloud_hub.inspecting.propose import Given

    console = Console(stderr=True)
    named = tuple(a.strip() for a in axes.split(",") if a.strip())
    report = report or out.with_suffix(".html")
    with ProgressFile(progress) as tell:
        if family == LIVES_FAMILY:
            others = {"faulty": faulty, "rate": rate, "units": units, "quantity": quantity or None}
            others |= {"column-points": column_points, "mend-time": mend_time}
            others |= {"test-healthy": test_healthy, "test-faulty": test_faulty}
            given_too = [f"--{name}" for name, value in others.items() if value is not None]
            if given_too:
                raise DataError(f"{', '.join(given_too)}: not for --family {family}, which learns from whole lives")
            train_from_lives(
                data, out, console, axes=named, slot=slot, version=version, title=title, seed=seed, accept=accept,
                report=report, json_file=json_file, tell=tell,
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
        tell("looking at the data", 0.0)
        clips = _clips(data, family, faulty)
        settled = None if clips else _settle(data, faulty or [], given, console)
        words = _Words(slot, version, title, quantity, seed, seeds, accept)
        trained, page, train_s = _run(words, settled, clips, console, tell)
        summary = _written(trained, page, out, report) | {"train_s": round(train_s, 2)}
        if test_healthy or test_faulty:
            summary["test"] = _tested(trained, settled, given, test_healthy or [], test_faulty or [], tell)
        if json_file is not None:
            write_json(json_file, summary)
    auc, manifest = trained.evaluation.auc, trained.bundle.manifest
    console.print(
        f"[bold]{manifest.slot}/{manifest.version}[/bold] {trained.bundle.sha256[:12]}  "
        f"{len(trained.data) / 1024:.0f} KB (network {len(trained.bundle.model) / 1024:.0f} KB) in {train_s:.1f} s\n"
        f"AUC float {auc.real:.4f}  int8 {auc.int8:.4f}  {trained.evaluation.baseline_name} {auc.baseline:.4f}   "
        f"false alarms on held-out healthy data: {trained.evaluation.false_alarms}\n{out}  {report}"
    )


@dataclass(frozen=True, slots=True)
class _Words:
    """What the bundle is called, and what its training may draw and accept."""

    slot: str
    version: str
    title: str
    quantity: str
    seed: int
    seeds: int
    accept: str | None


def _run(
    words: _Words, settled: Settled | None, clips: Clips | None, console: Console, tell: ProgressFile
) -> tuple[Trained, str, float]:
    """Train, showing how far it is. Returns: what came out, its report, the seconds it took."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from models.families import family_named

    chosen = family_named(settled.proposal.family if settled else CLIPS_FAMILY)
    began = time.monotonic()
    with Progress(TextColumn("{task.description:<58}"), BarColumn(), TimeElapsedColumn(), console=console) as bar:
        task = bar.add_task("starting TensorFlow", total=1.0)
        tell("starting TensorFlow", 0.0)

        from cloud_hub.report.render import render_report
        from cloud_hub.training.clips import train_clips
        from cloud_hub.training.train import Order
        from cloud_hub.training.train import train as run

        now_s = int(time.time())
        order = Order(
            family=chosen,
            slot=settled.proposal.slot if settled else words.slot or CLIPS_SLOT,
            version=words.version or time.strftime("%Y%m%d.%H%M%S", time.gmtime(now_s)),
            title=words.title or (settled.title if settled else chosen.title),
            quantity=settled.proposal.quantity if settled else words.quantity or next(iter(chosen.quantities)),
            seed=words.seed,
            created_s=now_s,
            accept=words.accept,
            seeds=words.seeds,
        )

        def say(what: str, share: float) -> None:
            bar.update(task, description=what, completed=share)
            tell(what, share)

        trained = train_clips(order, clips, say) if clips else run(order, *_recordings(settled), say)
        page = render_report(trained)
    return trained, page, time.monotonic() - began


def _written(trained: Trained, page: str, out: Path, report: Path) -> dict[str, object]:
    """Write bundle and report. Returns: the summary, as far as it is known. Raises: DataError."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(trained.data)
        report.write_text(page, encoding="utf-8")
    except OSError as error:
        raise DataError(f"{out}: cannot be written: {error}") from error
    auc, manifest = trained.evaluation.auc, trained.bundle.manifest
    return {
        "bundle": str(out),
        "report": str(report),
        "slot": manifest.slot,
        "version": manifest.version,
        "sha256": trained.bundle.sha256,
        "bundle_bytes": len(trained.data),
        "network_bytes": len(trained.bundle.model),
        "quantised": trained.quantised.rung,
        "auc": {"float": auc.real, "int8": auc.int8, "baseline": auc.baseline},
        "baseline": trained.evaluation.baseline_name,
        "faults": trained.evaluation.faults,
        "false_alarms": trained.evaluation.false_alarms,
        "window_us": round(trained.replay.window_us, 1),
        "gates_failed": trained.gates,
    }


def _tested(
    trained: Trained, settled: Settled | None, given: Given, healthy: list[str], faulty: list[str], tell: ProgressFile
) -> HeldOutTest:
    from cloud_hub.evaluate.held_out import run_held_out

    if settled is None:
        raise DataError("--test-healthy, --test-faulty: score clips by `evaluate bundle --clips`")
    tell("testing on what was held out", 1.0)
    return run_held_out(trained.bundle, settled, given, healthy, faulty)


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

"""`make bench-detection`: trains a bundle per case, measures every contender in a process of its own, prints one table.

Runs in the project's environment; the contenders run in the one that `--python` names, where PyOD and River are.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.benchmarks.detection.cases import Case, cases

CONTENDERS = {
    "bundle": "this bundle, int8",
    "IForest": "PyOD isolation forest",
    "ECOD": "PyOD ECOD",
    "KNN": "PyOD k nearest neighbours",
    "HalfSpaceTrees": "River half-space trees",
}
ROOT = Path(__file__).parents[3]


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(prog="make bench-detection", description=__doc__)
    parser.add_argument("--python", default=".venv-bench/bin/python", help="interpreter that has PyOD and River")
    parser.add_argument("--data", default=os.environ.get("MILLWRIGHT_DATA", ""), help="folder with cwru, skab, femto")
    parser.add_argument("--json", help="also write the figures to this file")
    given = parser.parse_args()
    makers = cases(Path(given.data)) if given.data else {}
    if not makers:
        parser.error("no recordings: set MILLWRIGHT_DATA to a folder that has cwru, skab or femto in it (see README)")
    console = Console(width=130)
    figures: dict[str, dict[str, dict[str, object]]] = {}
    for name, make in track(makers.items(), description="data sets", console=Console(stderr=True)):
        for case in make():
            figures[case.name] = measure(case, given.python)
            show(console, case, figures[case.name])
        console.print(f"[dim]{name} done[/]")
    console.print(f"{platform.machine()}, Python {platform.python_version()}, one thread; scoring without features")
    if given.json:
        Path(given.json).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def measure(case: Case, python: str) -> dict[str, dict[str, object]]:
    """All contenders on a case."""
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        case.save(Path(folder))
        for name in CONTENDERS:
            if name != "bundle":
                _run(python, "fit", name, folder)
            figures[name] = json.loads(_run(python, "score", name, folder))
    return figures


def _run(python: str, *arguments: str) -> str:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    command = [python, "-m", "tests.benchmarks.detection.contender", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=os.environ | threads)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def show(console: Console, case: Case, figures: dict[str, dict[str, object]]) -> None:
    """One case's table."""
    prepared = case.trained.prepared
    table = Table(
        "", "AUC, mean", "AUC, worst", "us, one by one", "us, batches of 64", "memory, MB", "model, KB",
        title=f"{case.name}: {len(prepared.z_train)} healthy windows to learn from, {len(case.healthy)} healthy and "
        f"{sum(map(len, case.faulty.values()))} faulty to tell apart, {prepared.z_train.shape[1]} features",
        title_justify="left", box=None,
    )  # fmt: skip
    for column in table.columns[1:]:
        column.justify = "right"
    ours = figures["bundle"]
    for name, title in CONTENDERS.items():
        row = figures[name]
        aucs = list(row["auc"].values())
        table.add_row(
            title,
            f"{sum(aucs) / len(aucs):.4f}",
            f"{min(aucs):.4f}",
            *(_with_ratio(row[key], ours[key], 1.0) for key in ("us_1", "us_64")),
            _with_ratio(row["grown_kb"], ours["grown_kb"], 1024.0),
            f"{row['model_bytes'] / 1024:,.0f}",
        )
    console.print(table)


def _with_ratio(value: float, ours: float, unit: float) -> str:
    ratio = value / ours
    return f"{value / unit:,.1f}" + ("" if value == ours else f" ({ratio:,.1f} x)")


if __name__ == "__main__":
    main()

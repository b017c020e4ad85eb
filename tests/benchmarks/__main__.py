"""`make bench`: makes a bundle, then measures the agent in a process of its own, and prints what the README shows."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

RATE_HZ = 8192.0
SECONDS = 60


def main() -> None:
    """Run everything."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = _make_bundle(folder)
        command = [sys.executable, "-m", "tests.benchmarks.agent_pipeline", str(bundle)]
        figures = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    _show(figures)


def _make_bundle(folder: Path) -> Path:
    """A bundle trained on a simulated motor, with the commands that users have."""
    frames, data, out = folder / "bench.mwrec", folder / "bench.npz", folder / "bench.mwb"
    _run("firmware_sim", "run", "motor", "--speed", "0", "--seconds", str(SECONDS), "--out", str(frames))
    _frames_to_npz(frames, data)
    _run("cloud_hub", "train", "--data", str(data), "--out", str(out), "--accept", "made to be timed")
    return out


def _frames_to_npz(frames: Path, out: Path) -> None:
    from models.contract.frames import decode_frame
    from models.contract.recording import read_records

    with frames.open("rb") as file:
        samples = np.concatenate([decode_frame(payload).samples for _, payload in read_records(file, "bench")])
    np.savez(out, data=samples, rate_hz=RATE_HZ, axes=["radial", "axial"], units="m/s2")


def _run(module: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", module, *arguments], check=True, capture_output=True)


def _show(figures: dict[str, float]) -> None:
    table = Table(
        "windows a second, one thread", "one at a time", "in batches of 64", title="Agent against the bare loop",
        title_justify="left", box=None,
    )  # fmt: skip
    rows = [
        ("bare loop, same features: numpy + LiteRT", "bare_1", "bare_64"),
        ("agent's watch: features, network, calibration, n-of-m, alarms", "watch_1", "watch_64"),
        ("agent from the frame (4 a tick): decode, order, ring, watch, trends", "frames_1", "frames_64"),
    ]
    for title, one, many in rows:
        table.add_row(title, *(_with_ratio(figures, key, base) for key, base in ((one, "bare_1"), (many, "bare_64"))))
    console = Console(width=130)
    console.print(table)
    console.print(
        f"window: {figures['window']:.0f} samples on {figures['axes']:.0f} axes, {figures['features']:.0f} features, "
        f"hop {figures['hop']:.0f}; {platform.machine()}, {platform.python_version()}"
    )
    console.print(
        f"resident memory: {figures['rss_mb']:.1f} MB (PSS {figures['pss_mb']:.1f} MB) with the agent's modules, "
        f"LiteRT and one bundle watching {figures['points']:.0f} points"
    )


def _with_ratio(figures: dict[str, float], key: str, base: str) -> str:
    ratio = figures[key] / figures[base]
    return f"{figures[key]:>8,.0f}" + ("" if key == base else f"  ({ratio:.2f} x)")


if __name__ == "__main__":
    main()

"""Real bearings through training and the gateway's code: faults that the network was never shown."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.data]
OPTIONS = ["--axes", "DE,FE", "--column-points", "--units", "g"]


def hub(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cloud_hub", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_fault_is_alarmed_and_nothing_healthy(tmp_path: Path, data_dir: Path) -> None:
    healthy = data_dir / "cwru" / "load0_normal_48k_part1.npz"
    faulty = sorted((data_dir / "cwru").glob("load0_DE48k_*.npz"))
    bundle, summary, table = tmp_path / "b.mwb", tmp_path / "s.json", tmp_path / "t.json"
    faults = [f"--faulty={path}" for path in faulty]
    done = hub("train", "--data", f"{healthy}@0.0-0.6", *OPTIONS, *faults, "--out", str(bundle), "--json", str(summary))
    assert done.returncode == 0, done.stderr
    auc = json.loads(summary.read_text())["auc"]
    assert auc["float"] - auc["int8"] <= 0.005
    done = hub(
        "evaluate", "recordings", "--model", str(bundle), "--calibrate", f"{healthy}@0.0-0.6", "--healthy",
        f"{healthy}@0.6-1.0", *faults, *OPTIONS, "--json", str(table),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(table.read_text())
    assert result["false_alarms"] == 0
    assert result["alarmed"] == result["faulty"] == 18  # nine recordings, two sensors
    assert result["auc_int8"] >= result["auc_baseline"]


def test_recordings_at_another_rate_are_refused_with_the_reason(tmp_path: Path, data_dir: Path) -> None:
    slow = data_dir / "cwru" / "load0_DE12k_IR_07mil.npz"
    fast = data_dir / "cwru" / "load0_normal_48k_part1.npz"
    done = hub("train", "--data", str(fast), "--data", str(slow), *OPTIONS, "--out", str(tmp_path / "b.mwb"))
    assert done.returncode == 1
    assert "sampled at 12000 Hz, but" in done.stderr
    assert not (tmp_path / "b.mwb").exists()


def test_slow_process_data_as_it_comes(tmp_path: Path, data_dir: Path) -> None:
    source = data_dir / "skab" / "anomaly-free" / "anomaly-free.csv"
    done = hub(
        "train", "--family", "process", "--slot", "process", "--data", str(source), "--units", "mixed", "--out",
        str(tmp_path / "b.mwb"), "--accept", "drifts on beyond its first quarter", "--json", str(tmp_path / "s.json"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "s.json").read_text())
    assert summary["auc"]["float"] - summary["auc"]["int8"] <= 0.005
    assert summary["auc"]["int8"] > summary["auc"]["baseline"]
    assert np.isfinite(summary["auc"]["float"])

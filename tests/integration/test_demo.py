"""`make demo` in both forms, as its users run it, on both embedded brokers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.broker, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]


def demo(tmp_path: Path, *arguments: str, broker: str = "auto") -> dict[str, object]:
    out = tmp_path / "summary.json"
    command = [sys.executable, "-m", "demo", "--exit", "--json", str(out), "--folder", str(tmp_path / "demo")]
    environment = {**os.environ, "MILLWRIGHT_BROKER_KIND": broker}
    done = subprocess.run(
        [*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    (tmp_path / "said").write_text(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    summary: dict[str, object] = json.loads(out.read_text())
    assert summary["ok"]
    assert summary["forged_refused"] is True
    # Whichever of the two forged messages is judged first.
    assert str(summary["forged_reason"]).split(":")[0] in {"metadata_signature", "want_signature"}
    assert summary["false_alarms"] == 0
    auc = summary["auc"]
    assert isinstance(auc, dict)
    assert auc["float"] - auc["int8"] <= 0.005
    assert auc["int8"] > auc["baseline"] - 1e-9
    for log in (tmp_path / "demo").glob("*.log"):
        assert "Traceback" not in log.read_text(errors="replace"), log
    return summary


def test_on_simulated_machines_without_anything_installed(tmp_path: Path) -> None:
    summary = demo(tmp_path, broker="amqtt")
    alarm = summary["alarm"]
    assert isinstance(alarm, dict)
    assert (alarm["machine"], alarm["point"], alarm["fault"]) == ("P-101", "drive-end", "BPFO")
    assert alarm["score"] > 1
    assert summary["page"] == f"/alarms/{alarm['id']}"
    spectrum = summary["spectrum"]  # what that page shows
    assert isinstance(spectrum, dict)
    assert spectrum["fault"] == "BPFO"
    assert len(spectrum["found_hz"]) >= 1
    assert "broker amqtt on" in (tmp_path / "said").read_text()


@pytest.mark.data
def test_on_real_recordings(tmp_path: Path, data_dir: Path) -> None:
    summary = demo(tmp_path, "--data", str(data_dir))
    rows = summary["recordings"]
    assert isinstance(rows, list)
    faulty = [row for row in rows if row["faulty"]]
    healthy = [row for row in rows if not row["faulty"]]
    assert len(faulty) == 9
    assert all(row["first_alarm_s"] is not None for row in faulty)
    assert all(row["alarms"] == 0 for row in healthy)
    assert all(row["windows"] > 50 for row in rows)
    for row in rows:
        assert {"name", "windows", "flagged_share", "first_alarm_s", "rms_flagged_share"} <= row.keys()

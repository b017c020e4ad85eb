"""`cloud-hub list` and `cloud-hub captures`, without a running hub."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cloud_hub.cli import build_app
from cloud_hub.delivery.registry import WantRecord
from cloud_hub.errors import NotFoundError, SettingsError
from cloud_hub.ingest.assemble import assemble_capture
from cloud_hub.settings import load_settings
from cloud_hub.store.database import open_database
from cloud_hub.store.registry import SqlRegistry
from cloud_hub.store.writer import Received, Writer
from tests.cloud_hub.test_api import BUNDLE
from tests.simulators.hub import SHA, ack, chunks, diagnosis, event, state


@pytest.fixture
def home(tmp_path: Path) -> Path:
    settings = load_settings(tmp_path)
    with open_database(settings) as database:
        registry = SqlRegistry(database)
        registry.add_bundle(BUNDLE)
        registry.add_want(WantRecord("gw-1", 3, 1000.0, 2000.0, (("pump-vibration", SHA),)))
        hostile = event(2, alarm="a2", diagnosis=diagnosis("[/nonsense] \x1b[2J [red]loud"))
        messages = [state(), event(1), hostile, ack(3, "refused", reason="digest"), *chunks()]
        Writer(database, lambda: 1000.0).store([Received(m) for m in messages])
        assemble_capture(database, "cap-1", settings.captures_dir, 1000.0)
    return tmp_path


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(build_app(), [str(a) for a in arguments], catch_exceptions=True)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize(
    ("what", "shown", "key", "value"),
    [
        ("bundles", "280,123", "version", "1"),
        ("gateways", "litert", "id", "gw-1"),
        ("machines", "P-101", "open_alarms", 2),
        ("points", "pump-vibration", "point", "de"),
        ("alarms", "[/nonsense]", "id", "gw-1.a2"),
        ("wants", "refused pump-vibration: digest", "seq", 3),
    ],
)
def test_lists_as_table_and_as_json(home: Path, what: str, shown: str, key: str, value: object) -> None:
    file = home / "out.json"
    output = run("list", what, "--home", home, "--json", file)
    assert shown in output
    assert "\x1b[2J" not in output
    assert json.loads(file.read_text())[0][key] == value


def test_filters_and_limits(home: Path) -> None:
    file = home / "out.json"
    run("list", "alarms", "--home", home, "--json", file, "--machine", "F-1")
    assert json.loads(file.read_text()) == []
    run("list", "alarms", "--home", home, "--json", file, "--open", "--limit", "1")
    assert [a["alarm"] for a in json.loads(file.read_text())] == ["a2"]


def test_captures(home: Path) -> None:
    assert "P-101/de" in run("captures", "list", "--home", home)
    out = home / "exported.npz"
    assert "300 samples of x, y at 12000 Hz" in run("captures", "export", "cap-1", "--out", out, "--home", home)
    assert out.read_bytes() == (home / "captures" / "cap-1.npz").read_bytes()
    with pytest.raises(NotFoundError, match="capture 'none': no chunk of it has come"):
        run("captures", "export", "none", "--out", out, "--home", home)


def test_a_home_without_a_hub(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no hub here yet \(hub.sqlite3 is missing\)"):
        run("list", "alarms", "--home", tmp_path)
    command = [sys.executable, "-m", "cloud_hub", "list", "alarms", "--home", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 3
    assert ended.stderr.startswith("cloud-hub: ")
    assert list(tmp_path.iterdir()) == []

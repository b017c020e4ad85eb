"""Whole lives: reading them, and the family that is trained on them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from cloud_hub.cli.train import train
from cloud_hub.data.lives import picked, read_lives, read_remaining
from cloud_hub.errors import DataError
from cloud_hub.evaluate.cmapss import evaluate_cmapss, phm08
from cloud_hub.evaluate.intervals import Known, interval_of
from cloud_hub.runtime import Int8Model
from cloud_hub.training.budget import Memory
from cloud_hub.training.remaining_life import LifeEvaluation, life_gates
from models.bundle.archive import read_bundle
from models.bundle.replay import replay_golden
from models.signal.monitor import Monitor
from models.signal.windows import cut_windows
from tests.simulators.lives import lives_of, write_lives

CSV = "unit,cycle,a,b\n1,1,0.5,2\n1,2,0.6,2\n2,1,0.4,3\n"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "lives.csv"
    path.write_text(text)
    return path


def test_a_csv_of_lives(tmp_path: Path) -> None:
    lives = read_lives(written(tmp_path, CSV))
    assert lives.sensors == ("a", "b")
    np.testing.assert_allclose(lives.units[1], [[0.5, 2], [0.6, 2]])
    np.testing.assert_allclose(lives.units[2], [[0.4, 3]])


def test_the_text_of_cmapss(tmp_path: Path) -> None:
    rows = [[1, cycle, 0.1, 0.2, 100, *range(1, 22)] for cycle in (1, 2)]
    lives = read_lives(written(tmp_path, "\n".join(" ".join(map(str, row)) + "  " for row in rows) + "\n"))
    assert lives.sensors[:4] == ("setting_1", "setting_2", "setting_3", "s1")
    assert lives.units[1].shape == (2, 24)
    assert lives.units[1][0, -1] == 21


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unit,a\n1,2\n", "columns unit and cycle, cycle missing"),
        ("unit,cycle,a\n1,1,x\n", "expected numbers"),
        ("1 2 3\n", "expected 26 columns"),
        ("unit,cycle,a\n1,1,2\n1,3,2\n", "unit 1: cycle 1 is followed by 3"),
        ("unit,cycle,a\n1,1,nan\n", "row 1: a value is not finite"),
    ],
)
def test_lives_that_cannot_be_read(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        read_lives(written(tmp_path, text))


def test_remaining_cycles_of_another_number_of_units(tmp_path: Path) -> None:
    path = written(tmp_path, "5\n6\n")
    assert read_remaining(path, 2).tolist() == [5, 6]
    with pytest.raises(DataError, match=r"each of 3 units, got shape \(2,\)"):
        read_remaining(path, 3)


def test_a_folder_without_the_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train_FD001\.txt, test_FD001\.txt, RUL_FD001\.txt missing"):
        evaluate_cmapss(tmp_path)


def test_the_score_of_phm08() -> None:
    true = np.array([50.0, 50.0, 50.0])
    assert phm08(true, true) == 0
    np.testing.assert_allclose(phm08(true + np.array([10, -13, 0]), true), 2 * (np.e - 1))


def test_an_interval_covers_as_often_as_said() -> None:
    rng = np.random.default_rng(0)
    levels = np.sort(rng.uniform(0, 130, 2000))
    noise = rng.standard_normal(2000) * (1 + levels / 10)
    new = rng.uniform(0, 130, 2000)
    truth = new + rng.standard_normal(2000) * (1 + new / 10)
    low, high = interval_of(new, Known(levels, noise, rng.integers(0, 100, 2000)), 0.8)
    assert abs(np.mean((low <= truth) & (truth <= high)) - 0.8) < 0.05
    early = new < 30
    assert np.mean((high - low)[early]) < 0.5 * np.mean((high - low)[new > 90])


def test_a_unit_counts_once_however_long_it_ran() -> None:
    residuals = np.concatenate([np.full(80, 30.0), np.linspace(-5, 5, 20)])
    owners = np.concatenate([np.zeros(80, np.int64), np.arange(1, 21)])
    low, high = interval_of(np.array([50.0]), Known(np.full(100, 50.0), residuals, owners), 0.8)
    assert 44 < low[0] < 48
    assert 52 < high[0] < 56


def test_known_predictions_that_do_not_go_together() -> None:
    with pytest.raises(DataError, match=r"of one shape \(k,\), got \(2,\), \(1,\), \(2,\)"):
        Known(np.zeros(2), np.zeros(1), np.zeros(2, np.int64))
    with pytest.raises(DataError, match="in rising order"):
        Known(np.array([2.0, 1.0]), np.zeros(2), np.zeros(2, np.int64))


def test_sensors_are_picked_by_name(tmp_path: Path) -> None:
    lives = read_lives(written(tmp_path, CSV))
    assert picked(lives, ("b",)).units[1].tolist() == [[2], [2]]
    with pytest.raises(DataError, match="no column c; it has a, b"):
        picked(lives, ("c",))


@pytest.mark.data
@pytest.mark.slow
def test_cmapss_beats_ridge_and_the_published_lstm(data_dir: Path) -> None:
    result = evaluate_cmapss(data_dir)
    assert result.rmse < 14.6
    assert result.rmse < result.ridge < result.constant
    assert abs(result.rmse - result.rmse_float) < 0.5
    assert 0.7 <= result.coverage_capped <= 0.9
    assert result.network_bytes < 150_000


def test_flags_of_healthy_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--faulty, --rate: not for --family remaining_life"):
        train(
            data=[str(written(tmp_path, CSV))], out=tmp_path / "a.mwb", family="remaining_life", faulty=["b"], rate=2.0
        )


def test_too_few_lives_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected at least 12 units run to failure, got 2"):
        train(data=[str(written(tmp_path, CSV))], out=tmp_path / "a.mwb", family="remaining_life")


def test_gates_hold_a_network_against_baselines_and_budget() -> None:
    good = LifeEvaluation(
        cap=130,
        units=12,
        windows=99,
        rmse_unseen=10,
        rmse_unseen_ridge=12,
        rmse_unseen_constant=40,
        rmse_int8_loss=0.1,
        rung="int8",
        memory=Memory(network_kb=100, budget_kb=4096),
        predicted=[],
        residuals=[],
        owners=[],
    )
    assert life_gates(good) == []
    bad = replace(good, rmse_unseen=50, rmse_int8_loss=1, memory=Memory(network_kb=5000, budget_kb=4096))
    texts = life_gates(bad)
    for text in ("int8 loses 1.00", "ridge regression, 12.00", "a constant, 40.00", "5000 KB of memory, its budget is"):
        assert any(text in one for one in texts), text
    assert len(texts) == 4


@pytest.mark.slow
def test_lives_to_bundle_and_report_by_the_command(tmp_path: Path) -> None:
    source, out = tmp_path / "lives.csv", tmp_path / "l.mwb"
    write_lives(source)
    train(
        data=[str(source)],
        out=out,
        family="remaining_life",
        axes="vibration,flow,noise",
        version="1",
        json_file=tmp_path / "l.json",
    )
    bundle = read_bundle(out.read_bytes(), "l")
    assert bundle.manifest.input.axes == ["vibration", "flow"]
    said = json.loads((tmp_path / "l.json").read_text())
    assert said["rmse_unseen"]["network"] < said["rmse_unseen"]["ridge"] < said["rmse_unseen"]["constant"]
    assert said["gates_failed"] == []
    page = (tmp_path / "l.html").read_text()
    assert "Passed every gate" in page
    assert "<svg" in page
    network = Int8Model(bundle.model).network()
    replay_golden(bundle, network)
    # A new unit, watched from its 100th cycle to its end: the alarm comes, and near the horizon.
    rows = lives_of(1, 7)[1][:, :2]
    monitor = Monitor(bundle.manifest, network, ["pump"])
    windows = np.ascontiguousarray(cut_windows(rows, bundle.manifest.input.window, 1))
    results = monitor.process(windows, [0] * len(windows))
    raised = [len(windows) - 1 - i for i, result in enumerate(results) if result.change == "raised"]
    assert raised
    assert 10 <= raised[-1] <= 50

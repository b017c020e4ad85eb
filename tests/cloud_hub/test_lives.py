"""Whole lives: reading them, and the family that is trained on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cloud_hub.data.lives import read_lives, read_remaining
from cloud_hub.errors import DataError
from cloud_hub.evaluate.cmapss import evaluate_cmapss, interval_of, phm08

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
    low, high = interval_of(new, (levels, noise), 0.8)
    assert abs(np.mean((low <= truth) & (truth <= high)) - 0.8) < 0.05
    early = new < 30
    assert np.mean((high - low)[early]) < 0.5 * np.mean((high - low)[new > 90])


@pytest.mark.data
@pytest.mark.slow
def test_cmapss_beats_ridge_and_the_published_lstm(data_dir: Path) -> None:
    result = evaluate_cmapss(data_dir)
    assert result.rmse < 14.6
    assert result.rmse < result.ridge < result.constant
    assert abs(result.rmse - result.rmse_float) < 0.5
    assert 0.7 <= result.coverage_capped <= 0.9
    assert result.network_bytes < 100_000


def test_the_train_command_says_that_it_does_not_read_lives(tmp_path: Path) -> None:
    from cloud_hub.cli.train import train

    with pytest.raises(DataError, match="learns from whole lives, run to failure"):
        train(data=[str(written(tmp_path, CSV))], out=tmp_path / "a.mwb", family="remaining_life")

"""How the outlook is judged: histories whose truth is known, and answers that are made to be right or wrong."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cloud_hub.errors import DataError
from cloud_hub.evaluate import outlook as judged
from cloud_hub.evaluate.made_histories import MADE, make_histories
from cloud_hub.evaluate.outlook import crossing, evaluate_outlook, replay, turbofans
from models.signal import trend
from models.signal.trend import Outlook

STEPS = np.arange(101, dtype=np.float64)


def answered(monkeypatch: pytest.MonkeyPatch, answer: Outlook, end: int | None) -> judged.OutlookRow:
    """A history of 101 scores, one a second, that reaches its limit at `end`, and the same answer at every ask."""
    monkeypatch.setattr(judged, "outlook", lambda *_args, **_options: answer)
    return replay("one", [(STEPS, np.ones(101), end)])


def test_an_interval_that_holds_the_truth_is_inside_and_one_beside_it_early_or_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def rising(low: float, high: float | None) -> Outlook:
        return Outlook("rising", 0.8, remaining_s=low, low_s=low, high_s=high)

    row = answered(monkeypatch, rising(0.0, 200.0), 100)
    assert (row.asks, row.rising, row.judged, row.inside, row.coverage) == (12, 12, 12, 12, 1.0)
    row = answered(monkeypatch, rising(150.0, 200.0), 100)
    assert (row.inside, row.early, row.late) == (0, 12, 0)
    row = answered(monkeypatch, rising(0.0, 0.5), 100)
    assert (row.inside, row.early, row.late) == (0, 0, 12)
    row = answered(monkeypatch, rising(0.0, None), 100)
    assert (row.inside, row.open, row.width) == (12, 12, None)


def test_of_a_history_that_never_reaches_its_limit_only_intervals_that_ended_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended = answered(monkeypatch, Outlook("rising", 0.8, low_s=0.1, high_s=0.5), None)
    assert (ended.judged, ended.inside, ended.late, ended.false_rises) == (12, 0, 12, 12)
    open_end = answered(monkeypatch, Outlook("rising", 0.8, low_s=0.1, high_s=1000.0), None)
    assert (open_end.judged, open_end.late, open_end.false_rises) == (0, 0, 12)
    assert open_end.coverage is None


def test_none_in_sight_is_wrong_when_the_limit_comes_within_the_age_of_the_history(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = answered(monkeypatch, Outlook("no_trend", 0.8), 100)
    assert row.none_in_sight == 12
    ages = np.unique(np.linspace(12, 100, 13)[:-1].astype(int)) - 1
    assert row.wrong_none == int((100 - ages <= ages).sum())


def test_a_limit_is_reached_when_the_scores_stay_over_it() -> None:
    assert crossing(np.array([0.5, 2.0, 0.5, 0.5, 0.5, 0.5, 0.5])) is None
    assert crossing(np.array([0.5, 0.5, 2.0, 0.5, 2.0, 2.0, 0.5, 0.5])) == 2
    assert crossing(np.full(3, 2.0)) is None


@pytest.mark.parametrize("kind", MADE)
def test_made_histories_are_the_same_again_and_tell_when_they_cross(kind: str) -> None:
    first, second = make_histories(kind, 3, 5), make_histories(kind, 3, 5)
    for (seen, end), (again, same) in zip(first, second, strict=True):
        np.testing.assert_array_equal(seen, again)
        assert end == same
        assert (seen > 0).all()
        if end is not None:
            assert np.log(np.median(seen[max(0, end - 10) : end + 10])) == pytest.approx(0.0, abs=0.6)
    assert not np.array_equal(first[0][0], make_histories(kind, 1, 6)[0][0])


@pytest.mark.slow
def test_intervals_hold_more_often_than_with_a_drift_that_never_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    def coverage() -> float:
        rows = [
            replay(kind, [(60.0 * np.arange(len(seen)), seen, end) for seen, end in make_histories(kind, 6, 4)])
            for kind in ("drift and walk", "drift and wander", "bend", "pieces")
        ]
        total = sum(row.judged for row in rows)
        assert total >= 40
        return sum(row.inside for row in rows) / total

    now = coverage()
    monkeypatch.setattr(trend, "_CHANGE", 0.0)
    assert now >= 0.6
    assert now >= coverage() + 0.08


def test_what_cannot_be_judged(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected femto/\*.npz or cmapss/train_FD001.txt in it, found neither"):
        evaluate_outlook(tmp_path)
    units = tmp_path / "train.txt"
    units.write_text("".join(f"{unit} {cycle} " + "0 " * 24 + "\n" for unit in (1, 2) for cycle in range(1, 61)))
    with pytest.raises(DataError, match="expected at least 9 units of 55 cycles, got 2"):
        turbofans(units)


@pytest.mark.data
@pytest.mark.slow
def test_the_command_replays_what_the_folder_holds(data_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "outlook.json"
    command = ["evaluate", "outlook", "--data", str(data_dir), "--made", "1", "--json", str(out)]
    done = subprocess.run([sys.executable, "-m", "cloud_hub", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "turbofan units" in done.stdout
    told = json.loads(out.read_text())
    assert told["nominal"] == 0.8
    assert {row["name"] for row in told["rows"]} >= {"steady", "bearing Bearing1_2", "turbofan units"}
    for row in told["rows"]:
        assert row["asks"] == row["too_short"] + row["none_in_sight"] + row["reached"] + row["rising"]
        assert row["judged"] == row["inside"] + row["early"] + row["late"]

"""Published tasks on real recordings: the scorers give the published figures, and bundles keep what they reached."""

import csv
from pathlib import Path

import numpy as np
import pytest

from cloud_hub.errors import DataError
from cloud_hub.evaluate.femto import evaluate_femto
from cloud_hub.evaluate.nab import evaluate_nab, read_series
from cloud_hub.evaluate.skab import evaluate_skab, published, read_experiment, run_experiment

PUBLISHED = {  # F1, FAR %, MAR % as the SKAB benchmark prints them
    "Conv_AE": (0.78, 13.55, 28.02),
    "MSET": (0.78, 39.73, 14.13),
    "T2-q": (0.76, 26.62, 24.92),
    "LSTM_AE": (0.74, 29.96, 25.92),
    "T2": (0.66, 19.21, 42.60),
    "Vanilla_AE": (0.39, 2.59, 75.15),
    "Isolation_Forest": (0.29, 2.56, 82.89),
}


@pytest.mark.data
def test_the_scorer_gives_the_published_figures_to_the_digit(data_dir: Path) -> None:
    rows = {row.name: row for row in published(data_dir / "skab" / "published_predictions_test_part.csv")}
    got = {name: (round(rows[name].f1, 2), round(rows[name].far, 2), round(rows[name].mar, 2)) for name in PUBLISHED}
    assert got == PUBLISHED


@pytest.mark.data
@pytest.mark.slow
def test_skab_stays_where_it_is(data_dir: Path) -> None:
    ours = evaluate_skab(data_dir, lambda _what, _share: None).ours
    assert ours.f1 > 0.77
    assert ours.far < 12.5
    assert ours.auc_pooled > 0.85
    assert ours.model_bytes < 10_000
    low, high = ours.interval.f1
    assert low < ours.f1 < high


@pytest.mark.data
@pytest.mark.slow
def test_labels_and_later_rows_change_nothing_before_them(data_dir: Path) -> None:
    """What is said of a row depends on no label, no later row and no length of the file."""
    from dataclasses import replace

    experiment = read_experiment(data_dir / "skab" / "valve1" / "3.csv")
    said, score, _ = run_experiment(experiment)
    shorter = replace(
        experiment, samples=experiment.samples[:800], anomaly=~experiment.anomaly[:800], stretches=[(0, 800)]
    )
    said_before, score_before, _ = run_experiment(shorter)
    np.testing.assert_array_equal(said[:400], said_before)
    np.testing.assert_allclose(score[:400], score_before, rtol=1e-6)


@pytest.mark.data
@pytest.mark.slow
def test_nab_finds_three_windows_of_four(data_dir: Path) -> None:
    result = evaluate_nab(data_dir)
    assert result.found >= 3
    assert result.alarmed_share < 0.03
    assert (result.reordered, result.repeated) == (1, 12)


@pytest.mark.data
@pytest.mark.slow
def test_bearings_are_told_before_plain_rms_and_not_in_the_first_third(data_dir: Path) -> None:
    rows = {row.name: row for row in evaluate_femto(data_dir).bearings}
    for row in rows.values():
        assert row.before_end_s is not None
        assert row.rms.before_end_s is not None
        assert row.before_end_s > row.rms.before_end_s
        assert row.alarms_in_first_third == 0


def test_stamps_out_of_order_and_repeated_are_mended(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    minutes = [*range(1000), 995, 996, *range(1000, 1600)]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["timestamp", "value"])
        for i, minute in enumerate(minutes):
            writer.writerow(
                [str(np.datetime64("2030-01-01T00:00:00") + np.timedelta64(minute, "m")).replace("T", " "), i]
            )
    stamps, values, reordered, repeated = read_series(path)
    assert (reordered, repeated) == (1, 2)
    assert len(stamps) == 1600
    assert (np.diff(stamps) == 60).all()
    assert values[995] == 995


@pytest.mark.parametrize(
    ("evaluate", "text"),
    [
        (lambda folder: evaluate_skab(folder, lambda _w, _s: None), "expected folders valve1, valve2, other"),
        (evaluate_nab, "no such file; it is part of the Numenta Anomaly Benchmark"),
        (evaluate_femto, "no .npz files; expected the PRONOSTIA data"),
    ],
)
def test_a_folder_without_the_data_is_told(evaluate: object, text: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=text):
        evaluate(tmp_path)

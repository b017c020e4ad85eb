"""Any folder named and laid out like the CWRU recordings is read; what is not is refused with the reason."""

from pathlib import Path

import numpy as np
import pytest

from cloud_hub.errors import DataError
from cloud_hub.evaluate.cwru import ORDERS, RATE_HZ, _file, _n_of_m, evaluate_cwru
from models.signal.arrays import F64


def write(folder: Path, name: str, rate_hz: float, samples: F64, **extra: float) -> Path:
    path = folder / name
    np.savez(path, DE=samples, FE=samples, fs_hz=rate_hz, rpm_nominal=1750.0, load_hp=2.0, **extra)
    return path


@pytest.mark.parametrize(
    ("name", "end", "kind", "khz"),
    [
        ("load3_FE12k_OR12_28mil.npz", "FE", "OR12", 12),
        ("load2_DE48k_OR3_07mil.npz", "DE", "OR3", 48),
        ("load0_FE48k_B_21mil.npz", "FE", "B", 48),
        ("load1_normal_48k.npz", None, None, 0),
        ("load1_normal_48k_part2.npz", None, None, 0),
    ],
)
def test_names_tell_end_kind_and_rate(tmp_path: Path, name: str, end: str, kind: str, khz: int) -> None:
    file = _file(write(tmp_path, name, 12_000.0, np.random.default_rng(0).standard_normal(3000)))
    assert (file.end, file.kind, file.khz) == (end, kind, khz)
    assert file.shaft_hz == pytest.approx(1750 / 60)
    assert [p.point for p in file.points] == ["DE", "FE"]


def test_refusals_say_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no npz files here"):
        evaluate_cwru(tmp_path, None, 0, lambda _text, _share: None)
    write(tmp_path, "load1_DE12k_IR_07mil.npz", 12_000.0, np.zeros(3000))
    with pytest.raises(DataError, match=r"no healthy recordings \(load\*_normal_\*.npz\)"):
        evaluate_cwru(tmp_path, None, 0, lambda _text, _share: None)
    with pytest.raises(DataError, match="so that the label is known"):
        _file(write(tmp_path, "bearing7.npz", 12_000.0, np.zeros(3000)))


def test_n_of_m_counts_within_a_sliding_stretch() -> None:
    assert _n_of_m([True] * 6, 6, 8)
    assert not _n_of_m([True, False, False] * 10, 6, 8)


def test_bands_of_the_evaluation_stay_below_what_a_12_khz_recorder_shapes() -> None:
    assert 0.9 * RATE_HZ / 2 < 0.85 * 12_000 / 2
    assert set(ORDERS["DE"]) == set(ORDERS["FE"])


@pytest.mark.data
@pytest.mark.slow
def test_every_fault_is_alarmed_none_healthy(data_dir: Path) -> None:
    result = evaluate_cwru(data_dir, None, 0, lambda _text, _share: None)
    assert (result.alarmed, result.faulty, result.false_alarms) == (27, 27, 0)
    assert result.macro_auroc is not None
    assert result.macro_auroc >= 0.999
    assert result.fault_top1 is not None
    assert result.fault_top1 > 0.6
    assert result.fault_named_right >= 0.85 * result.fault_named

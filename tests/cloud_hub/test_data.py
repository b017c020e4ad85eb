"""Reading people's files: what is in them is used, what is wrong with them is said."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet
from scipy.io import wavfile

from cloud_hub.data.load import Options, load
from cloud_hub.data.recording import check_alike
from cloud_hub.errors import DataError

N = 500
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, 2)).astype(np.float32)
IN_G = Options(units="g", rate_hz=100.0)


def table(**extra: object) -> pa.Table:
    columns = {"time": np.arange(N) / 100.0, "ax": X[:, 0], "ay": X[:, 1]}
    return pa.table(columns | extra)


def write_csv(path: Path, made: pa.Table, delimiter: str = ",") -> str:
    csv.write_csv(made, path, csv.WriteOptions(delimiter=delimiter))
    return str(path)


def test_every_format_gives_the_same_samples(tmp_path: Path) -> None:
    files = [write_csv(tmp_path / "a.csv", table()), write_csv(tmp_path / "b.csv", table(), ";")]
    parquet.write_table(table(), tmp_path / "c.parquet")
    np.savez(tmp_path / "d.npz", ax=X[:, 0], ay=X[:, 1], fs_hz=100)
    np.savez(tmp_path / "e.npz", data=X, rate_hz=100.0, axes=["ax", "ay"], units="g", machine="M", point="p")
    files += [str(tmp_path / name) for name in ("c.parquet", "d.npz", "e.npz")]
    recordings = load(files, Options(units="g"))
    assert [r.name for r in recordings] == ["a.csv", "b.csv", "c.parquet", "d.npz", "e.npz"]
    for recording in recordings:
        np.testing.assert_allclose(recording.samples, X, rtol=1e-6)
        assert recording.rate_hz == pytest.approx(100.0)
        assert recording.axes == ("ax", "ay")
        assert recording.units == "g"
        assert len(recording.sha256) == 64
    assert recordings[4].point == "M-p"
    check_alike(recordings)


def test_wav_in_full_scale(tmp_path: Path) -> None:
    wavfile.write(tmp_path / "a.wav", 8000, (X * 3000).astype(np.int16))
    (recording,) = load([str(tmp_path / "a.wav")], Options(units="Pa"))
    assert recording.rate_hz == 8000.0
    np.testing.assert_allclose(recording.samples, (X * 3000).astype(np.int16) / 32767, atol=1e-6)


def test_parts_columns_and_folders(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", ax=X[:, 0], ay=X[:, 1], fs_hz=100)
    (part,) = load([f"{tmp_path / 'd.npz'}@0.5-1.0"], Options(("ay",), units="g"))
    np.testing.assert_array_equal(part.samples, X[N // 2 :, 1:])
    two = load([str(tmp_path)], Options(units="g", column_points=True))
    assert [(r.name, r.point, r.axes) for r in two] == [("d.npz:ax", "ax", ("x",)), ("d.npz:ay", "ay", ("x",))]


def test_time_stamps_as_dates_and_label_columns(tmp_path: Path) -> None:
    stamps = np.datetime64("2020-03-09T10:14:33") + np.arange(N).astype("timedelta64[s]")
    made = pa.table({"datetime": stamps, "Current": X[:, 0], "anomaly": np.zeros(N)})
    (recording,) = load([write_csv(tmp_path / "s.csv", made, ";")], Options(units="A"))
    assert recording.axes == ("Current",)
    assert recording.rate_hz == pytest.approx(1.0)


def test_time_out_of_order_is_mended_only_on_demand(tmp_path: Path) -> None:
    back = np.r_[np.arange(300), np.arange(288, 488)] / 100.0  # steps back by 12 samples, which come twice
    file = write_csv(tmp_path / "t.csv", table(time=back))
    with pytest.raises(DataError, match="column 'time' goes back in time at row 301"):
        load([file], Options(units="g"))
    (mended,) = load([file], Options(units="g", mend_time=True))
    assert mended.rate_hz == 100.0
    np.testing.assert_array_equal(mended.samples, np.r_[X[:300], X[312:]])  # of equal stamps the first row


def test_rows_in_any_order_are_sorted(tmp_path: Path) -> None:
    order = np.random.default_rng(1).permutation(N)
    file = write_csv(tmp_path / "t.csv", pa.table({"time": order / 100.0, "ax": X[order, 0]}))
    (mended,) = load([file], Options(units="g", mend_time=True))
    np.testing.assert_allclose(mended.samples[:, 0], X[:, 0], rtol=1e-6)


def test_holes_cut_a_file_into_recordings(tmp_path: Path) -> None:
    stamps = np.arange(N) / 100.0
    stamps[200:] += 1.0
    column = X[:, 0].astype(np.float64)
    column[[300, 301]] = np.nan
    file = write_csv(tmp_path / "h.csv", table(time=stamps, ax=column))
    parts = load([file], Options(units="g", cut_holes=True))
    assert [(r.name, r.point, len(r.samples)) for r in parts] == [
        ("h.csv[1/3]", "h", 200), ("h.csv[2/3]", "h", 100), ("h.csv[3/3]", "h", 198),
    ]  # fmt: skip
    np.testing.assert_array_equal(parts[2].samples, X[302:])
    (early,) = load([f"{file}@0.0-0.4"], Options(units="g", cut_holes=True))  # of the file, not of each piece
    np.testing.assert_array_equal(early.samples, X[:200])
    with pytest.raises(DataError, match="2 values are missing"):
        load([file], Options(units="g"))


def test_a_file_of_nothing_but_holes_is_refused(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "h.csv", table(ax=np.full(N, np.nan)))
    with pytest.raises(DataError, match="no row has a value in each of the columns ax, ay"):
        load([file], Options(units="g", cut_holes=True))


@pytest.mark.parametrize(
    ("head", "line"),
    [
        ("time;ax", "{0:.2f};{1:.4f}"),
        ("Zeit;ax;time", "x;{1:.4f};{0:.2f}"),
        ("time_ms\tax", "{2}\t{1:.4f}"),
        ("timestamp,ax", "{3},{1:.4f}"),
        ("date;time;ax", "2024-05-31;10:00:0{0:.2f};{1:.4f}"),
    ],
)
def test_the_ways_people_write_tables(tmp_path: Path, head: str, line: str) -> None:
    """Decimal commas, milliseconds, milliseconds since 1970, a day and a time of day: 100 Hz each time."""
    comma = ";" in head
    rows = [line.format(i / 100, X[i, 0], i * 10, 1_700_000_000_000 + i * 10) for i in range(N)]
    text = "\n".join([head, *(row.replace(".", ",") if comma and "date" not in head else row for row in rows)])
    (tmp_path / "w.csv").write_text(text)
    (recording,) = load([str(tmp_path / "w.csv")], Options(("ax",), units="g"))
    assert recording.rate_hz == pytest.approx(100.0)
    np.testing.assert_allclose(recording.samples[:, 0], X[:, 0], atol=6e-5)


def test_the_rate_of_stamps_that_are_rounded(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "r.csv", table(time=np.round(np.arange(N) / 400.0, 3)))  # steps of 2 and 3 ms
    assert load([file], Options(units="g"))[0].rate_hz == pytest.approx(400.0, rel=0.01)


def test_y_beside_x_is_a_direction_and_alone_a_label(tmp_path: Path) -> None:
    np.savez(tmp_path / "xyz.npz", x=X[:, 0], y=X[:, 1], fs=100)
    np.savez(tmp_path / "labelled.npz", ax=X[:, 0], y=np.zeros(N), fs=100)
    assert load([str(tmp_path / "xyz.npz")], Options(units="g"))[0].axes == ("x", "y")
    assert load([str(tmp_path / "labelled.npz")], Options(units="g"))[0].axes == ("ax",)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_encodings_of_spreadsheets(tmp_path: Path, encoding: str) -> None:
    rows = "\n".join(f"{i};{20 + i % 7}" for i in range(N))
    (tmp_path / "e.csv").write_bytes(f"time;Öl (°C)\n{rows}\n".encode(encoding))
    (recording,) = load([str(tmp_path / "e.csv")], Options(units="degC"))
    assert recording.axes == ("Öl (°C)",)
    assert len(recording.samples) == N


def test_a_table_without_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "n.csv").write_text("0.0,1.5\n0.1,1.6\n")
    with pytest.raises(DataError, match=r"n.csv: expected names of columns in the first line, got numbers: '0.0,1.5'"):
        load([str(tmp_path / "n.csv")], IN_G)


def with_hole() -> pa.Table:
    column = X[:, 0].astype(np.float64)
    column[41] = np.nan
    return table(ax=column)


@pytest.mark.parametrize(
    ("make", "options", "text"),
    [
        (table, Options(("az",), units="g"), r"x.csv: no column az; it has ax, ay"),
        (table, Options(), r"its unit is not in the file; give it with --units"),
        (table, Options(units="g", rate_hz=50.0), r"its sampling rate \(Hz\) is 100.0, but --rate says 50.0"),
        (with_hole, Options(units="g"), r"1 values are missing or not numbers, the first in row 42, column 'ax'"),
        (
            lambda: table(ax=pa.array(["broken"] * N)),
            Options(units="g"),
            r"column 'ax' should hold numbers, got string such as 'broken'",
        ),
        (
            lambda: table(time=np.r_[np.arange(N - 1) / 100.0, 0.0]),
            Options(units="g"),
            r"column 'time' goes back in time at row 500",
        ),
        (
            lambda: table(time=np.cumsum(np.where(np.arange(N) % 3 == 0, 0.05, 0.01))),
            Options(units="g"),
            r"33% of the steps are far from the median of 0.01 s \(mixed rates or many gaps\)",
        ),
        (lambda: table().slice(0, 0), IN_G, r"expected 1 to 200,000,000 samples, got 0"),
        (lambda: pa.table({"time": np.arange(N) / 100.0}), IN_G, r"no columns of numbers"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_table_is_said(tmp_path: Path, make: object, options: Options, text: str) -> None:
    with pytest.raises(DataError, match=text):
        load([write_csv(tmp_path / "x.csv", make())], options)


@pytest.mark.parametrize("name", ["x.csv", "x.parquet", "x.wav", "x.npz"])
def test_junk_is_an_error_with_the_files_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(bytes(RNG.integers(0, 256, 300, dtype=np.uint8)))
    with pytest.raises(DataError, match=name):
        load([str(tmp_path / name)], IN_G)


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", a=np.array([{"evil": 1}], dtype=object))
    with pytest.raises(DataError, match="not an npz file that can be read"):
        load([str(tmp_path / "p.npz")], IN_G)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("none.csv", "no such file"),
        ("{tmp}/d.npz@0.9-0.1", "expected 0 <= start < end <= 1"),
        ("{tmp}/d.npz@0.1-2", "expected 0 <= start < end <= 1"),
        ("{tmp}/d.xls", "expected one of .csv, .parquet, .wav, .npz"),
        ("{tmp}/empty", "no .csv, .parquet, .wav, .npz files in this folder"),
    ],
)
def test_what_is_wrong_with_a_name_is_said(tmp_path: Path, source: str, text: str) -> None:
    np.savez(tmp_path / "d.npz", ax=X[:, 0], fs_hz=100)
    (tmp_path / "d.xls").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=text):
        load([source.format(tmp=tmp_path)], IN_G)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"fs_hz": 200}, "sampled at 200 Hz, but a.npz at 100 Hz; a model that sees both learns the sampling rate"),
        ({"extra": X[:, 0]}, "axes ax, ay, extra, but a.npz has ax, ay"),
        ({"units": "m/s2"}, "in m/s2, but a.npz in g"),
    ],
)
def test_recordings_that_do_not_go_together_are_named(tmp_path: Path, change: dict[str, object], text: str) -> None:
    base = {"ax": X[:, 0], "ay": X[:, 1], "fs_hz": 100, "units": "g"}
    np.savez(tmp_path / "a.npz", **base)
    np.savez(tmp_path / "b.npz", **(base | change))
    with pytest.raises(DataError, match=text):
        check_alike(load([str(tmp_path / "a.npz"), str(tmp_path / "b.npz")], Options()))

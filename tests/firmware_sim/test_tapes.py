from __future__ import annotations

import struct
import wave
from pathlib import Path

import numpy as np
import pytest

from firmware_sim.errors import DataError
from firmware_sim.tapes import read_tape

N = 1000


def npz(folder: Path, name: str = "a.npz", **arrays: object) -> Path:
    path = folder / name
    np.savez(path, **arrays)
    return path


@pytest.fixture
def rig(tmp_path: Path) -> Path:
    ramp = np.arange(N, dtype=np.float32)
    return npz(tmp_path, DE=ramp, FE=-ramp, fs_hz=np.int32(500), rpm_nominal=np.int32(1797), load_hp=np.int32(0))


def error_of(source: object, channels: tuple[str, ...] = (), rate_hz: float | None = None) -> str:
    with pytest.raises(DataError) as error:
        read_tape(str(source), channels, rate_hz)
    assert error.value.exit_code == 1
    assert "\n" not in str(error.value)
    return str(error.value)


def test_npz_gives_channels_by_name_and_its_rate(rig):
    tape = read_tape(str(rig), ("FE", "DE"), None)
    assert tape.rate_hz == 500.0
    assert tape.channels == ("FE", "DE")
    assert np.array_equal(tape.samples, np.stack([-np.arange(N), np.arange(N)], axis=1))
    assert (tape.name, tape.file, tape.start_s, tape.end_s) == ("a.npz", str(rig), 0.0, 2.0)


def test_all_channels_when_none_are_named(rig):
    assert read_tape(str(rig), (), None).channels == ("DE", "FE")


@pytest.mark.parametrize(
    ("part", "first", "last"),
    [("0.6-1.0", 600, 1000), ("0-0.5", 0, 500), ("-0.25", 0, 250), ("0.9-", 900, 1000), ("0.5s-1.5s", 250, 750), (".5-1", 500, 1000), ("1s-", 500, 1000)],
)  # fmt: skip
def test_parts_in_fractions_and_seconds(rig, part, first, last):
    tape = read_tape(f"{rig}@{part}", ("DE",), None)
    assert (tape.samples[0, 0], tape.samples[-1, 0]) == (first, last - 1)
    assert (tape.start_s, tape.end_s) == (first / 500, last / 500)
    assert tape.name == f"a.npz@{part}"


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("0.6-0.5", "expected START before END within 2 s, got 600 to 500 of 1000"),
        ("0.5-0.5", "expected START before END within 2 s, got 500 to 500 of 1000"),
        ("0-9s", "expected START before END within 2 s, got 0 to 4500 of 1000"),
        ("0-60", "a fraction is at most 1, got 60; for seconds write 60s"),
        ("a-b", "after @ expected START-END as fractions or seconds (@0.6-1.0, @2s-10s), got 'a'"),
    ],
)
def test_parts_that_make_no_sense(rig, part, expected):
    assert error_of(f"{rig}@{part}") == f"{rig}@{part}: {expected}"


def test_an_at_sign_in_a_folder_is_no_part(tmp_path):
    folder = tmp_path / "a@0-1"
    folder.mkdir()
    path = npz(folder, x=np.ones(10), fs_hz=5.0)
    assert len(read_tape(str(path), (), None).samples) == 10


def test_a_misspelt_channel_gets_the_nearest_one(rig):
    assert error_of(rig, ("DEE",)) == f"{rig}: no channel 'DEE'; did you mean 'DE'?"
    assert error_of(rig, ("x",)) == f"{rig}: no channel 'x'; known: DE, FE"


def test_no_such_file_and_no_such_format(tmp_path):
    assert error_of(tmp_path / "no.npz") == f"{tmp_path / 'no.npz'}: no such file"
    other = tmp_path / "a.mat"
    other.write_bytes(b"x")
    assert error_of(other) == f"{other}: expected one of .npz, .csv, .wav, got '.mat'"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_missing_value_is_named_with_its_place(tmp_path, bad):
    x = np.ones((50, 2))
    x[30, 1] = bad
    path = npz(tmp_path, a=x[:, 0], b=x[:, 1], fs_hz=10.0)
    assert error_of(path) == f"{path}, channel b, sample 30: missing or not a finite number"
    assert error_of(f"{path}@0.5-1") == f"{path}, channel b, sample 30: missing or not a finite number"
    assert len(read_tape(f"{path}@0-0.5", (), None).samples) == 25, "a part without it can be used"


def test_a_rate_must_come_from_somewhere_and_only_one_can_be_right(tmp_path):
    path = npz(tmp_path, a=np.ones(10))
    assert error_of(path) == f"{path}: the file does not state its sampling rate; give it with --rate"
    assert read_tape(str(path), (), 25.0).rate_hz == 25.0
    assert "expected above 0 and at most 1e+06 Hz, got -1" in error_of(path, (), -1.0)
    stated = npz(tmp_path, "b.npz", a=np.ones(10), fs_hz=50)
    assert error_of(stated, (), 25.0) == f"{stated}: the file states 50 Hz, --rate says 25 Hz"
    assert read_tape(str(stated), (), 50.0).rate_hz == 50.0


def test_npz_with_data_and_axes(tmp_path):
    path = npz(tmp_path, data=np.arange(20.0).reshape(10, 2), axes=np.array(["radial", "axial"]), rate_hz=8.0)
    tape = read_tape(str(path), (), None)
    assert tape.channels == ("radial", "axial")
    assert tape.samples[3, 1] == 7.0


def test_npz_that_cannot_be_used(tmp_path):
    path = npz(tmp_path, a=np.ones((10, 2)), t=np.array(["x", "y"]), fs_hz=1.0)
    assert (
        error_of(path, ("a",)) == f"{path}, channel a: expected one dimension of numbers, got shape (10, 2) of float64"
    )
    assert "channel t: expected one dimension of numbers" in error_of(path, ("t",))
    assert error_of(path) == f"{path}: no channels of numbers in it"
    uneven = npz(tmp_path, "u.npz", a=np.ones(10), b=np.ones(9), fs_hz=1.0)
    assert error_of(uneven) == f"{uneven}: channels are of different lengths: a 10, b 9"
    empty = npz(tmp_path, "e.npz", a=np.ones(0), fs_hz=1.0)
    assert "expected 1 to 200000000 samples, got 0" in error_of(empty)
    pickled = npz(tmp_path, "p.npz", a=np.array([{}], dtype=object), fs_hz=1.0)
    assert "not an npz file that can be read" in error_of(pickled)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04junk", b"\x93NUMPYjunk"])
def test_junk_is_not_npz(tmp_path, content):
    path = tmp_path / "junk.npz"
    path.write_bytes(content)
    assert f"{path}: not an npz file that can be read" in error_of(path)


def test_a_bare_array_is_not_an_archive(tmp_path):
    path = tmp_path / "x.npz"
    with path.open("wb") as file:
        np.save(file, np.ones(3))
    assert error_of(path) == f"{path}: not an npz file that can be read: expected a zip archive of arrays"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv_by_name(tmp_path, separator):
    path = tmp_path / "a.csv"
    rows = [
        ["datetime", "Current", "Pressure"],
        ["2020-03-09 10:14:33", "1.5", "2"],
        ["2020-03-09 10:14:34", "1.6", "3"],
    ]
    path.write_text("\n".join(separator.join(row) for row in rows) + "\n\n")
    tape = read_tape(str(path), (), 1.0)
    assert tape.channels == ("Current", "Pressure"), "a column of dates is none of numbers"
    assert np.array_equal(tape.samples, [[1.5, 2.0], [1.6, 3.0]])
    assert error_of(path, ("datetime",), 1.0).startswith(f"{path}, channel datetime: not numbers: could not convert")


def test_csv_with_holes(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,2\n3,\n")
    assert error_of(path, (), 1.0) == f"{path}, channel b, sample 1: missing or not a finite number"
    assert len(read_tape(str(path), ("a",), 1.0).samples) == 2
    path.write_text("a,b\n1,2\n3\n")
    assert error_of(path, (), 1.0) == f"{path}, line 3: expected 2 values, got 1"
    path.write_bytes(b"\xff\xfe\x00")
    assert "not a CSV file that can be read" in error_of(path, (), 1.0)
    path.write_text("")
    assert error_of(path, (), 1.0) == f"{path}: no channels of numbers in it"


@pytest.mark.parametrize("width", [2, 3, 4])
def test_wav(tmp_path, width):
    path = tmp_path / "a.wav"
    top = 2 ** (8 * width - 1)
    values = [0, top - 1, -top, top // 2]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(width)
        file.setframerate(44100)
        file.writeframes(b"".join(struct.pack("<i", v)[:width] * 2 for v in values))
    tape = read_tape(str(path), ("ch1",), None)
    assert tape.rate_hz == 44100.0
    assert tape.samples[:, 0] == pytest.approx([0.0, 1.0, -1.0, 0.5], abs=1e-4)


def test_wav_that_cannot_be_used(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF")
    assert f"{path}: not a WAV file that can be read" in error_of(path)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(8000)
        file.writeframes(b"\x80" * 10)
    assert error_of(path) == f"{path}: expected 16, 24 or 32 bits a sample, got 8"

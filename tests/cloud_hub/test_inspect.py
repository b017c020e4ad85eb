"""Inspection: every flaw is found and named, clean files are left in peace, and the proposal can be trained on."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as any_of
from hypothesis import strategies as st
from scipy.io import wavfile

from cloud_hub.errors import DataError
from cloud_hub.inspecting.inspect import first_stop, inspect_data
from cloud_hub.inspecting.names import unit_by_gravity
from cloud_hub.inspecting.propose import Given
from cloud_hub.inspecting.result import Inspection
from cloud_hub.inspecting.settle import settle

RNG = np.random.default_rng(0)
RATE_HZ = 8192.0
N = 280_000


def vibration(n: int = N, axes: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, axes)) * 0.3


def save_npz(path: Path, x: np.ndarray, **more: object) -> str:
    np.savez(path, **{f"acc_{'xyz'[i]}_g": x[:, i] for i in range(x.shape[1])}, fs_hz=RATE_HZ, **more)
    return str(path)


def save_csv(path: Path, columns: dict[str, np.ndarray], delimiter: str = ";") -> str:
    rows = zip(*(c.tolist() if isinstance(c, np.ndarray) else c for c in columns.values()), strict=True)
    lines = [delimiter.join("" if str(v) == "nan" else str(v) for v in row) for row in rows]
    path.write_text("\n".join([delimiter.join(columns), *lines]) + "\n")
    return str(path)


def slow(n: int = 3000) -> dict[str, np.ndarray]:
    stamps = np.datetime64("2024-05-31T10:00:00") + np.arange(n).astype("timedelta64[s]")
    walk = np.cumsum(np.random.default_rng(1).standard_normal((n, 2)), axis=0) * 0.01
    return {"datetime": stamps.astype(str), "Temperature": 60 + walk[:, 0], "Pressure": 4 + walk[:, 1]}


def look(source: str, **given: object) -> Inspection:
    return inspect_data([source], Given(**given))[0]


def kinds(inspection: Inspection, severity: str = "") -> list[str]:
    return [f.kind for f in inspection.findings if severity in {"", f.severity}]


def text_of(inspection: Inspection, kind: str) -> str:
    return next(f"{f.where}: {f.text}" for f in inspection.findings if f.kind == kind)


# ------------------------------------------------------------------------------------------------------- clean files


def test_clean_vibration_has_nothing_to_say_and_a_proposal(tmp_path: Path) -> None:
    inspection = look(save_npz(tmp_path / "pump.npz", vibration()))
    assert inspection.findings == []
    proposal = inspection.proposal
    assert proposal is not None
    assert (proposal.family, proposal.slot, proposal.quantity) == ("spectral", "vibration", "acceleration")
    assert (proposal.units, proposal.units_from) == ("g", "name")
    assert proposal.axes == ["acc_x_g", "acc_y_g"]
    assert proposal.windows == {"pump": (N - 4096) // 1024 + 1}
    assert {a.setting for a in proposal.assumptions} == {"family", "axes", "units", "slot"}


def test_clean_slow_signals_are_for_the_process_family(tmp_path: Path) -> None:
    inspection = look(save_csv(tmp_path / "p.csv", slow()))
    assert kinds(inspection, "stops") == kinds(inspection, "risk") == []
    proposal = inspection.proposal
    assert proposal is not None
    assert (proposal.family, proposal.quantity, proposal.units) == ("process", "process", "mixed")
    assert proposal.verdict == "enough"
    assert not proposal.mend_time


def test_explicit_settings_win_and_are_no_assumptions(tmp_path: Path) -> None:
    file = save_csv(tmp_path / "p.csv", slow())
    given = Given(family="process", slot="boiler", units="degC", quantity="temperature", axes=("Temperature",))
    proposal = inspect_data([file], given)[0].proposal
    assert proposal is not None
    assert (proposal.slot, proposal.units, proposal.axes) == ("boiler", "degC", ["Temperature"])
    assert proposal.assumptions == []
    words = shlex.split(proposal.command)
    for option, value in (("--slot", "boiler"), ("--units", "degC"), ("--axes", "Temperature"), ("--data", file)):
        assert words[words.index(option) + 1] == value


def test_one_unknown_unit_stays_unknown_and_is_said(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", DE=vibration()[:, 0], FE=vibration()[:, 1], fs_hz=48_000)
    proposal = look(str(tmp_path / "m.npz")).proposal
    assert proposal is not None
    assert (proposal.units, proposal.quantity, proposal.units_from) == ("unknown", "unknown", "unknown")
    assert proposal.column_points  # drive end and fan end are two places
    assert list(proposal.windows) == ["DE", "FE"]
    (said,) = [a for a in proposal.assumptions if a.setting == "units"]
    assert "probably acceleration, but neither file nor names tell the unit" in said.why
    assert said.option == "--units UNIT"
    settled = settle([str(tmp_path / "m.npz")], [], Given())
    assert settled.title == "vibration spectra and envelope, 48000 Hz, unit unknown"
    told = settle([str(tmp_path / "m.npz")], [], Given(units="m/s2", column_points=False))
    assert (told.proposal.quantity, told.proposal.units, len(told.healthy)) == ("acceleration", "m/s2", 1)


def test_a_unit_that_names_contradict_is_doubted(tmp_path: Path) -> None:
    inspection = look(save_npz(tmp_path / "pump.npz", vibration()), units="m/s2")
    assert text_of(inspection, "unit") == "pump.npz: taken to be in m/s2, but the columns' names say g"
    assert inspection.proposal is not None
    assert inspection.proposal.units == "m/s2"  # what is given wins


def test_a_unit_that_a_family_has_no_use_for_is_unknown_to_it(tmp_path: Path) -> None:
    columns = slow()
    file = save_csv(tmp_path / "f.csv", {"datetime": columns["datetime"], "Temp [degF]": columns["Temperature"]})
    proposal = look(file).proposal
    assert proposal is not None
    assert proposal.units == "unknown"
    assert "the names say degF (guessed)" in next(a.why for a in proposal.assumptions if a.setting == "units")


def test_gravity_tells_the_unit(tmp_path: Path) -> None:
    for unit, length in (("g", 1.0), ("m/s2", 9.81)):
        x = vibration(axes=3) * 0.1 + np.array([0.6, 0.0, 0.8]) * length
        np.savez(tmp_path / "a.npz", ax=x[:, 0], ay=x[:, 1], az=x[:, 2], fs=RATE_HZ)
        proposal = look(str(tmp_path / "a.npz")).proposal
        assert proposal is not None
        assert (proposal.units, proposal.units_from) == (unit, "values")
    assert unit_by_gravity([0.01, -0.02]) is None


# --------------------------------------------------------------------------------------------------- one flaw at a time


def test_nan_rows_are_told_and_cut_out(tmp_path: Path) -> None:
    columns = slow()
    columns["Pressure"][1000:1010] = np.nan
    inspection, recordings = inspect_data([save_csv(tmp_path / "n.csv", columns)], Given())
    assert text_of(inspection, "missing") == (
        "n.csv, column 'Pressure': 10 of 3,000 values are missing or no finite numbers"
    )
    assert [len(r.samples) for r in recordings] == [1000, 1990]
    assert inspection.proposal is not None
    assert any(a.setting == "holes" for a in inspection.proposal.assumptions)


def test_time_that_steps_back_and_repeats_is_told_and_mended(tmp_path: Path) -> None:
    columns = slow()
    stamps = np.datetime64("2024-05-31T10:00:00") + np.r_[np.arange(2000), np.arange(1988, 2988)].astype("m8[s]")
    columns["datetime"] = stamps.astype(str)
    inspection, recordings = inspect_data([save_csv(tmp_path / "b.csv", columns)], Given())
    assert text_of(inspection, "time goes back") == (
        "b.csv, column 'datetime': time goes back once, in row 2001 by 11 s"
    )
    assert text_of(inspection, "repeated stamps").endswith("12 stamps are there more than once")
    assert inspection.proposal is not None
    assert "--mend-time" in inspection.proposal.command
    assert [len(r.samples) for r in recordings] == [2988]
    refused = look(str(tmp_path / "b.csv"), mend_time=False)
    assert "goes back in time at row 2001" in str(first_stop(refused))


def test_gaps_cut_and_short_pieces_are_counted(tmp_path: Path) -> None:
    columns = slow()
    seconds = np.arange(3000) + np.where(np.arange(3000) >= 1500, 3600, 0) + np.where(np.arange(3000) >= 1510, 60, 0)
    columns["datetime"] = (np.datetime64("2024-05-31T10:00:00") + seconds.astype("m8[s]")).astype(str)
    inspection, recordings = inspect_data([save_csv(tmp_path / "g.csv", columns)], Given())
    assert "2 gaps of more than 2.5 steps, 61 min in all, the first before row 1501" in text_of(inspection, "gaps")
    assert text_of(inspection, "short pieces").startswith("data: 1 of 3 recordings are shorter than a window")
    assert [len(r.samples) for r in recordings] == [1500, 1490]


@pytest.mark.parametrize(
    ("change", "kind", "told"),
    [
        (lambda c: c | {"dead": np.full(3000, 7.5)}, "constant", "column 'dead': always 7.5"),
        (lambda c: c | {"n": np.arange(3000)}, "counter", "column 'n': counts rows"),
        (lambda c: c | {"copy": 2 * c["Pressure"] + 1}, "duplicate column", "column 'copy': the same as 'Pressure'"),
        (lambda c: c | {"Pressure": np.clip(c["Pressure"], None, 4.0)}, "clipping", "pile up at the highest value, 4"),
        (lambda c: c | {"Pressure": np.r_[c["Pressure"][:2000], np.full(1000, 4.4)]}, "stuck", "one value for 1,000 rows, 16.7 min, from row 2001"),
        (lambda c: c | {"Pressure": np.round((c["Pressure"] - 4) * 4) * 0.25}, "coarse", "steps of 0.25 against"),
        (lambda c: c | {"anomaly": (np.arange(3000) > 2400) * 1}, "not healthy", "marks 20.0% of the rows"),
        (lambda c: c | {"Pressure": ["broken"] * 3000}, "text", "should hold numbers, got string such as 'broken'"),
        (lambda c: c | {"x": np.full(3000, np.nan)}, "empty", "column 'x': no value at all"),
    ],
)  # fmt: skip
def test_flaws_of_a_column_are_named_and_training_goes_on_without(tmp_path: Path, change, kind, told) -> None:
    file = save_csv(tmp_path / "f.csv", change(slow()))
    inspection, recordings = inspect_data([file], Given())
    assert told in text_of(inspection, kind)
    assert first_stop(inspection) is None
    assert recordings[0].axes in {("Temperature", "Pressure"), ("Temperature",)}


@pytest.mark.parametrize(
    ("write", "kind", "told"),
    [
        (lambda p: save_csv(p, {k: v for k, v in slow().items() if k != "datetime"}), "rate", "nothing in the file tells the sampling rate"),
        (lambda p: save_csv(p, slow() | {"datetime": ["31-May-24"] * 3000}), "time", "should hold times, got string such as '31-May-24'"),
        (lambda p: save_csv(p, slow() | {"datetime": np.cumsum(np.where(np.arange(3000) % 3, 1, 5))}), "uneven time", "33% of the steps are far from the median of 1 s: 1 s (67%), 5 s (33%)"),
        (lambda p: save_csv(p, {"datetime": (np.arange(3000) // 50)} | {k: v for k, v in slow().items() if k != "datetime"}), "coarse time", "the stamps are coarser than the samples"),
        (lambda p: save_csv(p, {k: v[:40] for k, v in slow().items()}), "too little data", "s: training refuses"),
        (lambda p: p.write_bytes(b"\x00\x01rubbish\n\xff\xfe\n") and str(p), "no signals", ""),
        (lambda p: p.write_text("") or str(p), "unreadable", ""),
        (lambda p: save_csv(p, {"time": np.arange(50.0)}), "no signals", "no column of numbers that move; it has time"),
        (lambda p: p.write_text("a,a\n1,2\n") and str(p), "unreadable", "two columns are named 'a'"),
    ],
)  # fmt: skip
def test_what_stops_training_is_explained_not_raised(tmp_path: Path, write, kind, told) -> None:
    file = write(tmp_path / "s.csv")
    inspection = look(file)
    assert kinds(inspection)[0] in kinds(inspection, "stops")  # a person's problems first
    assert told in text_of(inspection, kind)
    with pytest.raises(DataError):
        settle([file], [], Given())


def test_coarse_stamps_give_way_to_a_rate_that_is_given(tmp_path: Path) -> None:
    columns = slow() | {"datetime": np.arange(3000) // 50}
    file = save_csv(tmp_path / "c.csv", columns)
    assert "--rate 50." in next(f.advice for f in look(file).findings if f.kind == "coarse time")
    proposal = look(file, rate_hz=50.0).proposal
    assert proposal is not None
    assert proposal.rate_hz == 50.0
    assert "--rate 50" in proposal.command


def test_a_wav_at_full_scale_is_clipped(tmp_path: Path) -> None:
    x = np.clip(vibration(axes=1, seed=3)[:, 0] * 3.0, -1, 1)
    wavfile.write(tmp_path / "m.wav", 16_000, (x * 32767).astype(np.int16))
    inspection = look(str(tmp_path / "m.wav"))
    assert "at the highest value, 1, the format's full scale" in " ".join(f.text for f in inspection.findings)
    assert inspection.proposal is not None
    assert (inspection.proposal.family, inspection.proposal.units) == ("spectral", "unknown")


_CELLS = st.one_of(
    st.sampled_from(
        ["", "nan", "inf", "-1e300", "1,5", "0", "1", "broken", '"', "2024-05-31 10:00:00", "10:00:01", "\x00"]
    ),
    st.floats(allow_nan=False, width=32).map(str),
)
_NAMES = st.sampled_from(["time", "t_ms", "date", "anomaly", "acc_x_g", "Temp [degF]", "x", "y", "", "ä", "'", "[b]"])


@any_of(
    st.lists(_NAMES, min_size=1, max_size=4, unique=True),
    st.lists(st.lists(_CELLS, min_size=0, max_size=4), max_size=12),
    st.integers(1, 40),
    st.sampled_from([",", ";", "\t"]),
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_table_however_dirty_ends_in_a_crash(tmp_path: Path, names, rows, repeats, delimiter) -> None:
    text = "\n".join(delimiter.join(row) for row in [names, *(rows * repeats)])
    (tmp_path / "dirty.csv").write_text(text)
    inspection = look(str(tmp_path / "dirty.csv"))
    assert (first_stop(inspection) is None) == (
        inspection.proposal is not None and inspection.proposal.verdict != "refused"
    )


@any_of(st.binary(max_size=400), st.sampled_from([".csv", ".parquet", ".wav", ".npz"]))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_end_in_a_crash(tmp_path: Path, data: bytes, suffix: str) -> None:
    (tmp_path / f"junk{suffix}").write_bytes(data)
    assert first_stop(look(str(tmp_path / f"junk{suffix}"))) is not None


# ------------------------------------------------------------------------------------------------- files against files


def test_the_same_stretch_and_the_same_file_are_found(tmp_path: Path) -> None:
    one, other = vibration(seed=1), vibration(seed=2)
    other[50_000:80_000] = one[10_000:40_000]
    save_npz(tmp_path / "a.npz", one)
    save_npz(tmp_path / "b.npz", other)
    (tmp_path / "c.npz").write_bytes((tmp_path / "a.npz").read_bytes())
    inspection = look(str(tmp_path))
    assert kinds(inspection, "risk") == ["same file", "same stretch"]
    (stretch,) = [f for f in inspection.findings if f.kind == "same stretch"]
    share, rows = stretch.text.split(" of it is also in ")
    assert float(share.rstrip("%")) == pytest.approx(100 * 30 / 280, abs=2)
    rows = [int(word) for word in rows.replace(":", " ").split() if word.isdigit()]
    assert rows[0] - rows[1] == 40_000


def test_mixed_rates_stop_training_and_the_longest_set_is_proposed(tmp_path: Path) -> None:
    for i in range(2):
        save_npz(tmp_path / f"a{i}.npz", vibration(seed=i))
    np.savez(tmp_path / "b.npz", acc_x_g=vibration()[:, 0], acc_y_g=vibration()[:, 1], fs_hz=12_000)
    inspection = look(str(tmp_path))
    assert text_of(inspection, "mixed rates") == "b.npz: sampled at 12000 Hz, but a0.npz has 8192 Hz"
    assert inspection.proposal is not None
    assert [Path(s).name for s in inspection.proposal.sources] == ["a0.npz", "a1.npz"]
    with pytest.raises(
        DataError, match=r"b.npz: sampled at 12000 Hz, but a0.npz has 8192 Hz; train on files of one kind"
    ):
        settle([str(tmp_path)], [], Given())


def test_files_named_as_healthy_are_proposed_alone(tmp_path: Path) -> None:
    save_npz(tmp_path / "normal_1.npz", vibration(seed=1))
    save_npz(tmp_path / "inner_race.npz", vibration(seed=2))
    inspection = look(str(tmp_path))
    assert inspection.proposal is not None
    assert [Path(s).name for s in inspection.proposal.sources] == ["normal_1.npz"]
    assert "inner_race.npz: not named as healthy, as normal_1.npz is" in str(first_stop(inspection))
    both = [str(tmp_path / name) for name in ("normal_1.npz", "inner_race.npz")]  # who names them means them
    assert len(settle(both, [], Given()).healthy) == 2


# --------------------------------------------------------------------------------------------------- what contradicts


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"axes": ("anomaly",)}, "--axes names anomaly, which marks faults: labels are never trained on"),
        ({"axes": ("nothing",)}, "no column nothing; it has Temperature, Pressure, anomaly"),
        ({"units": "furlong"}, "family process knows the units .*, got 'furlong'"),
        ({"rate_hz": 50.0}, "its sampling rate .* is 1.0, but --rate says 50.0"),
    ],
)
def test_what_is_given_must_not_contradict_the_file(tmp_path: Path, given: dict[str, object], text: str) -> None:
    file = save_csv(tmp_path / "p.csv", slow() | {"anomaly": np.zeros(3000)})
    with pytest.raises(DataError, match=text):
        settle([file], [], Given(**given))


# ------------------------------------------------------------------------------------------------------- real recordings


@pytest.mark.data
def test_real_files(data_dir: Path) -> None:
    skab = look(str(data_dir / "skab" / "anomaly-free" / "anomaly-free.csv"))
    assert kinds(skab, "stops") == kinds(skab, "risk") == []
    assert skab.proposal is not None
    assert (skab.proposal.family, skab.proposal.units, len(skab.proposal.axes)) == ("process", "mixed", 8)
    nab = look(str(data_dir / "nab" / "machine_temperature_system_failure.csv"))
    assert "time goes back once, in row 10150 by 55 min" in text_of(nab, "time goes back")
    assert "12 stamps are there more than once" in text_of(nab, "repeated stamps")
    normal = look(str(data_dir / "cwru" / "load0_normal_48k_part1.npz"))
    assert normal.proposal is not None
    assert (normal.proposal.family, normal.proposal.units) == ("spectral", "unknown")
    bursts = look(str(data_dir / "femto" / "Bearing3_1.npz"))
    assert "float32 (515, 2560, 2): not read" in text_of(bursts, "other array")
    folder = look(str(data_dir / "cwru"))
    assert folder.proposal is not None
    assert [Path(s).name for s in folder.proposal.sources] == ["load0_normal_48k_part1.npz"]


@pytest.mark.data
def test_recordings_that_hold_one_sensor_twice_are_caught(data_dir: Path) -> None:
    """In five files of this data set the fan end is the drive end times 0.98485: one sensor, twice."""
    inspection = look(str(data_dir / "cwru" / "load0_DE48k_OR6_21mil.npz"))
    assert "the same as 'DE' but for factor and offset" in text_of(inspection, "duplicate column")
    assert "duplicate column" not in kinds(look(str(data_dir / "cwru" / "load0_DE48k_IR_07mil.npz")))


# ------------------------------------------------------------------------------------------------------ command lines


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cloud_hub", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={"COLUMNS": "200", "PATH": "/usr/bin:/bin"}
    )


def test_the_command_names_problems_first_and_ends_with_the_proposal(tmp_path: Path) -> None:
    save_npz(tmp_path / "ok.npz", vibration())
    np.savez(tmp_path / "other.npz", acc_x_g=vibration()[:50_000, 0], acc_y_g=vibration()[:50_000, 1], fs_hz=12_000)
    done = run("inspect", str(tmp_path), "--json", str(tmp_path / "i.json"), "--out", "pump.mwb")
    assert done.returncode == 1  # training would refuse the folder
    lines = done.stdout.splitlines()
    assert lines[0].startswith("stops mixed rates, other.npz: sampled at 12000 Hz")
    assert lines[-1].startswith(f"cloud-hub train --data {tmp_path / 'ok.npz'} --out pump.mwb --family spectral")
    told = json.loads((tmp_path / "i.json").read_text())
    assert [Path(f["path"]).name for f in told["files"]] == ["ok.npz", "other.npz"]
    assert told["proposal"]["command"] == lines[-1]
    clean = run("inspect", str(tmp_path / "ok.npz"))
    assert clean.returncode == 0, clean.stderr


@pytest.mark.slow
def test_the_proposed_command_trains_and_says_what_it_took(tmp_path: Path) -> None:
    file = save_npz(tmp_path / "pump.npz", vibration(300_000))
    out = tmp_path / "pump.mwb"
    plain = run("train", "--data", file, "--out", str(out), "--version", "1", "--accept", "noise has no faults")
    assert plain.returncode == 0, plain.stderr
    for word in ("taken without being told", "spectral", "--family NAME", "--units UNIT"):
        assert word in plain.stderr
    proposal = look(file).proposal
    assert proposal is not None
    words = shlex.split(proposal.command)[1:]
    words[words.index("--out") + 1] = str(tmp_path / "again.mwb")
    again = run(*words, "--version", "1", "--accept", "noise has no faults")
    assert again.returncode == 0, again.stderr

    from models.bundle.archive import read_bundle

    one, other = (read_bundle(p.read_bytes(), "b") for p in (out, tmp_path / "again.mwb"))
    assert one.model == other.model
    assert one.manifest.input == other.manifest.input
    assert one.manifest.input.units == "g"

"""Reading recordings to replay: npz, CSV, WAV.

A file may carry a part, `FILE@START-END`. START and END are fractions of the recording (`@0.6-1.0`), or seconds when
they end in `s` (`@2s-10s`); either may be left out (`@0.6-`, `@-10s`).

npz: one-dimensional arrays of numbers are channels by name, a scalar `fs_hz`, `rate_hz` or `fs` is the sampling rate;
or `data` (n, channels) with `axes` naming them. CSV: a line of names, then numbers; separator comma, semicolon or tab.
WAV: 16, 24 or 32 bits, channels ch0, ch1, ...; full scale is 1.
"""

from __future__ import annotations

import csv
import re
import wave
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from firmware_sim.errors import DataError
from firmware_sim.machines.running import F64
from firmware_sim.schema import near_match
from models.contract.frames import MAX_RATE_HZ

MAX_SAMPLES = 200_000_000
_PART = re.compile(r"(?P<path>.+)@(?P<start>[^@/]*)-(?P<end>[^@/]*)")
_BOUND = re.compile(r"(?P<number>[0-9]*\.?[0-9]+)(?P<seconds>s?)")
_RATE_KEYS = ("fs_hz", "rate_hz", "fs")


@dataclass(frozen=True, slots=True)
class Tape:
    """One recording. `samples`: (n, channels), in the recording's own units. `start_s`: of the part, in the file."""

    name: str
    file: str
    channels: tuple[str, ...]
    samples: F64
    rate_hz: float
    start_s: float

    @property
    def end_s(self) -> float:
        """Where the part ends in the file."""
        return self.start_s + len(self.samples) / self.rate_hz


@dataclass(slots=True)
class _Columns:
    """What a reader finds: (n,) or, for columns that are not numbers, why not."""

    numbers: dict[str, F64]
    unusable: dict[str, str]
    rate_hz: float | None = None


def read_tape(source: str, channels: Sequence[str], rate_hz: float | None) -> Tape:
    """Read a file, or a part of one. No `channels` means all; `rate_hz` is for files that do not say.

    Raises: DataError: no such file or channel, no sampling rate or two, a value missing, an empty part.
    """
    match = _PART.fullmatch(source)
    path = Path(match["path"] if match else source)
    reader = _READERS.get(path.suffix.lower())
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if reader is None:
        raise DataError(f"{path}: expected one of {', '.join(_READERS)}, got {path.suffix!r}")
    try:
        columns = reader(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    rate = _settle_rate(path, columns.rate_hz, rate_hz)
    names = tuple(channels) or tuple(columns.numbers)
    samples = _stack(path, columns, names)
    first, last = _part(match, source, len(samples), rate) if match else (0, len(samples))
    samples = samples[first:last]
    broken = np.argwhere(~np.isfinite(samples))
    if len(broken):
        row, column = broken[0]
        raise DataError(f"{path}, channel {names[column]}, sample {first + row}: missing or not a finite number")
    return Tape(Path(source).name, str(path), names, samples, rate, first / rate)


def _settle_rate(path: Path, found_hz: float | None, given_hz: float | None) -> float:
    if found_hz is None and given_hz is None:
        raise DataError(f"{path}: the file does not state its sampling rate; give it with --rate")
    if found_hz is not None and given_hz is not None and abs(found_hz - given_hz) > 1e-6 * found_hz:
        raise DataError(f"{path}: the file states {found_hz:g} Hz, --rate says {given_hz:g} Hz")
    rate = found_hz if found_hz is not None else given_hz
    assert rate is not None  # noqa: S101 - one of the two is there
    if not 0.0 < rate <= MAX_RATE_HZ:
        raise DataError(f"{path}, sampling rate: expected above 0 and at most {MAX_RATE_HZ:g} Hz, got {rate:g}")
    return rate


def _stack(path: Path, columns: _Columns, names: tuple[str, ...]) -> F64:
    if not names:
        raise DataError(f"{path}: no channels of numbers in it")
    for name in names:
        if name in columns.unusable:
            raise DataError(f"{path}, channel {name}: {columns.unusable[name]}")
        if name not in columns.numbers:
            raise DataError(f"{path}: no channel {name!r}; {near_match(name, columns.numbers)}")
    lengths = {name: len(columns.numbers[name]) for name in names}
    if len(set(lengths.values())) > 1:
        raise DataError(
            f"{path}: channels are of different lengths: {', '.join(f'{n} {k}' for n, k in lengths.items())}"
        )
    if not 0 < lengths[names[0]] <= MAX_SAMPLES:
        raise DataError(f"{path}: expected 1 to {MAX_SAMPLES} samples, got {lengths[names[0]]}")
    return np.stack([columns.numbers[name] for name in names], axis=1).astype(np.float64)


def _part(match: re.Match[str], source: str, n: int, rate_hz: float) -> tuple[int, int]:
    first = _bound(match["start"], source, n, rate_hz, 0)
    last = _bound(match["end"], source, n, rate_hz, n)
    if not first < last <= n:
        raise DataError(f"{source}: expected START before END within {n / rate_hz:g} s, got {first} to {last} of {n}")
    return first, last


def _bound(text: str, source: str, n: int, rate_hz: float, default: int) -> int:
    if not text:
        return default
    match = _BOUND.fullmatch(text)
    if match is None:
        raise DataError(
            f"{source}: after @ expected START-END as fractions or seconds (@0.6-1.0, @2s-10s), got {text!r}"
        )
    number = float(match["number"])
    if match["seconds"]:
        return round(number * rate_hz)
    if number > 1.0:
        raise DataError(f"{source}: a fraction is at most 1, got {text}; for seconds write {text}s")
    return round(number * n)


def _read_npz(path: Path) -> _Columns:
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path}: not an npz file that can be read: expected a zip archive of arrays")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: not an npz file that can be read: {error}") from error
    rate = next((arrays[key] for key in _RATE_KEYS if key in arrays and arrays[key].ndim == 0), None)
    if rate is not None and rate.dtype.kind not in "fiu":
        raise DataError(f"{path}, sampling rate: expected a number, got {rate.dtype}")
    columns = _Columns({}, {}, float(rate) if rate is not None else None)
    data = arrays.pop("data", None)
    if data is not None and data.ndim == 2:
        axes = arrays.pop("axes", None)
        names = (
            [str(a) for a in axes] if axes is not None and axes.ndim == 1 else [f"ch{i}" for i in range(data.shape[1])]
        )
        if len(names) != data.shape[1]:
            raise DataError(f"{path}: data has {data.shape[1]} columns, axes has {len(names)} names")
        arrays.update({name: data[:, i] for i, name in enumerate(names)})
    elif data is not None:
        arrays["data"] = data
    for name, array in arrays.items():
        if array.ndim == 1 and array.dtype.kind in "fiu":
            columns.numbers[name] = array
        elif array.ndim != 0:
            columns.unusable[name] = f"expected one dimension of numbers, got shape {array.shape} of {array.dtype}"
    return columns


def _read_csv(path: Path) -> _Columns:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            head = file.readline()
            rows = csv.reader(file, delimiter=max(",;\t", key=head.count))
            names = [name.strip() for name in next(csv.reader([head], delimiter=max(",;\t", key=head.count)), [])]
            cells: list[list[str]] = [[] for _ in names]
            for number, row in enumerate((r for r in rows if r), 2):
                if len(row) != len(names):
                    raise DataError(f"{path}, line {number}: expected {len(names)} values, got {len(row)}")
                for column, cell in zip(cells, row, strict=True):
                    column.append(cell)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a CSV file that can be read: {error}") from error
    columns = _Columns({}, {})
    for name, column in zip(names, cells, strict=True):
        try:
            columns.numbers[name] = np.array([float(cell) if cell.strip() else np.nan for cell in column])
        except ValueError as error:
            columns.unusable[name] = f"not numbers: {error}"
    return columns


def _read_wav(path: Path) -> _Columns:
    try:
        with wave.open(str(path), "rb") as file:
            rate, width, channels = file.getframerate(), file.getsampwidth(), file.getnchannels()
            raw = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise DataError(f"{path}: not a WAV file that can be read: {error}") from error
    if width not in {2, 3, 4}:
        raise DataError(f"{path}: expected 16, 24 or 32 bits a sample, got {8 * width}")
    whole = len(raw) // (width * channels) * width * channels
    octets = np.frombuffer(raw[:whole], np.uint8).reshape(-1, width)
    padded = np.zeros((len(octets), 4), np.uint8)
    padded[:, 4 - width :] = octets  # into the upper bytes, so that the sign stays where it is
    data = (padded.view("<i4").astype(np.float64) / 2.0**31).reshape(-1, channels)
    return _Columns({f"ch{i}": data[:, i] for i in range(channels)}, {}, float(rate))


_READERS: dict[str, Callable[[Path], _Columns]] = {".npz": _read_npz, ".csv": _read_csv, ".wav": _read_wav}

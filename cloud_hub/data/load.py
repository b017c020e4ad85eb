"""Reading files: CSV, Parquet, WAV, npz (arrays by name, or a capture made by the hub).

Each reader gives named columns and, where the file knows them, rate and units; what it does not know the user says
(`Options`). A file name may carry a part: `FILE@0.0-0.6` is its first 60 %.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cloud_hub.data.recording import MAX_SAMPLES, Recording
from cloud_hub.errors import DataError
from models.signal.arrays import F64

_PART = re.compile(r"(?P<path>.+)@(?P<start>[0-9.]+)-(?P<end>[0-9.]+)")
_TIME_NAMES = {"time", "timestamp", "datetime", "date", "t", "t_s", "time_s"}
_MAX_UNEVEN = 0.1
_LABEL_NAMES = {"anomaly", "changepoint", "label", "labels", "y"}


@dataclass(frozen=True, slots=True)
class Options:
    """What the user says about the files. `axes`: which columns, in order; empty for all that are not time or label.

    `column_points`: each column is a point of its own rather than an axis of one point.
    """

    axes: tuple[str, ...] = ()
    rate_hz: float | None = None
    units: str | None = None
    column_points: bool = False


@dataclass(slots=True)
class _Table:
    """What a reader found. `columns`: name to (n,) float64."""

    columns: dict[str, F64]
    rate_hz: float | None = None
    units: str | None = None
    point: str | None = None


def load(sources: list[str], options: Options) -> list[Recording]:
    """Read files, in order. A folder stands for all readable files in it.

    Raises: DataError: names file, column, row where it can, and what was expected.
    """
    recordings: list[Recording] = []
    for source in sources:
        path, start, end = split_part(source)
        for file in _files(path):
            recordings.extend(r.part(start, end) for r in _read(file, options))
    if not recordings:
        raise DataError("data: no files given")
    return recordings


def split_part(source: str) -> tuple[Path, float, float]:
    """Path, start and end of `PATH@START-END`, both fractions. Raises: DataError: not 0 <= start < end <= 1."""
    match = _PART.fullmatch(source)
    if match is None:
        return Path(source), 0.0, 1.0
    try:
        start, end = float(match["start"]), float(match["end"])
    except ValueError as error:
        raise DataError(f"{source}: the part after @ should be START-END, such as @0.0-0.6") from error
    if not 0.0 <= start < end <= 1.0:
        raise DataError(f"{source}: expected 0 <= start < end <= 1 after @, got {start:g}-{end:g}")
    return Path(match["path"]), start, end


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in _READERS)
        if not found:
            raise DataError(f"{path}: no {', '.join(_READERS)} files in this folder")
        return found
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    return [path]


def _read(path: Path, options: Options) -> list[Recording]:
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: expected one of {', '.join(_READERS)}, got {path.suffix!r}")
    table = reader(path)
    names = options.axes or tuple(n for n in table.columns if n.lower() not in _TIME_NAMES | _LABEL_NAMES)
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise DataError(f"{path}: no column {', '.join(missing)}; it has {', '.join(table.columns)}")
    if not names:
        raise DataError(f"{path}: no columns of numbers; it has {', '.join(table.columns) or 'none'}")
    rate_hz = _settle("sampling rate (Hz)", path, table.rate_hz, options.rate_hz, "--rate")
    units = _settle("unit", path, table.units, options.units, "--units")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    groups = [((name,), ("x",), f"{name}") for name in names] if options.column_points else [(names, names, "")]
    recordings = []
    for columns, axes, suffix in groups:
        samples = _stack(path, table, columns)
        name = f"{path.name}:{suffix}" if suffix else path.name
        point = table.point or suffix or path.stem
        recordings.append(Recording(name, point, samples, float(rate_hz), axes, str(units), digest))
    return recordings


def _settle(what: str, path: Path, found: Any, given: Any, option: str) -> Any:  # noqa: ANN401 - a number or a text
    """What the file says, or what the user says; they must not contradict each other."""
    if found is None and given is None:
        raise DataError(f"{path}: its {what} is not in the file; give it with {option}")
    if found is not None and given is not None:
        same = abs(found - given) <= 0.005 * given if isinstance(found, float) else found == given
        if not same:
            raise DataError(f"{path}: its {what} is {found}, but {option} says {given}")
    return found if found is not None else given


def _stack(path: Path, table: _Table, columns: tuple[str, ...]) -> Any:  # noqa: ANN401 - F32, numpy's own typing
    lengths = {len(table.columns[name]) for name in columns}
    if len(lengths) != 1:
        raise DataError(f"{path}: columns {', '.join(columns)} are of different lengths {sorted(lengths)}")
    samples = np.stack([table.columns[name] for name in columns], axis=1)
    if not 1 <= len(samples) <= MAX_SAMPLES:
        raise DataError(f"{path}: expected 1 to {MAX_SAMPLES:,} samples, got {len(samples):,}")
    bad = ~np.isfinite(samples)
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        raise DataError(
            f"{path}: {int(bad.sum())} values are missing or not numbers, the first in row {row + 1}, column "
            f"{columns[column]!r}; fill or cut them first"
        )
    return samples.astype(np.float32)


# ------------------------------------------------------------------------------------------------------------ readers


def _read_csv(path: Path) -> _Table:
    from pyarrow import csv  # type: ignore[import-not-found,unused-ignore]

    with path.open("rb") as file:
        first = file.readline(65_536).decode("utf-8", "replace")
    delimiter = max(",;\t", key=first.count)
    return _from_arrow(path, lambda: csv.read_csv(path, parse_options=csv.ParseOptions(delimiter=delimiter)))


def _read_parquet(path: Path) -> _Table:
    from pyarrow import parquet

    return _from_arrow(path, lambda: parquet.read_table(path))


def _from_arrow(path: Path, read: Callable[[], Any]) -> _Table:
    import pyarrow as pa

    try:
        table = read()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: {str(error).splitlines()[0]}") from error
    columns, rate_hz = {}, None
    if table.num_rows == 0:
        raise DataError(f"{path}: expected 1 to {MAX_SAMPLES:,} samples, got 0")
    for name in table.column_names:
        column = table[name]
        if name.lower() in _TIME_NAMES:
            rate_hz = _rate_of(path, name, column)
        elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_boolean(column.type):
            columns[name] = column.to_numpy().astype(np.float64)
        elif pa.types.is_null(column.type):
            columns[name] = np.full(len(column), np.nan)
        else:
            sample = str(column[0])[:40] if len(column) else ""
            raise DataError(f"{path}: column {name!r} should hold numbers, got {column.type} such as {sample!r}")
    return _Table(columns, rate_hz)


def _rate_of(path: Path, name: str, column: Any) -> float | None:  # noqa: ANN401 - an Arrow column
    """The sampling rate that a time column tells; evenly spaced but for a few steps."""
    import pyarrow as pa

    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        seconds = column.cast(pa.timestamp("ns")).to_numpy().astype("datetime64[ns]").astype(np.int64) / 1e9
    elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        seconds = column.to_numpy().astype(np.float64)
    else:
        raise DataError(f"{path}: column {name!r} should hold times, got {column.type} such as {str(column[0])[:40]!r}")
    if len(seconds) < 3:
        return None
    steps = np.diff(seconds)
    if (steps < 0).any():
        row = int(np.argmax(steps < 0)) + 2
        raise DataError(f"{path}: column {name!r} goes back in time at row {row}: sort or cut the file")
    step = float(np.median(steps))
    if step <= 0:
        raise DataError(f"{path}: column {name!r} does not advance: half of its steps are 0 s")
    uneven = float(np.mean(np.abs(steps - step) > 0.5 * step))
    if uneven > _MAX_UNEVEN:
        raise DataError(
            f"{path}: column {name!r}: {uneven:.0%} of the steps are far from the median of {step:g} s (mixed rates or "
            "many gaps): cut the file into evenly sampled parts"
        )
    return float(f"{1.0 / step:.6g}")  # time stamps are decimal: 100 Hz, not 99.99999999999991


def _read_wav(path: Path) -> _Table:
    from scipy.io import wavfile

    try:
        rate, data = wavfile.read(path)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path}: not a WAV file that can be read: {error}") from error
    data = data[:, None] if data.ndim == 1 else data
    full = np.iinfo(data.dtype).max if np.issubdtype(data.dtype, np.integer) else 1.0
    return _Table({f"ch{i}": data[:, i].astype(np.float64) / full for i in range(data.shape[1])}, float(rate))


def _read_npz(path: Path) -> _Table:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(f"{path}: not an npz file that can be read: {error}") from error
    rate_hz = next((float(arrays[n]) for n in ("rate_hz", "fs_hz", "fs") if n in arrays and arrays[n].ndim == 0), None)
    units = str(arrays["units"]) if "units" in arrays and arrays["units"].ndim == 0 else None
    if "data" in arrays and arrays["data"].ndim == 2:  # a capture
        data = arrays["data"]
        axes = [str(a) for a in arrays["axes"]] if "axes" in arrays else [f"ch{i}" for i in range(data.shape[1])]
        if len(axes) != data.shape[1]:
            raise DataError(f"{path}: data has {data.shape[1]} columns, but axes names {len(axes)}")
        point = f"{arrays['machine']}-{arrays['point']}" if {"machine", "point"} <= arrays.keys() else None
        return _Table({a: data[:, i].astype(np.float64) for i, a in enumerate(axes)}, rate_hz, units, point)
    columns = {n: a.astype(np.float64) for n, a in arrays.items() if a.ndim == 1 and a.dtype.kind in "fiu"}
    return _Table(columns, rate_hz, units)


_READERS: dict[str, Callable[[Path], _Table]] = {
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".wav": _read_wav,
    ".npz": _read_npz,
}

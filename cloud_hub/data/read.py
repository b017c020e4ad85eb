"""What is in a file, as it stands: CSV, Parquet, WAV, npz (arrays by name, or a capture made by the hub).

Reading judges nothing: missing values stay NaN, time stamps stay in their order. `load` refuses or mends what it finds,
`cloud_hub.inspecting` explains it.
"""

from __future__ import annotations

import codecs
import re
import struct
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cloud_hub.errors import DataError
from models.signal.arrays import F64

LABEL_NAMES = frozenset(
    {"anomaly", "is_anomaly", "changepoint", "label", "labels", "y", "outlier", "fault", "faulty", "target"}
)
_HEAD_BYTES = 65_536
MAX_VALUE = 1e18  # its square still fits in a single; no sensor reads more
RATE_NAMES = ("rate_hz", "fs_hz", "fs")
_TIME = re.compile(r"(?:time|timestamp|datetime|date|t|elapsed)(?:[ _]?[\[(]?(s|sec|seconds|ms|us|µs|ns)[\])]?)?")
_SCALES = {"ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
# Numbers that would lie beyond the year 5138 as seconds since 1970 are a finer unit of the same.
_EPOCHS = ((1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3))
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")
_DAY_TIME = re.compile(r"(\d{1,2}):(\d\d):(\d\d(?:[.,]\d+)?)")
# Day first is certain only when it is written with dots; with slashes it may be the month.
_STAMPS = ("%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%Y/%m/%d %H:%M:%S", "%Y.%m.%d %H:%M:%S")


@dataclass(slots=True)
class Table:
    """One file. `columns`: name to (n,) float64, NaN where a value is missing or is no number.

    `seconds`: (n,), what the column `time` says, NaN where a stamp is missing; None without such a column. `text`: the
    columns that are not all numbers, each with what it holds instead. `other`: arrays of other shapes, likewise.
    `full_scale`: the largest magnitude that the format can hold, where it is known.
    """

    columns: dict[str, F64]
    time: str | None = None
    seconds: F64 | None = None
    rate_hz: float | None = None
    units: str | None = None
    point: str | None = None
    full_scale: float | None = None
    text: dict[str, str] = field(default_factory=dict)
    other: dict[str, str] = field(default_factory=dict)

    @property
    def signals(self) -> tuple[str, ...]:
        """Columns that are neither time nor label."""
        labels = self.labels
        return tuple(name for name in self.columns if name not in labels)

    @property
    def labels(self) -> tuple[str, ...]:
        """Columns that say what is healthy and what is not; never an input."""
        return labels_among(tuple(self.columns))


def labels_among(names: Sequence[str]) -> tuple[str, ...]:
    """Those names that mark faults. `y` beside `x` or `z` is a direction in space, not a label."""
    lower = {name.strip().lower() for name in names}
    known = LABEL_NAMES - {"y"} if lower & {"x", "z"} else LABEL_NAMES
    return tuple(name for name in names if name.strip().lower() in known)


def is_time(name: str) -> bool:
    """Whether a column of this name holds times."""
    return _TIME.fullmatch(name.strip().lower()) is not None


def readable_files(path: Path) -> list[Path]:
    """The file, or the readable files of a folder, sorted. Raises: DataError: none."""
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in READERS)
        if not found:
            raise DataError(f"{path}: no {', '.join(READERS)} files in this folder")
        return found
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    return [path]


def read_table(path: Path) -> Table:
    """Read a file; what is no finite number, or over `MAX_VALUE`, is a missing value.

    Raises: DataError: another kind of file, or one that cannot be read at all.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: expected one of {', '.join(READERS)}, got {path.suffix!r}")
    table = reader(path)
    for values in table.columns.values():
        with np.errstate(invalid="ignore"):
            values[~(np.abs(values) <= MAX_VALUE)] = np.nan
    return table


# ------------------------------------------------------------------------------------------------------------- tables


def _read_csv(path: Path) -> Table:
    from pyarrow import csv  # type: ignore[import-not-found,unused-ignore]

    with path.open("rb") as file:
        encoding = _encoding(file.read(_HEAD_BYTES))
    with path.open(encoding=encoding, errors="replace", newline="") as text:
        head, second = text.readline(_HEAD_BYTES), text.readline(_HEAD_BYTES)
    delimiter = max(",;\t", key=head.count)
    names = [name.strip().strip('"') for name in head.lstrip("\ufeff").split(delimiter)]
    if all(map(_is_number, names)):
        raise DataError(f"{path}: expected names of columns in the first line, got numbers: {head.strip()[:60]!r}")
    cells = second.strip().split(delimiter)
    comma = delimiter != "," and any(_DECIMAL_COMMA.fullmatch(cell.strip()) for cell in cells)
    parse = csv.ParseOptions(delimiter=delimiter)
    convert = csv.ConvertOptions(
        decimal_point="," if comma else ".", timestamp_parsers=[csv.ISO8601, *_STAMPS], strings_can_be_null=True
    )
    read = csv.ReadOptions(encoding=encoding)
    return _from_arrow(path, lambda: csv.read_csv(path, read, parse, convert))


def _encoding(head: bytes) -> str:
    """UTF-8, else UTF-16 by its mark, else what spreadsheets in Europe and America write."""
    if head[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        return "utf-16"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


def _read_parquet(path: Path) -> Table:
    from pyarrow import parquet

    return _from_arrow(path, lambda: parquet.read_table(path))


def _from_arrow(path: Path, read: Callable[[], Any]) -> Table:
    import pyarrow as pa

    try:
        return _table(path, read())
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise DataError(f"{path}: {str(error).splitlines()[0]}") from error


def _table(path: Path, found: Any) -> Table:  # noqa: ANN401 - an Arrow table
    names = [str(name).strip() for name in found.column_names]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: two columns are named {', '.join(map(repr, twice))}")
    table = Table({})
    clock: dict[str, F64] = {}
    for i, name in enumerate(names):
        column = found.column(i)
        if is_time(name):
            seconds = _seconds(name, column)
            if seconds is None:
                table.text[name] = f"times, got {_sample(column)}"
            else:
                clock[name] = seconds
            continue
        numbers, wrong = _numbers(column)
        table.columns[name] = numbers
        if wrong:
            table.text[name] = wrong
    if clock:
        table.time = next(iter(clock))
        parts = [clock[n] for n in clock if n.lower() in {"date", "time"}]  # a day and a time of day are one stamp
        table.seconds = parts[0] + parts[1] if len(parts) == 2 else clock[table.time]
    elif table.text:
        table.time = next((name for name in names if is_time(name)), None)
    return table


def _sample(column: Any) -> str:  # noqa: ANN401 - an Arrow column
    value = next((v for v in column.to_pylist()[:100] if v is not None), "")
    return f"{column.type} such as {str(value)[:40]!r}"


def _numbers(column: Any) -> tuple[F64, str]:  # noqa: ANN401 - an Arrow column
    """Values of a column, NaN where there is none, and what is wrong with it, if anything."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan), ""
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False).astype(np.float64), ""
    if pa.types.is_decimal(kind):
        return column.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64), ""
    values = np.array([_number_or_nan(value) for value in column.to_pylist()], np.float64)
    return values, f"numbers, got {_sample_of_text(column)}"


def _number_or_nan(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return float("nan")


def _sample_of_text(column: Any) -> str:  # noqa: ANN401 - an Arrow column
    texts = (str(value) for value in column.to_pylist() if value is not None)
    return f"{column.type} such as {next((t for t in texts if not _is_number(t)), '')[:40]!r}"


def _seconds(name: str, column: Any) -> F64 | None:  # noqa: ANN401 - an Arrow column
    """A time column in seconds, NaN where a stamp is missing; None when it holds no times."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_time(kind):
        unit = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}[kind.unit]
        whole = column.cast(pa.int32() if pa.types.is_time32(kind) else pa.int64())
        return np.asarray(whole.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64) * unit
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        stamps = column.cast(pa.timestamp("ns")).to_numpy(zero_copy_only=False).astype("datetime64[ns]")
        seconds: F64 = stamps.astype(np.int64) / 1e9
        seconds[np.isnat(stamps)] = np.nan
        return seconds
    if pa.types.is_string(kind):
        return _times_of_day(column.to_pylist())
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return None
    return in_seconds(name, np.asarray(column.to_numpy(zero_copy_only=False), np.float64))


def _times_of_day(texts: list[str | None]) -> F64 | None:
    """`13:45:00.25` in seconds since midnight, which Arrow leaves as text; None when one is something else."""
    matches = [None if text is None else _DAY_TIME.fullmatch(text.strip()) for text in texts]
    if any(match is None and text is not None for match, text in zip(matches, texts, strict=True)):
        return None
    return np.array(
        [np.nan if m is None else int(m[1]) * 3600 + int(m[2]) * 60 + float(m[3].replace(",", ".")) for m in matches]
    )


def in_seconds(name: str, values: F64) -> F64:
    """Numbers of a time column in seconds: by the unit in its name, else by their size, else they are seconds."""
    match = _TIME.fullmatch(name.strip().lower())
    unit = match[1] if match else None
    if unit:
        return values * _SCALES.get(unit, 1.0)
    finite = values[np.isfinite(values)]
    largest = float(np.abs(finite).max()) if len(finite) else 0.0
    return values * next((scale for limit, scale in _EPOCHS if largest > limit), 1.0)


# ------------------------------------------------------------------------------------------------------ sound, arrays


def _read_wav(path: Path) -> Table:
    from scipy.io import wavfile

    try:
        rate, data = wavfile.read(path)
    except (ValueError, OSError, EOFError, struct.error, UnboundLocalError) as error:  # scipy's, of cut files
        raise DataError(f"{path}: not a WAV file that can be read: {error}") from error
    data = data[:, None] if data.ndim == 1 else data
    values = data.astype(np.float64)
    if data.dtype == np.uint8:  # 8-bit WAV is offset binary
        values = (values - 128.0) / 127.0
    elif np.issubdtype(data.dtype, np.integer):
        values /= np.iinfo(data.dtype).max
    columns = {f"ch{i}": values[:, i] for i in range(data.shape[1])}
    return Table(columns, rate_hz=float(rate), full_scale=1.0)


def _read_npz(path: Path) -> Table:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(f"{path}: not an npz file that can be read: {error}") from error
    rates = (arrays[n] for n in RATE_NAMES if n in arrays and arrays[n].ndim == 0 and arrays[n].dtype.kind in "fiu")
    rate_hz = next((float(rate) for rate in rates), None)
    units = str(arrays["units"]) if "units" in arrays and arrays["units"].ndim == 0 else None
    if "data" in arrays and arrays["data"].ndim == 2 and arrays["data"].dtype.kind in "fiu":  # a capture
        data = arrays["data"]
        axes = [str(a) for a in arrays["axes"]] if "axes" in arrays else [f"ch{i}" for i in range(data.shape[1])]
        if len(axes) != data.shape[1]:
            raise DataError(f"{path}: data has {data.shape[1]} columns, but axes names {len(axes)}")
        point = f"{arrays['machine']}-{arrays['point']}" if {"machine", "point"} <= arrays.keys() else None
        columns = {a: data[:, i].astype(np.float64) for i, a in enumerate(axes)}
        return Table(columns, rate_hz=rate_hz, units=units, point=point)
    table = Table({}, rate_hz=rate_hz, units=units)
    for name, array in arrays.items():
        if array.ndim == 1 and array.dtype.kind in "fiub":
            if is_time(name):
                table.time, table.seconds = name, in_seconds(name, array.astype(np.float64))
            else:
                table.columns[name] = array.astype(np.float64)
        elif array.ndim:
            table.other[name] = f"{array.dtype} {array.shape}"
    return table


READERS: dict[str, Callable[[Path], Table]] = {
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".wav": _read_wav,
    ".npz": _read_npz,
}

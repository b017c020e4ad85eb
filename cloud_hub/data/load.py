"""From people's files to recordings: CSV, Parquet, WAV, npz (arrays by name, or a capture made by the hub).

Readers (`cloud_hub.data.read`) give named columns and, where the file knows them, rate and units; what it does not know
the user says (`Options`). A file name may carry a part: `FILE@0.0-0.6` is its first 60 %.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cloud_hub.data.read import Table, read_table, readable_files
from cloud_hub.data.recording import MAX_SAMPLES, Recording
from cloud_hub.data.timing import MAX_UNEVEN, Rows, Timing, in_order, runs, study
from cloud_hub.errors import DataError
from models.signal.arrays import F32

Bools = npt.NDArray[np.bool_]

_PART = re.compile(r"(?P<path>.+)@(?P<start>[0-9.]+)-(?P<end>[0-9.]+)")


@dataclass(frozen=True, slots=True)
class Options:
    """What the user says about the files. `axes`: which columns, in order; empty for all that are not time or label.

    `column_points`: each column is a point of its own rather than an axis of one point. `mend_time`: sort rows by their
    stamps and keep the first of equal ones, instead of refusing the file. `cut_holes`: cut the file into recordings at
    gaps in time and at rows where a value is missing, instead of spanning the ones and refusing the others.
    """

    axes: tuple[str, ...] = ()
    rate_hz: float | None = None
    units: str | None = None
    column_points: bool = False
    mend_time: bool = False
    cut_holes: bool = False


def load(sources: list[str], options: Options) -> list[Recording]:
    """Read files, in order. A folder stands for all readable files in it.

    Raises: DataError: names file, column, row where it can, and what was expected.
    """
    recordings: list[Recording] = []
    for source in sources:
        path, start, end = split_part(source)
        for file in readable_files(path):
            recordings.extend(_read(file, options, start, end))
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


def _read(path: Path, options: Options, start: float, end: float) -> list[Recording]:
    table = read_table(path)
    names = options.axes or table.signals
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise DataError(f"{path}: no column {', '.join(missing)}; it has {', '.join(table.columns)}")
    if not names:
        raise DataError(f"{path}: no columns of numbers; it has {', '.join([*table.columns, *table.other]) or 'none'}")
    for name in names:
        if name in table.text:
            raise DataError(f"{path}: column {name!r} should hold {table.text[name]}")
    samples = _stack(path, table, names)
    if not options.cut_holes:
        _check_whole(path, samples, names)
    rows, timing = timeline(path, table, len(samples), options)
    rows = rows[round(start * len(rows)) : round(end * len(rows))]
    if not len(rows):
        raise DataError(f"{path}: the part from {start:.4g} to {end:.4g} holds none of its {len(samples):,} rows")
    whole: Bools = np.asarray(np.isfinite(samples).all(axis=1), np.bool_)
    pieces = pieces_of(table, whole, rows) if options.cut_holes else [rows]
    if not pieces:
        raise DataError(f"{path}: no row has a value in each of the columns {', '.join(names)}")
    found_hz = table.rate_hz or (timing.rate_hz if timing else None)
    rate_hz = float(_settle("sampling rate (Hz)", path, found_hz, options.rate_hz, "--rate"))
    units = str(_settle("unit", path, table.units, options.units, "--units"))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    recordings = []
    for axes, columns, suffix in _groups(names, split=options.column_points):
        point = table.point or suffix or path.stem
        label = f"{path.name}:{suffix}" if suffix else path.name
        for number, piece in enumerate(pieces, 1):
            name = label if len(pieces) == 1 else f"{label}[{number}/{len(pieces)}]"
            values = samples[_as_slice(piece)][:, columns]
            recordings.append(Recording(name, point, values, rate_hz, axes, units, digest))
    return recordings


def _groups(names: tuple[str, ...], *, split: bool) -> list[tuple[tuple[str, ...], slice, str]]:
    """Axes, columns and suffix of each point."""
    if not split:
        return [(names, slice(None), "")]
    return [(("x",), slice(i, i + 1), name) for i, name in enumerate(names)]


def timeline(path: Path, table: Table, n: int, options: Options) -> tuple[Rows, Timing | None]:
    """The rows of a file in the order of time, and what the stamps say of them; None without stamps for the rows.

    Raises: DataError: the stamps are out of order, repeated or uneven in a way that `options` does not mend.
    """
    rows: Rows = np.arange(n)
    if table.seconds is None or len(table.seconds) != n:
        if table.time in table.text and options.rate_hz is None:
            raise DataError(f"{path}: column {table.time!r} should hold {table.text[str(table.time)]}")
        return rows, None
    timing = study(table.seconds)
    if timing.coarse and options.rate_hz is not None and not len(timing.back):
        return rows, None  # the stamps tell no rate, but the user does
    if options.mend_time and timing.repeats <= MAX_UNEVEN * n:
        rows = in_order(table.seconds)
        timing = study(table.seconds[rows])
    _check_time(path, str(table.time), timing, n)
    return rows, timing


def _check_time(path: Path, name: str, timing: Timing, n: int) -> None:
    if timing.missing:
        raise DataError(f"{path}: column {name!r} lacks {timing.missing} stamps: cut those rows")
    if len(timing.back):
        row = int(timing.back[0]) + 1
        raise DataError(f"{path}: column {name!r} goes back in time at row {row}: sort or cut the file")
    if n < 3:
        return
    if timing.coarse:
        raise DataError(f"{path}: column {name!r} does not advance: half of its steps are 0 s")
    if timing.uneven > MAX_UNEVEN:
        raise DataError(
            f"{path}: column {name!r}: {timing.uneven:.0%} of the steps are far from the median of {timing.step_s:g} s "
            "(mixed rates or many gaps): cut the file into evenly sampled parts"
        )


def pieces_of(table: Table, whole: Bools, rows: Rows) -> list[Rows]:
    """Rows cut at gaps in time and around those that are not `whole`, (n,): runs without a hole."""
    cuts: Rows = np.empty(0, np.int64)
    if table.seconds is not None and len(table.seconds) == len(whole) and len(rows) > 2:
        cuts = study(table.seconds[rows]).gaps
    holes = np.flatnonzero(np.diff(whole[rows])) + 1
    return [run for run in runs(rows, np.r_[cuts, holes]) if whole[run[0]]]


def _as_slice(rows: Rows) -> Rows | slice:
    """Rows that follow each other as a slice, which copies nothing."""
    if len(rows) and int(rows[-1] - rows[0]) == len(rows) - 1 and bool((np.diff(rows) == 1).all()):
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


def _settle(what: str, path: Path, found: Any, given: Any, option: str) -> Any:  # noqa: ANN401 - a number or a text
    """What the file says, or what the user says; they must not contradict each other."""
    if found is None and given is None:
        raise DataError(f"{path}: its {what} is not in the file; give it with {option}")
    if found is not None and given is not None:
        same = abs(found - given) <= 0.005 * given if isinstance(found, float) else found == given
        if not same:
            raise DataError(f"{path}: its {what} is {found}, but {option} says {given}")
    return found if found is not None else given


def _stack(path: Path, table: Table, columns: tuple[str, ...]) -> F32:
    lengths = {len(table.columns[name]) for name in columns}
    if len(lengths) != 1:
        raise DataError(f"{path}: columns {', '.join(columns)} are of different lengths {sorted(lengths)}")
    (length,) = lengths
    if not 1 <= length <= MAX_SAMPLES:
        raise DataError(f"{path}: expected 1 to {MAX_SAMPLES:,} samples, got {length:,}")
    return np.stack([table.columns[name].astype(np.float32) for name in columns], axis=1)


def _check_whole(path: Path, samples: F32, columns: tuple[str, ...]) -> None:
    bad = ~np.isfinite(samples)
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        raise DataError(
            f"{path}: {int(bad.sum())} values are missing or not numbers, the first in row {row + 1}, column "
            f"{columns[column]!r}; fill or cut them first"
        )

"""The NAB machine temperature series: one machine, four labelled anomaly windows (Lavin & Ahmad 2015).

Trained on the first 15 % (NAB's probation, at most 750 rows), which holds no label; scored on the rest by the int8
bundle in the gateway's code. A window is found when an alarm stands at any time in it; an alarm that touches none is
false. Stamps that step back or repeat are put in order first, the first of equal ones kept.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np

from cloud_hub.data.recording import Recording
from cloud_hub.errors import DataError
from cloud_hub.evaluate.series import bundle_of, run_series
from models.families import family_named
from models.signal.arrays import F32, F64

_SERIES = "machine_temperature_system_failure.csv"
_LABELS = "machine_temperature_system_failure_labels.json"
_PROBATION_SHARE, _PROBATION_ROWS = 0.15, 750
_WHERE = "the Numenta Anomaly Benchmark, github.com/numenta/NAB"


class WindowRow(msgspec.Struct, frozen=True, kw_only=True):
    """One labelled window, times in ISO 8601. `first_alarm`: the first moment in it at which an alarm stood."""

    start: str
    end: str
    found: bool
    first_alarm: str | None


class NabResult(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. `reordered`, `repeated`: rows whose stamp stepped back, or equalled an earlier one."""

    rows: int
    reordered: int
    repeated: int
    trained_on: int
    windows: list[WindowRow]
    found: int
    false_alarms: int
    alarmed_share: float
    """Of all rows outside the windows."""
    days: float


def evaluate_nab(folder: Path) -> NabResult:
    """Run the task on a folder that is, or holds, `nab`. Raises: DataError: files are missing or broken."""
    folder = folder / "nab" if (folder / "nab").is_dir() else folder
    stamps, values, reordered, repeated = read_series(folder / _SERIES)
    windows = _labels(folder / _LABELS)
    rate_hz = 1.0 / float(np.median(np.diff(stamps)))
    trained_on = min(_PROBATION_ROWS, round(_PROBATION_SHARE * len(values)))
    recording = Recording(_SERIES, "machine", values[:, None], rate_hz, ("temperature",), "degC", "0" * 64)
    early = recording.part(0.0, trained_on / len(values))
    bundle, history = bundle_of([early], family_named("process"), "temperature")
    alarms, standing = run_series(recording, trained_on, bundle, history)
    rows, inside = [], np.zeros(len(stamps), bool)
    for start, end in windows:
        here = (stamps >= start) & (stamps <= end)
        inside |= here
        hits = np.flatnonzero(here & standing)
        first = _iso(float(stamps[hits[0]])) if len(hits) else None
        rows.append(WindowRow(start=_iso(start), end=_iso(end), found=bool(len(hits)), first_alarm=first))
    return NabResult(
        rows=len(values),
        reordered=reordered,
        repeated=repeated,
        trained_on=trained_on,
        windows=rows,
        found=sum(row.found for row in rows),
        false_alarms=sum(not inside[alarm.start : alarm.end].any() for alarm in alarms),
        alarmed_share=float(standing[trained_on:][~inside[trained_on:]].mean()),
        days=float(stamps[-1] - stamps[trained_on]) / 86_400.0,
    )


def read_series(path: Path) -> tuple[F64, F32, int, int]:
    """Stamps in s, values, both in order of time; how many rows stepped back, and how many stamps repeated."""
    import pyarrow as pa
    from pyarrow import csv

    if not path.is_file():
        raise DataError(f"{path}: no such file; it is part of {_WHERE}")
    try:
        table = csv.read_csv(path)
        stamps = table["timestamp"].to_numpy().astype("datetime64[s]").astype(np.float64)
        values = table["value"].to_numpy().astype(np.float32)
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise DataError(f"{path}: expected columns timestamp and value: {str(error).splitlines()[0]}") from error
    if len(values) < 2 * _PROBATION_ROWS or not np.isfinite(values).all():
        raise DataError(f"{path}: expected at least {2 * _PROBATION_ROWS} rows of numbers, got {len(values)}")
    reordered = int((np.diff(stamps) < 0).sum())
    order = np.argsort(stamps, kind="stable")
    unique, first = np.unique(stamps[order], return_index=True)
    return unique, values[order][first], reordered, len(values) - len(unique)


def _labels(path: Path) -> list[tuple[float, float]]:
    if not path.is_file():
        raise DataError(f"{path}: no such file; it is part of {_WHERE}")
    try:
        found = json.loads(path.read_text("utf-8"))["anomaly_windows"]
        return [(_seconds(start), _seconds(end)) for start, end in found]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: expected anomaly_windows, pairs of times: {error}") from error


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()

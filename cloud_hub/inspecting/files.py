"""One file: its time, its columns, and what it holds besides."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from cloud_hub.data.read import Table, read_table
from cloud_hub.errors import DataError
from cloud_hub.inspecting.clock import look_at_clock
from cloud_hub.inspecting.columns import look_at_column
from cloud_hub.inspecting.duplicates import equal_columns, fingerprints
from cloud_hub.inspecting.looked import Looked
from cloud_hub.inspecting.result import FileReport
from models.families import families
from models.signal.arrays import F64

_CLIPS_FAMILY = "melspectrum"


def look_at_file(
    source: str, path: Path, part: tuple[float, float], rate_hz: float | None, axes: tuple[str, ...] = ()
) -> Looked:
    """Look at a file, or at a part of its rows. `rate_hz`, `axes`: what the user says; without axes, all columns.

    A file that cannot be read is a finding, not an error.
    """
    data = path.read_bytes()
    report = FileReport(source=source, path=str(path), sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
    looked = Looked(report)
    try:
        table = read_table(path)
    except DataError as error:
        text = str(error).removeprefix(f"{path}: ")
        looked.report = msgspec.structs.replace(report, error=text)
        looked.say("stops", "unreadable", text)
        return looked
    _cut(table, part)
    rows = max((len(column) for column in table.columns.values()), default=0)
    looked.units = table.units
    clock = look_at_clock(looked, table, rows, rate_hz)
    channels = [look_at_column(looked, table, name, clock.rate_hz) for name in table.columns]
    looked.report = msgspec.structs.replace(
        report,
        rows=rows,
        seconds=rows / clock.rate_hz if clock.rate_hz else None,
        clock=clock,
        channels=channels,
        other=table.other,
    )
    _about_the_whole(looked, table)
    signals = {c.name: table.columns[c.name] for c in channels if c.role == "signal" and (not axes or c.name in axes)}
    if len({len(column) for column in signals.values()}) > 1:
        lengths = ", ".join(f"{name} {len(column):,}" for name, column in signals.items())
        advice = "name those that belong together: --axes"
        looked.say("stops", "lengths", f"columns of different lengths: {lengths}", advice)
    else:
        for first, second in equal_columns(signals):
            text = f"the same as {first!r} but for factor and offset"
            looked.say("risk", "duplicate column", text, "leave one out with --axes, unless it is meant", column=second)
    looked.prints = {name: fingerprints(column) for name, column in signals.items()}
    return looked


def _cut(table: Table, part: tuple[float, float]) -> None:
    def share(column: F64) -> F64:
        return column[round(part[0] * len(column)) : round(part[1] * len(column))]

    table.columns = {name: share(column) for name, column in table.columns.items()}
    table.seconds = None if table.seconds is None else share(table.seconds)


def _about_the_whole(looked: Looked, table: Table) -> None:
    for name, shape in table.other.items():
        if name == "X" and shape.count(",") == 2:
            advice = f"cloud-hub train --family {_CLIPS_FAMILY}" if _CLIPS_FAMILY in families() else ""
            looked.say("note", "clips", f"{shape}: clips of frames, not samples", advice, column=name)
        else:
            advice = "write an array (samples,) for each axis, or `data` (samples, axes) with `axes`"
            looked.say("note", "other array", f"{shape}: not read", advice, column=name)
    if not any(channel.role == "signal" for channel in looked.report.channels):
        has = ", ".join([*([table.time] if table.time else []), *table.columns, *table.other]) or "none"
        looked.say("stops", "no signals", f"no column of numbers that move; it has {has}")

"""What a file's columns are, and what is wrong with their values."""

from __future__ import annotations

from typing import Literal

import numpy as np

from cloud_hub.data.read import Table
from cloud_hub.inspecting.channels import Numbers, look_at
from cloud_hub.inspecting.looked import Looked, span
from cloud_hub.inspecting.names import guess_from_name
from cloud_hub.inspecting.result import Channel, Source
from models.signal.arrays import F64

_COARSE = 0.5  # of a signal's deviation: a quantisation step beyond it hides the signal
_STUCK_SHARE = 0.01
_CLIPPED_SHARE = 0.001
_LEFT_OUT = "it is left out"

Role = Literal["signal", "label", "counter", "constant", "text"]


def look_at_column(looked: Looked, table: Table, name: str, rate_hz: float | None) -> Channel:
    """One column of numbers, labels or text."""
    values = table.columns[name]
    label = name in table.labels
    if name in table.text:
        if not label:
            looked.say("risk", "text", f"should hold {table.text[name]}", _LEFT_OUT, column=name)
        return Channel(name=name, role="label" if label else "text", rows=len(values))
    numbers = look_at(values)
    if numbers is None:
        looked.say("risk", "empty", "no value at all", _LEFT_OUT, column=name)
        return Channel(name=name, role="constant", rows=len(values), missing=len(values))
    role = _role(numbers, label)
    match role:
        case "label":
            _about_label(looked, name, values)
        case "constant":
            text = f"always {numbers.low:g}: a dead sensor, or a setting"
            looked.say("risk", "constant", text, _LEFT_OUT, column=name)
        case "counter":
            looked.say(
                "note", "counter", "counts rows: it would teach the position in the file", _LEFT_OUT, column=name
            )
        case _:
            _about_signal(looked, name, numbers, len(values), rate_hz)
            _about_ends(looked, name, numbers, table.full_scale)
    guess = guess_from_name(name)
    source: Source = "file" if table.units else guess.source
    return Channel(
        name=name,
        role=role,
        rows=len(values),
        quantity=guess.quantity,
        unit=table.units or guess.unit,
        unit_from=source,
        low=numbers.low,
        high=numbers.high,
        mean=numbers.mean,
        deviation=numbers.deviation,
        missing=numbers.missing,
        step=numbers.step,
        levels=numbers.levels,
        stuck_rows=numbers.stuck_rows if role == "signal" else 0,
        clipped=numbers.clipped_low + numbers.clipped_high if role == "signal" else 0.0,
    )


def _role(numbers: Numbers, label: bool) -> Role:
    if label:
        return "label"
    if numbers.low == numbers.high:
        return "constant"
    return "counter" if numbers.counter else "signal"


def _about_label(looked: Looked, name: str, values: F64) -> None:
    kinds = np.unique(values[np.isfinite(values)])
    told = ", ".join(f"{kind:g}" for kind in kinds[:5]) + (", ..." if len(kinds) > 5 else "")
    looked.say("note", "label", f"a label, values {told}: never an input", column=name)
    if kinds.tolist() in ([0.0, 1.0], [1.0]) and name.strip().lower() != "changepoint":
        text = f"marks {float(np.mean(values > 0)):.1%} of the rows, but --data is taken to be healthy, all of it"
        advice = "if 1 means faulty, cut the file (FILE@START-END) or train on another"
        looked.say("risk", "not healthy", text, advice, column=name)


def _about_signal(looked: Looked, name: str, numbers: Numbers, rows: int, rate_hz: float | None) -> None:
    if numbers.missing:
        text = f"{numbers.missing:,} of {rows:,} values are missing or no finite numbers"
        advice = "training cuts the file at those rows; fill them if they are many"
        looked.say("risk", "missing", text, advice, column=name)
    if numbers.stuck_rows:
        lasts = f", {span(numbers.stuck_rows / rate_hz)}" if rate_hz else ""
        text = f"one value for {numbers.stuck_rows:,} rows{lasts}, from row {numbers.stuck_at + 1}: longer than chance"
        severe = numbers.stuck_rows > _STUCK_SHARE * rows
        advice = "cut it out if the sensor froze; fine if the machine stood still"
        looked.say("risk" if severe else "note", "stuck", text, advice, column=name)
    if numbers.step is not None and numbers.step > _COARSE * numbers.deviation:
        text = (
            f"steps of {numbers.step:.3g} against a deviation of {numbers.deviation:.3g}, {numbers.levels} levels: "
            "mostly rounding"
        )
        looked.say("note", "coarse", text, column=name)


def _about_ends(looked: Looked, name: str, numbers: Numbers, full_scale: float | None) -> None:
    ends = ((numbers.clipped_low, numbers.low, "lowest"), (numbers.clipped_high, numbers.high, "highest"))
    for share, value, end in ends:
        if not share:
            continue
        scale = ", the format's full scale" if full_scale and abs(abs(value) - full_scale) < 1e-3 else ""
        text = f"{share:.2%} of the rows pile up at the {end} value, {value:g}{scale}"
        advice = "lower the gain or widen the range; fine if the machine rests there"
        looked.say("risk" if share > _CLIPPED_SHARE else "note", "clipping", text, advice, column=name)

"""What a file's time stamps say, and what is wrong with them."""

from __future__ import annotations

import numpy as np

from cloud_hub.data.read import Table
from cloud_hub.data.timing import GAP_STEPS, MAX_UNEVEN, Timing, study
from cloud_hub.inspecting.looked import Looked, span
from cloud_hub.inspecting.result import Clock
from models.signal.arrays import F64

_OFF_COUNT = 0.01


def look_at_clock(looked: Looked, table: Table, rows: int, rate_hz: float | None) -> Clock:
    """The clock of a file of so many rows. `rate_hz`: what the user says."""
    if table.seconds is None or len(table.seconds) != rows or rows < 3:
        return _without_stamps(looked, table, rate_hz)
    timing = study(table.seconds)
    _about(looked, str(table.time), table.seconds, timing, rate_hz)
    told = table.rate_hz or timing.rate_hz
    return Clock(
        source="file" if table.rate_hz else "stamps" if told else "given" if rate_hz else "unknown",
        rate_hz=told or rate_hz,
        column=table.time,
        jitter=timing.jitter,
        uneven=timing.uneven,
        back=len(timing.back),
        repeats=timing.repeats,
        missing=timing.missing,
        gaps=len(timing.gaps),
        lost_s=timing.lost_s,
        counted_hz=timing.counted_hz,
    )


def _without_stamps(looked: Looked, table: Table, rate_hz: float | None) -> Clock:
    if table.time is not None and table.time in table.text and rate_hz is None:
        text = f"should hold {table.text[table.time]}"
        looked.say("stops", "time", text, "write stamps as 2024-05-31 13:45:00.25 or as seconds", column=table.time)
        return Clock(source="unknown", column=table.time)
    if table.rate_hz:
        return Clock(source="file", rate_hz=table.rate_hz)
    if rate_hz:
        return Clock(source="given", rate_hz=rate_hz)
    looked.say("stops", "rate", "nothing in the file tells the sampling rate", "give it with --rate")
    return Clock(source="unknown")


def _about(looked: Looked, name: str, seconds: F64, timing: Timing, rate_hz: float | None) -> None:
    n = len(seconds)
    if timing.missing:
        text = f"{timing.missing:,} of {n:,} stamps are missing"
        looked.say("risk", "time missing", text, "--mend-time leaves out rows without a stamp", column=name)
    if timing.coarse or timing.repeats > MAX_UNEVEN * n:
        _about_coarse(looked, name, n, timing, rate_hz)
        return
    if len(timing.back):
        row = int(timing.back[0])
        back_s = float(seconds[row - 1] - seconds[row]) if np.isfinite(seconds[row - 1 : row + 1]).all() else np.nan
        by = f" by {span(back_s)}" if np.isfinite(back_s) else ""
        times = {1: "once", 2: "twice"}.get(len(timing.back), f"{len(timing.back):,} times, first")
        text = f"time goes back {times}, in row {row + 1}{by}"
        looked.say("risk", "time goes back", text, "--mend-time sorts the rows", column=name)
    if timing.repeats:
        text = f"{timing.repeats:,} stamps are there more than once"
        looked.say("risk", "repeated stamps", text, "--mend-time keeps the first row of each", column=name)
    if timing.uneven > MAX_UNEVEN:
        text = f"{timing.uneven:.0%} of the steps are far from the median of {timing.step_s:g} s: {_mixture(seconds)}"
        looked.say("stops", "uneven time", text, "cut the file into evenly sampled parts", column=name)
    elif len(timing.gaps):
        text = (
            f"{len(timing.gaps):,} gaps of more than {GAP_STEPS:g} steps, {span(timing.lost_s)} in all, the first "
            f"before row {int(timing.gaps[0]) + 1}"
        )
        looked.say("note", "gaps", text, "training cuts the file there: no window spans a gap", column=name)
    _about_count(looked, name, timing)


def _about_coarse(looked: Looked, name: str, n: int, timing: Timing, rate_hz: float | None) -> None:
    counted = f"{timing.counted_hz:.6g}" if timing.counted_hz else None
    text = f"the stamps are coarser than the samples: {timing.repeats:,} of {n:,} rows repeat one"
    if rate_hz is not None:
        looked.say("note", "coarse time", f"{text}; by count the rate is {counted or 'unknown'} Hz", column=name)
    elif counted is None:
        looked.say("stops", "coarse time", text, "give the rate with --rate", column=name)
    else:
        advice = f"by count the rate is {counted} Hz: if that is right, --rate {counted}"
        looked.say("stops", "coarse time", text, advice, column=name)


def _about_count(looked: Looked, name: str, timing: Timing) -> None:
    """Between the usual step and the count lies what was rounded or lost."""
    if timing.rate_hz is None or timing.counted_hz is None or timing.repeats or len(timing.gaps):
        return
    off = timing.counted_hz / timing.rate_hz - 1
    if abs(off) > _OFF_COUNT:
        text = (
            f"{timing.rate_hz:g} Hz by the usual step, {timing.counted_hz:.4g} Hz by count ({off:+.1%}): rounded "
            "stamps, or lost samples"
        )
        looked.say("note", "rate", text, column=name)


def _mixture(seconds: F64) -> str:
    """The three commonest steps, with their shares."""
    steps = np.diff(seconds[np.isfinite(seconds)])
    exponent = np.floor(np.log10(np.maximum(np.abs(steps), 1e-12)))
    rounded = np.round(steps / 10.0**exponent, 2) * 10.0**exponent
    values, counts = np.unique(rounded, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:3]
    return ", ".join(f"{values[i]:.3g} s ({counts[i] / len(steps):.0%})" for i in order)

"""Figures over time: the score of a point against its limit, and the small line beside a name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cloud_hub.charts.frame import SIZE, Axis, Key, figure, limit_line, line
from cloud_hub.charts.markup import Svg, element, number, percent
from cloud_hub.charts.scale import Scale, span_of, ticks, time_ticks
from cloud_hub.charts.thin import envelope, runs

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened: a line across the plot with a word at its top, and a sentence for the pointer."""

    time_s: float
    word: str
    text: str


def trend_chart(
    key: str,
    title: str,
    times_s: npt.ArrayLike,
    mean: npt.ArrayLike,
    *,
    label: str,
    low: npt.ArrayLike | None = None,
    high: npt.ArrayLike | None = None,
    limit: float | None = None,
    limit_text: str = "limit",
    marks: Sequence[Mark] = (),
    span_s: tuple[float, float] | None = None,
    gap_s: float | None = None,
) -> Svg:
    """A figure over time with its band.

    Args:   times_s: (n,) UTC seconds, ascending. mean, low, high: (n,), NaN where not known; the band is drawn where
            both its sides are, or from the mean to `high` where only that is given. label: what it is, with its unit.
            span_s: what the time axis covers, by default what there is. gap_s: a longer step breaks the line.
    Raises: ValueError: lengths differ, or times do not ascend.
    """
    t, middle = np.asarray(times_s, np.float64), np.asarray(mean, np.float64)
    top = np.asarray(high, np.float64) if high is not None else None
    bottom = np.asarray(low, np.float64) if low is not None else middle if top is not None else None
    for name, values in (("mean", middle), ("low", bottom), ("high", top)):
        if values is not None and values.shape != t.shape:
            raise ValueError(f"{name}: expected one value for each of {len(t)} times, got {values.shape}")
    if np.any(np.diff(t) < 0):
        raise ValueError("times_s: expected ascending times")
    x = Scale(*span_s) if span_s is not None else Scale(t[0], t[-1]) if len(t) > 1 else _around(t)
    y = span_of(middle, bottom, top, include=[0.0] + ([limit * 1.15] if limit is not None else []))
    places = x.place(t)
    gap = gap_s / (x.high - x.low) if gap_s is not None else None
    plot = [_band(places, y.place(bottom), y.place(top), gap)] if bottom is not None and top is not None else []
    plot.append(line(places, y.place(middle), "series-1", gap=gap))
    over = limit_line(y, limit, limit_text) if limit is not None else []
    over += [m for mark in marks for m in _mark(x, mark)]
    legend = [Key("mean", "series-1")]
    if plot[:-1]:
        legend.append(Key("lowest to highest" if low is not None else "mean to highest", "series-1", "band"))
    if limit is not None:
        legend.append(Key(f"{limit_text} {number(limit, 3)}", "", "limit"))
    return figure(
        key,
        title,
        _describe(label, middle, top, limit),
        x=Axis("Time", time_ticks(x), time=x),
        y=Axis(label, ticks(y)),
        plot=plot,
        over=over,
        legend=legend,
        top=1 if marks else 0,
    )


def sparkline(values: npt.ArrayLike, title: str, *, limit: float | None = None) -> Svg:
    """A line as high as a line of text. `values`: (n,), oldest first, equally far apart; NaN breaks it."""
    y_values = np.asarray(values, np.float64)
    scale = span_of(y_values, include=[0.0] + ([limit] if limit is not None else []))
    n = len(y_values)
    x = np.arange(n) / max(n - 1, 1)
    parts = [line(x, scale.place(y_values), "series-1", columns=60)]
    if limit is not None:
        at = number(SIZE * (1 - scale.at(limit)))
        parts.insert(0, element("path", class_="limit-line", d=f"M0 {at}H{SIZE}"))
    return element(
        "svg",
        element("title", text=title),
        *parts,
        class_="sparkline",
        viewBox=f"0 0 {SIZE} {SIZE}",
        preserveAspectRatio="none",
        role="img",
    )


def _around(t: F64) -> Scale:
    middle = float(t[0]) if len(t) else 0.0
    return Scale(middle - 1800.0, middle + 1800.0)


def _band(x: F64, low: F64, high: F64, gap: float | None) -> Svg:
    parts = []
    for run in runs(x, low, high, gap=gap):
        xs, lows, highs = envelope(x[run], low[run], high[run])
        corners = [*zip(xs, highs, strict=True), *zip(xs[::-1], lows[::-1], strict=True)]
        parts.append("M" + "L".join(f"{number(SIZE * a)} {number(SIZE * (1 - b))}" for a, b in corners) + "Z")
    return element("path", class_="band series-1", d="".join(parts)) if parts else Svg("")


def _mark(x: Scale, mark: Mark) -> list[Svg]:
    at = x.at(mark.time_s)
    if not 0 <= at <= 1:
        return []
    place = percent(at)
    anchor = "start" if at < 0.1 else "end" if at > 0.9 else "middle"
    return [
        element(
            "g",
            element("title", text=mark.text),
            element("line", class_="mark-line", x1=place, x2=place, y1="0", y2="100%"),
            element("text", class_="mark-text", x=place, y="0", dy="-5", text_anchor=anchor, text=mark.word),
        )
    ]


def _describe(label: str, mean: F64, high: F64 | None, limit: float | None) -> str:
    known = mean[np.isfinite(mean)]
    if not len(known):
        return f"{label}: nothing has been measured in this time."
    peaks = (high if high is not None else mean)[np.isfinite(high if high is not None else mean)]
    text = f"{label}: from {known.min():.3g} to {known.max():.3g}, last {known[-1]:.3g}"
    if len(peaks):
        text += f", highest {peaks.max():.3g}"
    if limit is not None and len(peaks):
        text += f"; {np.mean(peaks >= limit):.0%} of the time at or over the limit of {limit:g}"
    return text + "."

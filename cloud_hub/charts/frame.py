"""The frame of a chart: figure, title, axes with units, grid, legend. The plot inside is stretched, texts are not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cloud_hub.charts.markup import Svg, element, number, percent
from cloud_hub.charts.scale import Scale, Tick
from cloud_hub.charts.thin import COLUMNS, m4, runs

F64 = npt.NDArray[np.float64]
SIZE = 1000  # of the stretched plot, both ways
_NOT_ID = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis: its label with unit, and its ticks. `time`: the scale of UTC seconds where it shows times."""

    label: str
    ticks: Sequence[Tick]
    time: Scale | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """An entry of the legend. `kind`: line, band, limit, or bar; the sample is drawn in the class of the series."""

    text: str
    series: str
    kind: str = "line"


def figure(
    key: str,
    title: str,
    description: str,
    *,
    x: Axis,
    y: Axis,
    plot: Sequence[str],
    over: Sequence[str] = (),
    legend: Sequence[Key] = (),
    height: str = "normal",
    top: int = 0,
) -> Svg:
    """A chart.

    Args:   key: names it in its page, once. plot: elements in 0..1000, y downwards, that are stretched to the plot.
            over: elements that are not stretched, placed with percentages. height: small, normal, tall. top: lines of
            text above the plot.
    """
    name = _NOT_ID.sub("-", key.lower()).strip("-")
    grid = [
        element("line", class_="grid-line", x1="0", x2="100%", y1=percent(1 - t.at), y2=percent(1 - t.at))
        for t in y.ticks
    ]
    svg = element(
        "svg",
        element("title", text=title, id=f"{name}-title"),
        element("desc", text=description, id=f"{name}-desc"),
        *grid,
        stretched(*plot),
        element("line", class_="axis-line", x1="0", x2="100%", y1="100%", y2="100%"),
        *(_y_tick(t) for t in y.ticks),
        *(_x_tick(t) for t in x.ticks),
        *over,
        class_="plot",
        role="img",
        data_from_s=x.time.low if x.time is not None else None,
        data_to_s=x.time.high if x.time is not None else None,
        aria_labelledby=f"{name}-title {name}-desc",
    )
    labels = (
        element("p", _zone(x), class_="axis-x") if x.time is not None else element("p", class_="axis-x", text=x.label)
    )
    return element(
        "figure",
        element("figcaption", element("span", class_="chart-title", text=title), _legend(legend)),
        element("p", class_="axis-y", text=y.label),
        element("div", svg, class_=f"plot-room plot-{height}" + (f" plot-top-{top}" if top else "")),
        labels,
        class_="chart",
        id=name,
    )


def stretched(*children: str) -> Svg:
    """Elements in 0..1000 both ways, stretched to the plot; their lines keep their width (`vector-effect`)."""
    return element(
        "svg",
        *children,
        viewBox=f"0 0 {SIZE} {SIZE}",
        preserveAspectRatio="none",
        width="100%",
        height="100%",
        class_="stretched",
    )


def line(x: F64, y: F64, series: str, *, columns: int = COLUMNS, gap: float | None = None) -> Svg:
    """A line through places (0..1, y upwards), broken where something is missing."""
    parts = []
    for run in runs(x, y, gap=gap):
        xs, ys = x[run], y[run]
        keep = m4(xs, ys, columns)
        parts.append(path_through(xs[keep], ys[keep]))
    return element("path", class_=f"line {series}", d="".join(parts)) if parts else Svg("")


def path_through(x: F64, y: F64) -> str:
    """`d` of a path through places; a single one is a dot of a line's width."""
    points = [f"{number(SIZE * a)} {number(SIZE * (1 - b))}" for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    return f"M{points[0]}" + ("h.1" if len(points) == 1 else "L" + "L".join(points[1:]))


def limit_line(y: Scale, limit: float, text: str) -> list[Svg]:
    """A limit across the plot, with its name at the right end."""
    at = percent(1 - y.at(limit))
    return [
        element("line", class_="limit-line", x1="0", x2="100%", y1=at, y2=at),
        element("text", class_="limit-text", x="100%", y=at, dx="-4", dy="-5", text_anchor="end", text=text),
    ]


def _y_tick(tick: Tick) -> Svg:
    return element("text", class_="tick", x="-8", y=percent(1 - tick.at), dy=".32em", text_anchor="end", text=tick.text)


def _x_tick(tick: Tick) -> Svg:
    place = percent(tick.at)
    kind = "tick tick-x" + (" tick-extra" if tick.extra else "")
    return element(
        "g",
        element("line", class_="tick-mark", x1=place, x2=place, y1="100%", y2="100%", transform="translate(0 3)"),
        element(
            "text", class_=kind, x=place, y="100%", dy="17", text_anchor="middle", data_utc=tick.utc,
            data_local=tick.local, text=tick.text,
        ),
        class_="x-tick",
    )  # fmt: skip


def _zone(x: Axis) -> str:
    utc = next((tick.utc for tick in x.ticks if tick.utc is not None), "")  # summer or winter is said of the data
    return f"{element('span', text=x.label)} ({element('span', data_zone=utc, text='UTC')})"


def _legend(keys: Sequence[Key]) -> str:
    if not keys:
        return ""
    items = [
        element(
            "li",
            element(
                "svg", _sample(key), class_="sample", viewBox="0 0 22 12", aria_hidden="true", focusable="false"
            ),
            element("span", text=key.text),
        )
        for key in keys
    ]  # fmt: skip
    return element("ul", *items, class_="legend")


def _sample(key: Key) -> Svg:
    match key.kind:
        case "band" | "bar":
            return element("rect", class_=f"{key.kind} {key.series}", x="0", y="1", width="22", height="10")
        case "limit":
            return element("line", class_="limit-line", x1="0", x2="22", y1="6", y2="6")
        case _:
            return element("path", class_=f"line {key.series}", d="M0 6H22")

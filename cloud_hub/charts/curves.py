"""Lines over axes that are not time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cloud_hub.charts.frame import Axis, Key, figure, limit_line, line
from cloud_hub.charts.markup import Svg, element
from cloud_hub.charts.scale import Scale, span_of, ticks

MAX_CURVES = 4


@dataclass(frozen=True, slots=True)
class Curve:
    """A line with its name. `x`: ascending, `y`: NaN breaks it."""

    name: str
    x: npt.ArrayLike
    y: npt.ArrayLike


def curve_chart(
    key: str,
    title: str,
    curves: Sequence[Curve],
    *,
    x_label: str,
    y_label: str,
    description: str = "",
    limit: float | None = None,
    limit_text: str = "limit",
    from_zero: bool = True,
) -> Svg:
    """Up to `MAX_CURVES` lines. Labels carry the units. Raises: ValueError: more, or none."""
    if not 1 <= len(curves) <= MAX_CURVES:
        raise ValueError(f"curves: expected 1 to {MAX_CURVES}, got {len(curves)}")
    x = span_of(*(c.x for c in curves), head=0.0)
    include = ([0.0] if from_zero else []) + ([limit] if limit is not None else [])
    y = span_of(*(c.y for c in curves), include=include)
    return figure(
        key,
        title,
        description or "; ".join(_about(c) for c in curves) + f" ({y_label} over {x_label}).",
        x=Axis(x_label, ticks(x, 7)),
        y=Axis(y_label, ticks(y)),
        plot=[line(x.place(c.x), y.place(c.y), f"series-{i + 1}", gap=np.inf) for i, c in enumerate(curves)],
        over=limit_line(y, limit, limit_text) if limit is not None else [],
        legend=[Key(c.name, f"series-{i + 1}") for i, c in enumerate(curves)] if len(curves) > 1 else [],
    )


def roc_chart(key: str, title: str, curves: Sequence[tuple[str, npt.ArrayLike, npt.ArrayLike, float]]) -> Svg:
    """Share of faults found over share of healthy windows flagged, with the line of a coin between.

    Args:   curves: (name, false alarms (n,) ascending, hits (n,), area under the curve); at most `MAX_CURVES`.
    Raises: ValueError: more, or none.
    """
    if not 1 <= len(curves) <= MAX_CURVES:
        raise ValueError(f"curves: expected 1 to {MAX_CURVES}, got {len(curves)}")
    unit = Scale(0.0, 100.0)
    plot = [element("path", class_="chance-line", d="M0 1000L1000 0")]
    for i, (_, false, hits, _area) in enumerate(curves):
        places = unit.place(100 * np.asarray(false, np.float64)), unit.place(100 * np.asarray(hits, np.float64))
        plot.append(line(*places, f"series-{i + 1}", gap=np.inf))
    return figure(
        key,
        title,
        "; ".join(f"{name}: area under the curve {area:.4f}" for name, _, _, area in curves) + ".",
        x=Axis("False alarms (% of healthy windows)", ticks(unit, 5)),
        y=Axis("Found (% of faulty windows)", ticks(unit, 5)),
        plot=plot,
        legend=[Key(f"{name}: AUC {area:.4f}", f"series-{i + 1}") for i, (name, _, _, area) in enumerate(curves)],
        height="square",
    )


def _about(curve: Curve) -> str:
    y = np.asarray(curve.y, np.float64)
    y = y[np.isfinite(y)]
    if not len(y):
        return f"{curve.name}: no values"
    return f"{curve.name}: from {y[0]:.3g} to {y[-1]:.3g}, between {y.min():.3g} and {y.max():.3g}"

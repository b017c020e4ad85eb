"""How scores are spread: champion beside candidate, healthy beside faulty."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cloud_hub.charts.frame import SIZE, Axis, Key, figure
from cloud_hub.charts.markup import Svg, element, number, percent
from cloud_hub.charts.scale import Scale, ticks

F64 = npt.NDArray[np.float64]


def histogram_pair(
    key: str,
    title: str,
    edges: npt.ArrayLike,
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    *,
    names: tuple[str, str],
    x_label: str = "Score (1 is the limit)",
    limit: float | None = None,
) -> Svg:
    """Two histograms on the same edges, each as shares of its own windows: the first filled, the second as an outline,
    so that both can be seen where they agree.

    Args:   edges: (n + 1,) ascending. first, second: (n,) counts, not negative.
    Raises: ValueError: lengths that do not fit.
    """
    e, a, b = (np.asarray(v, np.float64) for v in (edges, first, second))
    if not (e.ndim == 1 and len(e) >= 2 and a.shape == b.shape == (len(e) - 1,)):
        raise ValueError(f"counts: expected {len(e) - 1} each for {len(e)} edges, got {a.shape} and {b.shape}")
    totals = a.sum(), b.sum()
    shares = [100 * counts / total if total else counts for counts, total in zip((a, b), totals, strict=True)]
    x, y = Scale(float(e[0]), float(e[-1])), Scale(0.0, max(1e-9, 1.08 * max(float(s.max()) for s in shares)))
    over = []
    if limit is not None and x.low <= limit <= x.high:
        place = percent(x.at(limit))
        over = [
            element("line", class_="limit-line", x1=place, x2=place, y1="0", y2="100%"),
            element("text", class_="limit-text", x=place, y="0", dx="5", dy="12", text="limit"),
        ]
    return figure(
        key,
        title,
        ". ".join(f"{name}: {_about(e, c, t)}" for name, c, t in zip(names, (a, b), totals, strict=True)) + ".",
        x=Axis(x_label, ticks(x, 8)),
        y=Axis("Share of windows (%)", ticks(y, 4)),
        plot=[_filled(x.place(e), y.place(shares[0])), _outline(x.place(e), y.place(shares[1]))],
        over=over,
        legend=[
            Key(f"{names[0]} ({totals[0]:,.0f} windows)", "series-1", "bar"),
            Key(f"{names[1]} ({totals[1]:,.0f} windows)", "series-2"),
        ],
    )


def score_split(
    key: str, title: str, healthy: npt.ArrayLike, faulty: npt.ArrayLike, *, limit: float = 1.0, bins: int = 60
) -> Svg:
    """Scores of windows that are known to be healthy and of those that are known to be faulty, on a logarithmic axis:
    the faults of interest are anywhere between just over the limit and a hundred times it.

    Args:   healthy, faulty: (n,), (m,) calibrated scores. limit: 1.0 unless the score is not calibrated.
    """
    parts = [np.maximum(np.asarray(v, np.float64), 1e-3) for v in (healthy, faulty)]
    both = np.concatenate([*parts, [limit]])
    both = both[np.isfinite(both)]
    edges = np.linspace(np.log10(both.min()) - 0.02, np.log10(both.max()) + 0.02, bins + 1)
    counts = [np.histogram(np.log10(p[np.isfinite(p)]), edges)[0] for p in parts]
    return histogram_pair(
        key,
        title,
        edges,
        counts[0],
        counts[1],
        names=("healthy", "faulty"),
        x_label="Score, logarithm to base 10 (0 is the limit)" if limit == 1 else "Score, logarithm to base 10",
        limit=float(np.log10(limit)),
    )


def _filled(edges: F64, shares: F64) -> Svg:
    bars = [
        f"M{number(SIZE * a)} {SIZE}V{number(SIZE * (1 - h))}H{number(SIZE * b)}V{SIZE}Z"
        for a, b, h in zip(edges[:-1], edges[1:], shares, strict=True)
        if h > 0
    ]
    return element("path", class_="bar series-1", d="".join(bars)) if bars else Svg("")


def _outline(edges: F64, shares: F64) -> Svg:
    if not shares.any():
        return Svg("")
    steps = [
        f"V{number(SIZE * (1 - h))}H{number(SIZE * b)}" for b, h in zip(edges[1:], shares, strict=True)
    ]  # fmt: skip
    return element("path", class_="line series-2", d=f"M{number(SIZE * edges[0])} {SIZE}{''.join(steps)}V{SIZE}")


def _about(edges: F64, counts: F64, total: float) -> str:
    if not total:
        return "no windows"
    middle = (edges[:-1] + edges[1:]) / 2
    return f"{total:,.0f} windows, most of them around {middle[int(np.argmax(counts))]:.3g}"

"""The report's plots, as SVG text to stand inside the page."""

from __future__ import annotations

import io
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from cloud_hub.evaluate.intervals import interval_of
from cloud_hub.training.measure import Evaluation
from cloud_hub.training.remaining_life import LifeEvaluation

mpl.use("svg")

_HEALTHY, _FAULTY, _LIMIT, _INK = "#2f7f79", "#c2452d", "#22262b", "#454b52"
_STYLE = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "svg.fonttype": "none",
    "svg.hashsalt": "millwright",
}


def loss_curve(losses: dict[str, list[float]]) -> str:
    """Training and held-out loss per epoch."""
    figure, axes = _figure()
    axes.plot(losses["loss"], color=_INK, linewidth=1.2, label="training (with noise)")
    axes.plot(losses["val_loss"], color=_HEALTHY, linewidth=1.6, label="held out")
    best = int(np.argmin(losses["val_loss"]))
    axes.axvline(best, color=_LIMIT, linewidth=0.8, linestyle=":")
    axes.annotate(f"kept: epoch {best + 1}", (best, losses["val_loss"][best]), (6, 14), textcoords="offset points")
    axes.set(xlabel="epoch", ylabel="mean squared error of normalised features", yscale="log")
    axes.legend(frameon=False)
    return _svg(figure)


def cycles_left(evaluation: LifeEvaluation) -> str:
    """Truth over prediction for units not seen, with the interval of 80 %."""
    figure, axes = _figure()
    known = evaluation.known()
    axes.plot(known.predicted, known.predicted + known.residuals, ".", color=_HEALTHY, markersize=2.5, alpha=0.5)
    at = np.linspace(max(0.0, known.predicted[0]), known.predicted[-1], 60)
    low, high = interval_of(at, known, 0.8)
    axes.fill_between(at, low, high, color=_FAULTY, alpha=0.15, linewidth=0)
    axes.plot(at, at, color=_LIMIT, linewidth=1.0)
    axes.set(xlabel="cycles left, as predicted", ylabel="cycles left, in truth")
    return _svg(figure)


def score_histogram(healthy: list[float], faulty: list[float], name: str) -> str:
    """Calibrated scores of healthy and faulty windows, with the limit at 1."""
    figure, axes = _figure()
    both = np.maximum(np.concatenate([healthy, faulty]), 1e-3)
    bins = np.geomspace(both.min() * 0.95, both.max() * 1.05, 50)
    for values, colour, label in ((healthy, _HEALTHY, "healthy, held out"), (faulty, _FAULTY, "faulty")):
        axes.hist(np.maximum(values, 1e-3), bins, color=colour, alpha=0.75, label=f"{label} ({len(values)})")
    axes.axvline(1.0, color=_LIMIT, linewidth=1.2)
    axes.annotate(
        "limit", (1.0, 0.97), (4, 0), xycoords=("data", "axes fraction"), textcoords="offset points", va="top"
    )
    axes.set(xlabel=f"score of {name} (1 = limit)", ylabel="windows", xscale="log")
    _plain_ticks(axes.xaxis)
    axes.legend(frameon=False)
    return _svg(figure)


def float_against_int8(evaluation: Evaluation) -> str:
    """Scores of the float network against those of the int8 one, window by window."""
    figure, axes = _figure()
    for x, y, colour, label in (
        (evaluation.float_healthy, evaluation.scores_healthy, _HEALTHY, "healthy"),
        (evaluation.float_faulty, evaluation.scores_faulty, _FAULTY, "faulty"),
    ):
        axes.scatter(x, y, s=7, color=colour, alpha=0.5, linewidths=0, label=label)
    ends = np.array([min(evaluation.float_healthy), max(evaluation.float_faulty)])
    axes.plot(ends, ends, color=_LIMIT, linewidth=0.8)
    axes.set(xlabel="float score", ylabel="int8 score", xscale="log", yscale="log")
    _plain_ticks(axes.xaxis)
    _plain_ticks(axes.yaxis)
    axes.legend(frameon=False)
    return _svg(figure)


def _plain_ticks(axis: Any) -> None:  # noqa: ANN401 - matplotlib's axis
    """Scores as people write them, not as powers of ten."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _figure() -> tuple[Any, Any]:
    with mpl.rc_context(_STYLE):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5.4, 3.3), layout="constrained")
        return figure, figure.subplots()


def _svg(figure: Any) -> str:  # noqa: ANN401 - matplotlib's figure
    buffer = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]

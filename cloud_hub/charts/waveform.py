"""A raw window over time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cloud_hub.charts.frame import Axis, Key, figure, line
from cloud_hub.charts.markup import Svg
from cloud_hub.charts.scale import Scale, span_of, ticks

MAX_AXES = 4


def waveform_chart(
    key: str, title: str, samples: npt.ArrayLike, rate_hz: float, *, axes: Sequence[str], label: str
) -> Svg:
    """Each axis of a window over the time since its first sample.

    Args:   samples: (n_samples, n_axes), n_axes at most `MAX_AXES`. label: what is measured, with its unit.
    Raises: ValueError: another shape.
    """
    window = np.asarray(samples, np.float64)
    if window.ndim != 2 or window.shape[1] != len(axes) or not 1 <= len(axes) <= MAX_AXES or len(window) < 2:
        raise ValueError(f"samples: expected (n, {len(axes)}) with at most {MAX_AXES} axes, got {window.shape}")
    seconds = len(window) / rate_hz
    milli = seconds < 2
    t = np.arange(len(window)) / rate_hz
    x, y = Scale(0.0, seconds), span_of(window)
    return figure(
        key,
        title,
        "; ".join(f"{name}: from {column.min():.3g} to {column.max():.3g}, rms {np.sqrt(np.mean(column**2)):.3g}"
                  for name, column in zip(axes, window.T, strict=True)) + f" ({label}).",
        x=Axis("Time (ms)" if milli else "Time (s)", ticks(Scale(0.0, seconds * (1000 if milli else 1)), 8)),
        y=Axis(label, ticks(y)),
        plot=[line(x.place(t), y.place(c), f"series-{i + 1}") for i, c in reversed(list(enumerate(window.T)))],
        legend=[Key(name, f"series-{i + 1}") for i, name in enumerate(axes)],
    )  # fmt: skip

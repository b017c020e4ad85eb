"""A spectrum with the lines where faults would show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cloud_hub.charts.frame import Axis, Key, figure, line
from cloud_hub.charts.markup import Svg, element, percent
from cloud_hub.charts.scale import Scale, span_of, ticks

_ROOM_FOR_A_NAME = 0.06  # of the plot's width: on a phone two figures and a sign
MAX_FAULTS = 4  # as many as there are colours and dashes


@dataclass(frozen=True, slots=True)
class FaultLines:
    """Where a fault shows. `order`: of the shaft's turning; `lines_hz`: its harmonics, the fundamental first.
    `found`: it was found there, in contrast to "would be there".
    """

    fault: str
    order: float
    lines_hz: Sequence[float]
    found: bool = True


def spectrum_chart(
    key: str,
    title: str,
    frequency_hz: npt.ArrayLike,
    amplitude: npt.ArrayLike,
    *,
    label: str,
    faults: Sequence[FaultLines] = (),
    range_hz: tuple[float, float] | None = None,
) -> Svg:
    """Amplitude over frequency; each line of each fault is marked and named above the plot.

    Args:   frequency_hz: (n,) ascending. amplitude: (n,), finite. label: what the amplitude is, with its unit.
            faults: at most `MAX_FAULTS`, the likeliest first. range_hz: what is shown, by default all.
    Raises: ValueError: more faults, or lengths that differ.
    """
    f, a = np.asarray(frequency_hz, np.float64), np.asarray(amplitude, np.float64)
    if f.shape != a.shape or f.ndim != 1 or len(f) < 2:
        raise ValueError(f"amplitude: expected one value for each of two or more frequencies, got {f.shape}, {a.shape}")
    if len(faults) > MAX_FAULTS:
        raise ValueError(f"faults: expected at most {MAX_FAULTS}, got {len(faults)}")
    low, high = range_hz if range_hz is not None else (float(f[0]), float(f[-1]))
    shown = (f >= low) & (f <= high)
    f, a = f[shown], a[shown]
    kilo = high > 5000
    x, y = Scale(low, high), span_of(a, include=[0.0])
    x_ticks = ticks(Scale(low / 1000, high / 1000) if kilo else x, 8)
    over = [m for row, fault in enumerate(faults) for m in _fault(x, fault, row)]
    return figure(
        key,
        title,
        _describe(f, a, faults, label),
        x=Axis("Frequency (kHz)" if kilo else "Frequency (Hz)", x_ticks),
        y=Axis(label, ticks(y)),
        plot=[line(x.place(f), y.place(a), "series-0", columns=700)],
        over=over,
        legend=[
            Key(_name(fault), f"fault-{i}") for i, fault in enumerate(faults) if len(fault.lines_hz)
        ],
        height="tall",
        top=len(faults),
    )  # fmt: skip


def _fault(x: Scale, fault: FaultLines, row: int) -> list[Svg]:
    """A dashed line at each harmonic, its number above: the fundamental has the fault's name."""
    marks = []
    named_at = -1.0
    for i, hz in enumerate(fault.lines_hz):
        at = x.at(hz)
        if not 0 <= at <= 1:
            continue
        place, lift = percent(at), -5 - 15 * row
        named = i == 0 or at - named_at >= _ROOM_FOR_A_NAME
        named_at = at if named else named_at
        marks.append(
            element(
                "g",
                element("title", text=f"{fault.fault}, {i + 1}. harmonic: {hz:.1f} Hz"),
                element("line", class_=f"line fault-{row}", x1=place, x2=place, y1="0", y2="100%"),
                element(
                    "text", class_=f"fault-text fault-{row}", x=place, y="0", dy=lift, text_anchor="middle",
                    text=fault.fault if i == 0 else f"{i + 1}\N{MULTIPLICATION SIGN}",
                ) if named else "",
            )
        )  # fmt: skip
    return marks


def _name(fault: FaultLines) -> str:
    where = f"{fault.fault}: order {fault.order:.3g}, {fault.lines_hz[0]:.1f} Hz"
    return where if fault.found else f"{where}, not found"


def _describe(f: npt.NDArray[np.float64], a: npt.NDArray[np.float64], faults: Sequence[FaultLines], label: str) -> str:
    if not len(a):
        return f"{label}: nothing in this range."
    peak_hz = f[int(np.argmax(a))]
    text = f"{label} from {f[0]:.0f} to {f[-1]:.0f} Hz; the highest line, {a.max():.3g}, is at {peak_hz:.1f} Hz."
    for fault in faults:
        lines = ", ".join(f"{hz:.1f}" for hz in fault.lines_hz)
        text += f" {fault.fault} (order {fault.order:.3g}) {'shows' if fault.found else 'would show'} at {lines} Hz."
    return text

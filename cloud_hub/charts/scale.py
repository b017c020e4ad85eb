"""Axes: from values to places in the plot (0..1), and where the ticks are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from cloud_hub.charts.markup import number

F64 = npt.NDArray[np.float64]
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_TIME_STEPS_S = (
    1, 2, 5, 10, 15, 30, _MINUTE, 2 * _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE, _HOUR, 2 * _HOUR,
    3 * _HOUR, 6 * _HOUR, 12 * _HOUR, _DAY, 2 * _DAY, 7 * _DAY, 14 * _DAY, 28 * _DAY, 84 * _DAY, 182 * _DAY, 364 * _DAY,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark of an axis at `at` (0..1 of the plot). `utc`: the time that it stands for, `local`: how the browser writes
    it. `extra`: may be left out where there is little room.
    """

    at: float
    text: str
    utc: str | None = None
    local: str | None = None
    extra: bool = False


@dataclass(frozen=True, slots=True)
class Scale:
    """Values from `low` to `high` along an axis."""

    low: float
    high: float

    def place(self, values: npt.ArrayLike) -> F64:
        """Where values lie: 0 at `low`, 1 at `high`, beyond outside."""
        return (np.asarray(values, np.float64) - self.low) / (self.high - self.low)

    def at(self, value: float) -> float:
        """Where one value lies."""
        return (value - self.low) / (self.high - self.low)


def span_of(*values: npt.ArrayLike | None, include: Sequence[float] = (), head: float = 0.08) -> Scale:
    """A scale over every finite value, with some room above; one value, or none, gets a scale of its own size."""
    parts = [np.asarray(v, np.float64).ravel() for v in values if v is not None]
    finite = np.concatenate([*parts, np.asarray(include, np.float64)])
    finite = finite[np.isfinite(finite)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    if high <= low:
        low, high = (0.0, 2 * high) if high > 0 else (low - 1.0, low + 1.0)
    room = head * (high - low)
    return Scale(low if low == 0 else low - room, high + room)


def ticks(scale: Scale, count: int = 5) -> list[Tick]:
    """Round numbers (1, 2, 5 times a power of ten), about `count` of them."""
    raw = (scale.high - scale.low) / max(count, 1)
    power = 10.0 ** np.floor(np.log10(raw))
    step = float(next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999))
    digits = max(0, -int(np.floor(np.log10(step) + 1e-9)))
    first = int(np.ceil(scale.low / step - 1e-9))
    last = int(np.floor(scale.high / step + 1e-9))
    return [
        Tick(scale.at(i * step), f"{i * step:,.{digits}f}" if abs(i * step) >= 1e4 else number(i * step, digits))
        for i in range(first, last + 1)
    ]


def time_ticks(scale: Scale, count: int = 7) -> list[Tick]:
    """Ticks of an axis of UTC seconds, at round times; every second one is `extra`."""
    span = scale.high - scale.low
    step = next((s for s in _TIME_STEPS_S if s * count >= span), _TIME_STEPS_S[-1])
    while step * count < span:
        step *= 2
    local, pattern = "tick-second", "%H:%M:%S"
    if step >= _MINUTE:
        local, pattern = ("tick-date", "%d %b") if step >= _DAY else ("tick-time", "%H:%M")
    if step >= 84 * _DAY:
        local, pattern = "tick-month", "%b %Y"
    found = []
    for i, k in enumerate(range(int(np.ceil(scale.low / step)), int(np.floor(scale.high / step)) + 1)):
        when = datetime.fromtimestamp(k * step, UTC)
        utc = when.isoformat(timespec="seconds").replace("+00:00", "Z")
        midnight = local == "tick-time" and k * step % _DAY == 0
        text = when.strftime("%d %b" if midnight else pattern)
        found.append(Tick(scale.at(k * step), text, utc, "tick-midnight" if midnight else local, extra=i % 2 == 1))
    return found

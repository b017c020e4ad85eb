"""The spectra of an alarm's raw window with the lines of fault orders, by the functions that the agent uses itself.

The agent judges a longer stretch than the window that it sends, so lines here are wider, and a fault that it has found
may not stand out in the window alone: `found_hz` says what does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cloud_hub.errors import NotFoundError
from cloud_hub.store.views import EvidenceWindow
from models.contract.messages import Diagnosis, OrderMatch
from models.errors import SignalError
from models.signal.arrays import F32, F64
from models.signal.orders import HARMONICS, deepest_envelope, modulation_depths, order_evidence
from models.signal.spectrum import amplitude_spectrum

_NO_ORDER_OCTAVE = 0.375  # of the rate of a window without orders: any line will do, the envelope is shown all the same


@dataclass(frozen=True, slots=True)
class FaultMark:
    """A fault order of the machine. `frequency_hz`: where its gateway has found it; `lines_hz`: that and its multiples.
    `found_hz`: lines that stand out in this window. `named`: the diagnosis says that it is this one.
    """

    fault: str
    order: float
    frequency_hz: float
    lines_hz: tuple[float, ...]
    found_hz: tuple[float, ...]
    confidence: float
    named: bool


@dataclass(frozen=True, slots=True)
class Spectra:
    """Of one axis. `amplitude`: RMS of each line, in `units`. `envelope`: of the squared envelope in the band
    `carrier_hz`, relative to its mean; empty where the window is too short. `shaft_hz`: None where not known.
    """

    alarm: str
    event: int
    axis: str
    axes: tuple[str, ...]
    units: str
    rate_hz: float
    samples: int
    shaft_hz: float | None
    hz: F64
    amplitude: F64
    carrier_hz: tuple[float, float] | None
    envelope_hz: F64
    envelope: F64
    marks: tuple[FaultMark, ...]


def window_of(evidence: EvidenceWindow) -> F32:
    """The raw window, (samples, axes)."""
    shape = (evidence.summary.samples, len(evidence.summary.axes))
    return np.frombuffer(evidence.window, "<f4").reshape(shape).astype(np.float32, copy=False)


def spectra(evidence: EvidenceWindow, diagnosis: Diagnosis | None, axis: str | None = None) -> Spectra:
    """Spectra of one axis, by default of the one where the likeliest fault modulates most.

    Raises: NotFoundError: it has no such axis.
    """
    summary = evidence.summary
    samples = window_of(evidence)
    orders = list(diagnosis.orders) if diagnosis is not None else []
    column = _column(evidence, samples, orders, axis)
    x = np.ascontiguousarray(samples[:, column])
    hz, power = amplitude_spectrum(x, summary.rate_hz)
    carrier, envelope_hz, envelope = _envelope(x, summary.rate_hz, orders)
    shaft_hz = float(np.median([o.frequency_hz / o.order for o in orders])) if orders else None
    return Spectra(
        alarm=evidence.alarm,
        event=evidence.event,
        axis=summary.axes[column],
        axes=summary.axes,
        units=summary.units,
        rate_hz=summary.rate_hz,
        samples=summary.samples,
        shaft_hz=shaft_hz,
        hz=hz,
        amplitude=np.sqrt(power),
        carrier_hz=carrier,
        envelope_hz=envelope_hz,
        envelope=envelope,
        marks=_marks(x, summary.rate_hz, shaft_hz, orders, diagnosis.fault if diagnosis is not None else None),
    )


def _column(evidence: EvidenceWindow, samples: F32, orders: list[OrderMatch], axis: str | None) -> int:
    axes = evidence.summary.axes
    if axis is not None:
        if axis not in axes:
            raise NotFoundError(f"alarm {evidence.alarm}: its window has the axes {', '.join(axes)}, not {axis!r}")
        return axes.index(axis)
    if not orders:
        return int(np.argmax(samples.std(axis=0)))
    lines = [orders[0].frequency_hz]
    rate_hz = evidence.summary.rate_hz
    depths = [modulation_depths(np.ascontiguousarray(x), rate_hz, lines)[0] for x in samples.T]
    return int(np.argmax(depths))


def _envelope(x: F32, rate_hz: float, orders: list[OrderMatch]) -> tuple[tuple[float, float] | None, F64, F64]:
    line_hz = orders[0].frequency_hz if orders else _NO_ORDER_OCTAVE * rate_hz
    try:
        return deepest_envelope(x, rate_hz, line_hz)
    except SignalError:
        return None, np.zeros(0), np.zeros(0)


def _marks(
    x: F32, rate_hz: float, shaft_hz: float | None, orders: list[OrderMatch], named: str | None
) -> tuple[FaultMark, ...]:
    found: dict[str, tuple[float, ...]] = {}
    if shaft_hz is not None:
        try:
            judged = order_evidence(x, rate_hz, shaft_hz, {order.fault: order.order for order in orders})
            found = {evidence.fault: evidence.harmonics for evidence in judged}
        except SignalError:  # the window alone is too short: what the gateway has found stands by itself
            found = {}
    return tuple(
        FaultMark(
            fault=order.fault,
            order=order.order,
            frequency_hz=order.frequency_hz,
            lines_hz=tuple(order.frequency_hz * k for k in range(1, HARMONICS + 1)),
            found_hz=found.get(order.fault, ()),
            confidence=order.confidence,
            named=order.fault == named,
        )
        for order in orders
    )

"""Pictures of the raw window behind an alarm: its envelope and amplitude spectrum, its waveform."""

from __future__ import annotations

from dataclasses import dataclass

from cloud_hub.alarms.spectra import FaultMark, Spectra, window_of
from cloud_hub.charts import FaultLines, Svg, spectrum_chart, waveform_chart
from cloud_hub.charts.spectrum import MAX_FAULTS
from cloud_hub.charts.waveform import MAX_AXES
from cloud_hub.store.views import EvidenceWindow

_LIKELY = 0.1
_AROUND = 1.6  # how far the picture goes beyond the highest line that is marked
_FEWEST_HZ = 50.0


@dataclass(frozen=True, slots=True)
class EvidenceCharts:
    """What is drawn of one window. `envelope` is None where the window is too short for one."""

    envelope: Svg | None
    amplitude: Svg
    waveform: Svg
    axis: str
    carrier_hz: tuple[float, float] | None
    marks: tuple[FaultMark, ...]


def shown_marks(marks: tuple[FaultMark, ...]) -> tuple[FaultMark, ...]:
    """The fault that is named and those that are likely; the first one where none is."""
    chosen = [mark for mark in marks if mark.named or mark.confidence >= _LIKELY] or list(marks[:1])
    return tuple(sorted(chosen, key=lambda mark: (not mark.named, -mark.confidence))[:MAX_FAULTS])


def evidence_charts(evidence: EvidenceWindow, found: Spectra) -> EvidenceCharts:
    """All pictures of a window."""
    marks = shown_marks(found.marks)
    units = found.units.replace("m/s2", "m/s²")
    faults = [FaultLines(m.fault, m.order, m.lines_hz, found=bool(m.found_hz) or m.named) for m in marks]
    envelope = None
    if len(found.envelope_hz) >= 2:
        top_hz = float(found.envelope_hz[-1])
        lines = [hz for fault in faults for hz in fault.lines_hz if hz <= top_hz]
        high_hz = min(top_hz, max(_AROUND * max(lines), _FEWEST_HZ)) if lines else top_hz
        envelope = spectrum_chart(
            "envelope",
            f"Envelope spectrum of {found.axis}",
            found.envelope_hz,
            found.envelope,
            label="Squared envelope, relative to its mean (1)",
            faults=faults,
            range_hz=(0.0, high_hz),
        )
    amplitude = spectrum_chart(
        "amplitude", f"Spectrum of {found.axis}", found.hz, found.amplitude, label=f"RMS of a line ({units})"
    )
    axes = found.axes[:MAX_AXES]
    waveform = waveform_chart(
        "waveform",
        "Waveform",
        window_of(evidence)[:, : len(axes)],
        found.rate_hz,
        axes=axes,
        label=f"Raw signal ({units})",
    )
    return EvidenceCharts(envelope, amplitude, waveform, found.axis, found.carrier_hz, marks)

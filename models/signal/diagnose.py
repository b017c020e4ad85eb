"""Why a point is in alarm: what drives the score, which fault order matches, how severe, what to check first.

Order matching follows the usual envelope analysis (Randall & Antoni 2011, section 5; Smith & Randall 2015 for which
lines to expect): lines of the squared-envelope spectrum at multiples of a fault's order times shaft speed, each judged
against the median of its neighbourhood. Several carrier bands are tried, because the resonance is not known. What does
not stand out clearly stays unknown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from models.bundle.manifest import InputSpec
from models.contract.messages import Diagnosis, Driver, OrderMatch
from models.errors import SignalError
from models.signal.arrays import F32, F64
from models.signal.envelope import envelope_spectrum
from models.signal.features import FeatureInfo
from models.signal.monitor import Monitor, Result
from models.signal.spectrum import amplitude_spectrum

STANDARD_GRAVITY = 9.80665  # m/s², ISO 80000-3
_TO_MS2 = {"g": STANDARD_GRAVITY, "m/s2": 1.0, "m/s²": 1.0}
_VELOCITY_BAND_HZ = (10.0, 1000.0)  # ISO 20816-3:2022, 4.3: for machines above 600 r/min
_HARMONICS = 4
_SPEED_TOLERANCE = 0.02  # slip and speed wander
_NEIGHBOURHOOD_LINES = 12
_PROMINENCE_HALF = 4.0  # a geometric mean of line / median at which matching is as likely as not
_MIN_CONFIDENCE = 0.6
_MAX_DRIVERS = 3

FAULT_NAMES = {
    "BPFO": "bearing outer race",
    "BPFI": "bearing inner race",
    "BSF": "bearing rolling element",
    "FTF": "bearing cage",
    "GMF": "gear mesh",
    "VPF": "vane pass",
}
_CHECK_FIRST = {
    "BPFO": "bearing: lubrication, then outer race and its seat; plan the replacement",
    "BPFI": "bearing: lubrication, then inner race and shaft fit; plan the replacement",
    "BSF": "bearing: lubrication and contamination, then rolling elements; plan the replacement",
    "FTF": "bearing: cage and lubrication; replace soon, cages fail fast",
    "GMF": "gearbox: oil level and particles, then tooth contact",
    "VPF": "pump: suction pressure, strainer and operating point (cavitation)",
}


@dataclass(frozen=True, slots=True)
class PointFacts:
    """What is known of the machine at one point, from the gateway's settings. Orders are multiples of shaft rate."""

    shaft_hz: float | None = None
    orders: dict[str, float] = field(default_factory=dict)
    zone_limits_mm_s: tuple[float, float, float] | None = None
    """Limits A/B, B/C, C/D of velocity RMS."""
    zone_source: str | None = None


def diagnose(samples: F32, result: Result, monitor: Monitor, facts: PointFacts) -> Diagnosis:
    """Explain one result.

    Args: samples: (n, axes), the window behind the result or a longer stretch that ends with it, in the units of the
          bundle's input. The longer, the finer the lines: of the CWRU recordings at 48 kHz a window of 4096 samples
          names one in a hundred, a stretch of 32,768 about half of the race faults, none of them wrongly.
    """
    source = monitor.manifest.input
    drivers = _drivers(result, monitor)
    matches = match_orders(samples, source, facts)
    best = matches[0] if matches else None
    velocity = _velocity_rms(samples, source)
    zone = _zone(velocity, facts)
    summary = _summary(drivers, best)
    return Diagnosis(
        summary=summary,
        drivers=drivers,
        fault=best.fault if best else None,
        orders=matches[:4],
        velocity_rms_mm_s=velocity,
        zone=zone,
        zone_source=facts.zone_source if zone else None,
        check_first=_CHECK_FIRST.get(best.fault) if best else None,
    )


def _drivers(result: Result, monitor: Monitor) -> list[Driver]:
    """Neighbouring bands of one kind and axis are one driver; the largest shares come first."""
    baseline = monitor.baseline(result.point)
    if result.contributions is None or baseline is None:
        return []
    infos = monitor.scorer.extract.infos
    total = float(result.contributions.sum()) or 1.0
    change = result.features - baseline.level
    groups: list[list[int]] = []
    strong = result.contributions > result.contributions.max() * 0.2
    for j, info in enumerate(infos):
        if not strong[j]:
            continue
        joins = groups and groups[-1][-1] == j - 1 and (infos[j - 1].axis, infos[j - 1].kind) == (info.axis, info.kind)
        if joins and info.low_hz is not None:
            groups[-1].append(j)
        else:
            groups.append([j])
    groups.sort(key=lambda group: -float(result.contributions[group].sum()) if result.contributions is not None else 0)
    axes = monitor.manifest.input.axes
    return [
        Driver(
            axis=axes[infos[group[0]].axis],
            label=_label([infos[j] for j in group]),
            share=min(1.0, float(result.contributions[group].sum()) / total),
            ratio=_ratio([infos[j] for j in group], change[group]),
        )
        for group in groups[:_MAX_DRIVERS]
    ]


def _label(infos: Sequence[FeatureInfo]) -> str:
    first, last = infos[0], infos[-1]
    if first.low_hz is None or last.high_hz is None:
        return {"rms": "RMS", "crest": "crest factor"}.get(first.kind, first.kind)
    what = "envelope " if first.kind == "envelope_bands" else ""
    return f"{what}{first.low_hz:.0f}-{last.high_hz:.0f} Hz"


def _ratio(infos: Sequence[FeatureInfo], change: F32) -> float | None:
    """Against this point's healthy level, as an instrument would show it (amplitudes, not energies)."""
    power = infos[0].power
    if power is None:
        return None
    return float(10.0 ** (float(change[np.argmax(np.abs(change))]) / power))


def match_orders(samples: F32, source: InputSpec, facts: PointFacts) -> list[OrderMatch]:
    """Known fault orders that stand out in the envelope spectrum of any axis, the most confident first."""
    if facts.shaft_hz is None or not facts.orders or source.units not in _TO_MS2:
        return []
    best: dict[str, OrderMatch] = {}
    for axis in range(samples.shape[1]):
        for carrier in _carriers(source.rate_hz):
            try:
                hz, lines = envelope_spectrum(samples[:, axis], source.rate_hz, carrier)
            except SignalError:  # the window is too short to resolve this carrier: the others may do
                continue
            for fault, order in facts.orders.items():
                match = _match(fault, order, facts.shaft_hz, hz, lines)
                if match is not None and (fault not in best or match.prominence > best[fault].prominence):
                    best[fault] = match
    return sorted(best.values(), key=lambda match: -match.prominence)


def _carriers(rate_hz: float) -> list[tuple[float, float]]:
    """Octave bands up to the Nyquist frequency, and the upper half as a whole."""
    top = rate_hz / 2
    return [(top / 8, top / 4), (top / 4, top / 2), (top / 2, top * 0.95), (top / 4, top * 0.95)]


def _match(fault: str, order: float, shaft_hz: float, hz: F64, lines: F64) -> OrderMatch | None:
    spacing = float(hz[1])
    fundamental = order * shaft_hz
    if fundamental < 3 * spacing:  # too close to zero to tell from slow modulation
        return None
    ratios, found = [], []
    for k in range(1, _HARMONICS + 1):
        centre = k * fundamental
        reach = max(1, math.ceil(_SPEED_TOLERANCE * centre / spacing))
        middle = round(centre / spacing)
        low, high = middle - reach, middle + reach + 1
        if high + _NEIGHBOURHOOD_LINES > len(lines):
            break
        around = np.concatenate(
            [lines[max(2, low - _NEIGHBOURHOOD_LINES) : low], lines[high : high + _NEIGHBOURHOOD_LINES]]
        )
        peak = low + int(np.argmax(lines[low:high]))
        # The largest of several lines of pure noise already stands above their median: sqrt(log2(n)) for a Rayleigh.
        chance = math.sqrt(max(1.0, math.log2(2 * (high - low))))
        ratios.append(float(lines[peak] / max(float(np.median(around)), 1e-12)) / chance)
        if ratios[-1] > 2.0:
            found.append(float(hz[peak]))
    if not ratios or ratios[0] < 2.0:
        return None
    prominence = float(np.exp(np.mean(np.log(ratios[:3]))))
    confidence = prominence**3 / (prominence**3 + _PROMINENCE_HALF**3)
    if confidence < _MIN_CONFIDENCE:
        return None
    return OrderMatch(
        fault=fault,
        order=order,
        frequency_hz=found[0],
        harmonics=found,
        prominence=prominence,
        confidence=confidence,
    )


def _velocity_rms(samples: F32, source: InputSpec) -> float | None:
    """Largest velocity RMS of the axes, mm/s, 10 to 1000 Hz, by integration in the frequency domain."""
    to_ms2 = _TO_MS2.get(source.units)
    if to_ms2 is None:
        return None
    largest = 0.0
    for axis in range(samples.shape[1]):
        hz, power = amplitude_spectrum(samples[:, axis], source.rate_hz)
        band = (hz >= max(_VELOCITY_BAND_HZ[0], 2 * hz[1])) & (hz <= _VELOCITY_BAND_HZ[1])
        mean_square = float(np.sum(power[band] / (2 * np.pi * hz[band]) ** 2))
        largest = max(largest, math.sqrt(mean_square) * to_ms2 * 1e3)
    return largest


def _zone(velocity_mm_s: float | None, facts: PointFacts) -> str | None:
    if velocity_mm_s is None or facts.zone_limits_mm_s is None:
        return None
    return "ABCD"[sum(velocity_mm_s > limit for limit in facts.zone_limits_mm_s)]


def _summary(drivers: Sequence[Driver], best: OrderMatch | None) -> str:
    parts = []
    if best is not None:
        lines = ", ".join(f"{f:.1f}" for f in best.harmonics)
        name = FAULT_NAMES.get(best.fault, best.fault)
        parts.append(
            f"{name} ({best.fault}, {best.order:g} x shaft): envelope lines at {lines} Hz, "
            f"confidence {best.confidence:.0%}"
        )
    if drivers:
        first = drivers[0]
        level = f" at {first.ratio:.1f} x its healthy level" if first.ratio is not None else ""
        parts.append(f"{first.axis} {first.label}{level}, {first.share:.0%} of the score")
    if not parts:
        return "score over its limit; nothing known matches"
    return "; ".join(parts)

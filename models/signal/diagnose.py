"""Why a point is in alarm: what drives the score, which fault order matches, how severe, what to check first.

Order matching is that of `models.signal.orders`. What does not stand out clearly stays unknown; the ranking then still
says what comes nearest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from models.bundle.manifest import InputSpec
from models.contract.messages import Diagnosis, Driver, OrderMatch
from models.errors import SignalError
from models.signal.arrays import F32
from models.signal.features import FeatureInfo
from models.signal.healthy_orders import HealthyOrder, healthy_orders
from models.signal.monitor import Monitor, Result
from models.signal.orders import SLIP, Evidence, gumbel_tail, odds_against_chance, order_evidence
from models.signal.spectrum import amplitude_spectrum

STANDARD_GRAVITY = 9.80665  # m/s², ISO 80000-3
_TO_MS2 = {"g": STANDARD_GRAVITY, "m/s2": 1.0, "m/s²": 1.0}
_TO_MM_S = {unit: to_ms2 * 1e3 for unit, to_ms2 in _TO_MS2.items()} | {"mm/s": 1.0, "m/s": 1e3}
_VELOCITY_BAND_HZ = (10.0, 1000.0)  # ISO 20816-3:2022, 4.3: for machines above 600 r/min
_SLOW_SHAFT_HZ, _SLOW_FROM_HZ = 10.0, 2.0  # the same: below 600 r/min the band begins at 2 Hz
_MIN_CONFIDENCE = 0.75  # people open bearings on this word: one wrong in four is the most
_MIN_LINES = 2
_MIN_DEPTH = 0.1  # of modulation: blows that make up a tenth of a band's envelope
_DEEPER = 1.5  # than in the healthy signal, where that is known
_SEEN = 2.0  # standard deviations
_SHAFT_SIDEBANDS = (-3, -2, -1, 1, 2, 3)
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
    """Explain one result, against what the monitor knows of the point's healthy signal.

    Args: samples: (n, axes), the window behind the result or a longer stretch that ends with it, in the units of the
          bundle's input: the longer, the finer the lines; several turns of the cage are needed.
    """
    source = monitor.manifest.input
    drivers = _drivers(result, monitor)
    matches = match_orders(samples, source, facts, monitor.healthy_orders(result.point))
    best = plain_match(matches)
    velocity, zone = velocity_and_zone(samples, source, facts)
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
        ranking=[match.fault for match in matches],
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


def learn_healthy(monitor: Monitor, point: int, samples: F32, facts: PointFacts) -> None:
    """Teach a monitor what a healthy stretch (n, axes) of a point shows at its fault orders (`learn_stretch`)."""
    found = learn_stretch(samples, monitor.manifest.input, facts)
    if found:
        monitor.learn_orders(point, found)


def learn_stretch(samples: F32, source: InputSpec, facts: PointFacts) -> dict[str, HealthyOrder]:
    """What a healthy stretch (n, axes) shows at the known fault orders; empty where none is known or the stretch is
    too short to resolve any.
    """
    by_axis = _evidence(samples, source, facts)
    return healthy_orders(by_axis) if by_axis else {}


def _evidence(samples: F32, source: InputSpec, facts: PointFacts) -> list[list[Evidence]]:
    """Of each axis; empty when there is nothing to look for or the stretch is too short: unknown stays unknown."""
    if facts.shaft_hz is None or not facts.orders or source.units not in _TO_MS2:
        return []
    try:
        return [
            order_evidence(np.ascontiguousarray(samples[:, axis]), source.rate_hz, facts.shaft_hz, facts.orders)
            for axis in range(samples.shape[1])
        ]
    except SignalError:  # too short, which all axes are alike
        return []


def match_orders(
    samples: F32, source: InputSpec, facts: PointFacts, healthy: Mapping[str, HealthyOrder] | None = None
) -> list[OrderMatch]:
    """All known fault orders that the stretch (n, axes) can resolve, the most likely first, each with its confidence.

    Each fault counts on the axis where it stands out most; the chance of that grows with the number of axes. An order
    that the point's healthy signal has too counts only by how much further it stands out now.
    """
    by_axis = _evidence(samples, source, facts)
    best: dict[str, tuple[float, int, Evidence]] = {}
    for axis, found in enumerate(by_axis):
        for evidence in found:
            standing = _beyond(evidence, axis, (healthy or {}).get(evidence.fault))
            if evidence.fault not in best or standing > best[evidence.fault][0]:
                best[evidence.fault] = standing, axis, evidence
    odds = {
        fault: odds_against_chance(min(1.0, gumbel_tail(standing) * len(by_axis)))
        for fault, (standing, _, _) in best.items()
    }
    for fault in _sidebands_of_inner_race({fault: e.order for fault, (_, _, e) in best.items()}):
        # Near a whole multiple of shaft rate the inner race cannot stand out, but its lines are deep all the same.
        if best["BPFI"][0] > _SEEN or best["BPFI"][2].depth > best[fault][2].depth:
            odds[fault] = min(odds[fault], odds["BPFI"])
    # The cage line is part of the evidence for the elements: where their own lines stand out as well, the two do not
    # speak against each other.
    cage_joined = "BSF" in best and best["BSF"][2].own_z > max(0.0, best["FTF"][2].z if "FTF" in best else 0.0)
    rivals = {fault: odd for fault, odd in odds.items() if fault != "FTF" or not cage_joined}
    matches = [
        OrderMatch(
            fault=fault,
            order=e.order,
            frequency_hz=e.frequency_hz,
            harmonics=list(e.harmonics),
            prominence=standing,
            confidence=odds[fault] / (1.0 + sum((rivals | {fault: odds[fault]}).values())) if standing > 0 else 0.0,
            sidebands=list(e.sidebands),
            depth=e.depth,
            healthy_depth=healthy[fault].depth[axis] if healthy and fault in healthy else None,
        )
        for fault, (standing, axis, e) in best.items()
    ]
    return sorted(matches, key=lambda match: (-match.prominence, match.fault == "FTF"))


def _sidebands_of_inner_race(orders: Mapping[str, float]) -> list[str]:
    """Faults whose order happens to be BPFI plus or minus a few turns of the shaft, by slip. Passing in and out of the
    load zone, a fault on the inner race makes lines there too, so that such lines do not tell the two apart.
    """
    inner = orders.get("BPFI")
    if inner is None:
        return []
    return [
        fault
        for fault, order in orders.items()
        if fault != "BPFI" and any(abs(abs(inner + k) - order) <= SLIP * order for k in _SHAFT_SIDEBANDS)
    ]


def _beyond(evidence: Evidence, axis: int, healthy: HealthyOrder | None) -> float:
    """Standing of an order, less that in the healthy signal where it stood out there."""
    return evidence.z - (max(0.0, healthy.standing[axis]) if healthy is not None else 0.0)


def plain_match(matches: Sequence[OrderMatch]) -> OrderMatch | None:
    """The first match, when it is plain enough to be named: confident, with lines of its own, deeper than healthy."""
    if not matches or matches[0].confidence < _MIN_CONFIDENCE:
        return None
    best = matches[0]
    lines = len(best.harmonics) + len(best.sidebands) / 2
    deeper = best.healthy_depth is None or (best.depth or 0.0) > _DEEPER * best.healthy_depth
    return best if lines >= _MIN_LINES and deeper and (best.depth or 0.0) >= _MIN_DEPTH else None


def velocity_and_zone(samples: F32, source: InputSpec, facts: PointFacts) -> tuple[float | None, str | None]:
    """Largest velocity RMS of the axes of a stretch (n, axes), mm/s, and the severity zone that it falls into.

    From acceleration by integration in the frequency domain. None where it cannot be told: other units, or a stretch
    too short for the band's lowest lines; no zone without limits, or where the sensor does not see the whole band.
    """
    scale = _TO_MM_S.get(source.units)
    low_hz = _SLOW_FROM_HZ if facts.shaft_hz is not None and facts.shaft_hz < _SLOW_SHAFT_HZ else _VELOCITY_BAND_HZ[0]
    if scale is None or 2 * source.rate_hz / len(samples) > low_hz:  # the Hann taper spreads a line over two more
        return None, None
    integrate = source.units in _TO_MS2
    largest = 0.0
    for axis in range(samples.shape[1]):
        hz, power = amplitude_spectrum(samples[:, axis], source.rate_hz)
        band = (hz >= low_hz) & (hz <= _VELOCITY_BAND_HZ[1])
        parts = power[band] / (2 * np.pi * hz[band]) ** 2 if integrate else power[band]
        largest = max(largest, math.sqrt(float(np.sum(parts))) * scale)
    if facts.zone_limits_mm_s is None or source.rate_hz / 2 < _VELOCITY_BAND_HZ[1]:
        return largest, None
    return largest, "ABCD"[sum(largest > limit for limit in facts.zone_limits_mm_s)]


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

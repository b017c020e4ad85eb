"""Which fault orders of a machine stand in the envelope of a signal, each judged against wrong orders in it.

The way from samples to evidence, one axis at a time:

1. *Cepstrum prewhitening* (Borghesani et al. 2013; method 3 of Smith & Randall 2015, the one that finds the most
   ball faults of their benchmark): every line of the spectrum is set to one magnitude, its phase kept. Shaft
   and gear lines and the shape of resonances go, what is impulsive stays, and no carrier band has to be chosen.
2. The spectrum of the squared envelope, over a stretch of several turns of the cage, each line against the median of
   its surroundings. For lines of noise alone ln 2 times the square of that is exponentially distributed; capped, so
   that no single line decides.
3. *Combs*: the sum over the first harmonics of an order (Fisher's way to join p-values), with the sidebands that the
   kind of fault makes, at half weight: shaft rate for the inner race, cage rate for the elements (Randall & Antoni
   2011, section 2). The order may be off by `SLIP`, all harmonics together.
4. The same comb at many neighbouring *wrong* orders is what chance gives on this very signal. How far the right order
   stands above them, in robust standard deviations, is the evidence; maxima follow Gumbel's law (Fisher & Tippett
   1928).
   Likewise the depth to which the order modulates the unwhitened envelope in its best octave band: distinct blows make
   it about 1 there, and prewhitening alone would rank a plain fault no higher than a faint one.
5. Confidence: the largest odds that such a chance can stand for (Sellke, Bayarri & Berger 2001), all faults and
   "something else" being equally likely beforehand.

A line at cage rate speaks for the elements as well, since a fault on an element comes by as often as the cage turns;
at most as loudly as their own lines do.
Nothing here is fitted to labelled faults.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.errors import SignalError
from models.signal.arrays import C64, F32, F64
from models.signal.envelope import EnvelopePlan, envelope_spectrum

HARMONICS = 4
SLIP = 0.012  # relative: elements slip by one or two percent (Randall & Antoni 2011, section 2)
_SIDEBAND_HARMONICS = 3
_SIDEBAND_WEIGHT = 0.5
_CAP = 12.0  # of one line's evidence: a chance of 6 in a million
_FOUND = 4.6  # of one line's evidence: chance 1 in 100
_BAND = (0.04, 0.9)  # of the Nyquist frequency, what is whitened: neither drift nor the skirt of an anti-alias filter
_MEDIAN_HZ = 12.0
_MEDIAN_LINES = 31
_LOWEST_LINES = 6  # below, the envelope's mean and the Hann taper reach
_WRONG_RANGE = 1.7  # wrong orders are looked at up to this factor away
_CAGE_RANGE = 2.2  # wider for few turns: the cage's surroundings have fewer lines
_FEWEST_WRONG = 8
_PLAIN = 2.0  # standard deviations
_MAD_EFFICIENCY = 0.37
_INTEGER = 0.004
_SHAFT_HARMONICS = 5
_DEPTH_BANDS = ((1 / 8, 1 / 4), (1 / 4, 1 / 2), (1 / 2, 0.9))  # octaves, as shares of the Nyquist frequency


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for one fault order on one axis.

    `z`: how far its comb stands above those of wrong orders, in robust standard deviations, cage line joined in.
    `own_z`: without the cage line. `chance`: probability of that in a signal without the fault. `frequency_hz`: where
    the order was found. `harmonics`, `sidebands`: lines found, Hz. `depth`: largest modulation depth of the envelope at
    the order (amplitude over mean) in any octave band of the unwhitened signal: about 1 and more when distinct blows
    make up the band, a few percent when nothing is there.
    """

    fault: str
    order: float
    z: float
    own_z: float
    chance: float
    frequency_hz: float
    harmonics: tuple[float, ...]
    sidebands: tuple[float, ...]
    depth: float


@dataclass(frozen=True, slots=True)
class _Lines:
    """Evidence of each line: `all`, and `unshafted` with multiples of shaft rate taken down to what noise has."""

    spacing_hz: float
    all: F64
    unshafted: F64


def order_evidence(x: F32, rate_hz: float, shaft_hz: float, orders: Mapping[str, float]) -> list[Evidence]:
    """Evidence for each order that the stretch can resolve, in the order given.

    Args:   x: (n,) samples of one axis, several turns of the shaft long; the longer, the finer the lines.
            orders: multiples of shaft rate by fault name; BPFI, BSF and FTF are known to have or to be sidebands.
    Raises: SignalError: the stretch is too short for any envelope line, or the shaft's rate is not positive.
    """
    if not shaft_hz > 0 or not rate_hz > 0 or len(x) < 256:
        raise SignalError(
            f"orders: expected a positive shaft rate and 256 samples or more, got {shaft_hz:g} Hz and {len(x)} samples"
        )
    top_hz = min(rate_hz / 4, 1.1 * HARMONICS * _WRONG_RANGE * max(orders.values(), default=1.0) * shaft_hz)
    lines = _lines(x, rate_hz, top_hz, shaft_hz)
    cage = orders.get("FTF")
    others = [order for fault, order in orders.items() if fault != "FTF"]
    cage_z = _cage_z(lines, shaft_hz, cage) if cage is not None else 0.0
    places: list[tuple[str, float, float, F64]] = []
    for fault, order in orders.items():
        if fault == "FTF":
            places.append((fault, cage_z, order * shaft_hz, np.zeros(0)))
            continue
        judged = _judge(lines, shaft_hz, order, _side(fault, shaft_hz, cage), others)
        if judged is not None:
            places.append((fault, *judged))
    depths = iter(modulation_depths(x, rate_hz, [hz for _, _, at_hz, wrong in places for hz in (at_hz, *wrong)]))
    found = []
    for fault, comb_z, at_hz, wrong in places:
        side = _side(fault, shaft_hz, cage)
        depth = next(depths)
        depth_z = _standing(math.log(depth + 1e-6), np.log([next(depths) + 1e-6 for _ in wrong]))
        own = (comb_z + depth_z) / math.sqrt(2.0)  # Stouffer 1949
        # A cage line confirms lines of the elements, but stands for none of them: a cage fault has it, too.
        z = math.hypot(own, min(own, cage_z)) if fault == "BSF" and min(own, cage_z) > 0 else own
        around = [k * at_hz + s * side for k in range(1, _SIDEBAND_HARMONICS + 1) for s in (-1, 1)] if side else []
        found.append(
            Evidence(
                fault=fault,
                order=orders[fault],
                z=z,
                own_z=own,
                chance=gumbel_tail(z),
                frequency_hz=at_hz,
                harmonics=tuple(_found(lines, [k * at_hz for k in range(1, HARMONICS + 1)])),
                sidebands=tuple(_found(lines, around)),
                depth=depth,
            )
        )
    return found


def _side(fault: str, shaft_hz: float, cage: float | None) -> float:
    """How far the sidebands of a kind of fault lie from its lines, Hz; 0 for none."""
    return {"BPFI": shaft_hz, "BSF": (cage or 0.0) * shaft_hz}.get(fault, 0.0)


def gumbel_tail(z: float) -> float:
    """Chance that a Gumbel variable stands `z` standard deviations above its median or higher."""
    scale = math.sqrt(6.0) / math.pi
    return -math.expm1(-math.exp(-(z / scale - math.log(math.log(2.0)))))


def odds_against_chance(chance: float) -> float:
    """Largest Bayes factor against the null that a p-value can stand for: 1 / (-e p ln p), 1 from p = 1/e on.

    Source: Sellke, Bayarri & Berger 2001, "Calibration of p values for testing precise null hypotheses".
    """
    p = max(chance, 1e-12)
    return 1.0 if p >= math.exp(-1) else -1.0 / (math.e * p * math.log(p))


def modulation_depths(x: F32, rate_hz: float, lines_hz: Sequence[float]) -> list[float]:
    """For each frequency, the largest amplitude near it, relative to the mean, of the squared envelope in any octave
    band of x (n,).
    """
    deepest = [0.0] * len(lines_hz)
    for _, hz, lines in _octave_envelopes(x, rate_hz):
        for i, line_hz in enumerate(lines_hz):
            deepest[i] = max(deepest[i], _depth(hz, lines, line_hz))
    return deepest


def deepest_envelope(x: F32, rate_hz: float, line_hz: float) -> tuple[tuple[float, float], F64, F64]:
    """The spectrum of the squared envelope of the octave band of x (n,) that a frequency modulates most: what
    `modulation_depths` has looked at, to be shown.

    Returns: (carrier band in Hz, frequencies in Hz, amplitude relative to the mean).
    Raises:  SignalError: too short to resolve any band.
    """
    best: tuple[float, tuple[float, float], F64, F64] | None = None
    for carrier_hz, hz, lines in _octave_envelopes(x, rate_hz):
        depth = _depth(hz, lines, line_hz)
        if best is None or depth > best[0]:
            best = (depth, carrier_hz, hz, lines)
    if best is None:
        raise SignalError(f"envelope: {len(x)} samples at {rate_hz:g} Hz resolve no octave band")
    return best[1:]


def _octave_envelopes(x: F32, rate_hz: float) -> Iterator[tuple[tuple[float, float], F64, F64]]:
    for low, high in _DEPTH_BANDS:
        carrier_hz = (low * rate_hz / 2, high * rate_hz / 2)
        try:
            hz, lines = envelope_spectrum(x, rate_hz, carrier_hz)
        except SignalError:  # too short to resolve this band: the others may do
            continue
        yield carrier_hz, hz, lines


def _depth(hz: F64, lines: F64, line_hz: float) -> float:
    reach = max(SLIP * line_hz / 4, 1.5 * float(hz[1]))
    near = lines[np.searchsorted(hz, line_hz - reach) : np.searchsorted(hz, line_hz + reach, "right")]
    return float(near.max(initial=0.0))


def _lines(x: F32, rate_hz: float, top_hz: float, shaft_hz: float) -> _Lines:
    nyquist = rate_hz / 2
    plan = EnvelopePlan((_BAND[0] * nyquist, _BAND[1] * nyquist), rate_hz, len(x), top_hz)
    spectrum: C64 = np.fft.rfft(x - x.mean(dtype=np.float64)).astype(np.complex64)
    magnitude = np.abs(spectrum)
    spectrum /= np.maximum(magnitude, np.float32(1e-12) * max(float(magnitude.max()), 1e-30))
    squared = plan.squared_envelope(spectrum[None])[0].astype(np.float64)
    taper = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(plan.points) / plan.points)
    amplitude: F64 = np.abs(np.fft.rfft((squared - squared.mean()) * taper))
    spacing = plan.rate_hz / plan.points
    amplitude = amplitude[: int(top_hz / spacing) + 1]
    width = min(max(_MEDIAN_LINES, round(_MEDIAN_HZ / spacing)), len(amplitude))
    blocks = len(amplitude) // width
    if blocks == 0 or width < 3:
        raise SignalError(f"orders: {len(x)} samples at {rate_hz:g} Hz have too few envelope lines up to {top_hz:g} Hz")
    medians = np.median(amplitude[: blocks * width].reshape(blocks, width), axis=1)
    level = np.interp(np.arange(len(amplitude)), (np.arange(blocks) + 0.5) * width, medians)
    evidence = np.minimum(math.log(2.0) * np.square(amplitude / np.maximum(level, 1e-30)), _CAP)
    evidence[:_LOWEST_LINES] = 0.0
    return _Lines(spacing, evidence, _without_shaft(evidence, spacing, shaft_hz))


def _without_shaft(evidence: F64, spacing: float, shaft_hz: float) -> F64:
    """Multiples of shaft rate belong to no bearing fault. Its rate is looked for near the given one first."""
    out = evidence.copy()
    candidates = np.arange(shaft_hz * (1 - SLIP), shaft_hz * (1 + SLIP), spacing / (2 * _SHAFT_HARMONICS))
    if len(candidates) == 0:
        candidates = np.array([shaft_hz])
    at_hz = float(candidates[np.argmax(_comb(evidence, spacing, candidates, _offsets(_SHAFT_HARMONICS, 0.0)))])
    for centre in np.arange(1, int(len(out) * spacing / at_hz) + 1) * at_hz:
        reach = 0.002 * centre + 1.5 * spacing
        low, high = max(0, math.floor((centre - reach) / spacing)), math.ceil((centre + reach) / spacing) + 1
        out[low:high] = np.minimum(out[low:high], math.log(2.0))
    return out


def _offsets(harmonics: int, side_hz: float) -> list[tuple[int, float, float]]:
    """(harmonic, Hz beside it, weight) of each tooth of a comb."""
    teeth = [(k, 0.0, 1.0) for k in range(1, harmonics + 1)]
    if side_hz:
        teeth += [(k, s * side_hz, _SIDEBAND_WEIGHT) for k in range(1, _SIDEBAND_HARMONICS + 1) for s in (-1, 1)]
    return teeth


def _comb(evidence: F64, spacing: float, fundamentals_hz: F64, teeth: list[tuple[int, float, float]]) -> F64:
    """Sum of evidence on a comb's teeth, for each fundamental: (m,). Higher harmonics are smeared by slip: wider."""
    total = np.zeros(len(fundamentals_hz))
    last = len(evidence) - 1
    for harmonic, beside_hz, weight in teeth:
        centre = np.rint(np.abs(harmonic * fundamentals_hz + beside_hz) / spacing).astype(np.int64)
        reach = 1 if harmonic < 3 else 2
        best = np.zeros(len(fundamentals_hz))
        for step in range(-reach, reach + 1):
            at = centre + step
            inside = (at >= 0) & (at <= last)
            np.maximum(best, np.where(inside, evidence[np.clip(at, 0, last)], 0.0), out=best)
        total += weight * best
    return total


def _judge(
    lines: _Lines, shaft_hz: float, order: float, side_hz: float, known: list[float]
) -> tuple[float, float, F64] | None:
    """How far the order's comb stands above wrong ones, the frequency it was found at, the wrong frequencies."""
    whole = abs(order - round(order)) <= _INTEGER * order and round(order) >= 1
    evidence = lines.all if whole else lines.unshafted
    teeth = _offsets(HARMONICS, side_hz)
    if order * shaft_hz < _LOWEST_LINES * lines.spacing_hz or order * shaft_hz > len(evidence) * lines.spacing_hz:
        return None
    if whole:  # tooth or vane passing: other multiples of shaft rate are the wrong orders
        low, high = max(1, math.floor(order / _WRONG_RANGE)), max(12, math.ceil(order * _WRONG_RANGE))
        candidates = [float(k) for k in range(low, high + 1)]
    else:
        count = int(math.log(_WRONG_RANGE) / (2 * SLIP))
        candidates = [order * (1 + 2 * SLIP) ** k for k in range(-count, count + 1)]
    spacing = lines.spacing_hz
    value, at_hz = (float(v[0]) for v in _best(evidence, spacing, np.array([order * shaft_hz]), teeth))
    wrong = np.array(
        [
            candidate * shaft_hz
            for candidate in candidates
            if all(abs(candidate * m - other) > 2.2 * SLIP * other for other in known for m in (0.5, 1.0, 2.0))
        ]
    )
    standing = _standing(value, _best(evidence, spacing, wrong, teeth)[0])
    if standing > _PLAIN:
        # What a signal without this fault has: its own lines are taken out, or they would stand in the combs of wrong
        # orders that share one with it, and the plainer the fault, the more. Not in what may be noise: there it would
        # take the largest lines from the wrong orders alone (mean 1.0 instead of 0 on stretches of 7 turns).
        without = _without_comb(evidence, spacing, at_hz, side_hz)
        standing = _standing(value, _best(without, spacing, wrong, teeth)[0])
    return standing, at_hz, wrong


def _without_comb(evidence: F64, spacing: float, fundamental_hz: float, side_hz: float) -> F64:
    out = evidence.copy()
    for k in range(1, int(len(out) * spacing / fundamental_hz) + 1):
        for beside in (-side_hz, 0.0, side_hz) if side_hz else (0.0,):
            centre = k * fundamental_hz + beside
            reach = SLIP / 4 * centre + 2 * spacing
            low, high = max(0, math.floor((centre - reach) / spacing)), math.ceil((centre + reach) / spacing) + 1
            out[low:high] = np.minimum(out[low:high], math.log(2.0))
    return out


def _best(evidence: F64, spacing: float, around_hz: F64, teeth: list[tuple[int, float, float]]) -> tuple[F64, F64]:
    """For each frequency, the largest comb within `SLIP` of it and where that is: (m,), (m,)."""
    if len(around_hz) == 0:
        return np.zeros(0), np.zeros(0)
    grids = [
        np.arange(hz - max(SLIP * hz, spacing / 2), hz + max(SLIP * hz, spacing / 2), spacing / HARMONICS)
        for hz in around_hz.tolist()
    ]
    values = _comb(evidence, spacing, np.concatenate(grids), teeth)
    parts = np.split(values, np.cumsum([len(grid) for grid in grids])[:-1])
    picks = [int(np.argmax(part)) for part in parts]
    best = np.array([part[pick] for part, pick in zip(parts, picks, strict=True)])
    return best, np.array([grid[pick] for grid, pick in zip(grids, picks, strict=True)])


def _cage_z(lines: _Lines, shaft_hz: float, cage: float) -> float:
    """The first three cage lines together, against those of other slow rates."""
    spacing, evidence = lines.spacing_hz, lines.unshafted
    teeth = _offsets(3, 0.0)
    if cage * shaft_hz < _LOWEST_LINES * spacing:
        return 0.0
    candidates = np.arange(cage / _CAGE_RANGE, min(cage * _CAGE_RANGE, 0.95), 2 * SLIP * cage)
    fractions = (1 / 4, 1 / 3, 1 / 2, 2 / 3, 3 / 4)  # their multiples meet those of the shaft
    wrong = [
        c * shaft_hz
        for c in candidates.tolist()
        if all(abs(c * m - cage) > 2.2 * SLIP * cage + spacing / shaft_hz for m in (0.5, 1.0, 2.0))
        and abs(1 - c - cage) > 2.2 * SLIP
        and all(abs(c - f) > 0.015 for f in fractions)
    ]
    value, at_hz = (float(v[0]) for v in _best(evidence, spacing, np.array([cage * shaft_hz]), teeth))
    without = _without_comb(evidence, spacing, at_hz, 0.0)
    return _standing(value, _best(without, spacing, np.array(wrong), teeth)[0])


def _standing(value: float, wrong: F64) -> float:
    """`value` against those of wrong orders, in standard deviations: 1.4826 MAD (Hampel 1974), at least half of the
    plain one, so that a few equal values do not make it tiny. 0 with too few to judge by.

    A spread known from few values is itself uncertain: what comes out has Student's tails, and is brought back to the
    normal's (Wallace 1959), with 0.37 degrees of freedom for each value, the efficiency of the MAD.
    """
    if len(wrong) < _FEWEST_WRONG:
        return 0.0
    median = float(np.median(wrong))
    spread = max(1.4826 * float(np.median(np.abs(wrong - median))), 0.5 * float(wrong.std()), 0.2)
    t = (value - median) / spread
    freedom = _MAD_EFFICIENCY * len(wrong)
    z = math.sqrt(freedom * math.log1p(t * t / freedom)) * (8 * freedom + 1) / (8 * freedom + 3)
    return math.copysign(z, t)


def _found(lines: _Lines, wanted_hz: list[float]) -> list[float]:
    """Where lines stand out near the wanted frequencies, Hz."""
    found = []
    for k, hz in enumerate(wanted_hz):
        middle = round(hz / lines.spacing_hz)
        reach = 1 if k < 2 else 2
        low, high = max(0, middle - reach), min(len(lines.all), middle + reach + 1)
        if low >= high:
            continue
        at = low + int(np.argmax(lines.all[low:high]))
        if lines.all[at] >= _FOUND:
            found.append(at * lines.spacing_hz)
    return found

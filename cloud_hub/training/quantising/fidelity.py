"""Does a quantised network rank as the float one does? Judged on the score, without labels.

Squared errors of outputs say little: an error that is the same for all rows costs nothing, one that grows with the
level, or saturates where faults are, costs AUC although it is small on average. So the question is put as AUC itself:
healthy units against the same units with made-up mild faults (`perturb`), float against quantised, for several kinds
of fault, each as strong as hurts most. What counts is the *size* of the difference: that a quantised network happens to
do better on one kind is the same failing as doing worse on the next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np

from cloud_hub.training.quantising.perturb import KINDS, at_auc, directions, moments_of
from models.signal.arrays import F32, F64
from models.signal.score import Network

MAX_AUC_LOSS = 0.003
MAX_FLIPS = 0.02
_TARGET_AUC = 0.85  # pairs in the wrong order are many here, and so are those that rounding can turn round
# A network may well follow another operating state: then no strength makes it a fault, and far states prove nothing.
_HIGHEST = {"swap": 1.5, "stretch": 2.0, "state": 1.5}
_DEFAULT_HIGHEST = 6.0
_CONFIDENCE = 1.645  # one-sided 95 %
_DRAWS = 2

Score = Callable[[F32, F32], F64]
"""(rows, reconstructions), both (k, features), to (k,): higher is worse."""


class Fidelity(msgspec.Struct, frozen=True, kw_only=True):
    """How closely the quantised score follows the float one. Worst and mean are over the kinds of made-up fault."""

    auc_shift: float
    """Worst difference between the two AUCs, without sign."""
    auc_shift_bound: float
    """Worst upper end of its one-sided 95 % interval (DeLong et al. 1988, paired): what has to be small."""
    kind: str
    """The kind of made-up fault with that bound."""
    flips: float
    """Mean share of (healthy, faulty) pairs that the two scores put in different order."""
    kendall: float
    """Kendall's tau-b of the two scores, over healthy and faulty units together."""
    output_error: float
    """Mean squared difference of the outputs over the mean squared residual."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Units to judge on, with what the float network says of them.

    `sets`: (units, windows, features) by kind; "healthy" is the first. `scores`: (units,) for each.
    """

    sets: dict[str, F32]
    scores: dict[str, F64]
    outputs: dict[str, F32]
    score: Score
    clip: float | None


def mean_squared(weights: F64 | None = None) -> Score:
    """The mean squared residual of each row, features weighed by `weights` (features,) if given."""

    def score(x: F32, y: F32) -> F64:
        squares = np.square(x - y)
        if weights is None:
            return np.asarray(squares.mean(axis=1, dtype=np.float64))
        return np.asarray(squares @ (weights / weights.sum()), np.float64)

    return score


def run_units(network: Network, units: F32, clip: float | None) -> F32:
    """Reconstructions of units (units, windows, features), of the same shape; the network sees clipped rows."""
    rows = units.reshape(-1, units.shape[-1])
    return network(rows if clip is None else np.clip(rows, -clip, clip)).reshape(units.shape)


def unit_scores(score: Score, units: F32, outputs: F32) -> F64:
    """Mean score over the windows of each unit, (units,)."""
    flat = units.shape[-1]
    rows = score(units.reshape(-1, flat), outputs.reshape(-1, flat))
    return np.asarray(rows.reshape(units.shape[:2]).mean(axis=1))


def make_probe(
    network: Network,
    units: F32,
    reference: F32,
    period: int,
    clip: float | None,
    score: Score,
    rng: np.random.Generator,
) -> Probe:
    """Units as they are, and with each kind of made-up fault, at the strength that the float network finds mild.

    Args: units: (units, windows, features), healthy. reference: (k, features), whose mean and spread faults are
          measured in. period: see `perturb.directions`.
    """
    moments = moments_of(reference)

    def said(rows: F32) -> F64:
        return unit_scores(score, rows, run_units(network, rows, clip))

    sets = {"healthy": units}
    for kind in KINDS:
        parts = []
        for _ in range(_DRAWS):
            delta = directions(kind, units, moments, period, rng)
            parts.append(at_auc(said, units, delta, _TARGET_AUC, _HIGHEST.get(kind, _DEFAULT_HIGHEST)))
        sets[kind] = np.concatenate(parts)
    outputs = {kind: run_units(network, rows, clip) for kind, rows in sets.items()}
    return Probe(sets, {kind: unit_scores(score, sets[kind], outputs[kind]) for kind in sets}, outputs, score, clip)


def judge(probe: Probe, network: Network) -> Fidelity:
    """Compare a quantised network with the float one that the probe was made with."""
    from scipy.stats import kendalltau

    outputs = {kind: run_units(network, rows, probe.clip) for kind, rows in probe.sets.items()}
    scores = {kind: unit_scores(probe.score, probe.sets[kind], outputs[kind]) for kind in probe.sets}
    kinds = [kind for kind in probe.sets if kind != "healthy"]
    compared = {
        kind: compare_auc((probe.scores["healthy"], probe.scores[kind]), (scores["healthy"], scores[kind]))
        for kind in kinds
    }
    worst = max(kinds, key=lambda kind: compared[kind].bound)
    both = [np.concatenate([s[kind] for kind in probe.sets]) for s in (probe.scores, scores)]
    error = np.mean([np.square(outputs[k] - probe.outputs[k]).mean(dtype=np.float64) for k in outputs])
    residual = np.mean([np.square(probe.sets[k] - probe.outputs[k]).mean(dtype=np.float64) for k in outputs])
    return Fidelity(
        auc_shift=max(abs(c.shift) for c in compared.values()),
        auc_shift_bound=compared[worst].bound,
        kind=worst,
        flips=float(np.mean([c.flips for c in compared.values()])),
        kendall=float(kendalltau(both[0], both[1]).statistic),
        output_error=float(error / max(residual, 1e-30)),
    )


@dataclass(frozen=True, slots=True)
class AucChange:
    """`shift`: AUC of the first scores minus that of the second. `bound`: see `Fidelity`. `flips`: share of pairs."""

    shift: float
    bound: float
    flips: float


def compare_auc(first: tuple[F64, F64], second: tuple[F64, F64]) -> AucChange:
    """Two ways to score the same units, each (healthy, faulty).

    The variance of the paired difference is that of its structural components: DeLong, DeLong & Clarke-Pearson,
    Biometrics 44 (1988).
    """
    before, after = (_order(*pair) for pair in (first, second))
    change = before - after
    by_healthy, by_faulty = change.mean(axis=1), change.mean(axis=0)
    variance = by_healthy.var(ddof=1) / len(by_healthy) + by_faulty.var(ddof=1) / len(by_faulty)
    shift = float(change.mean())
    return AucChange(shift, abs(shift) + _CONFIDENCE * float(np.sqrt(variance)), float(np.abs(change).mean()))


def _order(healthy: F64, faulty: F64) -> F32:
    """(healthy, faulty): 1 where the faulty one scores higher, a half for ties."""
    difference = np.sign(faulty[None, :] - healthy[:, None])
    return np.asarray(0.5 * (difference + 1.0), np.float32)


def verdict(fidelity: Fidelity) -> str:
    """Why it does not pass; empty when it does."""
    if fidelity.auc_shift_bound > MAX_AUC_LOSS:
        return (
            f"AUC may differ by {fidelity.auc_shift_bound:.4f} on faults of kind {fidelity.kind}, "
            f"at most {MAX_AUC_LOSS} is allowed"
        )
    if fidelity.flips > MAX_FLIPS:
        return f"{fidelity.flips:.2%} of pairs change their order, at most {MAX_FLIPS:.0%} is allowed"
    return ""

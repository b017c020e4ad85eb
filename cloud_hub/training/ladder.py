"""The quantisation ladder: the cheapest way to a quantised network that still ranks as the float one does.

Rungs in order of cost. Each is judged on its own `.tflite` in the gateways' runtime, on units that nothing was fitted
to; the first that passes is taken, and what was tried is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec
import numpy as np

from cloud_hub.runtime import TfliteModel
from cloud_hub.training.fit import float_network
from cloud_hub.training.quantising.convert import calibrated_float, to_int8, to_int16x8
from cloud_hub.training.quantising.correct import corrected, equalised, rounding_tap
from cloud_hub.training.quantising.fidelity import (
    Fidelity,
    Probe,
    judge,
    make_probe,
    mean_squared,
    verdict,
)
from cloud_hub.training.quantising.finetune import finetuned
from cloud_hub.training.quantising.graph import FloatGraph, NotInterpretedError, Range, open_graph
from cloud_hub.training.quantising.perturb import KINDS, directions, moments_of
from cloud_hub.training.quantising.ranges import least_squares_range, observe, percentile_range
from models.signal.arrays import F32, F64
from models.signal.score import Network

INT8_RUNGS = ("int8", "int8-clipped", "int8-bias", "int8-compensated", "int8-finetuned")
ALL_RUNGS = (*INT8_RUNGS, "int16x8")
_RANGE_ROWS = 500
_STRETCH = 1.5
_FIT_ROWS = 4000
_PROBE_UNITS = 1000
_PROBE_WINDOWS = 6
_SPLIT_FROM = 200  # rows; fewer are both fitted to and judged on, since either half alone would say nothing
_CHECK_SHARE = 0.5
_SHARES = (0.0, 0.25, 0.5, 1.0)
_STRENGTHS = (0.3, 1.5)  # spreads that made-up faults for fitting are strong


class Rung(msgspec.Struct, frozen=True, kw_only=True):
    """One rung that was tried. `why_not` is empty when it passed."""

    name: str
    bytes: int
    passed: bool
    why_not: str
    fidelity: Fidelity | None = None
    labelled_auc_loss: float | None = None


@dataclass(frozen=True, slots=True)
class Quantised:
    """The network taken. `passed`: false when no rung did, and this is the one that turns fewest pairs.

    `refused`: on labelled data it lost more than is allowed. Without such data a rung that did not pass is only not
    proven: made-up faults stand in for real ones, and with few units their interval alone is too wide.
    """

    model: bytes
    rung: str
    passed: bool
    tried: list[Rung]
    refused: bool = False


Check = Callable[[Network], float]
"""AUC lost against float on labelled data, by a quantised network."""


def climb(
    model: Any,  # noqa: ANN401 - a Keras model
    representative: F32,
    clip: float | None,
    seed: int,
    *,
    weights: F64 | None = None,
    rungs: tuple[str, ...] = INT8_RUNGS,
    period: int | None = None,
    check: Check | None = None,
    max_labelled_loss: float = 0.003,
) -> Quantised:
    """Quantise by the first rung that passes.

    Args:    representative: healthy inputs, (k, features), or in units that are scored together, such as the windows of
             a clip, (units, windows, features). clip: what the gateway clips inputs to, None when it does not.
             weights: (features,), of the squared residuals in the score; None weighs all alike.
             period: after how many inputs their meaning repeats, such as the bins of one frame; None: never.
             check: labelled data to look at besides.
    Returns: full int8 (or int16x8, when asked for) with what was tried. Same arguments and libraries, same bytes.
    """
    ladder = _Ladder(model, representative, clip, seed, weights, period)
    tried: list[Rung] = []
    best: tuple[bool, float, str, bytes] | None = None
    for name in rungs:
        try:
            data = ladder.build(name)
        except NotInterpretedError as error:
            tried.append(Rung(name=name, bytes=0, passed=False, why_not=str(error), fidelity=None))
            continue
        network = TfliteModel(data).network()
        fidelity = judge(ladder.probe, network)
        why_not = verdict(fidelity)
        loss = check(network) if check is not None else None
        if loss is not None and loss > max_labelled_loss:
            why_not = (
                why_not or f"loses {loss:.4f} of AUC on the labelled clips, at most {max_labelled_loss} is allowed"
            )
        tried.append(
            Rung(
                name=name,
                bytes=len(data),
                passed=not why_not,
                why_not=why_not,
                fidelity=fidelity,
                labelled_auc_loss=loss,
            )
        )
        if not why_not:
            return Quantised(data, name, True, tried)
        bad = (loss or 0.0) > max_labelled_loss
        if best is None or (bad, fidelity.flips) < best[:2]:
            best = (bad, fidelity.flips, name, data)
    if best is None:
        raise NotInterpretedError("; ".join(rung.why_not for rung in tried))
    refused, _, name, data = best
    return Quantised(data, name, False, tried, refused)


def int8_rungs(
    model: Any,  # noqa: ANN401 - a Keras model
    representative: F32,
    clip: float | None,
    seed: int,
    *,
    weights: F64,
) -> Iterator[tuple[str, bytes]]:
    """The int8 rungs that can do this network, cheapest first, each built when asked for: (name, `.tflite`).

    For callers with a criterion of their own. Args: as `climb`; weights: (outputs,), for networks that give several
    reconstructions of their input side by side.
    """
    ladder = _Ladder(model, representative, clip, seed, weights, None)
    for name in INT8_RUNGS:
        try:
            yield name, ladder.build(name)
        except NotInterpretedError:
            return


RUNG_AUC_LOSS = 0.003


def rung_row(name: str, model: bytes, loss: float) -> Rung:
    """One rung judged by the AUC that it loses against float."""
    why_not = "" if loss <= RUNG_AUC_LOSS else f"loses {loss:.4f} of AUC, at most {RUNG_AUC_LOSS} is wanted"
    return Rung(name=name, bytes=len(model), passed=not why_not, why_not=why_not, labelled_auc_loss=loss)


def best_rung(tried: list[Rung], models: list[bytes]) -> Quantised:
    """The first rung that passed, else the one that loses least."""
    at = min(range(len(tried)), key=lambda i: (not tried[i].passed, tried[i].labelled_auc_loss or 0.0))
    return Quantised(models[at], tried[at].name, tried[at].passed, tried)


class _Ladder:
    """What the rungs share: rows to fit to, units to judge on, the float graph; each made when first needed."""

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - a Keras model
        representative: F32,
        clip: float | None,
        seed: int,
        weights: F64 | None,
        period: int | None,
    ) -> None:
        self._model = model
        self._clip = clip
        self._seed = seed
        self._rng = np.random.default_rng(seed)
        units = representative if representative.ndim == 3 else representative[:, None]
        features = units.shape[2]
        self._weights = np.ones(features) if weights is None else weights
        self._period = period or features
        fit_units, check_units = self._split(units)
        self._healthy = self._subset(fit_units.reshape(-1, features), _FIT_ROWS)
        self._graph: FloatGraph | None = None
        self._made: dict[str, FloatGraph] = {}
        self._network, self._check_units, self._score = float_network(model), check_units, mean_squared(weights)
        self._rows = self._fit_rows()

    @cached_property
    def probe(self) -> Probe:
        """What rungs are judged on."""
        rng = np.random.default_rng(self._seed)
        return make_probe(self._network, self._check_units, self._healthy, self._period, self._clip, self._score, rng)

    def build(self, name: str) -> bytes:
        """The `.tflite` of one rung. Raises: NotInterpretedError: this rung cannot do this network."""
        if name == "int8":
            return to_int8(calibrated_float(self._model, self._stretched()))
        if name == "int16x8":
            return self._sixteen()
        return to_int8(self._on(name).dump())

    def _sixteen(self) -> bytes:
        """Weights as well rounded as in int8 where that is possible: with 16-bit activations they are what is left."""
        graph = self._float_graph()
        if not graph.foreign():
            graph = corrected(graph, self._rows, compensate=True, round_activations=False)
        return to_int16x8(graph.dump(), self._subset(self._rows, 2 * _RANGE_ROWS))

    def _on(self, name: str) -> FloatGraph:
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def _make(self, name: str) -> FloatGraph:
        foreign = self._float_graph().foreign()
        if foreign:
            raise NotInterpretedError(f"only for dense networks, this one has {', '.join(foreign)}")
        if name == "int8-clipped":
            return self._clipped(self._float_graph())
        if name == "int8-bias":
            return corrected(self._covering(), self._rows, compensate=False)
        if name == "int8-compensated":
            seen = observe(self._float_graph(), self._rows)
            candidates = [
                corrected(equalised(self._covering(), seen, share), self._rows, compensate=True) for share in _SHARES
            ]
            return min(candidates, key=self._error)
        start = self._on("int8-compensated")
        return finetuned(start, self._float_graph(), self._rows, self._weights, self._seed).joined()

    def _covering(self) -> FloatGraph:
        """Ranges that hold everything the fitting rows gave, made-up faults among them.

        Once weights are rounded well, a clipped tail costs more than a finer step gains: faults live in the tails
        (measured: on faults that move the operating state, clipping alone shifts the AUC by 0.01).
        """
        seen = observe(self._float_graph(), self._rows)
        return self._float_graph().changed({}, {n: (float(v.min()), float(v.max())) for n, v in seen.items()}).joined()

    def _clipped(self, graph: FloatGraph) -> FloatGraph:
        """The better of two ways to give up the tails of each range for a finer step: percentile, least squares."""
        seen = observe(graph, self._rows)
        ways: list[Callable[[F32], Range]] = [percentile_range, lambda v: least_squares_range(v, self._rng)]
        candidates = [
            graph.changed({}, {number: way(values) for number, values in seen.items()}).joined() for way in ways
        ]
        return min(candidates, key=self._error)

    def _error(self, graph: FloatGraph) -> float:
        """Mean squared error of the rounded graph's output over the fitting rows, as the score weighs it."""
        wanted = np.asarray(self._float_graph().run(self._rows, lambda _, t: t), np.float64)
        got = np.asarray(graph.run(self._rows, rounding_tap(graph)), np.float64)
        return float((np.square(got - wanted) @ (self._weights / self._weights.sum())).mean())

    def _float_graph(self) -> FloatGraph:
        if self._graph is None:
            self._graph = open_graph(calibrated_float(self._model, self._subset(self._rows, _RANGE_ROWS)))
        return self._graph

    def _split(self, units: F32) -> tuple[F32, F32]:
        """Units to fit to and units to judge on, apart when there are enough; of clips only some windows each."""
        order = self._rng.permutation(len(units))
        if len(units) * units.shape[1] >= _SPLIT_FROM and len(units) > 1:
            border = max(1, round(len(units) * _CHECK_SHARE))
            fit, check = units[order[border:]], units[order[:border]]
        else:
            fit = check = units[order]
        return fit, _pieces(check, self._rng)

    def _fit_rows(self) -> F32:
        """Healthy rows and as many with made-up faults: whatever is fitted must hold there too."""
        moments = moments_of(self._healthy)
        healthy = self._healthy
        if len(healthy) < _FIT_ROWS // 8:  # few rows, many unknowns: the same rows with other faults still help
            healthy = healthy[np.arange(_FIT_ROWS // 8) % len(healthy)]
        parts = [healthy]
        for part, kind in zip(np.array_split(healthy, len(KINDS)), KINDS, strict=True):
            delta = directions(kind, part[:, None], moments, self._period, self._rng)[:, 0]
            strength = self._rng.uniform(*_STRENGTHS, size=(len(part), 1)).astype(np.float32)
            parts.append(part + strength * delta)
        return self._limited(np.concatenate(parts))

    def _stretched(self) -> F32:
        """Healthy rows, and the same half as far again from their mean.

        Rows at the clip's ends, in every feature at once, never occur and only coarsen every range (measured: output
        steps of 0.10 instead of 0.04, AUC up to 0.007 lower).
        """
        rows = self._subset(self._healthy, _RANGE_ROWS)
        mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        return self._limited(np.concatenate([rows, mean + np.float32(_STRETCH) * (rows - mean)]))

    def _subset(self, rows: F32, count: int) -> F32:
        return rows if len(rows) <= count else rows[self._rng.choice(len(rows), count, replace=False)]

    def _limited(self, rows: F32) -> F32:
        clipped = rows if self._clip is None else np.clip(rows, -self._clip, self._clip)
        return np.asarray(clipped, np.float32)


def _pieces(units: F32, rng: np.random.Generator) -> F32:
    """At most `_PROBE_UNITS` units of at most `_PROBE_WINDOWS` windows: long ones are cut, more pairs say more."""
    count, windows, features = units.shape
    width = min(windows, _PROBE_WINDOWS)
    cuts = windows // width
    step = windows // (cuts * width)
    cut = units[:, : cuts * width * step].reshape(count * cuts, width * step, features)[:, ::step]
    keep = rng.permutation(len(cut))[:_PROBE_UNITS]
    return np.ascontiguousarray(cut[keep])

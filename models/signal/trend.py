"""Where a point's score is heading: the time until it reaches a level, with an interval, or that it is not rising.

The logarithm of the score is taken as a Wiener process with drift, seen through noise:

    x(t) = log score,  dx = drift dt + sigma dW,  seen: x(t_i) + eta e_i

so that a score that grows by a share of itself per hour has a constant drift (the exponential degradation model of
Gebraeel et al. 2005, IIE Transactions 37; Wiener form: Si et al. 2011, EJOR 213). Its first passage through a level is
inverse Gaussian (Chhikara & Folks 1989). A machine is healthy for most of its life, so the drift is none up to a time
that is not known, and constant from then on (a generalised likelihood ratio against no change, Siegmund & Venkatraman
1995). When the rise began, drift, present level and variances are all uncertain, and are drawn from what the history
says of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from models.errors import SignalError
from models.signal.arrays import F64

TrendState = Literal["too_short", "no_trend", "rising", "reached"]

MAX_BINS = 192
MIN_SCORES = 12
_MIN_PIECE = 8
_SIGNIFICANT = 3.5  # standard errors; the best of up to MAX_BINS correlated ones: see the test of false rises
_LAST = 3  # bins whose median is the level now
_LAGS = (1, 2, 4, 8, 16, 32)
_DRAWS = 4000
_MIN_NOISE = 1e-3  # of the log score: a tenth of a percent
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a history says.

    `too_short`: fewer than `MIN_SCORES` scores, or no time between them. `no_trend`: no rise beyond chance. `reached`:
    the level now is at or over the level asked for. `rising`: the level is reached after `remaining_s` (median), with
    probability `coverage` between `low_s` and `high_s`; None where more than the share of the futures above it never
    reach the level. `since_s`: when the rise began. `per_day`: factor by which the score grows in a day; None unless it
    rises. `level`: the score now, smoothed.
    """

    state: TrendState
    coverage: float
    level: float | None = None
    remaining_s: float | None = None
    low_s: float | None = None
    high_s: float | None = None
    since_s: float | None = None
    per_day: float | None = None


@dataclass(frozen=True, slots=True)
class _Rise:
    """A last rise, for each place where it may have begun, (k,): its weight, the log score now and its drift with their
    standard errors. `sigma2` per second.
    """

    since_s: F64
    weight: F64
    now: F64
    now_error: F64
    drift: F64
    drift_error: F64
    sigma2: float
    freedom: float


def outlook(
    times_s: F64, scores: F64, *, limit: float = 1.0, coverage: float = 0.8, lasting: int = _LAST
) -> Outlook:
    """When the score will reach `limit`, as seen at the last time.

    Args:    times_s: (n,), any order; a time that comes twice counts once, as the mean. scores: (n,), not negative;
             what is not finite is passed over. coverage: probability of the interval. lasting: how many of the last
             bins their median is taken over, for the level now.
    Raises:  SignalError: other shapes, a limit that is not over 0, a coverage that is no probability.

    Cost is bounded: the history is first binned to at most `MAX_BINS` medians. The same history gives the same answer.
    """
    if times_s.ndim != 1 or times_s.shape != scores.shape:
        raise SignalError(f"trend: expected times and scores of one shape (n,), got {times_s.shape}, {scores.shape}")
    if not (math.isfinite(limit) and limit > 0):
        raise SignalError(f"trend: limit: expected a number over 0, got {limit}")
    if not 0 < coverage < 1:
        raise SignalError(f"trend: coverage: expected over 0 and under 1, got {coverage}")
    times, logs = _binned(times_s, scores)
    if len(times) == 0:
        return Outlook("too_short", coverage)
    level = float(np.median(logs[-lasting:]))
    if level >= math.log(limit):
        return Outlook("reached", coverage, level=math.exp(level))
    if len(times) < MIN_SCORES:
        return Outlook("too_short", coverage, level=math.exp(level))
    rise = _last_rise(times, logs)
    if rise is None:
        return Outlook("no_trend", coverage, level=math.exp(level))
    tail = (1 - coverage) / 2
    low, median, high = np.quantile(
        _passages(rise, math.log(limit)), [tail, 0.5, 1 - tail], method="inverted_cdf"
    ).tolist()
    likely = int(np.argmax(rise.weight))
    return Outlook(
        "rising",
        coverage,
        level=math.exp(level),
        remaining_s=median if math.isfinite(median) else None,
        low_s=low if math.isfinite(low) else None,
        high_s=high if math.isfinite(high) else None,
        since_s=float(rise.since_s[likely]),
        per_day=math.exp(min(float(rise.drift[likely]) * 86_400.0, 700.0)),
    )


def _binned(times_s: F64, scores: F64) -> tuple[F64, F64]:
    """In order, each time once, at most `MAX_BINS`: bins of equal numbers of scores, medians of logs."""
    fine = np.isfinite(times_s) & np.isfinite(scores) & (scores >= 0)
    order = np.argsort(times_s[fine], kind="stable")
    times = np.asarray(times_s[fine], np.float64)[order]
    logs = np.log(np.maximum(np.asarray(scores[fine], np.float64)[order], _TINY))
    unique, start = np.unique(times, return_index=True)
    if len(unique) < len(times):
        logs = np.add.reduceat(logs, start) / np.diff([*start, len(times)])
        times = unique
    per_bin = -(-len(times) // MAX_BINS)
    if per_bin <= 1:
        return times, logs
    spare = len(times) % per_bin  # the oldest, so that the newest bin is full
    shape = (-1, per_bin)
    return times[spare:].reshape(shape)[:, -1], np.median(logs[spare:].reshape(shape), axis=1)


def _last_rise(times: F64, logs: F64) -> _Rise | None:
    """Level, then drift from some time on, None when no such drift is upward beyond chance.

    Generalised least squares under the covariance sigma^2 min(t, u) + eta^2 [t = u], for every time at which the rise
    may have begun (up to `_MIN_PIECE` before the end); each counts by its likelihood.
    """
    sigma2, eta2 = _variances(times, logs)
    t = times - times[0]
    walk = sigma2 * np.minimum(t[:, None], t[None, :])
    root = np.linalg.cholesky(walk + eta2 * np.eye(len(t)))
    starts = t[: len(t) - _MIN_PIECE + 1]
    columns = np.concatenate(
        [np.ones((len(t), 1)), np.maximum(t[:, None] - starts, 0.0), logs[:, None], walk[:, -1:]], axis=1
    )
    white = np.linalg.solve(root, columns)
    one, hinge, seen, towards = white[:, 0], white[:, 1:-2], white[:, -2], white[:, -1]
    level = (one @ seen) / (one @ one)
    along = (one @ hinge) / (one @ one)
    seen = seen - level * one
    hinge = hinge - np.outer(one, along)  # the level is taken off both: what is left is the drift's own
    information = np.square(hinge).sum(axis=0)
    drift = (hinge.T @ seen) / information
    residual = seen[:, None] - hinge * drift
    misfit = np.square(residual).sum(axis=0)
    best = int(np.argmin(misfit))
    freedom = len(t) - 3.0
    inflate = max(1.0, float(misfit[best]) / freedom)  # where the variogram was too hopeful, the residuals say so
    drift_error = np.sqrt(inflate / information)
    if drift[best] <= _SIGNIFICANT * drift_error[best]:
        return None
    # The score now: the line's end and what the walk has added to it, with the errors of both.
    reach = t[-1] - starts - along - towards @ hinge
    now = level + drift * (t[-1] - starts - along) + towards @ residual
    of_level = (1.0 - towards @ one) ** 2 / (one @ one)
    now_variance = max(float(walk[-1, -1] - towards @ towards), 0.0) + of_level + np.square(reach) / information
    return _Rise(
        since_s=starts + times[0],
        weight=np.exp((misfit[best] - misfit) / (2 * inflate)),
        now=now,
        now_error=np.sqrt(inflate * now_variance),
        drift=drift,
        drift_error=drift_error,
        sigma2=inflate * sigma2,
        freedom=freedom,
    )


def _variances(times: F64, logs: F64) -> tuple[float, float]:
    """(sigma squared per second, eta squared), from the spread of differences at several lags (a variogram).

    A difference over k steps has variance sigma^2 k dt + 2 eta^2; the median difference (drift) is taken off, and
    spreads are of the median absolute deviation, so that one outlier or one jump does not count.
    """
    spreads, spans = [], []
    for lag in _LAGS:
        if len(logs) < 2 * lag + 4:
            break
        step = logs[lag:] - logs[:-lag]
        spreads.append((1.4826 * float(np.median(np.abs(step - np.median(step))))) ** 2)
        spans.append(float(np.median(times[lag:] - times[:-lag])))
    v, dt = np.array(spreads), np.array(spans)
    weight = 1.0 / np.arange(1, len(v) + 1)  # long lags overlap and say less
    a = np.stack([dt, np.full_like(dt, 2.0)], axis=1) * weight[:, None]
    (sigma2, eta2), *_ = np.linalg.lstsq(a, v * weight, rcond=None)
    if sigma2 < 0:
        sigma2, eta2 = 0.0, float(np.average(v, weights=weight)) / 2
    elif eta2 < 0:
        sigma2, eta2 = float(np.sum(weight * v * dt) / np.sum(weight * dt * dt)), 0.0
    return float(sigma2), max(float(eta2), _MIN_NOISE**2)


def _passages(rise: _Rise, log_limit: float) -> F64:
    """First-passage times, (draws,), inf where the level is never reached.

    With drift m > 0 over a distance d the time is inverse Gaussian of mean d / m and shape d^2 / sigma^2; with m < 0 the
    level is reached with probability exp(2 m d / sigma^2) alone, and then as fast as with -m.
    """
    rng = np.random.default_rng(0)
    spread = np.sqrt(rise.freedom / rng.chisquare(rise.freedom, _DRAWS))  # a Student's t in all
    start = rng.choice(len(rise.weight), _DRAWS, p=rise.weight / rise.weight.sum())
    drift = rise.drift[start] + rise.drift_error[start] * spread * rng.standard_normal(_DRAWS)
    now = rise.now[start] + rise.now_error[start] * spread * rng.standard_normal(_DRAWS)
    distance = np.maximum(log_limit - now, 0.0)
    sigma2 = rise.sigma2 * spread**2
    speed = np.maximum(np.abs(drift), _TINY)
    out = distance / speed
    walks = (sigma2 > 0) & (distance > 0)
    out[walks] = rng.wald(out[walks], np.maximum(distance[walks] ** 2 / sigma2[walks], 1e-300))
    never = (drift <= 0) & (distance > 0)
    chance = np.zeros(_DRAWS)
    down = never & (sigma2 > 0)
    chance[down] = np.exp(-2 * speed[down] * distance[down] / sigma2[down])
    out[never & (rng.random(_DRAWS) >= chance)] = np.inf
    return out

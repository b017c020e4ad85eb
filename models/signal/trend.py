"""Where a point's score is heading: the time until it reaches a level, with an interval, or that it is not rising.

The logarithm of the score is taken as a Wiener process with drift, seen through noise:

    x(t) = log score,  dx = drift dt + sigma dW,  seen: x(t_i) + eta e_i

so that a score that grows by a share of itself per hour has a constant drift (the exponential degradation model of
Gebraeel et al. 2005, IIE Transactions 37; Wiener form: Si et al. 2011, EJOR 213). Its first passage through a level is
inverse Gaussian (Chhikara & Folks 1989). A machine is healthy for most of its life, so the drift is none up to a time
that is not known, and constant from then on (a generalised likelihood ratio against no change, Siegmund & Venkatraman
1995). When the rise began, drift, present level and variances are all uncertain, and are drawn from what the history
says of them.

That the drift stays as it is, is an assumption, and no machine keeps to it: from now on it is multiplied by a factor
that nobody knows, log-normal about 1, whose log has the standard deviation `_CHANGE` when the limit is as far ahead as
the rise is old, and grows with the square root of that ratio, as a random walk of the log drift does. One number,
chosen on made-up histories that bend, wander and change their pace; no recording chose it.
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
_SIGNIFICANT = 3.5  # as standard errors; the best of many correlated ones: see the test of false rises
_LAST = 3  # bins whose median is the level now
_WALK_SHARES = (0.0, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 100.0)  # variance that the walk adds in a step, over the noise's
_DRAWS = 4000
_CHANGE = 0.4  # see the module; 0 would be a drift that never changes
_FARTHEST = 4.0  # ages of the rise; further ahead its factor is not known any worse
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
    """Ways to see a last rise, (k,): when it began, the weight, the log score now (its error given the drift, and by
    how much an error of the drift moves it), the drift and its error, the walk's variance per second. `until_s`: the
    last time seen.
    """

    since_s: F64
    weight: F64
    now: F64
    now_error: F64
    reach: F64
    drift: F64
    drift_error: F64
    sigma2: F64
    until_s: float
    freedom: float


def outlook(times_s: F64, scores: F64, *, limit: float = 1.0, coverage: float = 0.8, lasting: int = _LAST) -> Outlook:
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
    """Level, then drift from some time on; None when a level alone explains the history about as well.

    For each share of walk in the noise and each time at which the rise may have begun (up to `_MIN_PIECE` before the
    end): generalised least squares under the covariance s^2 (share min(t, u) / step + [t = u]). Every one of them
    counts by its likelihood, s^2 at its best.
    """
    n = len(times)
    t = times - times[0]
    step = float(t[-1]) / (n - 1)
    starts = t[: n - _MIN_PIECE + 1]
    hinges = np.maximum(t[:, None] - starts, 0.0)
    parts, plain = [], -math.inf
    for share in _WALK_SHARES:
        walk = (share / step) * np.minimum(t[:, None], t[None, :])
        root = np.linalg.cholesky(walk + np.eye(n))
        columns = np.concatenate([np.ones((n, 1)), hinges, logs[:, None], walk[:, -1:]], axis=1)
        white = np.linalg.solve(root, columns)
        one, hinge, seen, towards = white[:, 0], white[:, 1:-2], white[:, -2], white[:, -1]
        of_one = float(one @ one)
        level, along = float(one @ seen) / of_one, (one @ hinge) / of_one
        seen = seen - level * one
        hinge = hinge - np.outer(one, along)  # the level is taken off both: what is left is the drift's own
        information = np.square(hinge).sum(axis=0)
        drift = (hinge.T @ seen) / information
        least = n * _MIN_NOISE**2
        without = float(seen @ seen) + least
        misfit = without - np.square(drift) * information
        volume = 2.0 * float(np.log(np.diag(root)).sum())
        plain = max(plain, -0.5 * (n * math.log(without) + volume))
        s2 = misfit / (n - 3)
        # The score now: the line's end and what the walk has added to it, with the errors of both.
        reach = t[-1] - starts - along
        now = level + drift * reach + towards @ (seen[:, None] - hinge * drift)
        own = max(float(walk[-1, -1] - towards @ towards), 0.0) + (1.0 - towards @ one) ** 2 / of_one
        error = np.sqrt(s2 * own)  # given the drift, which moves the score now by `reach`
        reach = reach - towards @ hinge
        likelihood = -0.5 * (n * np.log(misfit) + volume)
        drift_error, per_second = np.sqrt(s2 / information), s2 * share / step
        parts.append(np.stack([starts, likelihood, now, error, reach, drift, drift_error, per_second]))
    since, likelihood, now, now_error, reach, drift, drift_error, sigma2 = np.concatenate(parts, axis=1)
    best = int(np.argmax(likelihood))
    if drift[best] <= 0 or 2.0 * (likelihood[best] - plain) <= _SIGNIFICANT**2:
        return None
    weight = np.exp(likelihood - likelihood[best])
    return _Rise(since + times[0], weight, now, now_error, reach, drift, drift_error, sigma2, float(times[-1]), n - 3.0)


def _passages(rise: _Rise, log_limit: float) -> F64:
    """First-passage times, (draws,), inf where the level is never reached.

    With drift m > 0 over a distance d the time is inverse Gaussian of mean d / m and shape d^2 / sigma^2; with m < 0
    the level is reached with probability exp(2 m d / sigma^2) alone, and then as fast as with -m.
    """
    rng = np.random.default_rng(0)
    spread = np.sqrt(rise.freedom / rng.chisquare(rise.freedom, _DRAWS))  # a Student's t in all
    start = rng.choice(len(rise.weight), _DRAWS, p=rise.weight / rise.weight.sum())
    off = rise.drift_error[start] * spread * rng.standard_normal(_DRAWS)
    drift = rise.drift[start] + off
    now = rise.now[start] + rise.reach[start] * off + rise.now_error[start] * spread * rng.standard_normal(_DRAWS)
    distance = np.maximum(log_limit - now, 0.0)
    sigma2 = rise.sigma2[start] * spread**2
    speed = np.maximum(np.abs(drift), _TINY)
    ahead = distance / speed / np.maximum(rise.until_s - rise.since_s[start], _TINY)
    speed *= np.exp(_CHANGE * np.sqrt(np.minimum(ahead, _FARTHEST)) * rng.standard_normal(_DRAWS))
    out = distance / speed
    walks = (sigma2 > 0) & (distance > 0)
    out[walks] = rng.wald(out[walks], np.maximum(distance[walks] ** 2 / sigma2[walks], 1e-300))
    never = (drift <= 0) & (distance > 0)
    chance = np.zeros(_DRAWS)
    down = never & (sigma2 > 0)
    chance[down] = np.exp(-2 * speed[down] * distance[down] / sigma2[down])
    out[never & (rng.random(_DRAWS) >= chance)] = np.inf
    return out

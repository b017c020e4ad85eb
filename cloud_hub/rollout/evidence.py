"""Does a candidate behave? What is counted on gateways becomes a verdict: `pass`, `wait` (not enough to tell) or
`breach`; `off` for a rule that is switched off or has nothing to compare.

A rollout looks again and again while windows come in. A test made for one look would find something sooner or later
whatever the candidate does, so all tests here hold at every look at once: the probability of ever calling a candidate
bad that is within its limit stays below alpha. They rest on the beta-binomial mixture martingale (Robbins, Ann. Math.
Stat. 41, 1970; Howard, Ramdas, McAuliffe, Sekhon, Ann. Stat. 49, 2021): for k of n independent trials,

    M = B(k + 1, n - k + 1) / (p0^k (1 - p0)^(n - k))

exceeds 1/alpha with probability alpha at most, ever, when each trial succeeds with probability p0 (Ville).

*Two rates over the same windows*: given all alarms of both, each one is the candidate's with probability
p0 = r w_c / (r w_c + w_h) when its rate is r times the champion's (Przyborowski and Wilenski, Biometrika 31, 1940).
Both score the same windows, so their alarms come together, which makes the test careful, not eager.

*Scores*: a quantile lies above x when fewer than its share of scores lie below x. Neighbouring windows resemble each
other, so n windows count as n / `INDEPENDENT`. Champion and candidate are bounded apart, which is careful too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from cloud_hub.rollout.plan import Limits
from models.contract.messages import SCORE_BINS, Behaviour

Verdict = Literal["pass", "wait", "breach", "off"]
RuleName = Literal["alarm_rate", "flagged_rate", "score_shift", "latency", "memory"]

ALPHA_GATEWAY = 0.001  # of 10,000 good gateways about 10 are called bad, far below any error threshold that makes sense
ALPHA_COHORT = 0.01  # a needless pause costs a look; a miss costs the fleet
INDEPENDENT = 8  # windows that count as one: half-overlapping windows of machines whose state lasts seconds
SLACK = 2  # alarms above the limit that a cohort may have before it waits: two more are no evidence of anything
MEASURED_WINDOWS = 20  # a mean time over fewer holds the cold start
QUANTILES = (0.5, 0.95)
BINS_PER_OCTAVE = 6


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule says, in one sentence with the numbers it rests on."""

    rule: RuleName
    verdict: Verdict
    text: str


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """Behaviour of one or many gateways, added up. `window_us`: mean over windows. `memory_kb`: the highest; None: not
    measured anywhere. `unmeasured`: gateways without it.
    """

    gateways: int = 0
    windows: int = 0
    flagged: int = 0
    alarms: int = 0
    scores: tuple[int, ...] = (0,) * SCORE_BINS
    window_us: float = 0.0
    memory_kb: float | None = None
    unmeasured: int = 0


def tally(behaviours: Iterable[Behaviour]) -> Tally:
    """Add behaviours up: counts and histograms add, times are weighted by windows."""
    gateways = windows = flagged = alarms = unmeasured = 0
    time_us = 0.0
    scores = [0] * SCORE_BINS
    memory: float | None = None
    for b in behaviours:
        gateways += 1
        windows += b.windows
        flagged += b.flagged
        alarms += b.alarms
        time_us += b.window_us * b.windows
        for index, count in enumerate(b.scores):
            scores[index] += count
        if b.memory_kb is None:
            unmeasured += 1
        else:
            memory = b.memory_kb if memory is None else max(memory, b.memory_kb)
    return Tally(
        gateways=gateways,
        windows=windows,
        flagged=flagged,
        alarms=alarms,
        scores=tuple(scores),
        window_us=time_us / windows if windows else 0.0,
        memory_kb=memory,
        unmeasured=unmeasured,
    )


def above(k: float, n: float, p0: float, alpha: float) -> bool:
    """Whether k of n trials show, at every look at once, a probability above p0. k and n may be fractions."""
    if n <= 0 or not 0.0 < p0 < 1.0 or k <= p0 * n:
        return n > 0 and p0 <= 0.0 < k
    log_beta = math.lgamma(k + 1) + math.lgamma(n - k + 1) - math.lgamma(n + 2)
    log_null = k * math.log(p0) + (n - k) * math.log1p(-p0)
    return log_beta - log_null >= -math.log(alpha)


def judge(limits: Limits, candidate: Tally, champion: Tally, alpha: float, *, lenient: bool = False) -> list[Check]:
    """Every rule over what a candidate and a champion did.

    Args: lenient: of one gateway. A few alarms more pass there: they will stay few, and suspicion is for the cohort as
          a whole. Scores and windows over the limit still wait, for more windows do decide them.
    """
    checks = [
        _rate("alarm_rate", limits.alarm_ratio, candidate, champion, alpha),
        _rate("flagged_rate", limits.flagged_ratio, candidate, champion, alpha),
        _scores(limits, candidate, champion, alpha),
        _latency(limits, candidate, champion),
        _memory(limits, candidate, champion),
    ]
    if not lenient:
        return checks
    alarms = checks[0]
    if alarms.verdict == "wait" and candidate.windows and champion.windows:
        checks[0] = msgspec.structs.replace(alarms, verdict="pass")
    return checks


def _rate(rule: RuleName, limit: float | None, candidate: Tally, champion: Tally, alpha: float) -> Check:
    if limit is None:
        return _off(rule)
    windows, base_windows = candidate.windows, champion.windows
    if windows == 0 or base_windows == 0:
        return Check(rule=rule, verdict="wait", text="no windows of both yet")
    if rule == "alarm_rate":
        k, base_k, thin, what = candidate.alarms, champion.alarms, 1, "alarms"
    else:
        k, base_k, thin, what = candidate.flagged, champion.flagged, INDEPENDENT, "windows over the limit"
    p0 = limit * windows / (limit * windows + base_windows)
    text = f"{k} {what} in {windows} windows, the champion {base_k} in {base_windows}; at most {limit:g} times as many"
    if above(k / thin, (k + base_k) / thin, p0, alpha):
        return Check(rule=rule, verdict="breach", text=text)
    if k > limit * base_k * windows / base_windows + SLACK * thin:
        return Check(rule=rule, verdict="wait", text=f"{text}: more, but too few to tell")
    return Check(rule=rule, verdict="pass", text=text)


def _scores(limits: Limits, candidate: Tally, champion: Tally, alpha: float) -> Check:
    if limits.score_up is None and limits.score_down is None:
        return _off("score_shift")
    n, base_n = sum(candidate.scores), sum(champion.scores)
    if n == 0 or base_n == 0:
        return Check(rule="score_shift", verdict="wait", text="no scores of both yet")
    parts, verdicts = [], []
    for q in QUANTILES:
        shift = (_quantile(candidate.scores, q) - _quantile(champion.scores, q)) / BINS_PER_OCTAVE
        parts.append(f"{'median' if q == 0.5 else f'{q:.0%} quantile'} {shift:+.1f} octaves")
        low, high = _bounds(candidate.scores, q, alpha)
        base_low, base_high = _bounds(champion.scores, q, alpha)
        up = limits.score_up if limits.score_up is not None else math.inf
        down = limits.score_down if limits.score_down is not None else math.inf
        if (low - base_high) / BINS_PER_OCTAVE > up or (base_low - high) / BINS_PER_OCTAVE > down:
            verdicts.append("breach")
        elif not -down - 1 / BINS_PER_OCTAVE <= shift <= up + 1 / BINS_PER_OCTAVE:
            verdicts.append("wait")
    text = f"{', '.join(parts)} against the champion, over {n} scores"
    if "breach" in verdicts:
        return Check(rule="score_shift", verdict="breach", text=text)
    if "wait" in verdicts:
        return Check(rule="score_shift", verdict="wait", text=f"{text}: far, but too few to tell")
    return Check(rule="score_shift", verdict="pass", text=text)


def sticks_out(limits: Limits, candidate: Behaviour, champion: Behaviour) -> bool:
    """Whether one gateway has clearly more alarms or windows over the limit than its champion, shown or not."""
    exposure = candidate.windows / champion.windows if champion.windows else 1.0
    alarms, flagged = limits.alarm_ratio, limits.flagged_ratio
    return (alarms is not None and candidate.alarms > alarms * champion.alarms * exposure + SLACK) or (
        flagged is not None and candidate.flagged > flagged * champion.flagged * exposure + SLACK * INDEPENDENT
    )


def _quantile(scores: Sequence[int], q: float) -> int:
    """The bin in which the q-quantile lies."""
    wanted, seen = q * sum(scores), 0
    for index, count in enumerate(scores):
        seen += count
        if seen >= wanted and seen > 0:
            return index
    return len(scores) - 1


def _bounds(scores: Sequence[int], q: float, alpha: float) -> tuple[float, float]:
    """Bins between which the q-quantile surely lies, whole bins counted as their ends; infinite with too few scores.

    alpha is shared out over two sides of two quantiles of two bundles, and over all edges between bins.
    """
    total, share = sum(scores) / INDEPENDENT, alpha / (8 * len(scores))
    low, high, seen = -math.inf, math.inf, 0.0
    for index, count in enumerate(scores):
        seen += count / INDEPENDENT
        if above(total - seen, total, 1 - q, share):
            low = index + 1  # surely more than 1 - q of the scores lie above this bin, so the quantile does too
        if high == math.inf and above(seen, total, q, share):
            high = index
    return low, high


def _latency(limits: Limits, candidate: Tally, champion: Tally) -> Check:
    limit = limits.latency_ratio
    if limit is None:
        return _off("latency")
    if min(candidate.windows, champion.windows) < MEASURED_WINDOWS:
        return Check(rule="latency", verdict="wait", text=f"fewer than {MEASURED_WINDOWS} windows measured")
    text = f"{candidate.window_us:.0f} us a window, the champion {champion.window_us:.0f}; at most {limit:g} times"
    bad = candidate.window_us > max(limits.latency_floor_us, limit * champion.window_us)
    return Check(rule="latency", verdict="breach" if bad else "pass", text=text)


def _memory(limits: Limits, candidate: Tally, champion: Tally) -> Check:
    if limits.memory_ratio is None and limits.memory_kb is None:
        return _off("memory")
    if candidate.memory_kb is None:
        return Check(rule="memory", verdict="wait", text="not measured yet")
    bounds = [limits.memory_kb] if limits.memory_kb is not None else []
    if limits.memory_ratio is not None and champion.memory_kb is not None:
        bounds.append(limits.memory_ratio * champion.memory_kb)
    if not bounds:
        return Check(rule="memory", verdict="off", text="nothing to compare with: the champion's was not measured")
    text = f"{candidate.memory_kb:.0f} KB, at most {min(bounds):.0f}"
    return Check(rule="memory", verdict="breach" if candidate.memory_kb > min(bounds) else "pass", text=text)


def _off(rule: RuleName) -> Check:
    return Check(rule=rule, verdict="off", text="switched off")

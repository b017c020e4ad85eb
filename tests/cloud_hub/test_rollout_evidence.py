"""The statistics hold at every look, wait while there is too little, and find what is really bad."""

from __future__ import annotations

import numpy as np
import pytest

from cloud_hub.rollout.evidence import ALPHA_COHORT, INDEPENDENT, Tally, above, judge, sticks_out, tally
from cloud_hub.rollout.plan import Limits
from models.contract.messages import SCORE_BINS, Behaviour


def behaviour(windows: int = 1000, centre: float = 34.0, seed: int = 0, **fields: object) -> Behaviour:
    bins = np.clip(np.random.default_rng(seed).normal(centre, 2.5, windows), 0, SCORE_BINS - 1).astype(int)
    scores = np.bincount(bins, minlength=SCORE_BINS)
    values = {"flagged": int(scores[44:].sum()), "window_us": 100.0, "memory_kb": 400.0} | fields
    return Behaviour(sha256="ab" * 32, since_s=0.0, windows=windows, scores=scores.tolist(), **values)  # type: ignore[arg-type]


def verdicts(candidate: Behaviour, champion: Behaviour, limits: Limits | None = None, **how: bool) -> dict[str, str]:
    checks = judge(limits or Limits(), tally([candidate]), tally([champion]), ALPHA_COHORT, **how)
    return {c.rule: c.verdict for c in checks}


def test_looking_all_the_time_rarely_calls_a_good_one_bad():
    """At the limit itself, looking after every alarm: the chance ever to exceed it stays below alpha."""
    rng = np.random.default_rng(5)
    ratio, runs, wrong = 1.5, 2000, 0
    p0 = ratio / (1 + ratio)
    for _ in range(runs):
        ours = np.cumsum(rng.random(300) < p0)
        wrong += any(above(float(k), n, p0, 0.05) for n, k in enumerate(ours, 1))
    assert 0 < wrong / runs < 0.05


def test_a_fixed_sample_test_would_not_have_held():
    """The control of the test above: a test made for one look, taken at every look, errs far more often."""
    rng = np.random.default_rng(5)
    wrong = 0
    for _ in range(500):
        ours = np.cumsum(rng.random(300) < 0.6)
        n = np.arange(1, 301)
        wrong += bool(np.any((ours / n - 0.6) / np.sqrt(0.24 / n) > 1.645))
    assert wrong / 500 > 0.2


@pytest.mark.parametrize(("k", "n", "expected"), [(14, 14, False), (15, 15, True), (9, 15, False), (0, 0, False)])
def test_few_alarms_prove_nothing(k: int, n: int, expected: bool):
    assert above(k, n, 0.6, 0.01) is expected


def test_a_good_candidate_passes():
    assert set(verdicts(behaviour(seed=1), behaviour(seed=2)).values()) == {"pass"}


@pytest.mark.parametrize(
    ("candidate", "rule"),
    [
        (behaviour(alarms=40), "alarm_rate"),
        (behaviour(centre=45.0), "flagged_rate"),
        (behaviour(3000, centre=40.0), "score_shift"),
        (behaviour(centre=16.0), "score_shift"),
        (behaviour(window_us=900.0), "latency"),
        (behaviour(memory_kb=900.0), "memory"),
    ],
)
def test_a_bad_candidate_is_found(candidate: Behaviour, rule: str):
    assert verdicts(candidate, behaviour(3000, seed=2))[rule] == "breach"


def test_too_little_waits_and_says_so():
    checks = judge(
        Limits(), tally([behaviour(40, centre=40.0, alarms=5, memory_kb=None)]), tally([behaviour(40)]), 0.01
    )
    assert {c.rule: c.verdict for c in checks} == {
        "alarm_rate": "wait", "flagged_rate": "pass", "score_shift": "wait", "latency": "pass", "memory": "wait",
    }  # fmt: skip
    texts = {c.rule: c.text for c in checks}
    assert texts["alarm_rate"] == (
        "5 alarms in 40 windows, the champion 0 in 40; at most 1.5 times as many: more, but too few to tell"
    )
    assert texts["score_shift"].endswith("against the champion, over 40 scores: far, but too few to tell")
    assert texts["memory"] == "not measured yet"


def test_nothing_at_all_never_passes():
    checks = judge(Limits(), Tally(), Tally(), 0.01)
    assert {c.verdict for c in checks} == {"wait"}


def test_one_gateway_may_have_a_few_alarms_but_not_a_shift():
    few = behaviour(40, centre=40.0, alarms=5)
    lenient = verdicts(few, behaviour(40), lenient=True)
    assert (lenient["alarm_rate"], lenient["score_shift"]) == ("pass", "wait")


def test_rules_can_be_switched_off():
    off = Limits(
        alarm_ratio=None, flagged_ratio=None, score_up=None, score_down=None, latency_ratio=None, memory_ratio=None
    )
    assert set(verdicts(behaviour(alarms=99, centre=50), behaviour(), off).values()) == {"off"}


def test_a_cheap_network_may_be_slower():
    assert verdicts(behaviour(window_us=400.0), behaviour(window_us=10.0))["latency"] == "pass"


def test_histograms_add_over_gateways():
    one, two = behaviour(300, seed=1, window_us=100.0), behaviour(100, seed=2, window_us=500.0, memory_kb=None)
    both = tally([one, two])
    assert both.scores == tuple(a + b for a, b in zip(one.scores, two.scores, strict=True))
    assert (both.windows, both.gateways, both.unmeasured, both.memory_kb) == (400, 2, 1, 400.0)
    assert both.window_us == pytest.approx(200.0)


def test_what_sticks_out():
    calm = behaviour(alarms=2)
    assert not sticks_out(Limits(), calm, behaviour())
    assert sticks_out(Limits(), behaviour(alarms=3), behaviour())
    assert sticks_out(Limits(), behaviour(flagged=2 * INDEPENDENT + 1), behaviour(flagged=0))

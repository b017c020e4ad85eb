"""An alarm that ends by its fall from the peak, and a point that re-arms where its machine settles."""

from itertools import pairwise

import numpy as np

from models.bundle.manifest import DecisionSpec
from models.contract.messages import Verdict
from models.signal.decide import Change, DecisionState, decide

SPEC = DecisionSpec(
    n=4, m=6, warn_level=0.85, alarm_level=1.0, clear_level=0.9, clear_windows=4, clear_of_peak=0.6, peak_windows=32,
    rearm=1.3,
)  # fmt: skip


def run(scores: list[float], spec: DecisionSpec = SPEC) -> tuple[list[Verdict], list[Change | None], DecisionState]:
    state, verdicts, changes = DecisionState(), [], []
    for score in scores:
        state, change = decide(state, score, spec)
        verdicts.append(state.verdict)
        changes.append(change)
    return verdicts, changes, state


def test_a_machine_that_settles_above_its_old_limit_ends_the_alarm_and_is_told_as_warn() -> None:
    verdicts, changes, state = run([0.5] * 10 + [6.0] * 40 + [2.0] * 40)
    raised, cleared = changes.index("raised"), changes.index("cleared")
    assert 10 < raised < 16
    assert 50 <= cleared < 56
    assert changes.count("raised") == changes.count("cleared") == 1
    assert set(verdicts[cleared:]) == {"warn"}
    assert state.armed == 1.3 * 2.0


def test_without_the_rule_that_alarm_never_ends() -> None:
    plain = DecisionSpec(n=4, m=6, clear_level=0.9, clear_windows=4)
    verdicts, changes, _ = run([0.5] * 10 + [6.0] * 40 + [2.0] * 40, plain)
    assert "cleared" not in changes
    assert verdicts[-1] == "alarm"


def test_what_grows_from_the_settled_level_alarms_again() -> None:
    _, changes, _ = run([0.5] * 10 + [6.0] * 40 + [2.0] * 40 + [4.0] * 10)
    assert changes.count("raised") == 2


def test_levels_come_back_with_the_scores_and_never_rise() -> None:
    state, armed = DecisionState(), []
    for score in [0.5] * 10 + [6.0] * 40 + list(np.linspace(2.0, 0.4, 60)) + [0.4] * 10:
        state, _ = decide(state, float(score), SPEC)
        armed.append(state.armed)
    after = armed[60:]
    assert max(after) > 1.0
    assert all(later <= before for before, later in pairwise(after))
    assert armed[-1] == 1.0
    assert state.verdict == "ok"


def test_an_overshoot_at_the_onset_is_not_the_level() -> None:
    verdicts, changes, _ = run([0.5] * 10 + [9.0] * 8 + [3.0] * 60)
    assert "cleared" not in changes
    assert verdicts[-1] == "alarm"
    short = DecisionSpec(n=4, m=6, clear_level=0.9, clear_windows=4, clear_of_peak=0.6, peak_windows=6)
    assert "cleared" in run([0.5] * 10 + [9.0] * 8 + [3.0] * 60, short)[1]


def test_back_under_the_limit_needs_no_peak() -> None:
    verdicts, changes, state = run([0.5] * 10 + [1.2] * 20 + [0.8] * 20)
    assert "cleared" in changes
    assert verdicts[-1] == "ok"
    assert state.armed == 1.0

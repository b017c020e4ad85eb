from hypothesis import given
from hypothesis import strategies as st

from models.bundle.manifest import DecisionSpec
from models.signal.decide import DecisionState, decide

SPEC = DecisionSpec(n=3, m=5, warn_level=0.8, alarm_level=1.0, clear_level=0.7, clear_windows=4)


def run(scores: list[float], spec: DecisionSpec = SPEC) -> tuple[list[str], list[str | None]]:
    state, verdicts, changes = DecisionState(), [], []
    for score in scores:
        state, change = decide(state, score, spec)
        verdicts.append(state.verdict)
        changes.append(change)
    return verdicts, changes


def test_needs_n_of_m() -> None:
    verdicts, changes = run([2, 0, 2, 0, 2])
    assert verdicts == ["ok", "ok", "ok", "ok", "alarm"]
    assert changes[-1] == "raised"
    assert run([2, 0, 0, 2, 0, 0, 2])[0][-1] == "ok"


def test_holds_until_quiet_in_a_row() -> None:
    verdicts, changes = run([2, 2, 2] + [0.1] * 3 + [0.75] + [0.1] * 4)
    assert verdicts[2:10] == ["alarm"] * 8
    assert verdicts[-1] == "ok"
    assert changes.count("cleared") == 1


def test_old_scores_do_not_raise_it_again() -> None:
    spec = DecisionSpec(n=3, m=50, clear_windows=2, clear_level=0.7)
    _, changes = run([2, 2, 2, 0, 0, 2, 0, 0], spec)
    assert changes.count("raised") == 1


def test_warns_between_the_levels_and_lets_go() -> None:
    verdicts, changes = run([0.9] * 3 + [0.1] * 5)
    assert verdicts[2] == "warn"
    assert verdicts[-1] == "ok"
    assert not any(changes)


@given(st.lists(st.floats(0, 5), max_size=80))
def test_raised_and_cleared_take_turns_and_agree_with_the_verdict(scores: list[float]) -> None:
    verdicts, changes = run(scores)
    turns = [c for c in changes if c]
    assert turns == ["raised", "cleared"] * (len(turns) // 2) + ["raised"] * (len(turns) % 2)
    active = False
    for verdict, change in zip(verdicts, changes, strict=True):
        active = change == "raised" or (active and change != "cleared")
        assert (verdict == "alarm") == active


@given(st.lists(st.floats(0, 5), max_size=40))
def test_memory_is_bounded(scores: list[float]) -> None:
    state = DecisionState()
    for score in scores:
        state, _ = decide(state, score, SPEC)
        assert len(state.recent) <= SPEC.m

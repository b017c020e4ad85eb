"""The states of an alarm: the table, what it means for what is silenced, and its diagram."""

from __future__ import annotations

from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cloud_hub.alarms.states import (
    OPEN,
    PRESENT,
    TABLE,
    AlarmStateError,
    Event,
    Standing,
    State,
    aligned,
    document,
    step,
)


def at(state: State, until_s: float | None = None) -> Standing:
    return Standing(state, 100.0, until_s if state is State.SHELVED else None)


def test_the_diagram_is_that_of_the_table() -> None:
    assert files("cloud_hub.alarms").joinpath("ALARMS.md").read_text() == document()


def test_every_state_and_event_is_in_the_table() -> None:
    assert set(TABLE) == set(State)
    assert {event for row in TABLE.values() for event in row} == set(Event)
    reached = {State.NORMAL} | {to for row in TABLE.values() for to in row.values()}
    assert reached == set(State)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_what_is_not_in_the_table_cannot_happen(state: State, event: Event) -> None:
    until_s = 500.0 if event is Event.SHELVED else None
    if event in TABLE[state]:
        after = step(at(state, 150.0), event, 200.0, until_s)
        assert after.state is TABLE[state][event]
        assert (after.shelved_until_s is not None) == (after.state is State.SHELVED)
        assert after.since_s == (100.0 if after.state is state else 200.0)
    else:
        with pytest.raises(AlarmStateError, match=f"'{event.value}' has no place in state '{state.value}'"):
            step(at(state, 150.0), event, 200.0, until_s)


def test_a_shelf_has_an_end_and_that_lies_ahead() -> None:
    with pytest.raises(AlarmStateError, match="expected a later end, to a shelf"):
        step(at(State.UNACKNOWLEDGED), Event.SHELVED, 200.0)
    with pytest.raises(AlarmStateError, match="expected a later end"):
        step(at(State.UNACKNOWLEDGED), Event.SHELVED, 200.0, 200.0)
    with pytest.raises(AlarmStateError, match="expected a later end"):
        step(at(State.UNACKNOWLEDGED), Event.ACKNOWLEDGED, 200.0, 300.0)
    with pytest.raises(AlarmStateError, match="its shelf lasts until"):
        step(at(State.SHELVED, 300.0), Event.EXPIRED, 299.0)


def test_what_outlasts_its_shelf_wants_eyes_again() -> None:
    shelved = step(step(at(State.UNACKNOWLEDGED), Event.ACKNOWLEDGED, 110.0), Event.SHELVED, 120.0, 300.0)
    assert step(shelved, Event.EXPIRED, 300.0) == Standing(State.UNACKNOWLEDGED, 300.0)


def test_a_machine_that_comes_back_into_service_goes_to_its_shelf_if_that_still_lasts() -> None:
    out = at(State.OUT_OF_SERVICE)
    steps = list(aligned(out, 200.0, out=False, shelf_until_s=300.0))
    assert [event for event, _ in steps] == [Event.RESTORED, Event.SHELVED]
    assert steps[-1][1] == Standing(State.SHELVED, 200.0, 300.0)
    assert [event for event, _ in aligned(out, 300.0, out=False, shelf_until_s=300.0)] == [Event.RESTORED]


STANDINGS = st.sampled_from([at(state, until_s) for state in State for until_s in (150.0, 400.0)])


@given(STANDINGS, st.floats(200.0, 500.0), st.booleans(), st.sampled_from([None, 250.0, 450.0]))
def test_alignment_puts_an_alarm_where_its_place_is(
    before: Standing, now_s: float, out: bool, shelf_until_s: float | None
) -> None:
    after = before
    for event, standing in aligned(before, now_s, out=out, shelf_until_s=shelf_until_s):
        assert TABLE[after.state][event] is standing.state
        after = standing
    assert list(aligned(after, now_s, out=out, shelf_until_s=shelf_until_s)) == []
    if before.state not in PRESENT:
        assert after == before
    elif out:
        assert after.state is State.OUT_OF_SERVICE
    elif shelf_until_s is not None and shelf_until_s > now_s:
        assert (after.state, after.shelved_until_s) == (State.SHELVED, shelf_until_s)
    else:
        assert after.state in OPEN


class OneAlarm(RuleBasedStateMachine):
    """Anything that may happen, in any order, against what must hold of it."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1000.0
        self.standing = Standing()
        self.present = False
        self.acknowledged = False

    def go(self, event: Event, until_s: float | None = None) -> None:
        self.standing = step(self.standing, event, self.now_s, until_s)

    @rule(seconds=st.floats(0, 100))
    def time_goes_by(self, seconds: float) -> None:
        self.now_s += seconds

    @precondition(lambda self: self.standing == Standing())
    @rule()
    def raised(self) -> None:
        self.go(Event.RAISED)
        self.present = True

    @precondition(lambda self: self.present)
    @rule()
    def cleared(self) -> None:
        self.go(Event.CLEARED)
        self.present = False

    @rule()
    def updated(self) -> None:
        self.go(Event.UPDATED)

    @precondition(lambda self: self.standing.state in OPEN - {State.ACKNOWLEDGED})
    @rule()
    def somebody_sees_it(self) -> None:
        self.go(Event.ACKNOWLEDGED)

    @rule(out=st.booleans(), shelf_s=st.none() | st.floats(1, 50))
    def its_place_is_silenced_or_not(self, out: bool, shelf_s: float | None) -> None:
        until_s = self.now_s + shelf_s if shelf_s is not None else None
        steps = list(aligned(self.standing, self.now_s, out=out, shelf_until_s=until_s))
        self.standing = steps[-1][1] if steps else self.standing

    @invariant()
    def the_state_says_whether_the_condition_lasts(self) -> None:
        assert (self.standing.state in PRESENT) == self.present

    @invariant()
    def only_a_shelf_has_an_end(self) -> None:
        assert (self.standing.shelved_until_s is not None) == (self.standing.state is State.SHELVED)


TestOneAlarm = OneAlarm.TestCase

"""The update machine: every (state, event) pair, what each step does to the record, and the committed diagram."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

import edge_agent
from edge_agent.update import (
    ON_TRIAL,
    TRANSITIONS,
    Event,
    Installed,
    SlotRecord,
    State,
    UpdateError,
    advance,
    counted_start,
    diagram,
    heard,
)
from models.contract.messages import Phase, WantedBundle

NEW = WantedBundle(slot="s", target="s/new.mwb", sha256="aa" * 32, length=100, version="2")
OTHER = WantedBundle(slot="s", target="s/other.mwb", sha256="bb" * 32, length=100, version="3")
OLD = Installed(sha256="01" * 32, version="1")
OLDER = Installed(sha256="00" * 32, version="0")


def record(state: State, *, candidate: WantedBundle | None = NEW) -> SlotRecord:
    return SlotRecord(state=state, candidate=candidate, active=OLD, previous=OLDER, want_seq=4, starts=2)


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("state", State)
def test_every_pair_is_a_step_or_a_typed_error_that_changes_nothing(state: State, event: Event) -> None:
    before = record(state)
    kept = msgspec.json.encode(before)
    if event in TRANSITIONS[state]:
        after = advance(before, event, candidate=OTHER, want_seq=5)
        assert after.state is TRANSITIONS[state][event]
        assert after.active is not None, "with something active, something stays active"
        assert after.want_seq == (5 if event in {Event.WANTED, Event.AMENDED} else 4)
    else:
        with pytest.raises(UpdateError, match=f"'{event.value}' has no place in state '{state.value}'"):
            advance(before, event, candidate=OTHER, want_seq=5)
    assert msgspec.json.encode(before) == kept


def test_the_diagram_is_the_committed_one() -> None:
    committed = (Path(edge_agent.__file__).parent / "UPDATE.md").read_text()
    assert committed == diagram(), "write it anew: python -m edge_agent.update > edge_agent/UPDATE.md"


def test_every_state_is_a_phase_of_the_contract_and_is_stored_by_that_name() -> None:
    assert {state.value for state in State} == set(Phase.__args__)  # type: ignore[attr-defined]
    stored = msgspec.json.encode(record(State.ROLLED_BACK))
    assert b'"rolled_back"' in stored
    assert msgspec.json.decode(stored, type=SlotRecord) == record(State.ROLLED_BACK)


def test_every_state_but_the_resting_ones_leads_on() -> None:
    reached = {State.IDLE}
    for _ in State:
        reached |= {target for state in reached for target in TRANSITIONS[state].values()}
    assert reached == set(State)
    assert all(State.SEEN in row.values() for row in TRANSITIONS.values()), "a new want is always heard"


class TestRecord:
    def test_a_want_replaces_the_candidate_and_forgets_the_error(self) -> None:
        refused = advance(record(State.VERIFIED), Event.REFUSED, reason="replay", error="scores differ")
        assert (refused.reason, refused.error, refused.candidate) == ("replay", "scores differ", NEW)
        after = advance(refused, Event.WANTED, candidate=OTHER, want_seq=5, begin_s=9.0)
        assert (after.candidate, after.want_seq, after.begin_s) == (OTHER, 5, 9.0)
        assert (after.reason, after.error, after.starts) == (None, None, 0)
        assert after.active == OLD

    def test_verified_gives_up_the_previous_so_that_two_files_are_kept(self) -> None:
        after = advance(record(State.FETCHED), Event.VERIFIED)
        assert (after.active, after.candidate, after.previous) == (OLD, NEW, None)

    def test_activated_keeps_the_champion_as_the_previous(self) -> None:
        after = advance(record(State.SHADOW), Event.ACTIVATED)
        assert (after.active, after.previous, after.candidate) == (Installed(sha256=NEW.sha256, version="2"), OLD, None)

    @pytest.mark.parametrize("state", [State.ACTIVE, State.CONFIRMED])
    def test_a_failed_active_one_gives_way_to_the_previous(self, state: State) -> None:
        after = advance(record(state, candidate=None), Event.FAILED, reason="failed", error="x")
        assert (after.state, after.active, after.previous) == (State.ROLLED_BACK, OLDER, None)

    def test_a_candidate_that_fails_in_shadow_leaves_the_champion(self) -> None:
        after = advance(record(State.SHADOW), Event.FAILED, reason="failed", error="x")
        assert (after.state, after.active, after.candidate) == (State.ROLLED_BACK, OLD, None)

    def test_only_starts_on_trial_are_counted(self) -> None:
        for state in State:
            before = record(state)
            assert counted_start(before).starts == before.starts + (state in ON_TRIAL)


class TestHeard:
    """What a verified want means for a slot."""

    RUNS = NEW.__class__(slot="s", target="s/old.mwb", sha256=OLD.sha256, length=100, version="1")

    @pytest.mark.parametrize("state", State)
    def test_whatever_it_means_has_its_place_in_the_table(self, state: State) -> None:
        waiting = state in {one for one in State if Event.AMENDED in TRANSITIONS[one]} | {State.REFUSED}
        befores = [record(state, candidate=NEW if waiting else None)]
        if state is State.IDLE:
            befores = [SlotRecord()]
        elif state not in {State.SHADOW, State.ACTIVE, State.CONFIRMED}:
            befores.append(SlotRecord(state=state, candidate=NEW if waiting else None, want_seq=4))
        for before in befores:
            for wanted in (None, NEW, OTHER, self.RUNS, msgspec.structs.replace(NEW, hold=True)):
                for seq in (4, 5):
                    event = heard(before, wanted, seq)
                    if event is not None:
                        assert event in TRANSITIONS[state], (before, wanted, seq)

    def test_the_same_again_is_nothing_new(self) -> None:
        assert heard(record(State.FETCHING), NEW, 4) is None
        assert heard(record(State.CONFIRMED, candidate=None), self.RUNS, 5) is None
        assert heard(record(State.CONFIRMED, candidate=None), None, 5) is None
        assert heard(record(State.REFUSED), NEW, 4) is None

    def test_other_conditions_do_not_begin_anew(self) -> None:
        held = msgspec.structs.replace(NEW, hold=True, shadow_windows=7)
        for state in (State.SEEN, State.FETCHING, State.SHADOW):
            assert heard(record(state), held, 5) is Event.AMENDED
        assert heard(record(State.REFUSED), held, 5) is Event.WANTED, "another want is another chance"

    def test_not_wanted_any_more(self) -> None:
        assert heard(record(State.SHADOW), self.RUNS, 5) is Event.KEPT
        assert heard(record(State.SHADOW), None, 5) is Event.KEPT
        assert heard(SlotRecord(state=State.FETCHING, candidate=NEW), None, 5) is Event.WITHDRAWN
        assert heard(record(State.FETCHING), OTHER, 5) is Event.WANTED

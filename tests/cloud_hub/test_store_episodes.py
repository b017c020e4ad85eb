"""How events make an alarm: whatever the order of arrival, the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloud_hub.store.episodes import Episode, advance, begin, summary_of
from models.contract.messages import AlarmEvent
from tests.simulators.hub import diagnosis, event


def fold(events: list[AlarmEvent]) -> Episode:
    episode = None
    for e in events:
        episode = advance(episode, e)
    assert episode is not None
    return episode


def test_a_life() -> None:
    raised = event(1, score=1.2, peak=1.2)
    updated = event(2, "updated", score=2.0, peak=2.5, diagnosis=diagnosis("clearer now"))
    cleared = event(3, "cleared", score=0.3, peak=2.5, diagnosis=None)
    episode = fold([raised, updated])
    assert (episode.status, episode.verdict, episode.score, episode.peak) == ("raised", "alarm", 2.0, 2.5)
    assert (episode.raised_s, episode.cleared_s, episode.updated_s) == (2001.0, None, 2002.0)
    assert summary_of(episode) == "clearer now"
    episode = advance(episode, cleared)
    assert (episode.status, episode.verdict, episode.score, episode.peak) == ("cleared", "ok", 0.3, 2.5)
    assert (episode.raised_s, episode.cleared_s) == (2001.0, 2003.0)
    assert summary_of(episode) == "clearer now"


def test_without_a_diagnosis_the_summary_says_what_is_known() -> None:
    assert summary_of(begin(event(diagnosis=None, peak=1.25))) == (
        "P-101/de: score 1.25 at its peak, the limit is 1.00"
    )


def test_an_update_that_comes_after_the_end_does_not_reopen() -> None:
    late = event(9, "updated", score=3.0, peak=3.0)
    episode = fold([event(1), event(3, "cleared"), late])
    assert episode.status == "cleared"
    assert episode.cleared_s == 2003.0
    assert episode.peak == 3.0


EVENTS = st.builds(
    event,
    seq=st.integers(0, 5),
    kind=st.sampled_from(["raised", "updated", "cleared"]),
    boot_id=st.sampled_from(["0" * 16, "f" * 16]),
    time_s=st.sampled_from([1.0, 2.0, 2.000001, 100.0]),
    score=st.floats(0, 10),
    peak=st.floats(0, 10),
    diagnosis=st.sampled_from([None, diagnosis("a"), diagnosis("b")]),
)
LIVES = st.lists(EVENTS, min_size=1, max_size=6, unique_by=lambda e: (e.time_s, e.boot_id, e.seq))


@given(LIVES.flatmap(lambda life: st.tuples(st.just(life), st.permutations(life))))
def test_the_order_of_arrival_does_not_matter(lives: tuple[list[AlarmEvent], list[AlarmEvent]]) -> None:
    life, shuffled = lives
    assert fold(shuffled) == fold(life)


@given(LIVES, st.data())
def test_duplicates_do_not_matter(life: list[AlarmEvent], data: st.DataObject) -> None:
    again = data.draw(st.lists(st.sampled_from(life), max_size=6))
    assert fold(life + again) == fold(life)

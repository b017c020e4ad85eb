"""Plans are read when they are made; maintenance windows follow the clock on the wall; cohorts are stable."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_hub.errors import PlanError
from cloud_hub.rollout.cohorts import Site, assign, hash_order
from cloud_hub.rollout.maintenance import is_open, next_open_s
from cloud_hub.rollout.plan import Cohort, MaintenanceWindow, Threshold, decode_plan, read_plan
from tests.cloud_hub.rollout_kit import plan

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "at_most", "at_least"),
    [("5 %", 1, 2), ("5%", 1, 2), ("0.5 %", 0, 1), ("0", 0, 0), ("3", 3, 3), ("100 %", 25, 25), ("99", 99, 25)],
)
def test_thresholds(text: str, at_most: int, at_least: int):
    threshold = Threshold.parse(text, "here")
    assert (threshold.at_most(25), threshold.at_least(25)) == (at_most, at_least)


@pytest.mark.parametrize("text", ["", "some", "5 % of them", "-1", "101 %", "1e3", "5.5", "٣"])
def test_a_threshold_that_cannot_be_read_is_an_error(text: str):
    with pytest.raises(PlanError, match='here: expected a share such as "5 %" or a count such as "3", got'):
        Threshold.parse(text, "here")


def test_all_that_is_wrong_is_said_at_once():
    bad = plan(
        cohorts=[Cohort(name="x", errors="few"), Cohort(name="x", share="0 %", success="0")],
        windows=[MaintenanceWindow(start="25:00", end="4:00")],
        time_zone="Europe/Atlantis",
    )
    with pytest.raises(PlanError) as caught:
        read_plan(bad)
    for part in (
        "cohort 'x': expected one of share, label and gateways, got none",
        "cohort 'x', errors: expected a share such as",
        "cohort 'x', share: expected a share above 0 %",
        "cohort 'x', success: expected more than none",
        "cohorts: expected every name once",
        "window 1, start: expected a time such as \"22:30\", got '25:00'",
        "window 1, end: expected a time such as \"22:30\", got '4:00'",
        "time_zone: expected a time zone such as Europe/Berlin, got 'Europe/Atlantis'",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"slot":"a"}', '{"slot":"a","sha256":"00","cohorts":[]}'])
def test_a_stored_plan_that_is_none_is_an_error(text: str):
    with pytest.raises(PlanError, match="rollout r1: not a plan: "):
        decode_plan(text, "rollout r1")


# ------------------------------------------------------------------------------------------- maintenance windows


@pytest.mark.parametrize(
    ("start", "end", "opens", "closes"),
    [
        # A usual winter night, across midnight: 22:00 and 05:00 at UTC+1.
        ("22:00", "05:00", "2026-01-10T21:00", "2026-01-11T04:00"),
        # Clocks jump from 02:00 to 03:00 on 29 March: the night is an hour shorter.
        ("22:00", "05:00", "2026-03-28T21:00", "2026-03-29T03:00"),
        # An end or a start that the clock skips is the moment of the jump, 01:00 UTC.
        ("22:00", "02:30", "2026-03-28T21:00", "2026-03-29T01:00"),
        ("02:30", "04:00", "2026-03-29T01:00", "2026-03-29T02:00"),
        # Clocks go back from 03:00 to 02:00 on 25 October: 02:30 comes twice, the window holds both.
        ("22:00", "02:30", "2026-10-24T20:00", "2026-10-25T01:30"),
        ("02:30", "04:00", "2026-10-25T00:30", "2026-10-25T03:00"),
        ("20:00", "24:00", "2026-01-10T19:00", "2026-01-10T23:00"),
    ],
)
def test_windows_on_the_nights_when_clocks_change(start: str, end: str, opens: str, closes: str):
    window = [MaintenanceWindow(start=start, end=end)]
    for moment, expected in ((at(opens) - 1, False), (at(opens), True), (at(closes) - 1, True), (at(closes), False)):
        assert is_open(window, BERLIN, moment) is expected, datetime.fromtimestamp(moment, UTC)


def test_a_window_in_the_skipped_hour_is_not_held_that_day():
    window = [MaintenanceWindow(days=["sun"], start="02:10", end="02:50")]
    night = at("2026-03-29T00:00")
    assert not any(is_open(window, BERLIN, night + 60 * minute) for minute in range(300))
    assert next_open_s(window, BERLIN, night) == at("2026-04-05T00:10")


def test_a_night_belongs_to_the_day_it_begins_on():
    window = [MaintenanceWindow(days=["sat"], start="22:00", end="05:00")]
    assert is_open(window, BERLIN, at("2026-01-11T03:59"))  # Sunday morning
    assert not is_open(window, BERLIN, at("2026-01-12T03:00"))
    assert next_open_s(window, BERLIN, at("2026-01-12T03:00")) == at("2026-01-17T21:00")


def test_the_site_decides_not_the_hub():
    window = [MaintenanceWindow(start="01:00", end="03:00")]
    assert is_open(window, ZoneInfo("Asia/Tokyo"), at("2026-01-10T17:00"))
    assert not is_open(window, BERLIN, at("2026-01-10T17:00"))
    assert is_open([], BERLIN, at("2026-01-10T17:00"))


@given(st.integers(at_moment := 1_750_000_000, at_moment + 2 * 366 * 86_400), st.sampled_from(["22:00", "02:30"]))
def test_the_next_opening_is_open_and_nothing_before_it_is(now: int, start: str):
    window = [MaintenanceWindow(days=["tue", "sun"], start=start, end="04:15")]
    opens = next_open_s(window, BERLIN, now)
    assert opens is not None
    assert is_open(window, BERLIN, opens)
    assert opens == now or not is_open(window, BERLIN, opens - 1)
    assert now <= opens <= now + 7 * 86_400


# ------------------------------------------------------------------------------------------- cohorts

SITES = [
    Site(f"gw-{i}", {"site": "north" if i % 4 == 0 else "south", **({"lab": ""} if i == 7 else {})}) for i in range(40)
]


def test_cohorts_by_list_label_and_share():
    chosen = plan(
        cohorts=[
            Cohort(name="list", gateways=["gw-3", "gw-4"]),
            Cohort(name="lab", label="lab"),
            Cohort(name="tenth", share="10 %"),
            Cohort(name="north", label="site=north"),
            Cohort(name="all", share="100 %"),
        ]
    )
    cohort_of = assign("r", chosen, SITES)
    assert cohort_of["gw-3"] == cohort_of["gw-4"] == 0
    assert cohort_of["gw-7"] == 1
    assert sum(c <= 2 for c in cohort_of.values()) == 4  # cumulative
    assert all(cohort_of[s.gateway] <= 3 for s in SITES if s.labels["site"] == "north")
    assert len(cohort_of) == 40
    assert assign("r", chosen, list(reversed(SITES))) == cohort_of
    assert assign("another", chosen, SITES) != cohort_of


def test_select_bounds_the_whole_rollout():
    cohort_of = assign("r", plan(select="site=north", cohorts=[Cohort(name="all", share="100 %")]), SITES)
    assert sorted(cohort_of) == sorted(s.gateway for s in SITES if s.labels["site"] == "north")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"select": "site=west"}, "no gateway with the label 'site=west' reports the slot 'pump-vibration'"),
        ({"cohorts": [Cohort(name="a", gateways=["nobody"])]}, "cohort 'a': no such gateway with the slot .*: nobody"),
        (
            {"cohorts": [Cohort(name="a", share="50 %"), Cohort(name="b", share="50 %")]},
            "cohort 'b': it is empty; those before it have 20 of 40 gateways",
        ),
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_an_error(changes: dict, text: str):
    with pytest.raises(PlanError, match=text):
        assign("r", plan(**changes), SITES)


def test_hash_order_is_stable():
    assert hash_order("r1", ["gw-1", "gw-2", "gw-3", "gw-4"]) == hash_order("r1", ["gw-4", "gw-3", "gw-2", "gw-1"])
    assert {tuple(hash_order(f"r{i}", ["a", "b", "c"])) for i in range(50)} == {
        ("a", "b", "c"), ("a", "c", "b"), ("b", "a", "c"), ("b", "c", "a"), ("c", "a", "b"), ("c", "b", "a"),
    }  # fmt: skip

"""What people do about alarms, and what the hub's clock does, in a real database."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from sqlalchemy import select

from cloud_hub.alarms import actions as a
from cloud_hub.alarms.states import OPEN, PRESENT, TABLE, AlarmStateError, Event, State
from cloud_hub.errors import ConflictError, NotFoundError, StaleError
from cloud_hub.services import alarms as service
from cloud_hub.services.alarms import Target
from cloud_hub.store import alarm_queries as queries
from cloud_hub.store import history_queries
from cloud_hub.store import tables as t
from cloud_hub.store.alarm_metrics import alarm_metrics
from cloud_hub.store.alarm_queries import AlarmFilter
from cloud_hub.store.database import Database
from cloud_hub.store.paging import Paging
from cloud_hub.store.views import AlarmView
from cloud_hub.store.writer import Message, Received, Writer
from tests.simulators.callers import OPERATOR
from tests.simulators.hub import event, state

ALARM = "gw-1.a1"
ALL = Paging(limit=500)


class Shift:
    """An operator in front of a hub whose clock the test turns."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now_s = 10_000.0
        self._writer = Writer(database, lambda: self.now_s)

    def store(self, *messages: Message) -> None:
        self._writer.store([Received(m) for m in messages])

    def act(self, action: a.Action, alarm: str = ALARM, revision: int | None = None) -> int:
        return service.act(self.database, OPERATOR, alarm, action, now_s=self.now_s, revision=revision, request_id="r1")

    def many(self, action: a.Action, *targets: Target) -> service.BulkOutcome:
        return service.act_on_many(self.database, OPERATOR, targets, action, now_s=self.now_s)

    def take_out(self, machine: str = "P-101", point: str | None = None) -> int:
        return service.take_out_of_service(self.database, OPERATOR, machine, point, "overhaul", now_s=self.now_s)

    def restore(self, machine: str = "P-101", point: str | None = None) -> int:
        return service.restore_to_service(self.database, OPERATOR, machine, point, now_s=self.now_s)

    def tick(self) -> int:
        return service.tick(self.database, self.now_s)

    def alarm(self, alarm: str = ALARM) -> AlarmView:
        with self.database.read() as session:
            return history_queries.get_alarm(session, alarm).alarm

    def states(self) -> dict[str, str]:
        with self.database.read() as session:
            return {alarm.id: alarm.state for alarm in queries.search_alarms(session, ALL, AlarmFilter()).items}

    def history(self, alarm: str = ALARM) -> list[tuple[str, str, str, str]]:
        with self.database.read() as session:
            found = queries.list_actions(session, ALL, alarm).items
        return [(action.who, action.action, action.before, action.after) for action in reversed(found)]

    def audit(self) -> list[t.AuditEntry]:
        with self.database.read() as session:
            return list(session.scalars(select(t.AuditEntry).order_by(t.AuditEntry.id)))


@pytest.fixture
def shift(database: Database) -> Shift:
    return Shift(database)


def test_an_ordinary_alarm(shift: Shift) -> None:
    shift.store(event(1))
    seen = shift.alarm()
    assert (seen.state, seen.revision, seen.announced_s) == ("unacknowledged", 1, 10_000.0)
    shift.now_s = 10_060.0
    assert shift.act(a.Acknowledge("on my way"), revision=1) == 2
    seen = shift.alarm()
    assert (seen.state, seen.state_s, seen.acknowledged_by) == ("acknowledged", 10_060.0, "olga")
    shift.store(event(2, "updated"))
    assert shift.alarm().revision == 2  # nobody's form is spoilt by a new score
    shift.store(event(3, "cleared"))
    seen = shift.alarm()
    assert (seen.state, seen.status, seen.revision) == ("normal", "cleared", 3)
    assert shift.history() == [("olga", "acknowledge", "unacknowledged", "acknowledged")]
    entry = shift.audit()[0]
    assert (entry.who, entry.action, entry.target, entry.request_id) == (
        "olga",
        "alarm.acknowledge",
        "alarm:gw-1.a1",
        "r1",
    )
    assert entry.before is not None
    assert entry.after is not None
    assert (entry.before["state"], entry.after["state"]) == ("unacknowledged", "acknowledged")
    assert entry.after["text"] == "on my way"


def test_what_is_over_before_anybody_looked_stays_in_the_list(shift: Shift) -> None:
    shift.store(event(1), event(2, "cleared"))
    assert shift.alarm().state == "returned"
    shift.act(a.Acknowledge())
    assert shift.alarm().state == "normal"
    shift.store(event(3, "updated", score=9.0, peak=9.0))  # late
    assert (shift.alarm().state, shift.alarm().peak) == ("normal", 9.0)


def test_the_end_may_come_before_the_beginning(shift: Shift) -> None:
    shift.store(event(2, "cleared"))
    assert shift.alarm().state == "returned"
    shift.store(event(1))
    assert (shift.alarm().state, shift.alarm().raised_s) == ("returned", 2001.0)


def test_somebody_else_was_faster(shift: Shift) -> None:
    shift.store(event(1))
    shift.act(a.Assign("otto"))
    with pytest.raises(StaleError, match="revision 1 was expected, it has 2 by now"):
        shift.act(a.Acknowledge(), revision=1)
    assert shift.alarm().state == "unacknowledged"
    with pytest.raises(NotFoundError, match="an alarm's id is gateway.alarm"):
        shift.act(a.Acknowledge(), "gw-1.none")
    shift.act(a.Acknowledge())
    with pytest.raises(AlarmStateError, match="'acknowledge' has no place in state 'acknowledged'"):
        shift.act(a.Acknowledge())
    assert len(shift.audit()) == 2  # what was refused has changed nothing


def test_a_shelf_takes_what_is_raised_meanwhile_and_ends_by_itself(shift: Shift) -> None:
    shift.store(event(1), event(1, gateway="gw-2"))
    shift.act(a.Shelve(600.0, "strainer is being changed"))
    assert shift.states() == {ALARM: "shelved", "gw-2.a1": "unacknowledged"}
    assert shift.alarm().shelved_until_s == 10_600.0
    shift.store(event(2, "cleared"), event(3, alarm="a2"))
    assert shift.states() == {ALARM: "normal", "gw-1.a2": "shelved", "gw-2.a1": "unacknowledged"}
    assert shift.alarm("gw-1.a2").announced_s is None
    assert shift.history("gw-1.a2") == [("hub", "shelve", "unacknowledged", "shelved")]
    shift.now_s = 10_599.0
    assert shift.tick() == 0
    shift.now_s = 10_601.0
    assert shift.tick() == 1
    again = shift.alarm("gw-1.a2")
    assert (again.state, again.announced_s, again.shelved_until_s) == ("unacknowledged", 10_601.0, None)
    assert shift.history("gw-1.a2")[-1] == ("hub", "expire", "shelved", "unacknowledged")
    assert shift.tick() == 0
    shift.store(event(4, "cleared", alarm="a2"), event(5, alarm="a3"))
    assert shift.alarm("gw-1.a3").state == "unacknowledged"


def test_from_the_shelf_before_its_time(shift: Shift) -> None:
    shift.store(event(1))
    shift.act(a.Acknowledge())
    shift.act(a.Shelve(600.0, "known"))
    shift.act(a.Shelve(7200.0, "takes longer"))
    assert shift.alarm().shelved_until_s == 17_200.0
    with shift.database.read() as session:
        shelves = queries.list_suppressions(session, ALL, shift.now_s).items
    assert [(s.kind, s.gateway, s.point, s.reason) for s in shelves] == [("shelf", "gw-1", "de", "takes longer")]
    shift.act(a.Unshelve())
    assert shift.alarm().state == "unacknowledged"
    with shift.database.read() as session:
        assert queries.list_suppressions(session, ALL, shift.now_s).items == ()
    with pytest.raises(AlarmStateError, match="'unshelve' has no place"):
        shift.act(a.Unshelve())


def test_a_machine_out_of_service(shift: Shift) -> None:
    shift.store(state(), state("gw-2"), event(1), event(1, gateway="gw-2"), event(2, alarm="a2", machine="P-102"))
    assert shift.take_out() == 2
    assert shift.states() == {ALARM: "out_of_service", "gw-2.a1": "out_of_service", "gw-1.a2": "unacknowledged"}
    shift.store(event(3, alarm="a3"))
    assert shift.alarm("gw-1.a3").state == "out_of_service"
    with pytest.raises(ConflictError, match="P-101 is out of service already"):
        shift.take_out()
    with pytest.raises(AlarmStateError, match="'shelve' has no place in state 'out_of_service'"):
        shift.act(a.Shelve(600.0, "why not"))
    assert shift.tick() == 0
    assert shift.restore() == 3
    assert set(shift.states().values()) == {"unacknowledged"}
    with pytest.raises(ConflictError, match="P-101 is in service"):
        shift.restore()
    assert [(e.action, e.target) for e in shift.audit()] == [
        ("machine.take_out", "machine:P-101"),
        ("machine.restore", "machine:P-101"),
    ]


def test_a_point_out_of_service_and_on_a_shelf(shift: Shift) -> None:
    shift.store(state(), event(1), event(2, alarm="a2", point="nde"))
    shift.act(a.Shelve(600.0, "known"))
    assert shift.take_out(point="de") == 1
    assert shift.states() == {ALARM: "out_of_service", "gw-1.a2": "unacknowledged"}
    assert shift.restore(point="de") == 1
    assert shift.alarm().state == "shelved"
    assert [step[1] for step in shift.history()] == ["shelve", "take_out", "restore", "shelve"]
    for machine, point in (("P-999", None), ("P-101", "top")):
        with pytest.raises(NotFoundError, match="no gateway has named it"):
            shift.take_out(machine, point)


def test_many_at_once(shift: Shift) -> None:
    shift.store(event(1), event(2, alarm="a2"), event(3, alarm="a3", machine="P-102"))
    shift.act(a.Acknowledge(), "gw-1.a2")
    outcome = shift.many(
        a.Acknowledge(), Target(ALARM, 1), Target("gw-1.a2"), Target("gw-1.a3", 7), Target("gw-9.x"), Target(ALARM, 1)
    )
    assert outcome.done == (ALARM,)
    assert {r.alarm: r.reason.split(";")[0] for r in outcome.refused} == {
        "gw-1.a2": "alarm: 'acknowledge' has no place in state 'acknowledged'",
        "gw-1.a3": "alarm gw-1.a3: revision 7 was expected, it has 1 by now (state unacknowledged)",
        "gw-9.x": "alarm 'gw-9.x': not known",
    }
    # One shelf for both: putting the first aside moves the second, which is no reason to refuse it.
    outcome = shift.many(a.Shelve(600.0, "both"), Target(ALARM, 2), Target("gw-1.a2", 2))
    assert outcome.refused == ()
    assert shift.states() == {ALARM: "shelved", "gw-1.a2": "shelved", "gw-1.a3": "unacknowledged"}
    with pytest.raises(a.ActionError, match="alarms: expected 1 to 500, got 0"):
        shift.many(a.Acknowledge())


def test_what_people_say_becomes_labels(shift: Shift) -> None:
    shift.store(event(1), event(2, "cleared"), event(3, alarm="a2"), event(4, alarm="a3"))
    shift.act(a.Judge("true", "BPFO", "outer race, pitted"))
    shift.act(a.Judge("false"), "gw-1.a2")
    shift.act(a.Judge("unsure"), "gw-1.a2")
    with shift.database.read() as session:
        labels = queries.list_labels(session, ALL, machine="P-101").items
    assert [(x.alarm, x.label, x.fault, x.begin_s, x.end_s, x.by) for x in labels] == [
        ("gw-1.a2", "unsure", None, 2003.0, None, "olga"),
        (ALARM, "confirmed fault", "BPFO", 2001.0, 2002.0, "olga"),
    ]
    assert shift.alarm().state == "returned"  # a word about it is not an acknowledgement


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: a.Shelve(59.0, "x"), "duration_s: expected 60 to 86400 seconds"),
        (lambda: a.Shelve(float("nan"), "x"), "duration_s: expected 60 to 86400 seconds"),
        (lambda: a.Shelve(600.0, "  "), "shelve, reason: expected 1 to 2000 characters"),
        (lambda: a.Comment(""), "comment, text: expected 1 to 2000"),
        (lambda: a.Comment("x" * 2001), "got 2001"),
        (lambda: a.Assign(" "), "assignee: expected 1 to 200"),
        (lambda: a.Judge("perhaps"), "review: expected true, false or unsure, got 'perhaps'"),  # type: ignore[arg-type]
        (lambda: a.Judge("false", "BPFO"), "only a true alarm has one"),
    ],
)
def test_actions_that_are_none(make: Callable[[], a.Action], problem: str) -> None:
    with pytest.raises(a.ActionError, match=problem):
        make()


def test_filters(shift: Shift, monkeypatch: pytest.MonkeyPatch) -> None:
    shift.store(event(1), event(2, alarm="a2", machine="P-102", time_s=5000.0), event(3, alarm="a3", peak=9.0))
    shift.store(event(4, "cleared", alarm="a3"))
    shift.now_s += 1.0
    shift.act(a.Assign("otto"))
    shift.now_s += 1.0
    shift.act(a.Judge("false"), "gw-1.a2")

    def ids(sort: queries.Sort = "raised", **wanted: Any) -> list[str]:
        with shift.database.read() as session:
            one_by_one, cursor = [], None
            while True:
                page = queries.search_alarms(session, Paging(1, cursor), AlarmFilter(**wanted), sort)
                one_by_one += [alarm.alarm for alarm in page.items]
                if page.next is None:
                    return one_by_one
                cursor = page.next

    assert ids() == ["a2", "a3", "a1"]
    assert ids("peak") == ["a3", "a2", "a1"]
    assert ids("changed") == ["a2", "a1", "a3"]
    assert ids(states={"unacknowledged", "acknowledged", "returned"}) == ["a2", "a3", "a1"]
    assert ids(states={"returned", "normal"}) == ["a3"]
    assert ids(assignee="otto") == ["a1"]
    assert ids(assignee="") == ["a2", "a3"]
    assert ids(review="false") == ["a2"]
    assert ids(review="") == ["a3", "a1"]
    assert ids(text="p-102") == ["a2"]
    assert ids(text="OUTER RACE") == ["a2", "a3", "a1"]
    assert ids(text="%") == []
    monkeypatch.setattr(queries, "TEXT_WINDOW", 1)  # alarms looked through at once; the pages between may be empty
    assert ids(text="p-102") == ["a2"]
    assert ids("peak", text="outer race") == ["a3", "a2", "a1"]
    assert ids("changed", text="p-10", assignee="otto") == ["a1"]
    assert ids(since_s=2003.0, until_s=5000.0) == ["a3"]
    with shift.database.read() as session:
        counts = queries.count_alarms(session)
        assert (counts.open, counts.unacknowledged, counts.returned, counts.shelved) == (3, 2, 1, 0)
        assert queries.count_alarms(session, machine="P-102").open == 1


def test_figures_of_a_shift(shift: Shift) -> None:
    for i in range(12):
        shift.now_s = 10_000.0 + i
        shift.store(event(i, alarm=f"a{i}", machine="P-101" if i < 9 else "P-102"))
    for i, wait_s in enumerate((10.0, 30.0, 500.0)):
        shift.now_s = 10_000.0 + i + wait_s
        shift.act(a.Acknowledge(), f"gw-1.a{i}")
    shift.act(a.Judge("false"), "gw-1.a0")
    shift.act(a.Judge("true"), "gw-1.a1")
    now_s = 10_000.0 + 2 * 86_400.0
    with shift.database.read() as session:
        got = alarm_metrics(session, 9_000.0, 15_000.0, now_s)
        none = alarm_metrics(session, 0.0, 1.0, now_s, gateway="gw-2")
    assert (got.load.alarms, got.load.peak_per_10_min, got.load.floods) == (12, 12, 1)
    assert got.load.flood_share == pytest.approx(591.0 / 6000.0)
    assert (got.acknowledged, got.acknowledge_s) == (3, 30.0)
    assert [(b.machine, b.alarms, b.share) for b in got.bad_actors] == [("P-101", 9, 0.75), ("P-102", 3, 0.25)]
    assert (got.standing, got.stale, len(got.oldest), got.oldest[0].id) == (12, 12, 10, "gw-1.a0")
    assert (got.reviewed, got.false_share) == (2, 0.5)
    assert (none.load.alarms, none.acknowledge_s, none.bad_actors, none.false_share) == (0, None, (), None)


class Plant(RuleBasedStateMachine):
    """Gateways, people and the clock in any order; after each step the database must make sense."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.database = Database(f"sqlite:///{Path(self._folder.name) / 'hub.sqlite3'}")
        self.database.migrate()
        self.shift = Shift(self.database)
        self.seq = 0
        self.revisions: dict[str, int] = {}
        self.shift.store(state())

    def teardown(self) -> None:
        self.database.close()
        self._folder.cleanup()

    def try_to(self, do: Callable[[], object]) -> None:
        # When it has no place, nothing must have changed: what the database says is looked at after each step.
        with suppress(AlarmStateError, ConflictError, NotFoundError):
            do()

    @rule(alarm=st.sampled_from(["a1", "a2"]), kind=st.sampled_from(["raised", "updated", "cleared"]))
    def gateway_tells(self, alarm: str, kind: str) -> None:
        self.seq += 1
        self.shift.store(event(self.seq, kind, alarm=alarm))

    @rule(
        alarm=st.sampled_from(["gw-1.a1", "gw-1.a2"]),
        action=st.sampled_from(
            [a.Acknowledge(), a.Shelve(60.0, "x"), a.Shelve(600.0, "y"), a.Unshelve(), a.Comment("z"), a.Judge("true")]
        ),
    )
    def somebody_acts(self, alarm: str, action: a.Action) -> None:
        self.try_to(lambda: self.shift.act(action, alarm))

    @rule(point=st.sampled_from([None, "de"]), out=st.booleans())
    def service_begins_or_ends(self, point: str | None, out: bool) -> None:
        self.try_to(lambda: self.shift.take_out(point=point) if out else self.shift.restore(point=point))

    @rule(seconds=st.sampled_from([1.0, 60.0, 700.0]))
    def time_goes_by(self, seconds: float) -> None:
        self.shift.now_s += seconds
        self.shift.tick()

    @invariant()
    def every_alarm_stands_where_it_must(self) -> None:
        with self.database.read() as session:
            rows = session.scalars(select(t.Alarm)).all()
            silenced = queries.list_suppressions(session, ALL, self.shift.now_s).items
        out = any(s.kind == "out_of_service" for s in silenced)
        shelf = max((s.until_s or 0.0 for s in silenced if s.kind == "shelf"), default=None)
        for row in rows:
            where = State(row.state)
            assert (where in PRESENT) == (row.status == "raised")
            assert row.open == (where in OPEN)
            assert row.revision >= self.revisions.get(row.alarm, 0)
            self.revisions[row.alarm] = row.revision
            if where in PRESENT:
                assert (where is State.OUT_OF_SERVICE) == out
                assert (where is State.SHELVED) == (shelf is not None and not out)
                assert row.shelved_until_s == (shelf if where is State.SHELVED else None)

    @invariant()
    def history_is_a_walk_through_the_table(self) -> None:
        with self.database.read() as session:
            for action in session.scalars(select(t.AlarmAction)):
                if action.action in {e.value for e in Event}:
                    assert TABLE[State(action.before)][Event(action.action)] is State(action.after)


TestPlant = Plant.TestCase
TestPlant.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)

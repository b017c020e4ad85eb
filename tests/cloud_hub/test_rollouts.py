"""Rollouts with a real database, ingest and service: they finish, pause, undo, and survive a crash at every step."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from cloud_hub.accounts.permissions import command_line
from cloud_hub.delivery.registry import WantRecord
from cloud_hub.errors import ConflictError, LinkError, NotFoundError, PlanError, StaleError
from cloud_hub.rollout import machine, states, steer
from cloud_hub.rollout.cohorts import hash_order
from cloud_hub.rollout.plan import Cohort, MaintenanceWindow, read_plan
from cloud_hub.rollout.state import Fact, Refusal
from cloud_hub.rollout.states import GATEWAY, ROLLOUT, RolloutError, Stage, Status
from cloud_hub.services import ask
from cloud_hub.store.accounts_queries import list_audit
from cloud_hub.store.database import Database
from cloud_hub.store.paging import Paging
from cloud_hub.store.registry import SqlRegistry
from cloud_hub.store.retirement import retire
from cloud_hub.store.rollout_queries import list_notes, put_site
from cloud_hub.store.rollout_views import SiteView
from models.contract.messages import Behaviour, WantBody
from models.errors import MessageError
from tests.cloud_hub.rollout_kit import NOW, World, fleet_of, plan
from tests.simulators.fleet import NEW, OLD, OTHER, SLOT, PlainSigner, SimFleet, SimGateway

ORDER = hash_order("r1", [f"gw-{i}" for i in range(20)])
CANARY, REST = ORDER[:4], ORDER[4:]


def world_of(database: Database, **kinds: str) -> World:
    return World(database, fleet_of(20, **{name.replace("-", ""): kind for name, kind in kinds.items()}))


def test_tables_and_document_agree():
    assert Path(states.__file__).with_name("ROLLOUT.md").read_text("utf-8") == states.document()


def test_every_state_is_reached_and_left():
    for table, first in ((ROLLOUT, Status.AWAITING), (GATEWAY, Stage.WAITING)):
        reached, todo = {first}, [first]
        while todo:
            for target in table[todo.pop()].values():  # type: ignore[index]
                if target not in reached:
                    reached.add(target)
                    todo.append(target)
        assert reached == set(table)


def test_a_good_rollout_finishes_cohort_by_cohort(database: Database):
    world = world_of(database)
    world.create(plan())
    world.run(9)
    touched = {g.name for g in world.fleet.gateways.values() if g.wants}
    assert touched == set(CANARY)
    assert world.run(40, until="finished").status is Status.FINISHED
    assert {g.active for g in world.fleet.gateways.values()} == {NEW}
    assert all([w.bundles[0].hold for w in g.wants] == [True, False] for g in world.fleet.gateways.values())
    assert all(g.wants[0].seq < g.wants[1].seq for g in world.fleet.gateways.values())


@pytest.mark.parametrize(("kind", "cause"), [("flood", "alarm_rate"), ("shifted", "score_shift"), ("refuse", "errors"), ("roll_back", "errors")])  # fmt: skip
def test_a_bad_bundle_stays_in_the_canary_and_is_taken_back(database: Database, kind: str, cause: str):
    world = world_of(database, **dict.fromkeys(ORDER, kind))
    world.create(plan())
    rollout = world.run(80)
    assert (rollout.status, rollout.cause, rollout.cohort) == (Status.PAUSED, cause, 0)
    assert {g.name for g in world.fleet.gateways.values() if g.wants} == set(CANARY)
    assert {g.active for g in world.fleet.gateways.values()} == {OLD}
    assert world.stages() == {"failed": 4, "waiting": 16}
    ask.ask(database, command_line("test"), "r1", "abort", world.now_s)
    assert world.run(3).status is Status.ABORTED
    assert all(world.fleet.gateways[g].wants[-1].bundles[0].sha256 == OLD for g in CANARY)


def test_reasons_are_typed(database: Database):
    kinds = ("refuse", "replay", "roll_back", "slow", "flood", "silent")
    world = world_of(database, **dict(zip(REST, kinds, strict=False)))
    world.create(plan(cohorts=[Cohort(name="all", share="100 %", errors="50 %", success="50 %", shadow_windows=400, soak_windows=60)]))  # fmt: skip
    assert world.run(120, until="finished").status is Status.FINISHED
    members = world.members()
    assert [members[g].kind for g in REST[:6]] == [
        "refused",
        "replay",
        "rolled_back",
        "latency",
        "alarm_rate",
        "silent",
    ]
    assert members[REST[0]].detail == "budget"
    assert members[REST[5]].detail == "not heard for 3660 s, since it was sent; at most 3600 s"
    assert {world.fleet.gateways[g].active for g in REST[:5]} == {OLD}


def test_the_hubs_own_silence_is_nobodys_fault(database: Database):
    world = world_of(database)
    world.create(plan())
    world.run(2)
    world.now_s += 100_000
    world.restart()
    world.service(world.fleet)
    assert world.stages()["failed"] == 0
    assert world.run(40, until="finished").status is Status.FINISHED


def test_a_gateway_that_is_retired_meanwhile_is_no_error(database: Database):
    world = world_of(database)
    gone = world.fleet.gateways[CANARY[0]]
    world.create(plan())
    world.run(3)
    gone.quiet = True
    with database.write() as session:
        session.execute(text("UPDATE gateways SET online = false WHERE id = :g"), {"g": gone.name})
    assert retire(database, command_line("root"), gone.name, "scrapped", NOW)
    rollout = world.run(60, until="finished")
    member = world.members()[gone.name]
    assert (rollout.status, member.kind, member.detail) == (Status.FINISHED, "superseded", "the gateway was retired")
    assert world.stages()["done"] == 19


def test_a_gateway_that_never_comes_is_no_error_and_is_given_its_bundle_back(database: Database):
    world = world_of(database)
    away = world.fleet.gateways[REST[0]]
    with database.write() as session:
        session.execute(text("UPDATE gateways SET online = false WHERE id = :g"), {"g": away.name})
    away.quiet = True
    world.create(plan())
    assert world.run(60, until="finished").status is Status.FINISHED
    assert (world.members()[away.name].kind, world.stages()["done"]) == ("absent", 19)
    world.run(2)
    world.fleet.come_back(away.name)
    world.run(5)
    assert (away.active, away.wants[-1].bundles[0].sha256) == (OLD, OLD)


def test_pause_resume_retry_and_undo(database: Database):
    world = world_of(database, **{REST[0]: "refuse", REST[1]: "refuse"})
    world.create(plan())
    rollout = world.run(60)
    assert (rollout.status, rollout.cause) == (Status.PAUSED, "errors")
    assert rollout.detail == "cohort all: 2 of 16 failed, at most 1: 2 refused"
    world.fleet.gateways[REST[0]].kind = "good"
    ask.ask(database, command_line("ann"), "r1", "retry", world.now_s, gateways=[REST[0]])
    ask.ask(database, command_line("ann"), "r1", "resume", world.now_s)
    assert world.run(40, until="finished").status is Status.FINISHED
    assert world.stages() == {"done": 19, "failed": 1}
    assert world.members()[REST[1]].forgiven
    with pytest.raises(RolloutError, match="expected one that goes on, it is finished"):
        ask.ask(database, command_line("ann"), "r1", "retry", world.now_s)
    ask.ask(database, command_line("ann"), "r1", "abort", world.now_s, undo=True)
    world.run(9)
    assert {g.active for g in world.fleet.gateways.values()} == {OLD}
    assert world.rollout().status is Status.ABORTED


def test_paused_by_hand_sends_nothing_forward(database: Database):
    world = world_of(database)
    world.create(plan())
    world.run(1)
    ask.ask(database, command_line("ann"), "r1", "pause", world.now_s, why="lunch")
    rollout = world.run(30)
    assert (rollout.status, rollout.cause, rollout.detail) == (Status.PAUSED, "by_hand", "lunch")
    assert world.fleet.published == 4
    ask.ask(database, command_line("ann"), "r1", "resume", world.now_s)
    assert world.run(40, until="finished").status is Status.FINISHED


def test_approval(database: Database):
    world = world_of(database)
    first, second = plan().cohorts
    world.create(plan(cohorts=[first, msgspec.structs.replace(second, approval=True)]))
    assert world.run(40).status is Status.AWAITING
    assert world.fleet.published == 8
    assert world.rollout().waits == "cohort all waits for approval"
    ask.ask(database, command_line("ann"), "r1", "approve", world.now_s)
    assert world.run(40, until="finished").status is Status.FINISHED
    with pytest.raises(RolloutError, match="'approved' has no place in state 'finished'"):
        ask.ask(database, command_line("ann"), "r1", "approve", world.now_s)


def test_an_unreadable_stored_rule_pauses_and_resume_does_not_get_past_it(database: Database):
    world = world_of(database)
    world.create(plan())
    world.run(12)
    published = world.fleet.published
    with database.write() as session:
        session.execute(
            text("UPDATE rollouts SET plan_json = replace(plan_json, '10 %', 'a few'), revision = revision + 1")
        )
    rollout = world.run(5)
    assert (rollout.status, rollout.cause) == (Status.PAUSED, "unreadable")
    assert "cohort 'all', errors: expected a share such as \"5 %\" or a count such as \"3\", got 'a few'" in str(
        rollout.detail
    )
    with pytest.raises(PlanError):
        ask.ask(database, command_line("ann"), "r1", "resume", world.now_s)
    world.run(20)
    assert world.fleet.published == published


def test_rows_that_cannot_be_read_pause_too(database: Database):
    world = world_of(database)
    world.create(plan())
    world.run(1)
    with database.write() as session:
        session.execute(text("UPDATE rollout_members SET stage = 'teleported' WHERE gateway = 'gw-1'"))
        session.execute(text("UPDATE rollouts SET revision = revision + 1"))
    for _ in range(3):
        world.service(world.fleet)
    with database.read() as session:
        status, cause = session.execute(text("SELECT status, cause FROM rollouts")).one()
    assert (status, cause, world.fleet.published) == ("paused", "unreadable", 4)


class _PickySigner(PlainSigner):
    """Has one gateway whose wants nobody could read."""

    def __init__(self, refused: str, error: Exception) -> None:
        self._refused, self._error = refused, error

    def sign_want(self, body: WantBody) -> bytes:
        if body.gateway == self._refused:
            raise self._error
        return super().sign_want(body)


@pytest.mark.parametrize("error", [MessageError("want: too long"), NotFoundError("bundle: there is none")])
def test_a_rollout_that_cannot_go_on_holds_up_no_other(
    database: Database, error: Exception, caplog: pytest.LogCaptureFixture
):
    world = world_of(database)
    world.signer = _PickySigner("gw-0", error)
    world.restart()
    for name, gateway in (("r1", "gw-0"), ("r2", "gw-1")):
        only = Cohort(name="only", gateways=[gateway], shadow_windows=400, soak_windows=60)
        world.create(plan(cohorts=[only]), name)
    world.run(60)
    stuck = world.rollout("r1")
    assert (stuck.status, stuck.cause, stuck.detail) == (Status.PAUSED, "unreadable", str(error))
    assert world.rollout("r2").status is Status.FINISHED
    assert [r.getMessage() for r in caplog.records if r.levelname == "ERROR"] == ["rollout r1: cannot go on"]


def test_what_cannot_be_taken_back_can_be_ended_by_force_and_taken_back_later(database: Database):
    world = world_of(database)
    only = Cohort(name="only", gateways=["gw-0", "gw-1"], shadow_windows=10**6, soak_windows=60)
    world.create(plan(cohorts=[only]))
    world.run(6)
    assert {m.stage for m in world.members().values()} == {Stage.SHADOW}
    world.signer = _PickySigner("gw-0", MessageError("want: too long"))
    world.restart()
    ann = command_line("ann")
    ask.ask(database, ann, "r1", "abort", world.now_s)
    assert world.run(5).status is Status.ABORTING  # nothing that the hub does by itself gets it out of there
    with pytest.raises(ConflictError, match="r1 is changing the slot"):
        world.create(plan(cohorts=[only]), "r2")

    with pytest.raises(PlanError, match="expected force or undo, got both"):
        ask.ask(database, ann, "r1", "abort", world.now_s, force=True, undo=True)
    assert ask.ask(database, ann, "r1", "abort", world.now_s, force=True) is Status.ABORTED
    published = world.fleet.published
    assert world.run(5).status is Status.ABORTED
    assert world.fleet.published == published
    member = world.members()["gw-0"]
    assert (member.stage, member.kind) == (Stage.FAILED, "undeliverable")
    assert str(member.detail).startswith("ended by force: it keeps what it was told last")
    assert world.fleet.gateways["gw-0"].phase == "shadow"
    with pytest.raises(RolloutError, match="'forced' has no place in state 'aborted'"):
        ask.ask(database, ann, "r1", "abort", world.now_s, force=True)

    world.signer = PlainSigner()  # somebody has mended it
    world.restart()
    ask.ask(database, ann, "r1", "abort", world.now_s)
    assert world.run(5).status is Status.ABORTED
    assert world.fleet.gateways["gw-0"].phase != "shadow"
    world.create(plan(cohorts=[only]), "r2")  # the slot is free


def test_rows_that_cannot_be_read_can_be_ended_by_force(database: Database):
    world = world_of(database)
    world.create(plan())
    world.run(1)
    with database.write() as session:
        session.execute(text("UPDATE rollout_members SET stage = 'teleported', due = 'run' WHERE gateway = 'gw-1'"))
        session.execute(text("UPDATE rollouts SET revision = revision + 1"))
    world.service(world.fleet)
    ann = command_line("ann")
    with pytest.raises(ConflictError, match=r"cannot be read: 'teleported'.*only to abort it by force is possible"):
        ask.ask(database, ann, "r1", "abort", world.now_s)
    with pytest.raises(StaleError, match="expected revision 1"):
        ask.ask(database, ann, "r1", "abort", world.now_s, force=True, revision=1)
    assert ask.ask(database, ann, "r1", "abort", world.now_s, force=True) is Status.ABORTED
    assert world.store.unfinished() == []
    with pytest.raises(RolloutError, match="expected one that is not over, it is aborted"):
        ask.ask(database, ann, "r1", "abort", world.now_s, force=True)
    with database.read() as session:
        newest = list_notes(session, Paging(1), "r1").items[0]
        assert (newest.event, newest.by) == ("forced", "ann")
        entry = list_audit(session, Paging(1)).items[0]
        assert (entry.action, entry.before, entry.after) == (
            "rollout.abort", {"status": "paused"}, {"status": "aborted", "force": True}
        )  # fmt: skip
    published = world.fleet.published
    for _ in range(3):
        world.service(world.fleet)
    assert world.fleet.published == published
    world.create(plan(), "r2")  # its gateways are free


def test_somebody_elses_want_is_not_overridden(database: Database):
    world = world_of(database)
    world.create(plan())
    world.run(3)
    registry = SqlRegistry(database)
    current = registry.current_want(CANARY[0])
    assert current is not None
    registry.add_want(WantRecord(CANARY[0], current.seq + 1, NOW, NOW + 9e6, ((SLOT, OTHER),)))
    world.run(10)
    member = world.members()[CANARY[0]]
    assert (member.kind, member.detail) == ("superseded", f"want {member.want_seq + 1} asks for {OTHER[:12]}")
    assert len(world.fleet.gateways[CANARY[0]].wants) == 1


def test_two_rollouts_do_not_change_the_same_slot(database: Database):
    world = world_of(database)
    world.create(plan())
    with pytest.raises(ConflictError, match="rollout r2: r1 is changing the slot pump-vibration of gw-"):
        world.create(plan(), "r2")


def test_maintenance_windows_of_the_site(database: Database):
    world = world_of(database)
    for name in CANARY[:2]:
        with database.write() as session:
            put_site(session, SiteView(name, "Asia/Tokyo", {}))
    # NOW is 08:00 UTC, 17:00 in Tokyo.
    world.create(plan(windows=[MaintenanceWindow(start="17:00", end="19:00")]))
    rollout = world.run(3)
    assert {g.name for g in world.fleet.gateways.values() if g.wants} == set(CANARY[:2])
    assert "2 gateways wait for their maintenance window, or to be there in it" in rollout.waits


def test_in_flight_is_a_bound(database: Database):
    world = world_of(database)
    world.create(plan(in_flight=3, cohorts=[Cohort(name="all", share="100 %", shadow_windows=60)]))
    world.run(1)
    assert world.stages() == {"sent": 3, "waiting": 17}
    assert world.run(60, until="finished").status is Status.FINISHED


def test_first_installs_have_nothing_to_run_beside(database: Database):
    world = World(database, [SimGateway(f"gw-{i}", active=None) for i in range(4)])
    world.create(plan(cohorts=[Cohort(name="all", share="100 %", soak_windows=60)]))
    assert world.run(20, until="finished").status is Status.FINISHED
    ask.ask(database, command_line("ann"), "r1", "abort", world.now_s, undo=True)
    world.run(2)
    assert all(g.wants[-1].bundles == [] for g in world.fleet.gateways.values())


# ------------------------------------------------------------------------------------------- crashes


class _Crash(BaseException):
    """The process is gone."""


class _CrashingFleet(SimFleet):
    """Publishes some of a batch, then the hub dies."""

    budget = 10**9

    def publish_all(self, messages: Iterable[tuple[str, bytes]], *, retain: bool = False) -> None:
        for message in messages:
            if self.budget == 0:
                raise _Crash
            self.budget -= 1
            super().publish_all([message], retain=retain)


def _run_with_crashes(folder: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> tuple[World, int]:
    """Die at random before or after every commit and in the midst of publishing, start again, go on."""
    rng = random.Random(seed)
    database = Database(f"sqlite:///{folder / f'{seed}.sqlite3'}")
    database.migrate()
    world = World(database, fleet_of(20, **{REST[0].replace("-", ""): "refuse"}))
    world.fleet.__class__ = _CrashingFleet
    world.create(plan())
    crashes = 0
    with monkeypatch.context() as patch:
        for name in ("commit", "issue", "mark_sent"):
            original = getattr(type(world.store), name)

            def dying(*arguments: object, original=original, **more: object) -> object:
                if rng.random() < 0.15:
                    raise _Crash  # before the transaction
                result = original(*arguments, **more)
                if rng.random() < 0.15:
                    raise _Crash  # after it, before anybody knows
                return result

            patch.setattr(f"cloud_hub.store.rollouts.RolloutStore.{name}", dying)
        for _ in range(400):
            world.now_s += 60
            world.fleet.budget = rng.choice([0, 1, 3, 10**9, 10**9])  # type: ignore[attr-defined]
            try:
                world.service(world.fleet)
            except _Crash:
                crashes += 1
                world.restart()
            world.hear()
            if world.rollout_status() == "finished":
                break
    return world, crashes


@pytest.mark.parametrize("seed", range(8))
def test_a_crash_at_any_step_neither_skips_nor_doubles(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch):
    world, crashes = _run_with_crashes(tmp_path, seed, monkeypatch)
    assert crashes > 5
    assert world.rollout().status is Status.FINISHED
    world.fleet.budget = 10**9  # type: ignore[attr-defined]
    world.run(8)  # the last return may be unsent
    for gateway in world.fleet.gateways.values():
        seen = [(w.bundles[0].sha256, w.bundles[0].hold) for w in gateway.wants]
        refused = gateway.kind == "refuse"
        assert seen == ([(NEW, True), (OLD, False)] if refused else [(NEW, True), (NEW, False)]), gateway.name
        seqs = [w.seq for w in gateway.wants]
        assert seqs == sorted(set(seqs))
    first_of_rest = min(world.fleet.gateways[g].wants[0].issued_s for g in REST)
    last_of_canary = max(world.fleet.gateways[g].wants[-1].issued_s for g in CANARY)
    assert last_of_canary < first_of_rest
    world.database.close()


def test_a_broker_that_is_away_loses_nothing(database: Database):
    world = world_of(database)
    world.create(plan())
    world.fleet.fail = True
    with pytest.raises(LinkError):
        world.run(1)
    assert {m.sent for g, m in world.members().items() if g in CANARY} == {False}
    world.fleet.fail = False
    assert world.run(40, until="finished").status is Status.FINISHED
    assert all(len(g.wants) == 2 for g in world.fleet.gateways.values())


# ------------------------------------------------------------------------------------------- properties of the machine


def _fact(name: str, rng: random.Random, seq: int) -> Fact:
    phase = rng.choice(["seen", "fetching", "shadow", "active", "confirmed", "refused", "rolled_back"])
    runs = phase in {"active", "confirmed"}
    windows = rng.choice([0, 30, 500])

    def behaviour(sha: str) -> Behaviour:
        return Behaviour(
            sha256=sha, since_s=0, windows=windows, alarms=rng.choice([0, 0, 40]), scores=[0] * 30 + [windows],
            window_us=100.0, memory_kb=1.0,
        )  # fmt: skip

    refusal = Refusal(seq=seq, phase="refused", reason="x") if rng.random() < 0.1 else None
    return Fact(
        gateway=name, online=True, last_seen_s=NOW + rng.randrange(9000), reported_seq=seq, phase=phase,
        active=NEW if runs else OLD, candidate=None if runs else NEW, refusal=refusal, wanted=NEW, wanted_seq=seq,
        champion=behaviour(NEW if runs else OLD), shadow=None if runs else behaviour(NEW),
    )  # fmt: skip


_ORDER = [Status.AWAITING, Status.TRYING, Status.RELEASING]


@settings(max_examples=300)
@given(st.integers(0, 2**32), st.sampled_from(["0", "10 %", "2"]), st.booleans(), st.integers(0, 30))
def test_never_past_a_breached_threshold_never_back_never_unread(
    seed: int, errors: str, approval: bool, broken_at: int
):
    rng = random.Random(seed)
    names = [f"gw-{i}" for i in range(12)]
    cohorts = [
        Cohort(name=n, share=s, errors=errors, success="50 %", shadow_windows=100, soak_windows=20, approval=approval)
        for n, s in (("a", "25 %"), ("b", "50 %"), ("c", "100 %"))
    ]
    read = read_plan(plan(cohorts=cohorts))
    state = machine.begin("r", read, {n: i // 4 for i, n in enumerate(names)}, NOW)
    now = NOW
    for turn in range(30):
        now += 60
        facts = {n: _fact(n, rng, max(1, state.members[n].want_seq)) for n in names if rng.random() < 0.8}
        unread = turn >= broken_at
        before = state.rollout
        outcome = machine.step(state, PlanError("unreadable") if unread else read, facts, now, NOW)
        state = outcome.state
        after = state.rollout
        if before.status in states.RUNNING and unread:
            assert (after.status, after.cause) == (Status.PAUSED, "unreadable")
            assert not any(s.due != "return" for s in outcome.actions)
        failures = [0, 0, 0]
        for m in state.members.values():
            failures[m.cohort] += m.stage is Stage.FAILED and not m.forgiven
        breached = any(f > read.rules[i].errors.at_most(4) for i, f in enumerate(failures[: before.begun]))
        if breached:
            assert after.status not in states.RUNNING or before.status not in states.RUNNING
            assert not any(s.due != "return" for s in outcome.actions)
            assert after.cohort == before.cohort
        assert (after.cohort, _ORDER.index(after.position) if after.position in _ORDER else 3) >= (
            before.cohort, _ORDER.index(before.position) if before.position in _ORDER else 3,
        )  # fmt: skip
        assert all(m.stage is Stage.WAITING for m in state.members.values() if m.cohort >= after.begun)
        members = {
            n: msgspec.structs.replace(m, due=None, want_seq=turn + 1, try_seq=m.try_seq or turn + 1) if m.due else m
            for n, m in state.members.items()
        }
        state = msgspec.structs.replace(state, members=members)
        if after.status is Status.AWAITING and rng.random() < 0.5 and not unread:
            state = steer.approve(state, read, now, "t").state


def test_who_is_not_heard_of_when_the_gate_opens_is_released_later():
    read = read_plan(plan(cohorts=[Cohort(name="all", share="100 %", success="50 %", shadow_windows=100)]))
    state = machine.begin("r", read, {"gw-1": 0, "gw-2": 0}, NOW)
    tried = {
        n: msgspec.structs.replace(m, stage=Stage.SHADOW, ready=True, due=None, want_seq=1, try_seq=1)
        for n, m in machine.step(state, read, {}, NOW + 1).state.members.items()
    }
    opened = msgspec.structs.replace(state.rollout, status=Status.RELEASING, cohort=0)
    state = msgspec.structs.replace(state, members=tried, rollout=opened)
    shadow = {n: _shadow_fact(n) for n in tried}
    first = machine.step(state, read, {"gw-2": shadow["gw-2"]}, NOW + 2).state
    assert {n: m.due for n, m in first.members.items()} == {"gw-1": None, "gw-2": "run"}
    assert first.members["gw-1"].ready
    second = machine.step(first, read, shadow, NOW + 3).state
    assert second.members["gw-1"].due == "run"
    assert second.members["gw-1"].baseline == shadow["gw-1"].champion


def _shadow_fact(name: str) -> Fact:
    well = Behaviour(
        sha256=OLD, since_s=0, windows=500, alarms=0, scores=[0] * 30 + [500], window_us=100.0, memory_kb=1.0
    )
    return Fact(
        gateway=name, online=True, last_seen_s=NOW + 2, reported_seq=1, phase="shadow", active=OLD, candidate=NEW,
        refusal=None, wanted=NEW, wanted_seq=1, champion=well, shadow=msgspec.structs.replace(well, sha256=NEW),
    )  # fmt: skip


def test_a_step_without_news_changes_nothing():
    read = read_plan(plan())
    state = machine.begin("r", read, {"gw-1": 0, "gw-2": 1}, NOW)
    first = machine.step(state, read, {}, NOW + 1)
    members = {n: msgspec.structs.replace(m, due=None, want_seq=1, try_seq=1) if m.due else m for n, m in first.state.members.items()}  # fmt: skip
    state = msgspec.structs.replace(first.state, members=members)
    second = machine.step(state, read, {}, NOW + 2)
    assert not second.changed
    assert not second.notes
    assert machine.step(second.state, read, {}, NOW + 2).state.rollout == second.state.rollout

"""Many viewers, one question to the database; nothing is missed, and who is slow is let go of."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cloud_hub.alarms import actions as a
from cloud_hub.api.routes import stream as route
from cloud_hub.jobs.states import JobEvent
from cloud_hub.live.feed import Feed, Viewer
from cloud_hub.live.watch import Watch, missed
from cloud_hub.services import alarms as service
from cloud_hub.store import jobs
from cloud_hub.store.database import Database
from cloud_hub.store.writer import Message, Received, Writer
from tests.cloud_hub.mlops_kit import MlopsHub, table
from tests.cloud_hub.test_api import Hub
from tests.simulators.callers import OPERATOR, VIEWER
from tests.simulators.hub import As, event, point, state

PATIENCE_S = 10.0


class Clock:
    """Writes at the time that the test says it is."""

    def __init__(self, database: Database, now_s: float = 10_000.0) -> None:
        self.now_s = now_s
        self._writer = Writer(database, lambda: self.now_s)

    def store(self, *messages: Message) -> None:
        self._writer.store([Received(m) for m in messages])


def told(events: list[Any]) -> list[tuple[str, Any]]:
    return [(e.kind, json.loads(e.data)) for e in events]


def test_each_change_is_told_once(database: Database) -> None:
    clock = Clock(database)
    clock.store(state(), event(1))
    watch = Watch(database)
    watch.begin(clock.now_s)
    assert watch.look(clock.now_s, ()) == []
    clock.now_s += 1
    clock.store(event(2, alarm="a2"))
    service.act(database, OPERATOR, "gw-1.a1", a.Acknowledge(), now_s=clock.now_s)
    found = [(kind, said["id"], said["state"]) for kind, said in told(watch.look(clock.now_s, ())) if kind == "alarm"]
    assert sorted(found) == [("alarm", "gw-1.a1", "acknowledged"), ("alarm", "gw-1.a2", "unacknowledged")]
    assert [e for e in watch.look(clock.now_s, ()) if e.kind == "alarm"] == []


def test_what_was_committed_late_is_told_all_the_same(database: Database) -> None:
    clock = Clock(database)
    watch = Watch(database)
    watch.begin(clock.now_s)
    clock.store(event(1))  # bears the time at which it began to wait
    assert [e.kind for e in watch.look(clock.now_s + 20, ()) if e.kind == "alarm"] == ["alarm"]


def test_scores_of_watched_machines_and_that_there_are_any(database: Database) -> None:
    clock = Clock(database)
    clock.store(state(points=[point(), point(machine="P-102")]))
    watch = Watch(database)
    watch.begin(clock.now_s)
    assert watch.look(clock.now_s, ["P-101"]) == []
    clock.now_s += 6
    clock.store(state(points=[point(score=0.9), point(machine="P-102", score=0.9)]))
    found = watch.look(clock.now_s, ["P-101"])
    assert [(e.kind, e.machine) for e in found] == [("point", "P-101"), ("point", None)]
    assert told(found)[0][1]["score"] == 0.9
    assert told(found)[1][1] == {}
    clock.now_s += 1
    clock.store(state(points=[point(score=0.8)]))
    assert [e.machine for e in watch.look(clock.now_s, ["P-101"])] == ["P-101"]  # the other kind now and then only


def test_gateways_that_come_and_go(database: Database) -> None:
    clock = Clock(database)
    clock.store(state(), state("gw-2"))
    watch = Watch(database)
    watch.begin(clock.now_s)
    clock.store(state("gw-2", online=False))
    assert told(watch.look(clock.now_s, ())) == [("gateway", {"id": "gw-2", "gateway": "gw-2", "online": False})]
    clock.store(state("gw-2"))
    assert told(watch.look(clock.now_s, ())) == [("gateway", {"id": "gw-2", "gateway": "gw-2", "online": True})]


def test_trainings_as_they_go(database: Database, tmp_path: Path) -> None:
    now_s = 10_000.0
    hub = MlopsHub(database, tmp_path)
    item = {"kind": "upload", "ref": hub.upload("hall.csv", table())["sha256"], "role": "healthy"}
    hub.ask("POST", "/data-sets", 201, json={"name": "hall", "items": [item]})

    def change(job: str, *events: JobEvent) -> None:
        with database.write() as session:
            for one in events:
                jobs.move(session, job, one, now_s)

    with database.write() as session:
        jobs.add_job(session, "job-1", "hall", 1, {}, "ada", now_s - 1000)
    watch = Watch(database)
    watch.begin(now_s)
    assert watch.look(now_s, ()) == []
    change("job-1", JobEvent.START)
    with database.write() as session:
        jobs.tell(session, "job-1", "training", 0.5)
    found = told(watch.look(now_s, ()))
    assert [(kind, said["id"], said["state"], said["stage"], said["share"]) for kind, said in found] == [
        ("job", "job-1", "running", "training", 0.5)
    ]
    change("job-1", JobEvent.FAIL)
    assert [said["state"] for _, said in told(watch.look(now_s, ()))] == ["failed"]
    with database.write() as session:  # over before anybody looked
        jobs.add_job(session, "job-2", "hall", 1, {}, "ada", now_s)
    change("job-2", JobEvent.START, JobEvent.FAIL)
    assert [(said["id"], said["state"]) for _, said in told(watch.look(now_s, ()))] == [("job-2", "failed")]
    assert watch.look(now_s, ()) == []


def test_who_comes_back_is_told_what_was_missed(database: Database) -> None:
    clock = Clock(database)
    clock.store(event(1))
    clock.now_s += 100
    clock.store(event(2, alarm="a2"))
    found = told(missed(database, clock.now_s - 10))
    assert [said.get("id") for kind, said in found if kind == "alarm"] == ["gw-1.a2"]
    assert [kind for kind, said in found if said == {}] == ["point", "rollout", "gateway", "job"]


def test_too_many_to_tell_one_by_one(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud_hub.live.watch.MOST_ALARMS", 3)
    clock = Clock(database)
    watch = Watch(database)
    watch.begin(clock.now_s)
    clock.store(*(event(i, alarm=f"a{i}") for i in range(5)))
    assert [said for kind, said in told(watch.look(clock.now_s, ())) if kind == "alarm"] == [{}]
    assert [said for kind, said in told(missed(database, clock.now_s)) if kind == "alarm"] == [{}]


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():  # noqa: ASYNC110 - what it waits for is in other threads
            await asyncio.sleep(0.01)


@asynccontextmanager
async def viewing(feed: Feed, count: int, **which: Any) -> AsyncIterator[list[Viewer]]:
    viewers = [feed.join(**which) for _ in range(count)]
    try:
        yield viewers
    finally:
        for viewer in viewers:
            feed.leave(viewer)


def test_two_hundred_viewers_are_one_to_the_database(database: Database) -> None:
    clock = Clock(database)
    feed = Feed(database, lambda: clock.now_s, period_s=0.02)

    async def scene() -> None:
        async with viewing(feed, 200) as viewers:
            await until(lambda: feed.looks > 0)
            before = feed.looks
            await asyncio.to_thread(clock.store, event(1))
            got = await asyncio.gather(*(viewer.next(PATIENCE_S) for viewer in viewers))
            assert len(set(got)) == 1
            assert b"event: alarm\n" in (got[0] or b"")
            assert got[0] is not None
            assert all(message is got[0] for message in got)  # written once, not two hundred times
            assert feed.looks - before < 50
        await until(lambda: feed._thread is None)  # nobody watches, nobody asks

    asyncio.run(scene())
    feed.stop()


def test_who_does_not_keep_up_is_let_go_of(database: Database) -> None:
    clock = Clock(database)
    feed = Feed(database, lambda: clock.now_s, period_s=0.01, queue=3)

    async def scene() -> None:
        async with viewing(feed, 2) as (slow, quick):
            await until(lambda: feed.looks > 0)
            for i in range(6):
                await asyncio.to_thread(clock.store, event(i, alarm=f"a{i}"))
                assert (await quick.next(PATIENCE_S) or b"").startswith(b"id: ")
            await until(lambda: slow.slow)
            assert not quick.slow
            sent = [await slow.next(PATIENCE_S) for _ in range(4)]
            assert [message is None for message in sent] == [False, False, False, True]

    asyncio.run(scene())
    feed.stop()


def test_a_server_that_stops_ends_its_streams(database: Database) -> None:
    feed = Feed(database, lambda: 1.0)

    async def scene() -> None:
        viewer = feed.join()
        waiting = asyncio.ensure_future(viewer.next(PATIENCE_S))
        await asyncio.sleep(0)
        await asyncio.to_thread(feed.close)
        assert await waiting is None
        assert await feed.join().next(PATIENCE_S) is None

    asyncio.run(scene())


def test_a_database_that_is_away_for_a_while(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    from cloud_hub.errors import StoreUnavailableError

    clock = Clock(database)
    monkeypatch.setattr("cloud_hub.live.feed._RETRY_S", 0.01)
    feed = Feed(database, lambda: clock.now_s, period_s=0.01)
    fails = iter([True, True, False])
    look = Watch.look

    def sometimes(watch: Watch, now_s: float, machines: Any) -> Any:
        if next(fails, False):
            raise StoreUnavailableError("database: away, says the test")
        return look(watch, now_s, machines)

    monkeypatch.setattr(Watch, "look", sometimes)

    async def scene() -> None:
        async with viewing(feed, 1) as (viewer,):
            await until(lambda: feed.looks > 0)
            await asyncio.to_thread(clock.store, event(1))
            assert b"event: alarm" in (await viewer.next(PATIENCE_S) or b"")

    asyncio.run(scene())
    feed.stop()


# ------------------------------------------------------------------------------------------------------- over HTTP


async def ask(hub: Hub, query: bytes = b"", headers: tuple[tuple[bytes, bytes], ...] = (),
              meanwhile: Callable[[], Awaitable[None]] | None = None, parts: int = 1) -> tuple[int, bytes]:  # fmt: skip
    """The first parts of a stream, and then its reader goes away."""
    scope = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
             "path": "/api/v1/stream", "raw_path": b"/api/v1/stream", "query_string": query, "headers": list(headers),
             "scheme": "http", "root_path": "", "server": ("hub", 80), "client": ("me", 1)}  # fmt: skip
    gone = asyncio.Event()
    status, body, got = 0, b"", 0

    async def receive() -> Any:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        nonlocal status, body, got
        if message["type"] == "http.response.start":
            status = message["status"]
        elif message.get("body"):
            body += message["body"]
            got += 1
            if got == 1 and meanwhile is not None:
                await meanwhile()
            if got == parts:
                gone.set()

    async with asyncio.timeout(PATIENCE_S):
        await As(hub.app, VIEWER)(scope, receive, send)
    return status, body


@pytest.fixture
def hub(database: Database, tmp_path: Path) -> Iterator[Hub]:
    made = Hub(database, tmp_path)
    feed = made.app.state.live = Feed(database, lambda: 10_000.0, period_s=0.02)
    yield made
    feed.stop()


def test_a_stream(hub: Hub) -> None:
    feed = hub.app.state.live

    async def happen() -> None:
        await until(lambda: feed.looks > 0)
        await asyncio.to_thread(hub.store, event(1))

    status, body = asyncio.run(ask(hub, b"kind=alarm", meanwhile=happen, parts=2))
    assert status == 200
    lines = body.decode().split("\n")
    assert lines[0] == "retry: 2000"
    assert "id: 10000.000000" in lines
    assert "event: alarm" in lines
    assert json.loads(next(x for x in lines if x.startswith("data: "))[6:])["state"] == "unacknowledged"
    assert feed.viewers == 0


def test_a_stream_that_is_taken_up_again(hub: Hub) -> None:
    hub.store(event(1))
    _, body = asyncio.run(ask(hub, b"kind=alarm&machine=P-101", ((b"last-event-id", b"9990.5"),)))
    assert b'"id":"gw-1.a1"' in body
    _, body = asyncio.run(ask(hub, b"kind=alarm&machine=P-102", ((b"last-event-id", b"9990.5"),)))
    assert b"gw-1.a1" not in body
    _, body = asyncio.run(ask(hub, b"", ((b"last-event-id", b"not one of ours"),)))
    assert body == b"retry: 2000\n\n"


def test_a_stream_says_that_it_is_still_there_and_ends(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(route, "LIFE_S", 0.12)
    status, body = asyncio.run(ask(hub, parts=99))
    assert status == 200
    retry, *beats, rest = body.split(b"\n\n")
    assert (retry, set(beats), rest) == (b"retry: 2000", {b": still here"}, b"")


def test_a_stream_ends_however_much_there_is_to_tell(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else whoever may not watch any more would go on watching a plant in which something always happens."""
    monkeypatch.setattr(route, "LIFE_S", 0.1)

    async def always(self: Viewer, patience_s: float) -> bytes:
        await asyncio.sleep(0.005)
        return b"event: point\ndata: {}\n\n"

    monkeypatch.setattr(Viewer, "next", always)
    status, body = asyncio.run(ask(hub, parts=10**9))
    assert status == 200
    assert b"event: point" in body
    assert hub.app.state.live.viewers == 0


def test_who_is_gone_before_the_first_line_is_let_go_of(hub: Hub) -> None:
    feed = hub.app.state.live

    class Gone(Exception):  # noqa: N818 - what a server's `send` may raise
        pass

    async def scene() -> None:
        async def receive() -> Any:
            await asyncio.Event().wait()

        async def send(_message: Any) -> None:
            assert feed.viewers == 1
            raise Gone

        scope = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
                 "method": "GET", "path": "/api/v1/stream", "raw_path": b"/api/v1/stream", "query_string": b"",
                 "headers": [], "scheme": "http", "root_path": "", "server": ("hub", 80), "client": ("me", 1)}  # fmt: skip
        raised = False
        try:
            async with asyncio.timeout(PATIENCE_S):
                await As(hub.app, VIEWER)(scope, receive, send)
        except* Gone:
            raised = True
        assert raised

    asyncio.run(scene())
    assert feed.viewers == 0


def test_a_loop_that_closes_while_it_is_told_something_ends_nothing() -> None:
    async def viewer_of() -> Viewer:
        return Viewer(["alarm"], (), 8)

    loop = asyncio.new_event_loop()
    viewer = loop.run_until_complete(viewer_of())

    def closing(*_: object) -> None:
        loop.close()
        raise RuntimeError("Event loop is closed")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "call_soon_threadsafe", closing)
        viewer.hand_over([b"x"])
    viewer.hand_over([b"x"])
    viewer.end()

    def broken(*_: object) -> None:
        raise RuntimeError("another matter")

    async def open_still() -> None:
        other = Viewer(["alarm"], (), 8)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(other._loop, "call_soon_threadsafe", broken)
            with pytest.raises(RuntimeError, match="another matter"):
                other.hand_over([b"x"])

    asyncio.run(open_still())


def test_who_may_watch(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub.problem("/api/v1/stream", 422, kind="gossip").errors[0].where == "query.kind.0"
    assert hub.problem("/api/v1/stream", 422, machine="P/1").errors[0].where == "query.machine.0"
    monkeypatch.setattr(route, "MAX_VIEWERS", 0)
    assert "0 viewers are watching" in hub.problem("/api/v1/stream", 503).detail
    hub.api._app = hub.app  # nobody
    hub.problem("/api/v1/stream", 401)

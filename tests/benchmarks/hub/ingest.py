"""Events per second: one ingest worker that stores them for good, beside a plain MQTT client that only counts them.

The broker holds a backlog in a session that it keeps, as after an outage of the hub; then the reader connects, and the
clock runs from there to the last message. So no sender competes with the readers, and all of them read the same bytes
from the same broker over the same client library, at QoS 1; the hub's link alone shows what its way of reading brings.
An event is 776 bytes of JSON with a diagnosis, trends are 1,628 bytes of MessagePack with ten rows. `bare COPY` writes
the rows of the same events into the same table, indexes and all, in the same batches, and does nothing else.
"""

from __future__ import annotations

import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import paho.mqtt.client as mqtt
import psycopg
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy import func, select

from cloud_hub.broker.loopback import find_mosquitto
from cloud_hub.ingest.worker import BatchLimits, IngestWorker, settle_collector
from cloud_hub.settings import Settings
from cloud_hub.store import tables as t
from cloud_hub.store.database import Database
from cloud_hub.transport import Link
from models.contract.topics import up_filters
from tests.simulators.hub import event, incoming, trends
from tests.simulators.postgres import Postgres

GATEWAYS = 50
TREND_ROWS = 10
_CLIENT = "hub-bench"
_WAIT_S = 600.0


class IngestRate(msgspec.Struct, frozen=True):
    """One reader. `ratio`: its rate by that of the plain client of the same messages."""

    reader: str
    messages: str
    count: int
    per_s: float
    ratio: float


def messages(kind: str, count: int) -> list[tuple[str, bytes]]:
    """Topics and payloads. Events: three in the life of each alarm, with a diagnosis; trends: ten rows and health."""
    made = []
    for i in range(count):
        gateway = f"gw-{i % GATEWAYS}"
        if kind == "events":
            nth = i // GATEWAYS
            life = ("raised", "updated", "cleared")[nth % 3]
            message = incoming(event(i, life, gateway=gateway, alarm=f"a{nth // 3}"))
        else:
            message = incoming(trends(i, rows=TREND_ROWS, gateway=gateway))
        made.append((message.topic, message.payload))
    return made


@contextmanager
def deep_broker(folder: Path) -> Iterator[Settings]:
    """Mosquitto with room for a long backlog, and the settings that lead to it."""
    program = find_mosquitto()
    if program is None:
        raise RuntimeError("mosquitto is not installed (`make bench-hub` installs it)")
    probe = mqtt.Client(CallbackAPIVersion.VERSION2)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 100\n"
        "set_tcp_nodelay true\nlog_dest none\n"
    )
    process = subprocess.Popen([str(program), "-c", str(config)])
    try:
        _until(lambda: _connects(probe, port), "the broker to answer")
        yield Settings(home=folder, broker_port=port)
    finally:
        process.terminate()
        process.wait(30)


def _connects(client: mqtt.Client, port: int) -> bool:
    try:
        client.connect("127.0.0.1", port)
    except OSError:
        return False
    client.disconnect()
    return True


def _until(check: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + _WAIT_S
    while not check():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {_WAIT_S:g} s for {what}")
        time.sleep(0.005)


def fill_backlog(settings: Settings, batch: list[tuple[str, bytes]]) -> None:
    """Make the broker keep these messages for a reader that is not there."""
    with Link(settings, _CLIENT, clean=False) as reader:
        reader.subscribe(up_filters())
        _until(lambda: reader.listening, "the subscription")
    with Link(settings, "sender") as sender:
        for start in range(0, len(batch), 1000):
            sender.publish_all(batch[start : start + 1000])


def plain_client(settings: Settings, count: int) -> float:
    """Seconds that a client takes which only counts."""
    seen, done = 0, threading.Event()

    def on_message(*_: object) -> None:
        nonlocal seen
        seen += 1
        if seen == count:
            done.set()

    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=_CLIENT, clean_session=False)
    client.on_message = on_message
    started = time.perf_counter()
    client.connect("127.0.0.1", settings.broker_port)
    client.loop_start()
    if not done.wait(_WAIT_S):
        raise TimeoutError(f"{seen} of {count} messages came")
    took = time.perf_counter() - started
    client.disconnect()
    client.loop_stop()
    return took


def link_alone(settings: Settings, count: int) -> float:
    """Seconds that the hub's own link takes until all has been in its queue, from which it is thrown away."""
    seen = 0
    started = time.perf_counter()
    with Link(settings, _CLIENT, clean=False) as link:
        while seen < count:
            some = link.incoming.get_some(count, 2**30, _WAIT_S)
            if not some:
                raise TimeoutError(f"{seen} of {count} messages came")
            seen += len(some)
        return time.perf_counter() - started


def worker(settings: Settings, database: Database, folder: Path, kind: str, count: int) -> float:
    """Seconds that the hub's link and worker take until the last message is committed."""
    link = Link(settings, _CLIENT, clean=False)
    ingest = IngestWorker(database, link, folder / "captures", now_s=time.time, limits=BatchLimits())
    counter = "stored.event" if kind == "events" else "stored.trend"
    ingest.start()
    started = time.perf_counter()
    link.connect()
    _until(lambda: ingest.failure or ingest.status.view().counters.get(counter, 0) >= count, "the last commit")
    took = time.perf_counter() - started
    ingest.stop()
    link.close()
    if ingest.failure is not None:
        raise ingest.failure
    table = t.AlarmEvent if kind == "events" else t.TrendBatch
    with database.read() as session:
        stored = session.scalar(select(func.count()).select_from(table))
    if stored != count:
        raise RuntimeError(f"expected {count} rows in {table.__tablename__}, got {stored}")
    return took


def bare_copy(url: str, count: int, batch: int) -> float:
    """Seconds that COPY takes for the events' rows alone, `batch` rows in a transaction."""
    diagnosis = msgspec.json.encode(event(1).diagnosis).decode()
    rows = [
        (f"gw-{i % GATEWAYS}", "00000000000000aa", i, "a1", "raised", "alarm", 2000.0 + i, 3000.0, 1.5, 1.5, diagnosis)
        for i in range(count)
    ]
    statement = (
        "COPY alarm_events (gateway_id, boot_id, seq, alarm, kind, verdict, time_s, received_s, score, peak, diagnosis)"
        " FROM STDIN"
    )
    with psycopg.connect(url) as connection:
        connection.execute("ALTER TABLE alarm_events DROP CONSTRAINT fk_alarm_events_gateway_id_alarm")
        connection.commit()
        started = time.perf_counter()
        for start in range(0, count, batch):
            with connection.cursor() as cursor, cursor.copy(statement) as copy:
                for row in rows[start : start + batch]:
                    copy.write_row(row)
            connection.commit()
        return time.perf_counter() - started


def measure(postgres: Postgres, count: int, *, kinds: tuple[str, ...] = ("events", "trends")) -> list[IngestRate]:
    """All readers of all kinds of messages, one after the other."""
    settle_collector()  # as the hub does; it is the plain client's collector, too
    found: list[IngestRate] = []
    with tempfile.TemporaryDirectory(prefix="millwright-bench-") as scratch:
        folder = Path(scratch)
        with deep_broker(folder) as settings:
            for kind in kinds:
                batch = messages(kind, count)
                fill_backlog(settings, batch)
                plain = count / plain_client(settings, count)
                found.append(IngestRate("plain client, stores nothing", kind, count, plain, 1.0))
                fill_backlog(settings, batch)
                rate = count / link_alone(settings, count)
                found.append(IngestRate("the hub's link, stores nothing", kind, count, rate, rate / plain))
                for name, url in (("SQLite", f"sqlite:///{folder / kind}.sqlite3"), ("PostgreSQL", postgres.create())):
                    with Database(url) as database:
                        database.migrate()
                        fill_backlog(settings, batch)
                        rate = count / worker(settings, database, folder, kind, count)
                    found.append(IngestRate(f"ingest worker, {name}", kind, count, rate, rate / plain))
        if "events" in kinds:
            plain = next(r.per_s for r in found if r.messages == "events")
            rate = count / bare_copy(postgres.create(), count, BatchLimits().messages)
            found.append(IngestRate("bare COPY, PostgreSQL", "events", count, rate, rate / plain))
    return found

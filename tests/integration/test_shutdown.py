"""A hub that is told to stop in the middle of the work loses nothing that the broker has acknowledged to the sender.

Steps towards wants are the strictest witnesses: unlike events and trends they get no receipt, so nobody sends them
again. Each has its own time, so each is one row, and a second row would show a message stored twice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cloud_hub.settings import Settings
from cloud_hub.store.database import Database
from cloud_hub.transport import Link
from tests.integration.test_hub_serve import HubProcess, Mosquitto
from tests.simulators.hub import ack, incoming
from tests.simulators.postgres import Postgres

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(900)]
GATEWAYS = 40
MOST = 10_000  # a slow machine shall not pile up more than it can store


def patiently(check: Callable[[], object]) -> None:
    """Wait: a start of the hub takes long where many tests run at once."""
    until = time.monotonic() + 250
    while not check():
        assert time.monotonic() < until
        time.sleep(0.1)


class Sender(threading.Thread):
    """Sends steps of many gateways until told to stop; `sent` are those that the broker has acknowledged."""

    def __init__(self, port: int, folder: Path) -> None:
        super().__init__(daemon=True)
        self.sent = 0
        self.enough = threading.Event()
        self._link = Link(Settings(home=folder, broker_port=port), "gateways")

    def run(self) -> None:
        with self._link as link:
            while not self.enough.wait(0.05) and self.sent < MOST:
                batch = [ack(time_s=float(n), gateway=f"gw-{n % GATEWAYS}") for n in range(self.sent, self.sent + 50)]
                link.publish_all([(m.topic, m.payload) for m in map(incoming, batch)])
                self.sent += len(batch)


@pytest.mark.parametrize(("kind", "workers"), [("sqlite", 1), ("postgresql", 3)])
def test_stopped_under_load_and_started_again(
    kind: str, workers: int, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        url = server.create(empty=True)
        request.addfinalizer(lambda: server.drop(url))
        monkeypatch.setenv("MILLWRIGHT_DATABASE_URL", url)
    else:
        url = f"sqlite:///{tmp_path / 'home' / 'hub.sqlite3'}"
    monkeypatch.setenv("MILLWRIGHT_INGEST_WORKERS", str(workers))
    broker = Mosquitto(tmp_path)
    config = tmp_path / "mosquitto.conf"  # what waits while the hub is away must not be the broker's to drop
    config.write_text(config.read_text() + "max_queued_messages 0\n")
    broker.start()
    hub = HubProcess(tmp_path / "home", broker.port)
    sender = Sender(broker.port, tmp_path)

    def stored(database: Database) -> tuple[int, int]:
        with database.engine.connect() as connection:
            row = connection.exec_driver_sql("SELECT count(*), count(DISTINCT time_s) FROM acks").one()
        return int(row[0]), int(row[1])

    try:
        hub.start()
        patiently((hub.home / "ready.json").exists)  # from then on the broker keeps the session
        sender.start()
        with Database(url) as database:
            for _ in range(2):
                before = stored(database)[0]
                patiently(lambda before=before: stored(database)[0] > before)
                assert hub.process.poll() is None
                assert hub.stop() == 0
                at_rest, time_sent = stored(database)[0], sender.sent
                time.sleep(0.3)
                assert stored(database)[0] == at_rest
                assert sender.sent >= time_sent  # the sender goes on against the broker
                hub.start()
            sender.enough.set()
            sender.join(60)
            assert not sender.is_alive()
            patiently(lambda: stored(database)[1] == sender.sent)
            assert stored(database) == (sender.sent, sender.sent)
        patiently((hub.home / "ready.json").exists)  # it may have had nothing left to store; before that, SIGTERM kills
        assert hub.stop() == 0
    finally:
        sender.enough.set()
        hub.kill()
        broker.stop()

"""An ingest worker to drive by hand: a scripted broker on one side, a database on the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from cloud_hub.ingest.worker import IngestWorker
from cloud_hub.store import fleet_queries
from cloud_hub.store import tables as t
from cloud_hub.store.database import Database
from cloud_hub.store.paging import Paging
from cloud_hub.transport import Incoming
from models.contract.messages import Message
from tests.simulators.hub import QueueBroker, incoming

NOW_S = 10_000.0
ALL = Paging(500)


def eventually(check: Callable[[], Any]) -> None:
    until = time.monotonic() + 30
    while not check():
        assert time.monotonic() < until
        time.sleep(0.01)


class Bench:
    """A worker that is driven batch by batch, without its thread."""

    def __init__(self, database: Database, folder: Path, **options: Any) -> None:
        self.database = database
        self.broker = QueueBroker()
        self.worker = IngestWorker(database, self.broker, folder, now_s=lambda: NOW_S, **options)
        self.captures_dir = folder

    def take(self, *messages: Message | Incoming) -> None:
        self.worker.take([m if isinstance(m, Incoming) else incoming(m) for m in messages])
        self.worker._assemble_due()

    def count(self, row: type[t.Base]) -> int:
        with self.database.read() as session:
            return session.scalar(select(func.count()).select_from(row)) or 0

    @property
    def counters(self) -> dict[str, int]:
        return self.worker.status.view().counters

    def gateway(self, name: str = "gw-1") -> Any:
        with self.database.read() as session:
            return fleet_queries.get_gateway(session, name)

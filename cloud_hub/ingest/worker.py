"""The one thread that stores what gateways send.

take from the link's queue -> parse -> store a batch in one transaction -> receipts. A receipt goes out only after its
transaction is committed: whatever the hub has receipted survives its death, whatever it has not is sent again.

When the database is away, busy or full the batch waits; when something in a batch cannot be stored the batch is cut in
halves until that one message stands alone, and is rejected. A fault in this code itself ends the thread and is told to
`on_failure`: a hub that no longer stores must not look as if it did.
"""

from __future__ import annotations

import gc
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cloud_hub.errors import LinkError, StoreError, StoreUnavailableError
from cloud_hub.ingest.assemble import assemble_capture
from cloud_hub.ingest.parse import RejectionError, parse
from cloud_hub.ingest.status import IngestStatus
from cloud_hub.store.capture_writer import unfinished_captures
from cloud_hub.store.database import Database
from cloud_hub.store.writer import Outcome, Receipts, Received, Writer
from cloud_hub.transport import Incoming
from models.contract import topics
from models.contract.ids import GatewayId
from models.contract.messages import ReceiptBody, encode

_log = logging.getLogger(__name__)
_MAX_RECEIPTS = 1000  # in one message: the contract's bound
_DRAIN_S = 45.0
_CAPTURE_RETRY_S = 60.0


class Broker(Protocol):
    """What the worker needs of `cloud_hub.transport.Link`."""

    @property
    def incoming(self) -> queue.Queue[Incoming]:
        """Messages as they come."""

    @property
    def connected(self) -> bool:
        """Whether the connection stands."""

    def publish_all(self, messages: Iterable[tuple[str, bytes]]) -> None:
        """Publish and wait until the broker has them all. Raises: LinkError."""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """When a batch is full. `linger_s`: how long the first message waits for others; one fsync then serves them all."""

    messages: int = 2000
    payload_bytes: int = 32 * 2**20
    linger_s: float = 0.05
    retry_s: float = 1.0


class IngestWorker:
    """See the top of this file. `on_evidence` is called after a commit that held new evidence. One worker of a hub
    `finishes_captures` that had no file yet when the hub was stopped.
    """

    def __init__(
        self,
        database: Database,
        broker: Broker,
        captures_dir: Path,
        *,
        now_s: Callable[[], float],
        status: IngestStatus | None = None,
        limits: BatchLimits | None = None,
        on_evidence: Callable[[], None] = lambda: None,
        on_failure: Callable[[], None] = lambda: None,
        finishes_captures: bool = True,
    ) -> None:
        self.status = status or IngestStatus()
        self.failure: Exception | None = None
        self._database = database
        self._broker = broker
        self._captures_dir = captures_dir
        self._now_s = now_s
        self._limits = limits or BatchLimits()
        self._on_evidence = on_evidence
        self._on_failure = on_failure
        self._finishes_captures = finishes_captures
        self._writer = Writer(database, now_s)
        self._captures_due: dict[str, float] = {}  # id -> monotonic time from when to try
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ingest", daemon=True)

    def start(self) -> None:
        """Begin. Captures that were complete when the hub last stopped get their files first."""
        self._thread.start()

    def stop(self, timeout_s: float = 60.0) -> None:
        """Store and receipt what has come so far, then end. Let the link hold first: its messages end then, too."""
        self._stop.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            _log.error(
                "ingest did not end within %g s; what it held is not receipted and will be sent again", timeout_s
            )

    def _run(self) -> None:
        try:
            if self._finishes_captures:
                with self._database.read() as session:
                    self._captures_due = dict.fromkeys(unfinished_captures(session), 0.0)
            self._loop()
        except Exception as error:  # noqa: BLE001 - told to the owner, who ends the program
            _log.exception("ingest failed")
            self.failure = error
            self._on_failure()

    def _loop(self) -> None:
        drain_until = None
        while True:
            batch = self._collect()
            if batch:
                self.take(batch)
            self._assemble_due()
            if self._stop.is_set():
                drain_until = drain_until or time.monotonic() + _DRAIN_S
                if not batch or time.monotonic() > drain_until:
                    return

    def _collect(self) -> list[Incoming]:
        """The next messages; none when none came for a while."""
        incoming = self._broker.incoming
        try:
            batch = [incoming.get(timeout=0.2)]
        except queue.Empty:
            return []
        size = len(batch[0].payload)
        until = time.monotonic() + self._limits.linger_s
        while len(batch) < self._limits.messages and size < self._limits.payload_bytes:
            try:
                message = incoming.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            batch.append(message)
            size += len(message.payload)
        return batch

    def take(self, batch: Sequence[Incoming]) -> None:
        """Parse, store and receipt these messages."""
        self.status.count("received", len(batch))
        received = []
        for incoming in batch:
            try:
                message = parse(incoming.topic, incoming.payload)
            except RejectionError as error:
                self._reject(incoming.topic, error.reason, str(error), len(incoming.payload))
                continue
            if message is None:
                self.status.count("passed_over")
            else:
                received.append(Received(message, incoming.retained, incoming.topic, len(incoming.payload)))
        if received:
            self._store(received)

    def _reject(self, topic: str, reason: str, text: str, payload_bytes: int) -> None:
        _log.warning("rejected (%s): %s", reason, text)
        self.status.reject(self._now_s(), topic, reason, text, payload_bytes)

    def _store(self, batch: list[Received]) -> None:
        while True:
            try:
                outcome = self._writer.store(batch)
            except StoreUnavailableError as error:
                _log.error("%d messages wait: %s", len(batch), error)
                self.status.failed(str(error))
                if self._stop.wait(self._limits.retry_s):
                    return  # unstored and not receipted: their gateways will send them again
            except StoreError as error:
                self._store_apart(batch, error)
                return
            else:
                self._after_commit(outcome)
                return

    def _store_apart(self, batch: list[Received], error: StoreError) -> None:
        if len(batch) == 1:
            self._reject(batch[0].topic, "store", str(error), batch[0].payload_bytes)
            return
        middle = len(batch) // 2
        self._store(batch[:middle])
        self._store(batch[middle:])

    def _after_commit(self, outcome: Outcome) -> None:
        self.status.committed(self._now_s())
        self.status.count_all("stored", outcome.stored)
        self.status.count_all("duplicate", outcome.duplicates)
        for refused in outcome.refused:
            topic = topics.topic_of(topics.Capture(GatewayId(refused.message.gateway)))
            self._reject(topic, refused.reason, refused.text, len(refused.message.data))
        self._publish(receipt_messages(outcome.receipts))
        if outcome.evidence:
            self._on_evidence()
        self._captures_due.update(dict.fromkeys(outcome.complete_captures, 0.0))

    def _publish(self, messages: list[tuple[str, bytes]]) -> None:
        if not messages:
            return
        if not self._broker.connected:
            self.status.count("receipts_unsent", len(messages))
            return
        try:
            self._broker.publish_all(messages)
        except LinkError as error:
            _log.warning("%d receipts not sent, their messages will come again: %s", len(messages), error)
            self.status.count("receipts_unsent", len(messages))
        else:
            self.status.count("receipts_sent", len(messages))

    def _assemble_due(self) -> None:
        now = time.monotonic()
        for capture_id in [c for c, due in self._captures_due.items() if due <= now]:
            try:
                path = assemble_capture(self._database, capture_id, self._captures_dir, self._now_s())
            except (OSError, StoreUnavailableError) as error:
                _log.error("capture %s: no file yet: %s", capture_id, error)
                self.status.count("capture_failures")
                self._captures_due[capture_id] = now + _CAPTURE_RETRY_S
            else:
                _log.info("capture %s: %s", capture_id, path)
                self.status.count("stored.capture")
                del self._captures_due[capture_id]


def settle_collector() -> None:
    """Tell Python's garbage collector that what is loaded stays, and to look seldom: call it once, when all is loaded.

    A batch is tens of thousands of objects that nothing refers to in a circle. With the collector as it comes, going
    through them and through every library again and again costs 40 % of the time of ingest.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)


def receipt_messages(receipts: dict[str, Receipts]) -> list[tuple[str, bytes]]:
    """Topic and payload of the receipts for each gateway, as many messages as the contract's bounds ask for."""
    messages = []
    for gateway, receipt in sorted(receipts.items()):
        topic = topics.topic_of(topics.Receipt(GatewayId(gateway)))
        events, chunks = receipt.events, receipt.chunks
        for start in range(0, max(len(events), len(chunks)), _MAX_RECEIPTS):
            end = start + _MAX_RECEIPTS
            messages.append((topic, encode(ReceiptBody(events=events[start:end], chunks=chunks[start:end]))))
    return messages

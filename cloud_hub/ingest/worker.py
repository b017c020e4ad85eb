"""Stores what gateways send.

take from the link's queue -> parse | store a batch in one transaction | receipts. Each `|` is a step from one thread to
the next, so that a batch is parsed while the database works on the one before and the broker takes the receipts of the
one before that. A receipt goes out only after its transaction is committed: whatever the hub has receipted survives its
death, whatever it has not is sent again.

When the database is away, busy or full the batch waits; when something in a batch cannot be stored the batch is cut in
halves until that one message stands alone, and is rejected. A fault in this code itself ends the threads and is told to
`on_failure`: a hub that no longer stores must not look as if it did.
"""

from __future__ import annotations

import gc
import logging
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from cloud_hub.errors import LinkError, StoreError, StoreUnavailableError
from cloud_hub.ingest.assemble import assemble_capture
from cloud_hub.ingest.parse import RejectionError, parse
from cloud_hub.ingest.status import IngestStatus
from cloud_hub.observing.logs import about
from cloud_hub.store.capture_writer import unfinished_captures
from cloud_hub.store.database import Database
from cloud_hub.store.writer import Outcome, Receipts, Received, Writer
from cloud_hub.transport import Incoming, IncomingQueue
from models.contract import topics
from models.contract.ids import GatewayId
from models.contract.messages import ReceiptBody, TrendBatch, encode
from models.errors import TopicError

_log = logging.getLogger(__name__)
_MAX_RECEIPTS = 1000  # in one message: the contract's bound
_DRAIN_S = 45.0
_CAPTURE_RETRY_S = 60.0
_POLL_S = 0.2
_PARSED_AT_ONCE = 100  # messages: a batch has at most the rows of so many more than it should
_SWITCH_S = 0.0005
_T = TypeVar("_T")
_Messages = list[tuple[str, bytes]]


class Broker(Protocol):
    """What the worker needs of `cloud_hub.transport.Link`."""

    @property
    def incoming(self) -> IncomingQueue:
        """Messages as they come."""

    @property
    def connected(self) -> bool:
        """Whether the connection stands."""

    def publish_all(self, messages: Iterable[tuple[str, bytes]]) -> None:
        """Publish and wait until the broker has them all. Raises: LinkError."""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """When a batch is full. `linger_s`: how long the first message waits for others; one fsync then serves them all.

    `rows` that messages bring, besides their own: what a batch costs for itself is soon shared by enough events, while
    the rows of as many trends would no longer fit the processor's caches.
    """

    messages: int = 6000
    rows: int = 20_000
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
        # One batch waits to be stored; None says that no more will come. Receipts may pile up for as long as the broker
        # takes to answer: if storing waited for that, reading could wait for storing, and the answer for reading.
        self._parsed: queue.Queue[list[Received] | None] = queue.Queue(1)
        self._committed: queue.Queue[_Messages | None] = queue.Queue()
        steps = {"ingest": self._take_in, "ingest-store": self._store_all, "ingest-receipts": self._receipt_all}
        self._threads = [
            threading.Thread(target=self._run, args=(step,), name=name, daemon=True) for name, step in steps.items()
        ]

    def start(self) -> None:
        """Begin. Captures that were complete when the hub last stopped get their files first."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float = 60.0) -> None:
        """Store and receipt what has come so far, then end. Let the link hold first: its messages end then, too."""
        self._stop.set()
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        if any(thread.is_alive() for thread in self._threads):
            _log.error(
                "ingest did not end within %g s; what it held is not receipted and will be sent again", timeout_s
            )

    def _run(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:  # noqa: BLE001 - told to the owner, who ends the program
            _log.exception("ingest failed")
            self.failure = error
            self._on_failure()

    def _take_in(self) -> None:
        """First thread: messages to batches of what is worth storing."""
        drain_until = None
        while self.failure is None:
            taken, batch = self._collect()
            if batch:
                self._hand_on(self._parsed, batch)
            if self._stop.is_set():
                drain_until = drain_until or time.monotonic() + _DRAIN_S
                if not taken or time.monotonic() > drain_until:
                    break
        self._hand_on(self._parsed, None)

    def _store_all(self) -> None:
        """Second thread: batches to receipts, and to files of captures."""
        if self._finishes_captures:
            with self._database.read() as session:
                self._captures_due = dict.fromkeys(unfinished_captures(session), 0.0)
        while self.failure is None:
            self._assemble_due()
            try:
                batch = self._parsed.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            if batch is None:
                break
            self._hand_on(self._committed, self._store(batch))
        self._assemble_due()
        self._hand_on(self._committed, None)

    def _receipt_all(self) -> None:
        """Third thread: receipts to the broker."""
        while self.failure is None:
            try:
                messages = self._committed.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            if messages is None:
                return
            self._publish(messages)

    def _hand_on(self, to: queue.Queue[_T], item: _T) -> None:
        """To the next thread, once it has room; unless a thread has failed, after which nothing goes on."""
        while self.failure is None:
            try:
                to.put(item, timeout=_POLL_S)
            except queue.Full:
                continue
            return

    def _collect(self) -> tuple[int, list[Received]]:
        """How many messages came next, none when none came for a while; what of them is worth storing.

        They are parsed a few at a time, because only then it is known how many rows they bring.
        """
        limits, wait_s = self._limits, _POLL_S
        until: float | None = None  # runs from the first message on
        taken = size = rows = 0
        batch: list[Received] = []
        while taken < limits.messages and size < limits.payload_bytes and rows < limits.rows:
            at_once = min(_PARSED_AT_ONCE, limits.messages - taken)
            some = self._broker.incoming.get_some(at_once, limits.payload_bytes - size, wait_s)
            if not some:
                break
            until = until or time.monotonic() + limits.linger_s
            parsed = self._parse(some)
            batch += parsed
            taken += len(some)
            size += sum(len(message.payload) for message in some)
            rows += sum(len(r.message.rows) for r in parsed if isinstance(r.message, TrendBatch))
            wait_s = max(0.0, until - time.monotonic())
        return taken, batch

    def take(self, batch: Sequence[Incoming]) -> None:
        """Parse, store and receipt these messages, all in the caller's thread."""
        self._publish(self._store(self._parse(batch)))

    def _parse(self, batch: Sequence[Incoming]) -> list[Received]:
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
        return received

    def _reject(self, topic: str, reason: str, text: str, payload_bytes: int) -> None:
        gateway = _gateway_of(topic)
        with about(gateway=gateway) if gateway is not None else nullcontext():
            _log.warning("rejected (%s): %s", reason, text)
        self.status.reject(self._now_s(), topic, reason, text, payload_bytes)

    def _store(self, batch: list[Received]) -> _Messages:
        """Store these messages; their receipts, in messages to gateways."""
        while batch:
            try:
                outcome = self._writer.store(batch)
            except StoreUnavailableError as error:
                _log.error("%d messages wait: %s", len(batch), error)
                self.status.failed(str(error))
                if self._stop.wait(self._limits.retry_s):
                    break  # unstored and not receipted: their gateways will send them again
            except StoreError as error:
                return self._store_apart(batch, error)
            else:
                return self._after_commit(outcome)
        return []

    def _store_apart(self, batch: list[Received], error: StoreError) -> _Messages:
        if len(batch) == 1:
            self._reject(batch[0].topic, "store", str(error), batch[0].payload_bytes)
            return []
        middle = len(batch) // 2
        return self._store(batch[:middle]) + self._store(batch[middle:])

    def _after_commit(self, outcome: Outcome) -> _Messages:
        self.status.committed(self._now_s())
        self.status.count_all("stored", outcome.stored)
        self.status.count_all("duplicate", outcome.duplicates)
        for refused in outcome.refused:
            topic = topics.topic_of(topics.Capture(GatewayId(refused.message.gateway)))
            self._reject(topic, refused.reason, refused.text, len(refused.message.data))
        if outcome.evidence:
            self._on_evidence()
        self._captures_due.update(dict.fromkeys(outcome.complete_captures, 0.0))
        return receipt_messages(outcome.receipts)

    def _publish(self, messages: _Messages) -> None:
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


def _gateway_of(topic: str) -> str | None:
    """Whose topic it is, where it is anybody's."""
    try:
        return getattr(topics.address_of(topic), "gateway", None)
    except TopicError:
        return None


def settle_collector() -> None:
    """Tell Python's garbage collector that what is loaded stays, and to look seldom: call it once, when all is loaded.

    A batch is tens of thousands of objects that nothing refers to in a circle. With the collector as it comes, going
    through them and through every library again and again costs 40 % of the time of ingest.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
    sys.setswitchinterval(_SWITCH_S)


def receipt_messages(receipts: dict[str, Receipts]) -> _Messages:
    """Topic and payload of the receipts for each gateway, as many messages as the contract's bounds ask for."""
    messages = []
    for gateway, receipt in sorted(receipts.items()):
        topic = topics.topic_of(topics.Receipt(GatewayId(gateway)))
        events, chunks = receipt.events, receipt.chunks
        for start in range(0, max(len(events), len(chunks)), _MAX_RECEIPTS):
            end = start + _MAX_RECEIPTS
            messages.append((topic, encode(ReceiptBody(events=events[start:end], chunks=chunks[start:end]))))
    return messages

"""The agent: one loop that takes from the inbox, runs the slots, and hands to the network.

The loop is ours: the network thread and the worker thread only put into queues. `step` is one turn of it; whatever it
raises that is not about the outside world ends the agent, loudly, and the service manager starts it anew.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from edge_agent.captures import Captures
from edge_agent.config import Config
from edge_agent.delivery import SlotDelivery
from edge_agent.errors import CommandError, StorageError
from edge_agent.fetch import Pace
from edge_agent.fetches import Fetches
from edge_agent.intake import Intake
from edge_agent.orders import Orders
from edge_agent.outbox import Outbox
from edge_agent.renewal import Renewal
from edge_agent.reporting import Reporter
from edge_agent.runtime import Runtime
from edge_agent.slot import Slot, SlotEvent
from edge_agent.stick import Stick
from edge_agent.surroundings import Surroundings, Trust
from edge_agent.update import SlotRecord, State, share_of_jitter
from edge_agent.uplink import Uplink
from edge_agent.wire import Incoming, Transport
from edge_agent.worker import Worker
from models.contract import topics
from models.contract.messages import (
    Ack,
    AgentState,
    AlarmEvent,
    CaptureCommand,
    CommandBody,
    RecalibrateCommand,
    ReceiptBody,
    ReportCommand,
    WantBody,
    decode,
    encode,
)
from models.errors import ContractError

log = logging.getLogger(__name__)

TICK_S = 0.05
POLL_S = 0.1
MAX_UNSTORED_EVENTS = 100
_COMPLAINT_S = 60.0


@dataclass(frozen=True, slots=True)
class Clock:
    """Time comes in here: `now` is monotonic, for durations; `utc` is the wall clock, for stamps. Both in seconds."""

    now: Callable[[], float] = time.monotonic
    utc: Callable[[], float] = time.time


class Agent:
    """One gateway's agent. Call `start`, then `step` until told to stop, then `close`.

    Raises (when made): StorageError: the state folder cannot be used.
    """

    def __init__(
        self,
        config: Config,
        transport: Transport,
        trust: Trust,
        runtime: Runtime,
        worker: Worker,
        *,
        boot_id: str,
        clock: Clock | None = None,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
        renewal: Renewal | None = None,
        frames: Transport | None = None,
    ) -> None:
        self.config = config
        self.boot_id = boot_id
        self.counters: Counter[str] = Counter()
        self._gateway = config.gateway.id
        self._transport = transport
        self._runtime = runtime
        self._worker = worker
        self._clock = clock or Clock()
        state_dir = config.gateway.state_dir
        self.outbox = Outbox(state_dir / "outbox.sqlite3", config.outbox_max_bytes, self._gateway, boot_id)
        self.intake = Intake(self._gateway, config.points)
        self.captures = Captures(self._gateway, config.points)
        self._uplink = Uplink(transport, self._gateway, self.outbox, self.captures)
        around = Surroundings(
            state_dir, config.update, trust, runtime, worker, self._tell, Pace(config.update.max_bytes_s)
        )
        self.deliveries = {
            slot: SlotDelivery(Slot(slot, config.points_of(slot), config.trend_span_s, new_id), around)
            for slot in config.slots
        }
        self.orders = Orders(
            state_dir / "orders.json",
            self._gateway,
            trust,
            worker,
            follow=self._follow,
            obey=self._obey,
            refuse=lambda reason, text: self._ack(None, "refused", None, reason, text),
        )
        self._places = [self._place_of(at) for at in range(len(config.points))]
        self._unstored: deque[tuple[SlotEvent, float]] = deque()
        self._handlers: dict[str, Callable[[Incoming], None]] = {
            topics.topic_of(topics.Metadata(config.gateway.fleet)): self._on_metadata,
            topics.topic_of(topics.Want(self._gateway)): lambda m: self.orders.take_want(m.payload),
            topics.topic_of(topics.Command(self._gateway)): self._on_command,
            topics.topic_of(topics.Receipt(self._gateway)): self._on_receipt,
            topics.topic_of(topics.Block(self._gateway)): lambda m: self._fetches.take_block(m, self._clock.now()),
        }
        self._renewal = renewal
        if renewal is not None:
            self._handlers[renewal.reply_topic] = lambda m: renewal.take(m.payload, self._clock.now())
        self._frames = frames or transport
        self._fetches = Fetches(transport, self._gateway, self.deliveries.values())
        self._stick = Stick(state_dir, self._gateway, self.orders, self.deliveries)
        self._reporter = Reporter(
            config, transport, (self.outbox, self.intake, self.orders, self.deliveries), boot_id=boot_id,
            runtime=runtime.name, counters=self._gather_counters,
        )  # fmt: skip
        self._connections = 0
        self._complained_s = -_COMPLAINT_S
        self._next = dict.fromkeys(("tick", "poll"), 0.0)

    def _place_of(self, at: int) -> tuple[Slot, int]:
        point = self.config.points[at]
        slot = self.deliveries[point.slot].slot
        return slot, slot.points.index(point)

    # ------------------------------------------------------------------------------------------------ the loop

    def start(self) -> None:
        """Resume every slot, as far as the disk lets us, then connect."""
        for delivery in self.deliveries.values():
            self._attempt(delivery.resume, self._clock.now())
        self._transport.subscribe(self._handlers, qos=1)
        # QoS 0: a frame that comes late is worth nothing, and its sequence number tells what was lost.
        self._frames.subscribe([topics.frames_filter(self._gateway)], qos=0)
        self._transport.start()
        if self._frames is not self._transport:
            self._frames.start()

    def step(self, timeout_s: float = TICK_S) -> None:
        """One turn: wait for messages (at most `timeout_s`), then do everything that is due."""
        control, frames = self._transport.inbox.take(timeout_s)
        now_s, utc_s = self._clock.now(), self._clock.utc()
        if self._transport.connections != self._connections:
            self._reconnected()
        self._attempt(self._worker.poll)
        for message in control:
            self._attempt(self._control, message, now_s)
        for message in frames:
            self._frame(message, utc_s)
        if self._is_due("tick", now_s, TICK_S):
            self._tick(now_s, utc_s)
        if self._is_due("poll", now_s, POLL_S) or control:
            self._poll(now_s, utc_s)
        self._attempt(self._uplink.send, now_s, self._reporter.health)
        self._reporter.poll(now_s, utc_s, self._attempt)

    def _is_due(self, what: str, now_s: float, every_s: float) -> bool:
        if now_s < self._next[what]:
            return False
        self._next[what] = now_s + every_s
        return True

    def _attempt(self, part: Callable[..., object], *arguments: object) -> None:
        """Do a part of the work that may meet a full or failing disk. The machines are watched all the same; the
        failure is counted, reported, and what failed is tried again by whoever asked for it.
        """
        try:
            part(*arguments)
        except StorageError as error:
            self.counters["storage_failed"] += 1
            if self._clock.now() - self._complained_s >= _COMPLAINT_S:
                self._complained_s = self._clock.now()
                log.error("%s", error)  # noqa: TRY400 - the text says it all

    def _reconnected(self) -> None:
        self._connections = self._transport.connections
        self._uplink.reconnected()
        self._reporter.at_once()

    def close(self) -> None:
        """Stop in good order: the hub sees us go offline, and no start is held against a bundle."""
        for delivery in self.deliveries.values():
            self._attempt(delivery.closing, self._clock.now())
        self._tick(self._clock.now(), self._clock.utc())
        if self._frames is not self._transport:
            self._frames.close()
        self._transport.close(self._reporter.farewell(self._clock.utc()))
        self._attempt(self._reporter.write_status, self._clock.utc())
        self.outbox.close()

    # ------------------------------------------------------------------------------------------------ messages

    def _control(self, message: Incoming, now_s: float) -> None:
        handler = self._handlers.get(message.topic)
        if handler is not None:
            handler(message)
        else:
            self._fetches.take(message, now_s)

    def _on_metadata(self, message: Incoming) -> None:
        if self.orders.take_metadata(message.payload):
            for delivery in self.deliveries.values():
                delivery.retry()

    def _on_command(self, message: Incoming) -> None:
        if message.retained:  # a broker must never keep a command: somebody else put it there
            self.counters["ignored.retained_command"] += 1
        else:
            self.orders.take_command(message.payload)

    def _on_receipt(self, message: Incoming) -> None:
        if message.retained:
            self.counters["ignored.retained_receipt"] += 1
            return
        try:
            receipt = decode(ReceiptBody, message.payload, message.topic)
        except ContractError as error:
            self.counters["refused.receipt"] += 1
            log.warning("%s", error)
            self._ack(None, "refused", None, "receipt_format", str(error))
            return
        self._uplink.receipt(receipt)

    def _frame(self, message: Incoming, utc_s: float) -> None:
        if message.retained:
            self.counters["ignored.retained_frame"] += 1
            return
        arrival = self.intake.accept(message.topic, message.payload, utc_s)
        if arrival is None:
            return
        slot, at = self._places[arrival.point]
        if len(self.captures):
            self.captures.push(arrival.point, arrival.samples, utc_s, gap=arrival.gap)
        slot.push(at, arrival.samples, utc_s, gap=arrival.gap)

    # ------------------------------------------------------------------------------------------------ slots

    def _tick(self, now_s: float, utc_s: float) -> None:
        for delivery in self.deliveries.values():
            outcome = delivery.slot.tick(utc_s, now_s)
            self._reporter.work.add(outcome.busy_s, outcome.windows)
            for event in outcome.events:
                log.info("alarm %s of %s: score %.2f", event.draft.kind, event.point.name, event.draft.score)
                self._unstored.append((event, utc_s))
            if outcome.champion_failure is not None:
                self.counters[f"slot_failed:{delivery.slot.id}"] += 1
            if outcome.rows:
                self._attempt(self.outbox.add_rows, outcome.rows)
            self._attempt(self._store_events)
            self._attempt(delivery.ran, outcome)

    def _store_events(self) -> None:
        """Put events into the outbox. One that cannot be stored now waits in memory for the next turn; the oldest goes
        when too many wait.
        """
        while len(self._unstored) > MAX_UNSTORED_EVENTS:
            self._unstored.popleft()
            self.counters["events.lost"] += 1
        while self._unstored:
            event, utc_s = self._unstored[0]
            self.outbox.add_event(partial(self._alarm, event, utc_s), update=event.draft.kind == "updated")
            self._unstored.popleft()

    def _alarm(self, event: SlotEvent, utc_s: float, seq: int) -> bytes:
        draft, point = event.draft, event.point
        return encode(
            AlarmEvent(
                gateway=self._gateway, boot_id=self.boot_id, seq=seq, alarm=draft.alarm, kind=draft.kind,
                verdict=draft.verdict, machine=point.machine, point=point.point, slot=point.slot,
                bundle_sha256=event.sha256, bundle_version=event.version, time_s=utc_s, score=draft.score,
                peak=draft.peak, diagnosis=event.diagnosis, evidence=event.evidence,
            )
        )  # fmt: skip

    def _poll(self, now_s: float, utc_s: float) -> None:
        self._attempt(self.orders.poll, utc_s)
        trusted_s = self.orders.trusted_time(utc_s)
        for delivery in self.deliveries.values():
            self._attempt(delivery.poll, self.orders.metadata, now_s, trusted_s)
        self._attempt(self._stick.poll, now_s, utc_s)
        self._fetches.poll(now_s)
        for text in self.captures.give_up(now_s):
            log.warning("%s", text)
            self.counters["captures.given_up"] += 1
            self._ack(None, "refused", None, "capture_silent", text)
        if self._renewal is not None:
            self._attempt(self._renewal.poll, now_s, utc_s)

    # ------------------------------------------------------------------------------------------------ orders

    def _follow(self, want: WantBody, fresh: bool) -> None:
        wanted = {bundle.slot: bundle for bundle in want.bundles}
        jitter_s = want.jitter_s * share_of_jitter(self._gateway, want.seq)
        begin_s = max(self._clock.utc(), want.not_before_s) + jitter_s
        for slot, delivery in self.deliveries.items():
            self._attempt(delivery.want, wanted.get(slot), want.seq, begin_s)
        for unknown in sorted(wanted.keys() - set(self.deliveries)):
            if fresh:
                self.counters["refused.unknown_slot"] += 1
                text = f"want {want.seq}: no point of this gateway names slot {unknown}"
                self._ack(unknown, "refused", wanted[unknown].sha256, "unknown_slot", text)

    def _obey(self, command: CommandBody) -> None:
        match command:
            case CaptureCommand():
                at = self._find(command.machine, command.point)
                self.captures.begin(command.id, at, command.seconds)
            case RecalibrateCommand():
                at = self._find(command.machine, command.point)
                _, local = self._places[at]
                self.deliveries[self.config.points[at].slot].recalibrate(local)
            case ReportCommand():
                self._reporter.at_once()

    def _find(self, machine: str, point: str) -> int:
        for at, settings in enumerate(self.config.points):
            if (settings.machine, settings.point) == (machine, point):
                return at
        raise CommandError("unknown_point", f"command: this gateway has no point {machine}/{point}")

    def _tell(self, slot: str, record: SlotRecord, reason: str | None, detail: str | None) -> None:
        runs = record.state in {State.ACTIVE, State.CONFIRMED}
        one = record.active if runs else record.candidate
        self._ack(slot, record.state.phase, one.sha256 if one is not None else None, reason, detail, record.want_seq)
        if reason is not None:
            self.counters[f"slot.{record.state.value}.{reason}"] += 1

    def _ack(
        self, slot: str | None, phase: str, sha256: str | None, reason: str | None, detail: str | None,
        seq: int | None = None,
    ) -> None:  # fmt: skip
        self._uplink.ack(
            Ack(
                gateway=self._gateway,
                seq=self.orders.want_seq if seq is None else seq,
                slot=slot,
                phase=phase,  # type: ignore[arg-type]  # a State's value or the literal "refused"
                time_s=self._clock.utc(),
                sha256=sha256,
                reason=reason,
                detail=detail,
            )
        )

    # ------------------------------------------------------------------------------------------------ up

    def _gather_counters(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for source in (
            self.counters, self.orders.counters, self.captures.counters, self.outbox.counters, self._fetches.counters,
            self._transport.inbox.drops(),
        ):  # fmt: skip
            total.update(source)
        total.update(self._renewal.counters if self._renewal is not None else {})
        return total

    def all_counters(self) -> dict[str, int]:
        """Everything counted: what was accepted, dropped, refused, resent."""
        return self._reporter.all_counters()

    def state(self) -> AgentState:
        """The reported state as it is now."""
        return self._reporter.state(self._clock.utc())

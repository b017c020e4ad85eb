"""What the agent says of itself: reported state (at once when something changed), health, counters, the status file."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import msgspec

from edge_agent.config import Config
from edge_agent.delivery import SlotDelivery
from edge_agent.install import resident_bytes
from edge_agent.intake import Intake
from edge_agent.orders import Orders
from edge_agent.outbox import Outbox
from edge_agent.status import STATUS_FILE, Status, bounded_counters
from edge_agent.storage import write_atomically
from edge_agent.wire import Transport
from models.contract import topics
from models.contract.ids import SlotId
from models.contract.messages import AgentState, Health, SlotState, encode

STATE_S = 1.0
HEARTBEAT_S = 30.0
STATUS_S = 5.0
_NUMBER = re.compile(r"\d+")


@cache
def agent_version() -> str:
    """The installed release. Looked up once: that parses the metadata of the package, dearer than a state message."""
    try:
        return version("millwright")
    except PackageNotFoundError:
        return "source"


@dataclass(slots=True)
class Work:
    """What the slots have done: `busy_s`, `windows` since health was last measured, `total` since the start."""

    busy_s: float = 0.0
    windows: int = 0
    total: int = 0

    def add(self, busy_s: float, windows: int) -> None:
        """One tick's work."""
        self.busy_s += busy_s
        self.windows += windows
        self.total += windows


class Reporter:
    """Args: counters: gathers all counters but those of frames. `attempt`: runs what may meet a failing disk."""

    def __init__(
        self,
        config: Config,
        transport: Transport,
        parts: tuple[Outbox, Intake, Orders, Mapping[SlotId, SlotDelivery]],
        *,
        boot_id: str,
        runtime: str,
        counters: Callable[[], Counter[str]],
    ) -> None:
        self.health: Health | None = None
        self.work = Work()
        self.online = True
        self._config = config
        self._transport = transport
        self._outbox, self._intake, self._orders, self._deliveries = parts
        self._boot_id = boot_id
        self._runtime = runtime
        self._counters = counters
        self._topic = topics.topic_of(topics.State(config.gateway.id))
        self._published: object = None
        self._next = dict.fromkeys(("state", "heartbeat", "status"), 0.0)

    def at_once(self) -> None:
        """Publish the state in the next turn, changed or not, and write it for `edge-agent status`."""
        self._published = None
        self._next["state"] = self._next["status"] = 0.0

    def poll(self, now_s: float, utc_s: float, attempt: Callable[[Callable[[], None]], None]) -> None:
        """Publish at once when something changed (at most once a second), else as a heartbeat."""
        if self._is_due("heartbeat", now_s, HEARTBEAT_S):
            self._published = None
            self._measure_health(utc_s)
        if self._is_due("state", now_s, STATE_S):
            state = self.state(utc_s)
            shape = _shape(state)
            if shape != self._published and self._transport.publish(self._topic, encode(state), retain=True):
                self._published = shape
        if self._is_due("status", now_s, STATUS_S):
            attempt(lambda: self.write_status(utc_s))

    def _is_due(self, what: str, now_s: float, every_s: float) -> bool:
        if now_s < self._next[what]:
            return False
        self._next[what] = now_s + every_s
        return True

    def _measure_health(self, utc_s: float) -> None:
        work = self.work
        self.health = Health(
            time_s=utc_s,
            rss_mb=resident_bytes() / 1e6,
            cpu_s=time.process_time(),
            windows=work.windows,
            window_us=1e6 * work.busy_s / work.windows if work.windows else 0.0,
            outbox_bytes=self._outbox.held_bytes,
        )
        work.busy_s, work.windows = 0.0, 0

    def all_counters(self) -> dict[str, int]:
        """Everything counted: what was accepted, dropped, refused, resent."""
        total: Counter[str] = Counter({f"frames.{reason}": n for reason, n in self._intake.counters.items()})
        total.update(self._counters())
        total["windows"] = self.work.total
        total["samples.lost"] = sum(self._intake.lost_samples)
        total["samples.overwritten"] = sum(d.slot.overwritten() for d in self._deliveries.values())
        total["connections"] = self._transport.connections
        return dict(total)

    def state(self, utc_s: float) -> AgentState:
        """The reported state as it is now."""
        return AgentState(
            gateway=self._config.gateway.id,
            boot_id=self._boot_id,
            online=self.online,
            time_s=utc_s,
            agent_version=agent_version(),
            runtime=self._runtime,
            want_seq=self._orders.want_seq,
            rss_mb=resident_bytes() / 1e6,
            outbox_bytes=self._outbox.held_bytes,
            slots=[delivery.state() for delivery in self._deliveries.values()],
            points=[point for delivery in self._deliveries.values() for point in delivery.slot.point_states()],
            counters=bounded_counters(self.all_counters(), self._point_counters()),
        )

    def farewell(self, utc_s: float) -> tuple[str, bytes]:
        """The retained message of an agent that stops in good order."""
        self.online = False
        state = AgentState(
            gateway=self._config.gateway.id, boot_id=self._boot_id, online=False, time_s=utc_s,
            agent_version=agent_version(), runtime=self._runtime, want_seq=self._orders.want_seq,
        )  # fmt: skip
        return self._topic, encode(state)

    def _point_counters(self) -> dict[str, dict[str, int]]:
        return {
            point.name: dict(counters)
            for point, counters in zip(self._config.points, self._intake.point_counters, strict=True)
        }

    def write_status(self, utc_s: float) -> None:
        """Write the status file. Raises: StorageError."""
        status = Status(
            state=self.state(utc_s),
            connected=self._transport.connected,
            frames=self._point_counters(),
            outbox_in_flight=self._outbox.in_flight,
        )
        write_atomically(self._config.gateway.state_dir / STATUS_FILE, status.to_bytes(), durable=False)


def _shape(state: AgentState) -> object:
    """What of the state is worth telling at once."""
    return (
        [_steady(slot) for slot in state.slots],
        state.want_seq,
        [(point.verdict, point.warmup_left == 0) for point in state.points],
        sorted(state.counters),
        {name: n for name, n in state.counters.items() if name.startswith(("refused.", "slot"))},
    )


def _steady(slot: SlotState) -> SlotState:
    """Without what changes with every window: how a bundle behaves goes up with the heartbeat."""
    error = _NUMBER.sub("#", slot.error) if slot.error is not None else None
    return msgspec.structs.replace(slot, champion=None, candidate=None, error=error)

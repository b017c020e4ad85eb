"""A broker in memory that implements the agent's transport, with the faults of a real network on request.

    broker = FakeBroker(rng)
    agent = broker.transport(frames_prefix)
    broker.publish(topic, payload, retain=True)      # as the hub or a node would
    broker.loss = 0.2                                # from now on every fifth delivery is lost

Deliveries happen at once, in the caller's thread, which keeps tests deterministic.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from edge_agent.wire import Inbox, Incoming


def matches(pattern: str, topic: str) -> bool:
    """Whether a topic fits a subscription filter (MQTT 3.1.1, section 4.7)."""
    wanted, levels = pattern.split("/"), topic.split("/")
    for at, level in enumerate(wanted):
        if level == "#":
            return True
        if at >= len(levels) or level not in {"+", levels[at]}:
            return False
    return len(wanted) == len(levels)


@dataclass
class FakeBroker:
    """`loss`, `duplicate`, `reorder`: probabilities per delivery. `log`: everything published, in order."""

    rng: random.Random = field(default_factory=lambda: random.Random(1))
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    retained: dict[str, bytes] = field(default_factory=dict)
    log: list[tuple[str, bytes, bool]] = field(default_factory=list)
    clients: list[FakeTransport] = field(default_factory=list)
    listeners: list[Callable[[str, bytes], None]] = field(default_factory=list)

    def transport(self, frames_prefix: str, will: tuple[str, bytes] | None = None) -> FakeTransport:
        """A client that is not connected yet."""
        client = FakeTransport(self, Inbox(frames_prefix), will)
        self.clients.append(client)
        return client

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Deliver to whoever is subscribed, and keep it if asked to (an empty payload clears)."""
        self.log.append((topic, payload, retain))
        if retain:
            if payload:
                self.retained[topic] = payload
            else:
                self.retained.pop(topic, None)
        for listener in list(self.listeners):
            listener(topic, payload)
        for client in self.clients:
            if client.connected and any(matches(f, topic) for f in client.filters):
                self.deliver(client, Incoming(topic, payload, retained=False))

    def deliver(self, client: FakeTransport, message: Incoming) -> None:
        """One delivery, with the faults that are switched on."""
        if self.rng.random() < self.loss:
            return
        for _ in range(1 + (self.rng.random() < self.duplicate)):
            if self.rng.random() < self.reorder:
                client.late.append(message)
            else:
                client.inbox.put(message)
                while client.late:
                    client.inbox.put(client.late.pop())

    def sent(self, topic: str) -> list[bytes]:
        """Payloads that were published under a topic, in order."""
        return [payload for name, payload, _ in self.log if name == topic]


@dataclass
class FakeTransport:
    """Implements `edge_agent.wire.Transport`. `cut` and `mend` are the network's; `die` is a kill -9."""

    broker: FakeBroker
    inbox: Inbox
    will: tuple[str, bytes] | None = None
    filters: dict[str, int] = field(default_factory=dict)
    late: list[Incoming] = field(default_factory=list)
    connected: bool = False
    connections: int = 0

    def start(self) -> None:
        self.mend()

    def mend(self) -> None:
        """The connection comes (back) up: subscriptions are made anew, retained messages come again."""
        self.connected = True
        self.connections += 1
        self._send_retained(self.filters)

    def cut(self) -> None:
        """The connection is lost; what was under way is lost too."""
        self.connected = False
        self.late.clear()

    def die(self) -> None:
        """The process is gone without a farewell: the broker publishes the last will."""
        self.cut()
        self.broker.clients.remove(self)
        if self.will is not None:
            self.broker.publish(self.will[0], self.will[1], retain=True)

    def subscribe(self, filters: Iterable[str], qos: int = 1) -> None:
        added = dict.fromkeys(filters, qos)
        self.filters.update(added)
        if self.connected:
            self._send_retained(added)

    def _send_retained(self, filters: Iterable[str]) -> None:
        for pattern in list(filters):
            for topic, payload in list(self.broker.retained.items()):
                if matches(pattern, topic):
                    self.broker.deliver(self, Incoming(topic, payload, retained=True))

    def unsubscribe(self, filters: Iterable[str]) -> None:
        for pattern in filters:
            self.filters.pop(pattern, None)

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> bool:
        if not self.connected:
            return False
        self.broker.publish(topic, payload, retain=retain)
        return True

    def close(self, farewell: tuple[str, bytes] | None = None) -> None:
        if farewell is not None and self.connected:
            self.broker.publish(farewell[0], farewell[1], retain=True)
        self.connected = False
        if self in self.broker.clients:
            self.broker.clients.remove(self)

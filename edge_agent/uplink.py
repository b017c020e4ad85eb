"""What goes up to the hub: acks, events, trends, captures. Bounded while offline, resent until receipted."""

from __future__ import annotations

from collections import deque

from edge_agent.captures import Captures
from edge_agent.outbox import Outbox
from edge_agent.wire import Transport
from models.contract import topics
from models.contract.ids import GatewayId
from models.contract.messages import Ack, Health, ReceiptBody, encode

GATHER_S = 5.0
_MAX_ACKS = 200


class Uplink:
    """Hands to the transport what is due. Acks are told once: the reported state says the same, and is retained."""

    def __init__(self, transport: Transport, gateway: GatewayId, outbox: Outbox, captures: Captures) -> None:
        self._transport = transport
        self._outbox = outbox
        self._captures = captures
        self._acks: deque[Ack] = deque(maxlen=_MAX_ACKS)
        self._next_gather_s = 0.0
        self._ack_topic = topics.topic_of(topics.Ack(gateway))
        self._capture_topic = topics.topic_of(topics.Capture(gateway))
        self._item_topics = {
            "event": topics.topic_of(topics.Event(gateway)),
            "trend": topics.topic_of(topics.Trend(gateway)),
        }

    def ack(self, ack: Ack) -> None:
        """Tell this as soon as there is a connection; the oldest goes when too many wait."""
        self._acks.append(ack)

    def reconnected(self) -> None:
        """Nothing that was under way may be counted on."""
        self._outbox.forget_in_flight()
        self._captures.forget_in_flight()

    def receipt(self, receipt: ReceiptBody) -> None:
        """The hub has stored these. Raises: StorageError."""
        self._captures.receipt(receipt.chunks)
        self._outbox.receipt(receipt.events)

    def send(self, now_s: float, health: Health | None) -> None:
        """Publish what is due, as far as the transport takes it. Raises: StorageError: the outbox cannot be read."""
        if not self._transport.connected:
            return
        while self._acks and self._transport.publish(self._ack_topic, encode(self._acks[0])):
            self._acks.popleft()
        for chunk, payload in self._captures.due(now_s):
            self._captures.mark_sent(chunk, now_s, sent=self._transport.publish(self._capture_topic, payload))
        gather = now_s >= self._next_gather_s
        if gather:
            self._next_gather_s = now_s + GATHER_S
        for key, item in self._outbox.due(now_s, health, gather=gather):
            if not self._transport.publish(self._item_topics[item.kind], item.payload):
                return
            self._outbox.mark_sent(key, now_s, len(item.payload))

"""The fetches of all slots on the wire: subscribed to exactly the chunks that are missing next, and asking the hub for
blocks where those do not come.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection

from edge_agent.delivery import SlotDelivery
from edge_agent.wire import Incoming, Transport
from models.contract import topics
from models.contract.ids import GatewayId
from models.contract.messages import BlockBody, decode, encode
from models.errors import ContractError

log = logging.getLogger(__name__)


class Fetches:
    """Between the deliveries and the transport. `counters`: what came and was not wanted."""

    def __init__(self, transport: Transport, gateway: GatewayId, deliveries: Collection[SlotDelivery]) -> None:
        self._transport = transport
        self._gateway = gateway
        self._deliveries = deliveries
        self._chunk_topics: dict[str, tuple[str, int]] = {}
        self._get_topic = topics.topic_of(topics.Get(gateway))
        self.counters: Counter[str] = Counter()

    def take(self, message: Incoming, now_s: float) -> None:
        """A message on a topic that is none of the agent's fixed ones."""
        chunk = self._chunk_topics.get(message.topic)
        if chunk is None:
            self.counters["ignored.unasked_topic"] += 1
        elif not any(delivery.chunk(*chunk, message.payload, now_s) for delivery in self._deliveries):
            self.counters["ignored.chunk"] += 1

    def take_block(self, message: Incoming, now_s: float) -> None:
        """An answer of the hub's."""
        if message.retained:
            self.counters["ignored.retained_block"] += 1
            return
        try:
            block = decode(BlockBody, message.payload, message.topic)
        except ContractError as error:
            self.counters["refused.block"] += 1
            log.warning("%s", error)
            return
        if not any(delivery.block(block, now_s) for delivery in self._deliveries):
            self.counters["ignored.block"] += 1

    def poll(self, now_s: float) -> None:
        """Ask for what is missing next."""
        wanted: dict[str, tuple[str, int]] = {}
        for delivery in self._deliveries:
            if delivery.fetcher is not None:
                sha256 = delivery.fetcher.wanted.sha256
                for index in delivery.fetcher.missing():
                    wanted[topics.topic_of(topics.Chunk(sha256, index))] = (sha256, index)
        gone = self._chunk_topics.keys() - wanted.keys()
        fresh = wanted.keys() - self._chunk_topics.keys()
        self._chunk_topics = wanted
        if gone:
            self._transport.unsubscribe(sorted(gone))
        if fresh:
            self._transport.subscribe(sorted(fresh), qos=1)
        if self._transport.connected:
            for delivery in self._deliveries:
                body = delivery.request(now_s, self._gateway)
                if body is not None and self._transport.publish(self._get_topic, encode(body)):
                    self.counters["blocks.asked"] += 1

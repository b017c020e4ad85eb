"""Answering gateways that could not get a file as retained chunks: block by block, at a bounded rate.

Such a request says that a retained chunk is missing or is not what was published, so the chunk is also published anew,
for everybody, but each at most once in a while. Only published bundles are sent, and nothing here is trusted by a
gateway: it checks the file against the signed digest.
"""

from __future__ import annotations

import hashlib
import logging
import queue
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

from cloud_hub.errors import LinkError
from cloud_hub.settings import Settings
from cloud_hub.transport import Incoming, Link
from models.bundle.archive import SUFFIX
from models.contract import topics
from models.contract.messages import CHUNK_BYTES, DIGEST_BYTES, BlockBody, GetBody, decode, encode
from models.errors import ContractError

_log = logging.getLogger(__name__)

MAX_BLOCKS = 16
"""Of one request, so many blocks are sent; the gateway asks again for the rest."""

GATEWAY_BYTES_S = 128 * 1024
ALL_BYTES_S = 4 * 2**20
HEAL_AGAIN_S = 60.0
_MAX_KNOWN = 4096
_WAIT_S = 0.5


class Allowance:
    """A token bucket: `rate` a second, saved up for `seconds` at most."""

    def __init__(self, rate: float, seconds: float = 4.0) -> None:
        self._rate = rate
        self._most = rate * seconds
        self._left = self._most
        self._at_s: float | None = None

    def take(self, amount: int, now_s: float) -> bool:
        """Whether so much may be spent now; it then is."""
        if self._at_s is not None:
            self._left = min(self._most, self._left + max(0.0, now_s - self._at_s) * self._rate)
        self._at_s = now_s
        if self._left < amount:
            return False
        self._left -= amount
        return True


class BlockDesk:
    """Requests in, messages out: (topic, payload, retain). No broker, no clock."""

    def __init__(self, bundles_dir: Path) -> None:
        self._bundles_dir = bundles_dir
        self._all = Allowance(ALL_BYTES_S)
        self._gateways: OrderedDict[str, Allowance] = OrderedDict()
        self._healed: OrderedDict[tuple[str, int], float] = OrderedDict()
        self.counters: Counter[str] = Counter()

    def answer(self, topic: str, payload: bytes, now_s: float) -> Iterator[tuple[str, bytes, bool]]:
        """What to publish. A request that is malformed, foreign, for an unknown file or over the rate gives nothing and
        is counted; the gateway asks again.
        """
        try:
            address = topics.address_of(topic)
            if not isinstance(address, topics.Get):
                return
            get = decode(GetBody, payload, topic)
        except ContractError as error:
            self._refuse("malformed", str(error))
            return
        if get.gateway != address.gateway:
            self._refuse("foreign", f"{topic}: expected a request of {address.gateway}, got one of {get.gateway}")
            return
        path = self._bundles_dir / f"{get.sha256}{SUFFIX}"
        if not path.is_file():
            self._refuse("unknown", f"{topic}: no bundle {get.sha256} was published here")
            return
        for block in self._blocks(get, path):
            if not self._may_send(get.gateway, len(block.data), now_s):
                self._refuse("over_rate", f"{topic}: {get.gateway} asks for more than {GATEWAY_BYTES_S} bytes/s")
                return
            self.counters["sent"] += 1
            yield topics.topic_of(topics.Block(address.gateway)), encode(block), False
            if block.index is not None and self._may_heal(get.sha256, block.index, now_s):
                self.counters["healed"] += 1
                yield topics.topic_of(topics.Chunk(get.sha256, block.index)), block.data, True

    def _blocks(self, get: GetBody, path: Path) -> Iterator[BlockBody]:
        with path.open("rb") as file:
            if get.digests:
                digests = bytearray()
                while chunk := file.read(CHUNK_BYTES):
                    digests += hashlib.sha256(chunk).digest()[:DIGEST_BYTES]
                yield BlockBody(sha256=get.sha256, data=bytes(digests))
                return
            for index in get.blocks()[:MAX_BLOCKS]:
                file.seek(index * CHUNK_BYTES)
                data = file.read(CHUNK_BYTES)
                if data:
                    yield BlockBody(sha256=get.sha256, index=index, data=data)

    def _may_send(self, gateway: str, size: int, now_s: float) -> bool:
        allowance = self._gateways.pop(gateway, None) or Allowance(GATEWAY_BYTES_S)
        self._gateways[gateway] = allowance
        if len(self._gateways) > _MAX_KNOWN:  # the one quiet for longest goes
            self._gateways.popitem(last=False)
        return allowance.take(size, now_s) and self._all.take(size, now_s)

    def _may_heal(self, sha256: str, index: int, now_s: float) -> bool:
        key = (sha256, index)
        last_s = self._healed.pop(key, None)
        may = last_s is None or now_s - last_s >= HEAL_AGAIN_S
        self._healed[key] = now_s if may or last_s is None else last_s
        if len(self._healed) > _MAX_KNOWN:
            self._healed.popitem(last=False)
        return may

    def _refuse(self, reason: str, text: str) -> None:
        self.counters[reason] += 1
        _log.debug("%s", text)


class BlockService:
    """The desk at work: a thread with a link of its own, so that a gateway's repair never waits for the store."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self.desk = BlockDesk(settings.bundles_dir)
        self._clock = clock
        self._link = Link(settings, f"hub-{settings.fleet}-blocks")
        self._link.subscribe(get_filters())
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="blocks", daemon=True)

    def start(self) -> None:
        """Begin; the broker may come later."""
        self._thread.start()

    def listening(self, timeout_s: float) -> bool:
        """Whether the broker has granted the subscriptions, within this time."""
        deadline = time.monotonic() + timeout_s
        while not self._link.listening and time.monotonic() < deadline:
            self._stop.wait(0.02)
        return self._link.listening

    def stop(self) -> None:
        """End, and leave the broker."""
        self._stop.set()
        self._thread.join(10.0)
        self._link.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._link.connect(timeout_s=5.0)
                break
            except LinkError as error:
                _log.warning("%s; trying again", error)
                self._stop.wait(2.0)
        while not self._stop.is_set():
            try:
                self._serve(self._link.incoming.get(timeout=_WAIT_S))
            except queue.Empty:
                continue
            except (LinkError, OSError) as error:
                _log.warning("blocks: %s; the gateway will ask again", error)

    def _serve(self, message: Incoming) -> None:
        if message.retained:  # nobody retains a request but somebody who wants us to send for ever
            self.desk.counters["retained"] += 1
            return
        for topic, payload, retain in self.desk.answer(message.topic, message.payload, self._clock()):
            self._link.publish(topic, payload, retain=retain)


def get_filters() -> list[str]:
    """Subscription filters for the requests of all gateways."""
    return [f.removesuffix("+") + "get" for f in topics.up_filters()]

"""A gateway that only delivers: the contract's topics and messages, the agent's own choice of chunks and its own trust
code, on one asyncio socket. A thousand fit into a process.

What it leaves out of an agent: sensors, the network's replay, and a process for each question about trust; the same
functions run here, once per metadata message, because two refreshes with the same metadata give the same answer.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from cloud_hub.broker import packets
from cloud_hub.broker.packets import Kind, Packet, Reader, Will
from edge_agent import trust_worker
from edge_agent.fetch import ChunkFetcher
from edge_agent.trust_messages import WantQuestion
from models.contract import topics
from models.contract.ids import FleetId, GatewayId
from models.contract.messages import Ack, AgentState, Phase, WantBody, WantedBundle, decode, encode

_BOOT = "00000000000000aa"
_AGAIN_S = 0.2
_BYTES_RECEIVED = 128  # offset of tcpi_bytes_received in struct tcp_info, linux/tcp.h


class Timeline(msgspec.Struct, kw_only=True):
    """When a client did what (CLOCK_MONOTONIC, seconds), and what it cost. `received`: bytes that the kernel took from
    the network for it, whether it ever read them or not, over all its connections.
    """

    gateway: str
    wanted_s: float = 0.0
    fetched_s: float = 0.0
    verified_s: float = 0.0
    trust_s: float = 0.0
    received: int = 0
    connections: int = 0
    error: str | None = None


@dataclass
class LightClient(asyncio.Protocol):
    """One gateway. `folder` holds its root.json. `cut_after`: lose the link once, when so many bytes have come."""

    gateway: GatewayId
    fleet: FleetId
    port: int
    folder: Path
    ready: Callable[[], None]
    done: Callable[[Timeline], None]
    cut_after: int | None = None
    timeline: Timeline = field(init=False)
    _transport: asyncio.Transport | None = None

    def __post_init__(self) -> None:
        self.timeline = Timeline(gateway=self.gateway)
        self._reader = Reader()
        self._metadata: bytes | None = None
        self._envelope: bytes | None = None
        self._trust: trust_worker.Trust | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._want: WantBody | None = None
        self._fetcher: ChunkFetcher | None = None
        self._asked: set[int] = set()
        self._packet_id = 0
        self._read = 0
        self._out = bytearray()
        self._was_ready = False
        self._finished = False

    async def connect(self) -> None:
        """Connect; what follows comes from the network."""
        await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self.port)

    # ---------------------------------------------------------------------------------------------- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._reader, self._asked = transport, Reader(), set()
        self.timeline.connections += 1
        dead = AgentState(gateway=self.gateway, boot_id=_BOOT, online=False, time_s=0.0)
        will = Will(topics.topic_of(topics.State(self.gateway)), encode(dead))
        transport.write(packets.connect(self.gateway, will=will, keepalive_s=600))

    def data_received(self, data: bytes) -> None:
        self._read += len(data)
        if self.cut_after is not None and self._read >= self.cut_after:
            self._cut()
            return
        try:
            for packet in self._reader.feed(data):
                self._take(packet)
            self._go_on()
            self._flush()
        except Exception as error:  # noqa: BLE001 - told in the result, which fails the run
            self._end(f"{type(error).__name__}: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._finished and self.timeline.connections == 1 and self.cut_after is None and self._was_cut:
            asyncio.get_running_loop().call_later(_AGAIN_S, lambda: asyncio.ensure_future(self.connect()))
        elif not self._finished:
            self._end(f"the broker hung up: {exc}")

    @property
    def _was_cut(self) -> bool:
        return self.timeline.received > 0

    # ------------------------------------------------------------------------------------------------- MQTT's side

    def _take(self, packet: Packet) -> None:
        match packet.kind:
            case Kind.CONNACK:
                if packet.body[1]:
                    raise RuntimeError(f"refused with {packet.body[1]}")
                self._subscribe(
                    [topics.topic_of(topics.Metadata(self.fleet)), topics.topic_of(topics.Want(self.gateway))]
                )
            case Kind.SUBACK:
                if 128 in packet.body[2:]:
                    raise RuntimeError("a subscription was refused")
                if not self._was_ready:
                    self._was_ready = True
                    self.ready()
            case Kind.PUBLISH:
                message = packets.published(packet)
                if message.packet_id:
                    self._write(packets.puback(message.packet_id))
                self._message(message.topic, message.payload)
            case _:
                pass

    def _message(self, topic: str, payload: bytes) -> None:
        match topics.address_of(topic):
            case topics.Metadata():
                self._metadata, self._trust = payload, None
            case topics.Want():
                self._envelope = payload
                self.timeline.wanted_s = self.timeline.wanted_s or time.monotonic()
            case topics.Chunk(sha256=sha256, index=index):
                fetcher = self._fetcher
                if fetcher is not None and sha256 == fetcher.wanted.sha256:
                    fetcher.accept(index, payload, time.monotonic())
            case other:
                raise RuntimeError(f"{other}: nobody asked for this")

    def _write(self, data: bytes) -> None:
        self._out += data

    def _flush(self) -> None:
        """All answers to what was read go out together: one system call, one wake-up of the broker."""
        if self._out and self._transport is not None and not self._transport.is_closing():
            self._transport.write(bytes(self._out))
        self._out.clear()

    def _next_id(self) -> int:
        self._packet_id = self._packet_id % 65535 + 1
        return self._packet_id

    def _subscribe(self, filters: list[str]) -> None:
        self._write(packets.subscribe(self._next_id(), filters))

    # ------------------------------------------------------------------------------------------- the delivery's side

    def _go_on(self) -> None:
        if self._finished:
            return
        if self._fetcher is None and self._metadata is not None and self._envelope is not None:
            self._begin(self._metadata, self._envelope)
        fetcher = self._fetcher
        if fetcher is None or self._want is None:
            return
        self._ask(fetcher)
        if fetcher.complete:
            self.timeline.fetched_s = time.monotonic()
            self._ack("fetched")
            self._verify(fetcher.wanted, fetcher.part)
            self._ack("verified")
            self._flush()
            self._end(None)

    def _begin(self, metadata: bytes, envelope: bytes) -> None:
        began = time.perf_counter()
        trust = self._trusting(metadata)
        signed = trust_worker.verify_envelope(trust, envelope, "want")
        want = decode(WantBody, signed, "want")
        trust_worker.check_want(want, self.gateway, 0, trust.now_s, trust.valid_until_s)
        self.timeline.trust_s += time.perf_counter() - began
        self._want = want
        self._ack("seen")
        wanted = want.bundles[0]
        self._fetcher = ChunkFetcher(wanted, self.folder / f"{wanted.sha256}.part", 60.0, time.monotonic())
        self._ack("fetching")

    def _trusting(self, metadata: bytes) -> trust_worker.Trust:
        if self._trust is None:
            question = WantQuestion(
                folder=str(self.folder), metadata=metadata, now_s=time.time(), envelope=b"", gateway=self.gateway,
                last_seq=0,
            )  # fmt: skip
            self._scratch = tempfile.TemporaryDirectory(dir=self.folder)
            self._trust = trust_worker.Trust(question, Path(self._scratch.name))
        return self._trust

    def _ask(self, fetcher: ChunkFetcher) -> None:
        """Subscribe to what is missing next, unsubscribe from what has come: the agent's step, once per read."""
        missing, sha256 = fetcher.missing(), fetcher.wanted.sha256
        gone, new = self._asked - missing, missing - self._asked
        if gone:
            self._write(
                packets.unsubscribe(self._next_id(), [topics.topic_of(topics.Chunk(sha256, i)) for i in sorted(gone)])
            )
        if new:
            self._subscribe([topics.topic_of(topics.Chunk(sha256, i)) for i in sorted(new)])
        self._asked = missing

    def _verify(self, wanted: WantedBundle, part: Path) -> None:
        assert self._metadata is not None
        began = time.perf_counter()
        target = trust_worker.find_target(self._trusting(self._metadata), wanted)
        trust_worker.install(target, part, self.folder / f"{wanted.sha256}.mwb")
        self.timeline.trust_s += time.perf_counter() - began
        self.timeline.verified_s = time.monotonic()

    def _ack(self, phase: Phase) -> None:
        assert self._want is not None
        ack = Ack(
            gateway=self.gateway, seq=self._want.seq, slot=self._want.bundles[0].slot, phase=phase, time_s=time.time()
        )
        self._write(packets.publish(topics.topic_of(topics.Ack(self.gateway)), encode(ack), packet_id=self._next_id()))

    # -------------------------------------------------------------------------------------------------- the end

    def _count(self) -> None:
        if self._transport is None:
            return
        sock = self._transport.get_extra_info("socket")
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        self.timeline.received += struct.unpack_from("<Q", info, _BYTES_RECEIVED)[0]

    def _cut(self) -> None:
        """The link breaks: nothing is said, what is on its way is lost."""
        assert self._transport is not None
        self._count()
        self.cut_after = None
        self._transport.abort()

    def _end(self, error: str | None) -> None:
        if self._finished:
            return
        self._finished = True
        self.timeline.error = error
        if error is None:
            self._count()
        if self._scratch is not None:
            self._scratch.cleanup()
        self.done(self.timeline)

    def leave(self) -> None:
        """A farewell, after which no will is published."""
        self._finished = True
        self._write(packets.disconnect())
        self._flush()
        if self._transport is not None:
            self._transport.close()

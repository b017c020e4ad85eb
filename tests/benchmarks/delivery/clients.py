"""A process full of clients of one kind. It says "ready" when all listen, and one line of JSON when all have finished.

`ours`: light clients, which verify. The peers only count bytes: `retained` subscribes to the whole file as one retained
message; `pull` asks the hub for blocks of its own, four at a time.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from cloud_hub.broker import packets
from cloud_hub.broker.packets import Kind, Reader
from models.contract.ids import FleetId, GatewayId
from models.contract.messages import CHUNK_BYTES
from tests.simulators.light_client import LightClient, Timeline

WHOLE = "bench/whole"
AHEAD = 4
_TOGETHER = 50
_AGAIN_S = 0.2


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """What the process is to be. `cut`: every so many-th client loses its link midway, 0 for none."""

    kind: str
    port: int
    first: int
    count: int
    length: int
    root: str
    fleet: str = "plant"
    cut: int = 0
    limit_s: float = 240.0


class PeerClient(asyncio.Protocol):
    """Takes the file in the way that `kind` says, without verifying anything."""

    def __init__(self, kind: str, gateway: str, port: int, length: int, cut: bool, ready, done) -> None:
        self._kind, self.gateway, self._port, self._length = kind, gateway, port, length
        self._cut_at = length // 2 if cut else None
        self._ready, self._done = ready, done
        self.timeline = Timeline(gateway=gateway)
        self._reader, self._blocks, self._read, self._ids, self._over = Reader(), 0, 0, 0, False
        self._transport: asyncio.Transport | None = None

    async def connect(self) -> None:
        await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self._port)

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport, self._reader, self._read = transport, Reader(), 0
        self.timeline.connections += 1
        transport.write(packets.connect(self.gateway, keepalive_s=600))

    def _next_id(self) -> int:
        self._ids += 1
        return self._ids

    def data_received(self, data: bytes) -> None:
        self._read += len(data)
        if self._cut_at is not None and self._read >= self._cut_at:
            self._cut_at = None
            self._count()
            self._transport.abort()
            return
        for packet in self._reader.feed(data):
            if packet.kind == Kind.CONNACK:
                topic = WHOLE if self._kind == "retained" else f"bench/{self.gateway}/blk"
                self._transport.write(packets.subscribe(self._next_id(), [topic]))
            elif packet.kind == Kind.SUBACK:
                self._ready()
                if self.timeline.connections > 1 and self._kind == "pull":
                    self._request()
            elif packet.kind == Kind.PUBLISH:
                self._message(packets.published(packet))

    def _message(self, message: packets.Published) -> None:
        self._transport.write(packets.puback(message.packet_id))
        self.timeline.wanted_s = self.timeline.wanted_s or time.monotonic()
        if self._kind == "retained":
            self._finish()
        elif message.payload == b"begin":
            self._request()
        else:
            self._blocks += 1
            if self._blocks * CHUNK_BYTES >= self._length:
                self._finish()
            elif self._blocks % AHEAD == 0:
                self._request()

    def _request(self) -> None:
        self._blocks -= self._blocks % AHEAD
        asked = f"{self.gateway} {self._blocks}".encode()
        self._transport.write(packets.publish("bench/get", asked, packet_id=self._next_id()))

    def _finish(self) -> None:
        if self._over:
            return
        self._over = True
        self.timeline.fetched_s = self.timeline.verified_s = time.monotonic()
        self._count()
        self._done(self.timeline)

    _count = LightClient._count

    def connection_lost(self, exc: Exception | None) -> None:
        if self._over:
            return
        if self.timeline.connections > 1:
            self._over, self.timeline.error = True, f"the broker hung up: {exc}"
            self._done(self.timeline)
            return
        asyncio.get_running_loop().call_later(_AGAIN_S, lambda: asyncio.ensure_future(self.connect()))

    def leave(self) -> None:
        self._over = True
        self._transport.write(packets.disconnect())
        self._transport.close()


async def run(spec: Spec, folder: Path) -> tuple[list[Timeline], float]:
    """All clients of the process, from connecting to the last one's end; and the CPU time since they listened."""
    everybody, finished = asyncio.Event(), asyncio.Event()
    listening: set[str] = set()
    lines: list[Timeline] = []

    def make(index: int) -> LightClient | PeerClient:
        name = f"gw-{index}"
        cut = spec.cut > 0 and index % spec.cut == 0

        def ready() -> None:
            listening.add(name)
            if len(listening) == spec.count:
                everybody.set()

        def done(line: Timeline) -> None:
            lines.append(line)
            if len(lines) == spec.count:
                finished.set()

        if spec.kind != "ours":
            return PeerClient(spec.kind, name, spec.port, spec.length, cut, ready, done)
        home = folder / name
        home.mkdir()
        shutil.copyfile(spec.root, home / "root.json")
        half = spec.length // 2 + 1000 * index % CHUNK_BYTES  # anywhere in a chunk
        return LightClient(GatewayId(name), FleetId(spec.fleet), spec.port, home, ready, done, half if cut else None)

    clients = [make(spec.first + i) for i in range(spec.count)]
    for start in range(0, spec.count, _TOGETHER):
        await asyncio.gather(*(client.connect() for client in clients[start : start + _TOGETHER]))
    async with asyncio.timeout(spec.limit_s):
        await everybody.wait()
        began_s = time.process_time()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        try:
            await finished.wait()
        except asyncio.CancelledError:
            missing = {client.gateway for client in clients} - {line.gateway for line in lines}
            lines.extend(Timeline(gateway=name, error=f"not done in {spec.limit_s:g} s") for name in missing)
            return lines, time.process_time() - began_s
    cpu_s = time.process_time() - began_s
    for client in clients:
        client.leave()
    await asyncio.sleep(0.2)
    return lines, cpu_s


def main() -> None:
    """The process."""
    spec = msgspec.json.decode(sys.argv[1], type=Spec)
    # In memory: what is measured is the network and the verification, not this machine's disk under a thousand fsyncs.
    shm = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a folder of its own in there
    with tempfile.TemporaryDirectory(prefix="millwright-bench-", dir=shm) as folder:
        tempfile.tempdir = folder
        lines, cpu_s = asyncio.run(run(spec, Path(folder)))
    sys.stdout.write(json.dumps({"cpu_s": cpu_s, "lines": msgspec.to_builtins(lines)}) + "\n")


if __name__ == "__main__":
    main()

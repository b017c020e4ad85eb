"""What each way of delivery costs: bytes from the hub, bytes per gateway, time, and the broker's memory."""

from __future__ import annotations

import threading
import time

import msgspec
import numpy as np

from cloud_hub.broker.dialogue import BrokerAddress, Dialogue
from cloud_hub.delivery.publish import register_bundle, send_bundle
from cloud_hub.delivery.want import build_want, send_wants
from models.bundle.archive import read_bundle
from models.contract.messages import CHUNK_BYTES
from tests.benchmarks.delivery.clients import AHEAD, WHOLE
from tests.benchmarks.delivery.site import Site, results, site
from tests.simulators.bundles import make_bundle
from tests.simulators.light_client import Timeline


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """One way of delivery. Bytes as TCP payload, ratios against the file's length."""

    way: str
    gateways: int
    cut: int
    length: int
    hub_bytes: int
    wants_bytes: int
    mean_received: float
    max_received: int
    cut_mean_received: float | None
    broker_peak_mb: float
    first_to_last_s: float
    quantiles_s: dict[str, float]
    trust_ms: float
    clients_cpu_s: float
    broker_cpu_s: float
    hub_cpu_s: float = 0.0
    publish_s: float = 0.0
    wants_s: float = 0.0


def bundle_of(length: int) -> bytes:
    """A bundle of about so many bytes, incompressible as a real one nearly is."""
    overhead = len(make_bundle(model_bytes=1000)) - 1000
    return make_bundle(model_bytes=length - overhead)


def ours(gateways: int, length: int, cut: int = 0) -> Cost:
    """Chunks, metadata, wants: the hub's own code; light clients that verify."""
    data = bundle_of(length)
    with site() as here, here.link() as link, here.clients("ours", gateways, len(data), cut) as processes:
        now_s = time.time()
        repository = here.fleet.repository
        record = register_bundle(read_bundle(data, "bench"), data, repository, here.registry, here.folder, now_s)
        began = time.monotonic()
        send_bundle(record, data, repository, link, "plant")
        published, hub_bytes = time.monotonic(), here.proxy.sent
        bodies = [build_want(f"gw-{i}", {record.slot: record}, here.registry, now_s) for i in range(gateways)]
        first, hub_began_s = time.monotonic(), time.process_time()
        send_wants(bodies, repository, here.registry, link)
        sent, hub_cpu_s = time.monotonic(), time.process_time() - hub_began_s
        lines, cpu_s = results(processes)
        return _cost(
            "millwright: retained chunks", here, lines, cpu_s, data, cut, first, hub_bytes=hub_bytes,
            wants_bytes=here.proxy.sent - hub_bytes, publish_s=published - began, wants_s=sent - first,
            hub_cpu_s=hub_cpu_s,
        )  # fmt: skip


def retained(gateways: int, length: int, cut: int = 0) -> Cost:
    """The peer: the whole file as one retained message, there before the gateways come for it."""
    data = bundle_of(length)
    with site() as here, here.link() as link:
        link.publish(WHOLE, data, retain=True)
        first = time.monotonic()
        with here.clients("retained", gateways, len(data), cut) as processes:
            lines, cpu_s = results(processes)
            return _cost("one retained message", here, lines, cpu_s, data, cut, first, hub_bytes=here.proxy.sent)


def pull(gateways: int, length: int, cut: int = 0) -> Cost:
    """The peer: every device asks the hub for its own blocks."""
    data = bundle_of(length)
    with site() as here, here.clients("pull", gateways, len(data), cut) as processes:
        stop = threading.Event()
        address = BrokerAddress(host="127.0.0.1", port=here.proxy.port)
        with Dialogue(address, "pull-hub", 10.0) as hub:
            hub.subscribe("bench/get")
            server = threading.Thread(target=_serve_blocks, args=(hub, data, stop))
            first = time.monotonic()
            for index in range(gateways):
                hub.send(f"bench/gw-{index}/blk", b"begin")
            server.start()
            try:
                lines, cpu_s = results(processes)
            finally:
                stop.set()
                server.join(30)
        return _cost(
            "each device pulls through the hub", here, lines, cpu_s, data, cut, first, hub_bytes=here.proxy.sent
        )


def _serve_blocks(hub: Dialogue, data: bytes, stop: threading.Event) -> None:
    while not stop.is_set():
        request = hub.take("bench/get", 0.2)
        if request is None:
            continue
        gateway, first = request.payload.decode().split()
        for index in range(int(first), int(first) + AHEAD):
            block = data[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES]
            if block:
                hub.send(f"bench/{gateway}/blk", block)
        hub.forget_acknowledgements()


def _cost(
    way: str, here: Site, lines: list[Timeline], cpu_s: float, data: bytes, cut: int, first_s: float, *, hub_bytes: int,
    wants_bytes: int = 0, publish_s: float = 0.0, wants_s: float = 0.0, hub_cpu_s: float = 0.0,
) -> Cost:  # fmt: skip
    received = np.array([line.received for line in lines])
    took = np.array([line.verified_s for line in lines]) - first_s
    broken = np.array([line.connections > 1 for line in lines])
    if cut and not broken.sum():
        raise RuntimeError(f"{way}: no link was cut")
    return Cost(
        way=way, gateways=len(lines), cut=int(broken.sum()), length=len(data), hub_bytes=hub_bytes,
        wants_bytes=wants_bytes, mean_received=float(received.mean()), max_received=int(received.max()),
        cut_mean_received=float(received[broken].mean()) if broken.any() else None, broker_peak_mb=here.peak_mb(),
        first_to_last_s=float(took.max()),
        quantiles_s={f"{q:g}": float(np.percentile(took, q)) for q in (0, 10, 50, 90, 99, 100)},
        trust_ms=1000 * float(np.mean([line.trust_s for line in lines])), clients_cpu_s=cpu_s,
        broker_cpu_s=here.broker_cpu_s(), publish_s=publish_s, wants_s=wants_s, hub_cpu_s=hub_cpu_s,
    )  # fmt: skip

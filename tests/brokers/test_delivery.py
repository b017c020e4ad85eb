"""One delivery, unchanged, on every broker: `make test-brokers`. A real agent, the hub's own code, real signatures.

What a broker lacks is not assumed but probed, and told at the end of the run.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud_hub.broker.dialogue import BrokerAddress, Dialogue
from cloud_hub.broker.probe import Probe, Prober, as_json
from cloud_hub.delivery.blocks import BlockService
from cloud_hub.delivery.publish import register_bundle, send_bundle
from cloud_hub.delivery.want import build_want, send_want
from cloud_hub.settings import Settings
from cloud_hub.transport import Link
from models.bundle.archive import read_bundle
from models.contract import topics
from models.contract.messages import CHUNK_BYTES, Ack, AgentState, WantBody, decode
from tests.brokers.servers import DURABLE, KINDS, Server, missing, running
from tests.edge_agent.kit import CALIBRATION, GATEWAY, Node, bundle_bytes, healthy
from tests.edge_agent.live import LiveSite
from tests.simulators.registry import MemoryRegistry

pytestmark = [pytest.mark.brokers, pytest.mark.slow]
PADDING = 6 * CHUNK_BYTES
PHASES = ["seen", "fetching", "fetched", "verified", "replayed", "active", "confirmed"]


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    reason = missing(request.param)
    if reason is not None:
        pytest.skip(reason)
    with running(request.param, tmp_path_factory.mktemp(request.param) / "broker") as server:
        yield server


class Hub:
    """The hub's own code between a repository and a broker."""

    def __init__(self, site: LiveSite, folder: Path) -> None:
        self.repository = site.fleet.repository
        self.registry = MemoryRegistry()
        self.settings = Settings(home=folder, broker_host="127.0.0.1", broker_port=site.port)
        self.folder = self.settings.bundles_dir
        self.link = Link(self.settings, "millwright-hub-test")

    def publish(self, data: bytes) -> int:
        """Returns: bytes sent."""
        record = register_bundle(
            read_bundle(data, "new"), data, self.repository, self.registry, self.folder, time.time()
        )
        return send_bundle(record, data, self.repository, self.link, self.settings.fleet).bytes_sent

    def want(self, reference: str) -> WantBody:
        record = self.registry.find_bundle(reference)
        body = build_want(GATEWAY, {record.slot: record}, self.registry, time.time())
        send_want(body, self.repository, self.registry, self.link)
        return body


@pytest.fixture
def site(tmp_path: Path, server: Server) -> Iterator[LiveSite]:
    site = LiveSite(tmp_path, server.port)
    yield site
    for address in (topics.Want(GATEWAY), topics.State(GATEWAY)):  # the next test's gateway has the same name
        site.publish(topics.topic_of(address), b"", retain=True)
    site.close()


@pytest.fixture
def hub(site: LiveSite, tmp_path: Path) -> Iterator[Hub]:
    hub = Hub(site, tmp_path / "hub")
    hub.folder.mkdir(parents=True)
    with hub.link:
        yield hub


def retained(port: int, topic: str, patience_s: float = 3.0) -> bytes | None:
    """What somebody gets who subscribes now."""
    with Dialogue(BrokerAddress(host="127.0.0.1", port=port), "late", patience_s) as one:
        one.subscribe(topic)
        came = one.take(topic)
        return came.payload if came is not None else None


def phases(site: LiveSite, seq: int) -> list[str]:
    return [ack.phase for ack in site.got if isinstance(ack, Ack) and ack.seq == seq]


def go_live(site: LiveSite, hub: Hub, node: Node) -> WantBody:
    site.start()
    site.await_(AgentState, lambda state: state.online and state.time_s > 0)
    sent = hub.publish(bundle_bytes(padding=PADDING))
    assert len(bundle_bytes(padding=PADDING)) < sent < 1.1 * len(bundle_bytes(padding=PADDING))
    want = hub.want("pump-vibration/1.0.0")
    site.await_(Ack, lambda ack: ack.phase == "active" and ack.seq == want.seq)
    site.feed(CALIBRATION + 5, healthy, node)
    while "confirmed" not in phases(site, want.seq):  # it counts ticks with windows, not windows
        assert node.seq < 500, site.said()
        site.feed(1, healthy, node, pace_s=0.2)
    return want


def test_from_publishing_to_confirmed(site: LiveSite, hub: Hub):
    """Chunks, metadata and want, in this order; the agent fetches, verifies, runs and says so."""
    want = go_live(site, hub, Node())
    assert phases(site, want.seq) == PHASES
    installed = site.state_dir / "slots" / "pump-vibration" / f"{want.bundles[0].sha256}.mwb"
    assert installed.read_bytes() == bundle_bytes(padding=PADDING)
    assert site.stop() == 0


def test_a_forged_chunk_is_found_and_mended_for_all(site: LiveSite, hub: Hub):
    """Whoever writes to the broker can spoil a chunk: the gateway asks the hub for it, which mends the broker's, too."""
    blocks = BlockService(hub.settings)
    blocks.start()
    try:
        site.start()
        site.await_(AgentState, lambda state: state.online and state.time_s > 0)
        data = bundle_bytes(padding=PADDING)
        hub.publish(data)
        sha256 = read_bundle(data, "new").sha256
        topic = topics.topic_of(topics.Chunk(sha256, 1))
        chunk = data[CHUNK_BYTES : 2 * CHUNK_BYTES]
        forged = chunk[:-1] + bytes([chunk[-1] ^ 1])
        hub.link.publish(topic, forged, retain=True)
        assert retained(site.port, topic) == forged
        want = hub.want(sha256)
        site.await_(Ack, lambda ack: ack.phase == "active" and ack.seq == want.seq)
        assert "refused" not in phases(site, want.seq)
        assert phases(site, want.seq).count("fetching") == 2  # once more, for the one block
        assert retained(site.port, topic) == chunk
        installed = site.state_dir / "slots" / "pump-vibration" / f"{sha256}.mwb"
        assert installed.read_bytes() == data
        assert site.stop() == 0
    finally:
        blocks.stop()


def test_the_last_will_and_the_state_after_it(site: LiveSite, hub: Hub):
    go_live(site, hub, Node())
    site.forget()
    site.kill()
    site.await_(AgentState, lambda state: not state.online)
    topic = topics.topic_of(topics.State(GATEWAY))
    left = retained(site.port, topic)
    assert left is not None
    assert not decode(AgentState, left, topic).online
    site.start()
    back = site.await_(AgentState, lambda state: state.online and state.time_s > 0)
    assert back.slots[0].active_version == "1.0.0"
    assert site.stop() == 0


def test_a_want_that_is_cleared_is_gone(site: LiveSite, hub: Hub):
    hub.publish(bundle_bytes())
    hub.want("pump-vibration/1.0.0")
    topic = topics.topic_of(topics.Want(GATEWAY))
    assert retained(site.port, topic)
    hub.link.publish(topic, b"", retain=True)
    assert retained(site.port, topic, 1.0) is None
    site.start()
    site.await_(AgentState, lambda state: state.online and state.time_s > 0)
    site.feed(CALIBRATION, healthy, Node())
    assert [message for message in site.got if isinstance(message, Ack)] == []
    assert site.stop() == 0


def test_a_fetch_goes_on_after_a_cut(site: LiveSite, hub: Hub):
    """Some chunks are not there yet; the agent is killed while it waits, and goes on from its file."""
    site.start()
    site.await_(AgentState, lambda state: state.online and state.time_s > 0)
    data = bundle_bytes(padding=PADDING)
    hub.publish(data)
    sha256, last = read_bundle(data, "new").sha256, len(data) // CHUNK_BYTES
    topic = topics.topic_of(topics.Chunk(sha256, last))
    hub.link.publish(topic, b"", retain=True)
    want = hub.want(sha256)
    part = site.state_dir / "slots" / "pump-vibration" / f"{sha256}.part"
    deadline = time.monotonic() + 30
    while not part.exists() or part.stat().st_size < last * CHUNK_BYTES:
        assert time.monotonic() < deadline, site.said()
        time.sleep(0.05)
    site.kill()
    held = part.stat().st_ino
    site.forget()
    site.start()
    site.await_(AgentState, lambda state: state.online and state.time_s > 0)
    assert part.stat().st_ino == held, "it began anew"
    hub.link.publish(topic, data[last * CHUNK_BYTES :], retain=True)
    site.await_(Ack, lambda ack: ack.phase == "active" and ack.seq == want.seq)
    assert site.stop() == 0


def test_the_broker_restarts(site: LiveSite, hub: Hub, server: Server):
    """Agent and hub come back by themselves. What a broker forgets, publishing again mends."""
    first = go_live(site, hub, Node())
    hub.publish(bundle_bytes("2.0.0"))
    server.restart()
    deadline = time.monotonic() + 60
    while not hub.link.connected:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    topic = topics.topic_of(topics.Chunk(first.bundles[0].sha256, 0))
    if server.kind in DURABLE:
        assert retained(server.port, topic) == bundle_bytes(padding=PADDING)[:CHUNK_BYTES]
    else:
        assert retained(server.port, topic, 1.0) is None, "now it is durable: say so"
        hub.publish(bundle_bytes("2.0.0"))
    want = hub.want("pump-vibration/2.0.0")
    site.await_(Ack, lambda ack: ack.phase == "shadow" and ack.seq == want.seq, 60.0)
    assert site.stop() == 0


def test_what_it_lacks(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Delivery can work on each; what else is missing is told, and written to the folder in MILLWRIGHT_PROBES."""
    mark = tmp_path / "mark"
    address = BrokerAddress(host="127.0.0.1", port=server.port)
    first = Prober(address, patience_s=2.0).run(mark=mark)
    server.restart()
    second = Prober(address, patience_s=2.0).run(mark=mark)
    found = Probe(broker=server.kind, findings=[*first.findings[:-1], second.findings[-1]])
    peak_mb = server.peak_kb() / 1024
    lacks = "; ".join(f"{one.title} ({one.detail})" if one.detail else one.title for one in found.lacking)
    with capsys.disabled():
        print(f"\n{server.kind} lacks: {lacks or 'nothing'}; its process took {peak_mb:.0f} MB at most")  # noqa: T201
    if folder := os.environ.get("MILLWRIGHT_PROBES"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"{server.kind}.json").write_text(
            json.dumps(json.loads(as_json(found)) | {"peak_mb": peak_mb}, indent=1) + "\n"
        )
    assert found.delivers, [one for one in found.lacking if one.need == "delivery"]
    assert [one.name for one in second.lacking] == [one.name for one in found.lacking]

"""What the agent's tests share: a real small bundle, settings, a signal, trust without signatures, time by hand."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from cloud_hub.delivery.blocks import BlockDesk
from edge_agent import storage
from edge_agent.agent import Agent, Clock
from edge_agent.config import (
    BrokerSettings,
    Config,
    GatewaySettings,
    PointSettings,
    UpdateSettings,
)
from edge_agent.errors import TrustError
from edge_agent.install import load_network
from edge_agent.runtime import Runtime, find_runtime
from edge_agent.watch import Loaded
from models.bundle.archive import CARD, EVALUATION, MODEL, SBOM, golden_members, pack_bundle, read_bundle
from models.bundle.manifest import (
    CalibrationSpec,
    DecisionSpec,
    InputSpec,
    Manifest,
    NetworkSpec,
    Normalisation,
    Tensor,
)
from models.contract import topics
from models.contract.frames import FrameFlag, encode_counts
from models.contract.ids import FleetId, GatewayId, MachineId, NodeId, PointId, SlotId
from models.contract.messages import (
    CHUNK_BYTES,
    Ack,
    AgentState,
    AlarmEvent,
    CommandBody,
    Envelope,
    Message,
    ReceiptBody,
    Signature,
    TrendBatch,
    WantBody,
    WantedBundle,
    decode,
    decode_command,
    encode,
)
from models.errors import MillwrightError
from models.signal.features import FeatureExtractor
from models.signal.score import Scorer
from tests.simulators.bundles import make_manifest
from tests.simulators.fake_broker import FakeBroker, FakeTransport

DATA = Path(__file__).parent / "data"
GATEWAY = GatewayId("gw-1")
FLEET = FleetId("plant")
SLOT = SlotId("pump-vibration")
RATE_HZ = 12_000.0
WINDOW = 256
CALIBRATION = 10
UTC = 1_800_000_000.0
SCALE = 0.001


@functools.cache
def model_bytes() -> bytes:
    return (DATA / "dense8.tflite").read_bytes()


@functools.cache
def runtime() -> Runtime:
    return find_runtime("auto")


def network_spec(model: bytes | None = None) -> NetworkSpec:
    """Both ends of a model as its file says."""
    interpreter = runtime().interpreter(model or model_bytes(), 1, "test")

    def tensor(details: dict[str, Any]) -> Tensor:
        scale, zero_point = details["quantization"]
        return Tensor(size=int(details["shape"][1]), scale=float(scale), zero_point=int(zero_point))

    return NetworkSpec(
        input=tensor(interpreter.get_input_details()[0]), output=tensor(interpreter.get_output_details()[0])
    )


def healthy(n: int, rng: np.random.Generator, axes: int = 1) -> np.ndarray:
    """Noise of RMS 1: (n, axes) float32."""
    return rng.normal(0.0, 1.0, (n, axes)).astype(np.float32)


def faulty(n: int, rng: np.random.Generator) -> np.ndarray:
    """The same with a loud tone."""
    tone = 8.0 * np.sin(2 * np.pi * 2000.0 * np.arange(n) / RATE_HZ)
    return (healthy(n, rng) + tone[:, None]).astype(np.float32)


@functools.cache
def manifest(version: str = "1.0.0", slot: str = SLOT, calibration: int = CALIBRATION) -> Manifest:
    """The simulators' manifest around our model, normalised on healthy noise. `calibration`: in windows; the few that
    tests have time for leave the limit to chance.
    """
    base = make_manifest(slot, version, WINDOW)
    source = InputSpec(quantity="acceleration", units="m/s2", axes=["x"], rate_hz=RATE_HZ, window=WINDOW, hop=WINDOW)
    windows = healthy(WINDOW * 64, np.random.default_rng(3)).reshape(64, WINDOW, 1)
    features = FeatureExtractor(base.features, source)(windows)
    return msgspec.structs.replace(
        base,
        input=source,
        network=network_spec(),
        normalisation=Normalisation(mean=features.mean(axis=0).tolist(), scale=features.std(axis=0).tolist()),
        calibration=CalibrationSpec(windows=calibration, z=4.0, min_spread=0.1),
        decision=DecisionSpec(n=2, m=3, clear_windows=3),
    )


@functools.cache
def bundle_bytes(
    version: str = "1.0.0",
    slot: str = SLOT,
    wrong_scores: bool = False,
    padding: int = 0,
    calibration: int = CALIBRATION,
) -> bytes:
    """A bundle that runs here, with true golden vectors (or not)."""
    made = manifest(version, slot, calibration)
    network = runtime().load(model_bytes(), made.network, "test")
    windows = healthy(WINDOW * 4, np.random.default_rng(5)).reshape(4, WINDOW, 1)
    scorer = Scorer(made, network)
    features = scorer.extract(windows)
    scores = scorer.score(features).raw * (2.0 if wrong_scores else 1.0)
    return pack_bundle(
        made,
        {
            MODEL: model_bytes(),
            **golden_members(windows, features, scores),
            EVALUATION: b"{}",
            CARD: b"# Card\n" + b"x" * padding,
            SBOM: b"{}",
        },
    )


def loaded(version: str = "1.0.0") -> Loaded:
    return load_network(read_bundle(bundle_bytes(version), "test"), runtime())


def wanted(data: bytes) -> WantedBundle:
    bundle = read_bundle(data, "test")
    return WantedBundle(
        slot=bundle.manifest.slot,
        target=f"{bundle.manifest.slot}/{bundle.sha256[:16]}.mwb",
        sha256=bundle.sha256,
        length=bundle.length,
        version=bundle.manifest.version,
    )


def point(name: str = "de", machine: str = "P-101", node: str = "node-1", **changes: Any) -> PointSettings:
    fields: dict[str, Any] = {
        "machine": MachineId(machine), "point": PointId(name), "slot": SLOT, "node": NodeId(node), "axes": ("x",),
        "units": "m/s2", "quantity": "acceleration", "rate_hz": RATE_HZ,
    }  # fmt: skip
    return PointSettings(**fields | changes)


def config(state_dir: Path, *points: PointSettings, **changes: Any) -> Config:
    fields: dict[str, Any] = {
        "gateway": GatewaySettings(GATEWAY, FLEET, state_dir),
        "broker": BrokerSettings(),
        "points": points or (point(),),
        "trend_span_s": 0.5,
        "update": UpdateSettings(confirm_ticks=3, max_starts=3, stall_s=20.0),
    }
    return Config(**fields | changes)


def config_toml(state_dir: Path, port: int, *, root: Path | None = None, points: int = 1) -> str:
    """The same as a file."""
    lines = [
        "[gateway]", 'id = "gw-1"', 'fleet = "plant"', f'state_dir = "{state_dir}"',
        "[broker]", 'host = "127.0.0.1"', f"port = {port}", "[trend]", "span_s = 0.5",
        "[update]", "confirm_ticks = 3",
    ]  # fmt: skip
    if root is not None:
        lines += ["[trust]", f'root = "{root}"']
    for at in range(points):
        lines += [
            "[[point]]", 'machine = "P-101"', f'point = "de{at or ""}"', f'slot = "{SLOT}"', f'node = "node-{at + 1}"',
            'axes = ["x"]', 'units = "m/s2"', 'quantity = "acceleration"', f"rate_hz = {RATE_HZ}",
        ]  # fmt: skip
    return "\n".join(lines) + "\n"


@dataclass
class Node:
    """A sensor board: frames of int16 counts in order, with faults on request."""

    name: str = "node-1"
    boot_id: int = 1
    seq: int = 0
    clock: int = 0
    rate_hz: float = RATE_HZ
    port: int = 0

    @property
    def topic(self) -> str:
        return topics.topic_of(topics.Frames(GATEWAY, NodeId(self.name)))

    def frame(self, samples: np.ndarray, flags: FrameFlag = FrameFlag.NONE) -> bytes:
        counts = np.clip(np.rint(samples / SCALE), -32768, 32767).astype(np.int16)
        data = encode_counts(
            counts, SCALE, boot_id=self.boot_id, seq=self.seq, clock=self.clock, rate_hz=self.rate_hz,
            port=self.port, flags=flags,
        )  # fmt: skip
        self.seq += 1
        self.clock += len(samples)
        return data

    def lose(self, samples: int) -> None:
        """A frame that nobody will see."""
        self.seq += 1
        self.clock += samples

    def reboot(self) -> None:
        self.boot_id += 1
        self.seq = self.clock = 0


class FakeTrust:
    """Implements `surroundings.Trust` without cryptography: an envelope is genuine when its first signature says so."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.refuse_bundle: str | None = None
        self.valid: set[bytes] = set()
        self.down = False

    def _open(self, metadata: bytes, envelope: bytes, what: str) -> bytes:
        self.asked.append(what)
        if self.down:
            raise TrustError("worker_failed", "trust worker: no answer")
        if metadata == b"expired" and metadata not in self.valid:
            raise TrustError("metadata_expired", "metadata: expired")
        opened = decode(Envelope, envelope, what)
        if opened.signatures[0].sig != "600d":
            raise TrustError(f"{what}_signature", f"{what}: no signature of the director")
        return bytes(opened.signed)

    def verify_want(self, metadata: bytes, envelope: bytes, gateway: str, last_seq: int, now_s: float) -> WantBody:
        body = decode(WantBody, self._open(metadata, envelope, "want"), "want")
        if body.gateway != gateway:
            raise TrustError("want_foreign", f"want: is for {body.gateway}, not for {gateway}")
        if body.seq < last_seq:
            raise TrustError("want_replayed", f"want: {body.seq} is older than {last_seq}")
        if body.expires_s < now_s:
            raise TrustError("want_expired", "want: expired")
        return body

    def verify_command(self, metadata: bytes, envelope: bytes, gateway: str, now_s: float) -> CommandBody:
        body = decode_command(self._open(metadata, envelope, "command"), "command")
        if body.gateway != gateway:
            raise TrustError("command_foreign", "command: is for another gateway")
        return body

    def verify_bundle(self, metadata: bytes, wanted: WantedBundle, part: Path, destination: Path, now_s: float) -> None:
        self.asked.append("bundle")
        if self.refuse_bundle is not None:
            raise TrustError(self.refuse_bundle, f"bundle: refused for {self.refuse_bundle}")
        if read_bundle_digest(part) != wanted.sha256:
            storage.remove([part])
            raise TrustError("target_digest", f"bundle: expected SHA-256 {wanted.sha256}")
        storage.move_durably(part, destination)


def read_bundle_digest(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def envelope(body: Message, *, genuine: bool = True) -> bytes:
    signed = msgspec.Raw(msgspec.json.encode(body))
    return encode(Envelope(signed, [Signature("ab" * 32, "600d" if genuine else "bad0")]))


class InlineWorker:
    """Runs each job when it is polled, in the caller's thread. `held`: jobs wait until it is False."""

    def __init__(self) -> None:
        self.jobs: deque[tuple[Callable[[], Any], Callable[[Any], None]]] = deque()
        self.held = False

    def submit(self, name: str, job: Callable[[], Any], done: Callable[[Any], None]) -> None:
        self.jobs.append((job, done))

    def poll(self) -> None:
        while self.jobs and not self.held:
            job, done = self.jobs.popleft()
            try:
                answer = job()
            except MillwrightError as error:
                answer = error
            done(answer)


class FakeClock:
    """Time that only moves when told to. `stepped_s`: by how much the wall clock has been set since."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.stepped_s = 0.0

    def clock(self) -> Clock:
        return Clock(lambda: self.now_s, lambda: UTC + self.now_s + self.stepped_s)


@dataclass
class Site:
    """A gateway with its agent, a broker, one node, and a hub that only stores what it gets."""

    folder: Path
    settings: Config = field(init=False)
    broker: FakeBroker = field(default_factory=FakeBroker)
    trust: FakeTrust = field(default_factory=FakeTrust)
    worker: InlineWorker = field(default_factory=InlineWorker)
    time: FakeClock = field(default_factory=FakeClock)
    node: Node = field(default_factory=Node)
    runtime: Runtime = field(default_factory=runtime)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(11))
    agent: Agent = field(init=False)
    transport: FakeTransport = field(init=False)
    boots: int = 0
    seq: int = 0

    def __post_init__(self) -> None:
        self.settings = config(self.folder)

    def start(self) -> Agent:
        """A (new) start of the agent."""
        self.boots += 1
        will = AgentState(gateway=GATEWAY, boot_id=f"{self.boots:016x}", online=False, time_s=0.0)
        self.transport = self.broker.transport(
            f"mw/1/n/{GATEWAY}/", (topics.topic_of(topics.State(GATEWAY)), encode(will))
        )
        self.agent = Agent(
            self.settings, self.transport, self.trust, self.runtime, self.worker, boot_id=f"{self.boots:016x}",
            clock=self.time.clock(),
        )  # fmt: skip
        self.agent.start()
        return self.agent

    def kill(self) -> None:
        """Kill -9: nothing of the process is left but its files."""
        self.transport.die()
        self.worker.jobs.clear()
        self.agent.outbox.close()

    def run(self, steps: int = 20, step_s: float = 0.1) -> None:
        for _ in range(steps):
            self.time.now_s += step_s
            self.agent.step(0.0)

    def feed(self, windows: int, make: Callable[..., np.ndarray] = healthy, node: Node | None = None) -> None:
        """Frames of one window each, at the pace of the sensor."""
        node = node or self.node
        for _ in range(windows):
            self.broker.publish(node.topic, node.frame(make(WINDOW, self.rng)))
            self.run(1, WINDOW / RATE_HZ + 0.05)

    def publish_bundle(self, data: bytes, chunks: int | None = None) -> None:
        """All chunks, or only so many."""
        sha256 = wanted(data).sha256
        for index, start in list(enumerate(range(0, len(data), CHUNK_BYTES)))[:chunks]:
            topic = topics.topic_of(topics.Chunk(sha256, index))
            self.broker.publish(topic, data[start : start + CHUNK_BYTES], retain=True)

    def answer_requests(self, *bundles: bytes) -> BlockDesk:
        """From now on the hub answers requests for blocks of these bundles."""
        published = self.folder.with_name(f"{self.folder.name}-hub")
        published.mkdir(exist_ok=True)
        for data in bundles:
            (published / f"{wanted(data).sha256}.mwb").write_bytes(data)
        desk = BlockDesk(published)

        def listen(topic: str, payload: bytes) -> None:
            for to, answer, retain in desk.answer(topic, payload, self.time.now_s):
                self.broker.publish(to, answer, retain=retain)

        self.broker.listeners.append(listen)
        return desk

    def publish_metadata(self, metadata: bytes = b"metadata-1") -> None:
        self.broker.publish(topics.topic_of(topics.Metadata(FLEET)), metadata, retain=True)

    def publish_want(
        self, *bundles: WantedBundle, genuine: bool = True, seq: int | None = None, **changes: Any
    ) -> None:
        if seq is None:
            self.seq += 1
        fields: dict[str, Any] = {
            "gateway": GATEWAY, "seq": seq or self.seq, "issued_s": int(UTC), "expires_s": int(UTC + 1e6),
            "bundles": list(bundles),
        }  # fmt: skip
        body = WantBody(**fields | changes)
        self.broker.publish(topics.topic_of(topics.Want(GATEWAY)), envelope(body, genuine=genuine), retain=True)

    def command(self, body: Message, *, genuine: bool = True) -> None:
        self.broker.publish(topics.topic_of(topics.Command(GATEWAY)), envelope(body, genuine=genuine))
        self.run(3)

    def deliver(self, data: bytes) -> None:
        """Publish a bundle, want it, and let the agent get it."""
        self.publish_bundle(data)
        self.publish_metadata()
        self.publish_want(wanted(data))
        self.run(30)

    def calibrate(self) -> None:
        self.feed(CALIBRATION + 2)

    # ---- what the hub sees

    def acks(self) -> list[Ack]:
        return [decode(Ack, p, "ack") for p in self.broker.sent(topics.topic_of(topics.Ack(GATEWAY)))]

    def phases(self) -> list[str]:
        return [ack.phase for ack in self.acks()]

    def state(self) -> AgentState:
        return decode(AgentState, self.broker.retained[topics.topic_of(topics.State(GATEWAY))], "state")

    def events(self) -> list[AlarmEvent]:
        return [decode(AlarmEvent, p, "event") for p in self.broker.sent(topics.topic_of(topics.Event(GATEWAY)))]

    def trends(self) -> list[TrendBatch]:
        return [decode(TrendBatch, p, "trend") for p in self.broker.sent(topics.topic_of(topics.Trend(GATEWAY)))]

    def receipt(self, **fields: Any) -> None:
        body = ReceiptBody(**fields)
        self.broker.publish(topics.topic_of(topics.Receipt(GATEWAY)), encode(body))
        self.run(2)

    @property
    def record(self) -> Any:
        return self.agent.deliveries[SLOT].record

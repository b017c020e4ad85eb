"""A gateway's whole life in scenes, on a recording disk, with a network of our own: for cutting the power anywhere."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from edge_agent import storage
from edge_agent.config import UpdateSettings
from edge_agent.errors import RuntimeLoadError
from edge_agent.stick import put_package, read_answer
from edge_agent.update import State
from models.bundle.archive import CARD, EVALUATION, MODEL, SBOM, golden_members, pack_bundle
from models.bundle.manifest import CalibrationSpec, NetworkSpec, Tensor
from models.bundle.package import Package, encode_package
from models.contract import topics
from models.contract.messages import CHUNK_BYTES, WantBody, WantedBundle
from models.signal.features import FeatureExtractor
from models.signal.score import Scorer
from tests.edge_agent.kit import GATEWAY, SLOT, UTC, WINDOW, Site, config, envelope, faulty, healthy, manifest, wanted
from tests.edge_agent.power import RecordingDisk, Tree, lay_out

SLOT_FOLDER = f"slots/{SLOT}"
MAX_STARTS = 4
STICK = "stick.mwx"


class OwnRuntime:
    """Stands for a TFLite runtime: the model's bytes are a gain. `faulty`: versions whose network gives up."""

    name = "own"

    def __init__(self) -> None:
        self.broken: set[bytes] = set()

    def load(self, model: bytes, spec: NetworkSpec, where: str) -> Callable[[np.ndarray], np.ndarray]:
        if not model.startswith(b"gain "):
            raise RuntimeLoadError(f"{where}: not a model")
        gain = np.float32(model[5:9])

        def network(x: np.ndarray) -> np.ndarray:
            if model in self.broken:
                raise RuntimeLoadError(f"{where}: the runtime gave up")
            return np.asarray(x * gain, np.float32)

        return network


@functools.cache
def bundle(version: int, *, wrong: bool = False) -> bytes:
    """A bundle of some chunks; `wrong`: its golden scores do not come out."""
    size = Tensor(size=8, scale=0.05, zero_point=0)
    made = msgspec.structs.replace(
        manifest(f"{version}.0.0"),
        network=NetworkSpec(input=size, output=size),
        calibration=CalibrationSpec(windows=8, z=6.0, min_spread=0.2),
    )
    model = model_of(version)
    scorer = Scorer(made, OwnRuntime().load(model, made.network, "made"))
    windows = healthy(WINDOW * 2, np.random.default_rng(5)).reshape(2, WINDOW, 1)
    features = FeatureExtractor(made.features, made.input)(windows)
    scores = scorer.score(features).raw * (2.0 if wrong else 1.0)
    members = {
        MODEL: model, **golden_members(windows, features, scores), EVALUATION: b"{}", CARD: b"# Card", SBOM: b"{}",
    }  # fmt: skip
    return pack_bundle(made, members)


@functools.cache
def model_of(version: int) -> bytes:
    return b"gain 0.50 " + np.random.default_rng(version).bytes(2 * CHUNK_BYTES)


def want(version: int, **conditions: object) -> WantedBundle:
    return msgspec.structs.replace(wanted(bundle(version)), **conditions)


@dataclass
class Gateway(Site):
    """A site whose disk records."""

    disk: RecordingDisk = field(init=False)
    watched: bool = False
    lock: int | None = None
    hub: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.settings = config(self.folder, update=UpdateSettings(confirm_ticks=2, max_starts=MAX_STARTS, stall_s=2.0))
        self.runtime = OwnRuntime()  # type: ignore[assignment]
        self.disk = RecordingDisk(self.folder)
        storage.disk = self.disk

    def boot(self) -> None:
        """Start, as the program does."""
        storage.disk = self.disk
        self.lock = storage.lock_folder(self.folder)
        self.start()

    def crash(self) -> None:
        """Kill -9."""
        self.kill()
        self.free()

    def free(self) -> None:
        if self.lock is not None:
            os.close(self.lock)
            self.lock = None

    def close_outbox(self) -> None:
        if hasattr(self, "agent"):  # else the power went while it was being made
            self.agent.outbox.close()

    def step(self, make: Callable[..., np.ndarray] = healthy) -> None:
        """One window and one turn of the loop; never is there nothing that watches."""
        self.feed(1, make)
        self.check()

    def check(self) -> None:
        slot = self.agent.deliveries[SLOT].slot
        assert slot.champion is not None or not self.watched, "neither the old model runs nor the new one"
        if slot.champion is not None and self.record.active is not None:
            assert slot.champion.loaded.sha256 == self.record.active.sha256

    def offer(self, *versions: int, first_chunks: int | None = None) -> None:
        for version in versions:
            data = bundle(version)
            self.hub.append(data)
            self.publish_bundle(data, first_chunks)

    def forget_chunks(self) -> None:
        self.broker.retained = {t: p for t, p in self.broker.retained.items() if "/b/" not in t}

    @property
    def phase(self) -> tuple[State, str | None]:
        active = self.record.active
        return self.record.state, active.version[0] if active is not None else None

    def tree(self) -> Tree:
        return {
            str(path.relative_to(self.folder)): None if path.is_dir() else path.read_bytes()
            for path in self.folder.rglob("*")
            if path.name != "lock" and not path.name.startswith("outbox")
        }

    def names(self) -> set[str]:
        """What lies in the slot's folder, but for what may or may not have been worth a file yet."""
        kept = {path.name for path in (self.folder / SLOT_FOLDER).iterdir()}
        return {name for name in kept if name.endswith((".mwb", ".part")) or name.startswith(".")}


@dataclass(frozen=True)
class Scene:
    """`hub`: what changes outside. `reached`: what has to come of it; the agent runs until it does.

    `acted`: what else happens to the agent after each turn.
    """

    name: str
    hub: Callable[[Gateway], None]
    reached: Callable[[Gateway], bool]
    acted: Callable[[Gateway], None] = lambda _site: None
    samples: Callable[..., np.ndarray] = healthy
    turns: int = 150

    def play(self, site: Gateway) -> None:
        """Run until it is reached. Raises: AssertionError: it is not."""
        for _ in range(self.turns):
            if self.reached(site):
                return
            site.step(self.samples)
            self.acted(site)
        raise AssertionError(f"{self.name}: stands at {site.phase}, {site.record}")


def at(state: State, active: str | None) -> Callable[[Gateway], bool]:
    return lambda site: site.phase == (state, active)


def waits_for_the_hub_only(site: Gateway) -> bool:
    error = site.agent.state().slots[0].error or ""
    return site.record.state is State.SHADOW and error == "in shadow, waiting for: the hub, which holds it there"


def _break_when_active(version: int) -> Callable[[Gateway], None]:
    def acted(site: Gateway) -> None:
        if site.phase == (State.ACTIVE, str(version)):
            site.runtime.broken.add(model_of(version))  # type: ignore[attr-defined]

    return acted


def _poisoned(version: int) -> Callable[[Gateway], None]:
    def hub(site: Gateway) -> None:
        site.answer_requests(*site.hub, bundle(version))
        site.offer(version)
        site.broker.retained[topics.topic_of(topics.Chunk(want(version).sha256, 1))] = bytes(CHUNK_BYTES)
        site.publish_want(want(version))

    return hub


def _crash_loop(site: Gateway) -> None:
    if site.record.state is State.SHADOW:
        site.crash()
        site.boot()


def _wrong(site: Gateway) -> None:
    data = bundle(3, wrong=True)
    site.publish_bundle(data)
    site.publish_want(wanted(data))


def _refused_for_now(site: Gateway) -> None:
    site.trust.refuse_bundle = "target_unknown"
    site.offer(7)
    site.publish_want(want(7))


def _published_after_all(site: Gateway) -> None:
    site.trust.refuse_bundle = None
    site.publish_metadata(b"metadata-2")


def _first(site: Gateway) -> None:
    site.offer(1)
    site.publish_metadata()
    site.publish_want(want(1))


def _offer_and_want(version: int, **conditions: object) -> Callable[[Gateway], None]:
    def hub(site: Gateway) -> None:
        site.offer(version)
        site.publish_want(want(version, **conditions))

    return hub


def _half(version: int) -> Callable[[Gateway], None]:
    def hub(site: Gateway) -> None:
        site.offer(version, first_chunks=2)
        site.publish_want(want(version))

    return hub


def _want_back(site: Gateway) -> None:
    site.forget_chunks()
    site.publish_want(want(2))


def _fetched_two(site: Gateway) -> bool:
    fetcher = site.agent.deliveries[SLOT].fetcher
    return site.record.state is State.FETCHING and fetcher is not None and fetcher.fetched_bytes == 2 * CHUNK_BYTES


def _in_alarm(site: Gateway) -> bool:
    return site.agent.state().points[0].verdict == "alarm" and bool(site.agent.deliveries[SLOT].slot.open_alarms())


def _calm(site: Gateway) -> bool:
    return site.agent.state().points[0].verdict == "ok" and not site.agent.deliveries[SLOT].slot.open_alarms()


def _on_a_stick(version: int) -> Callable[[Gateway], None]:
    def hub(site: Gateway) -> None:
        site.seq += 1
        body = WantBody(
            gateway=GATEWAY, seq=site.seq, issued_s=int(UTC), expires_s=int(UTC + 1e6), bundles=[want(version)]
        )
        made = Package(metadata=b"by hand", wants={GATEWAY: envelope(body)}, bundle=bundle(version))
        put_package(site.folder, STICK, encode_package(made))

    return hub


def _answered(site: Gateway) -> bool:
    path = site.folder / "incoming" / STICK
    return site.phase == (State.CONFIRMED, "9") and read_answer(path) is not None and not path.exists()


def _half_of_the_first(site: Gateway) -> None:
    site.publish_metadata()
    _half(5)(site)


LIFE = [
    Scene("half of a first bundle", _half_of_the_first, _fetched_two),
    Scene("withdrawn", lambda s: s.publish_want(), at(State.IDLE, None)),
    Scene("a first bundle", _first, at(State.CONFIRMED, "1")),
    Scene("held in shadow", _offer_and_want(2, hold=True, shadow_windows=3), waits_for_the_hub_only),
    Scene("let go", lambda s: s.publish_want(want(2, shadow_windows=3)), at(State.CONFIRMED, "2")),
    Scene("wrong golden scores", _wrong, at(State.REFUSED, "2")),
    Scene("fails on probation", _offer_and_want(4), at(State.ROLLED_BACK, "2"), _break_when_active(4)),
    Scene("only half of it is there", _half(5), _fetched_two),
    Scene("not wanted any more", lambda s: s.publish_want(want(2)), at(State.CONFIRMED, "2")),
    Scene("a poisoned chunk", _poisoned(6), at(State.CONFIRMED, "6")),
    Scene("the previous one back, from the disk", _want_back, at(State.CONFIRMED, "2")),
    Scene("a fault", lambda s: None, _in_alarm, samples=faulty),
    Scene("the fault is mended", lambda s: None, _calm),
    Scene("nothing is wanted", lambda s: s.publish_want(), lambda s: s.agent.orders.want_seq == s.seq),
    Scene("not published yet", _refused_for_now, at(State.REFUSED, "2")),
    Scene("published after all", _published_after_all, at(State.CONFIRMED, "7")),
    Scene("from a stick", _on_a_stick(9), _answered),
    Scene("another one in shadow", _offer_and_want(3, hold=True), waits_for_the_hub_only),
    Scene("and another one over it", _offer_and_want(2), at(State.CONFIRMED, "2")),
    Scene("a boot loop", _offer_and_want(8, hold=True), at(State.ROLLED_BACK, "2"), _crash_loop),
]


def begin(folder: Path, tree: Tree | None = None) -> Gateway:
    """A gateway whose disk holds this tree."""
    shutil.rmtree(folder, ignore_errors=True)
    lay_out(tree or {}, folder)
    site = Gateway(folder)
    site.disk.load(tree or {})
    return site

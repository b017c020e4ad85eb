"""Building wants, registering bundles, and in which order things leave the hub."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud_hub.delivery.publish import MetadataKeeper, register_bundle, send_bundle
from cloud_hub.delivery.registry import BundleRecord, WantRecord
from cloud_hub.delivery.want import When, build_want, send_want
from cloud_hub.errors import ConflictError, GateError, LinkError, NotFoundError
from cloud_hub.settings import Settings
from cloud_hub.trust.keys import create_repository, open_repository
from cloud_hub.trust.repository import Repository
from models.bundle.archive import read_bundle
from models.contract.messages import CHUNK_BYTES
from models.contract.topics import Chunk, Metadata, Want, address_of
from models.errors import TopicError
from tests.simulators.bundles import make_bundle
from tests.simulators.registry import MemoryRegistry

NOW = 1_800_000_000.0
DAY = 86_400.0
ONE, TWO, FAN = make_bundle(model_bytes=80_000), make_bundle(version="2.0.0", seed=8), make_bundle(slot="fan")


class FakeLink:
    """Takes everything, in order; fails from the n-th message on if told so."""

    def __init__(self, fail_after: int | None = None) -> None:
        self.sent: list[tuple[str, bytes, bool]] = []
        self.bytes_sent = 0
        self.fail_after = fail_after

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1) -> None:
        self.publish_all([(topic, payload)], retain=retain, qos=qos)

    def publish_all(self, messages, *, retain: bool = False, qos: int = 1) -> None:
        for topic, payload in messages:
            if self.fail_after is not None and len(self.sent) >= self.fail_after:
                raise LinkError("broker: gone")
            assert qos == 1
            self.sent.append((topic, payload, retain))
            self.bytes_sent += len(topic) + len(payload)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    create_repository(tmp_path / "r", tmp_path / "k", tmp_path / "safe", NOW)
    return open_repository(tmp_path / "r", tmp_path / "k")


@pytest.fixture
def registry() -> MemoryRegistry:
    return MemoryRegistry()


def register(data: bytes, repository: Repository, registry: MemoryRegistry, folder: Path) -> BundleRecord:
    return register_bundle(read_bundle(data, "test"), data, repository, registry, folder, NOW)


def record(slot: str = "pump-vibration", version: str = "1.0.0", sha256: str = "ab" * 32) -> BundleRecord:
    return BundleRecord(sha256, slot, version, "spectral", f"{slot}/{version}-{sha256[:8]}.mwb", 1000, NOW, "{}")


# --------------------------------------------------------------------------------------------------- publishing


def test_register(repository: Repository, registry: MemoryRegistry, tmp_path: Path):
    made = register(ONE, repository, registry, tmp_path / "bundles")
    assert registry.find_bundle("pump-vibration/1.0.0") == made
    assert made.target in repository.targets()
    assert (tmp_path / "bundles" / f"{made.sha256}.mwb").read_bytes() == ONE
    assert '"slot": "pump-vibration"' in made.manifest_json
    before = repository.metadata_bundle()
    assert register(ONE, repository, registry, tmp_path / "bundles") == made
    assert repository.metadata_bundle() == before


def test_a_version_is_for_ever(repository: Repository, registry: MemoryRegistry, tmp_path: Path):
    register(ONE, repository, registry, tmp_path)
    before = (repository.metadata_bundle(), sorted(p.name for p in tmp_path.glob("*.mwb")))
    with pytest.raises(GateError, match=r"pump-vibration/1\.0\.0: already published as .*, this is .*choose another"):
        register(make_bundle(seed=99), repository, registry, tmp_path)
    assert (repository.metadata_bundle(), sorted(p.name for p in tmp_path.glob("*.mwb"))) == before


def test_chunks_first_then_metadata(repository: Repository, registry: MemoryRegistry, tmp_path: Path):
    made = register(ONE, repository, registry, tmp_path)
    link, progress = FakeLink(), []
    report = send_bundle(made, ONE, repository, link, "plant", progress.append)
    addresses = [address_of(topic) for topic, _, _ in link.sent]
    count = -(-len(ONE) // CHUNK_BYTES)
    assert count > 2
    assert addresses == [*(Chunk(made.sha256, i) for i in range(count)), Metadata("plant")]
    assert all(retain for _, _, retain in link.sent)
    assert b"".join(payload for _, payload, _ in link.sent[:-1]) == ONE
    assert all(len(payload) == CHUNK_BYTES for _, payload, _ in link.sent[: count - 1])
    assert link.sent[-1][1] == repository.metadata_bundle()
    assert (report.chunks, report.bytes_sent, report.length) == (count, link.bytes_sent, len(ONE))
    assert sum(progress) == len(ONE)


def test_metadata_are_not_sent_before_all_chunks_are_out(
    repository: Repository, registry: MemoryRegistry, tmp_path: Path
):
    made = register(ONE, repository, registry, tmp_path)
    link = FakeLink(fail_after=2)
    with pytest.raises(LinkError):
        send_bundle(made, ONE, repository, link, "plant")
    assert all(isinstance(address_of(topic), Chunk) for topic, _, _ in link.sent)


def test_keeper_sends_first_and_then_only_changes(repository: Repository, tmp_path: Path):
    now_s = [NOW]
    keeper = MetadataKeeper(Settings(home=tmp_path), repository, lambda: now_s[0])
    link = FakeLink()
    keeper(link)
    keeper(link)
    assert len(link.sent) == 1
    now_s[0] += 4 * DAY
    keeper(link)
    keeper(link)
    assert len(link.sent) == 2
    assert link.sent[1][1] == repository.metadata_bundle() != link.sent[0][1]
    repository.add_bundle(read_bundle(ONE, "").manifest, "ab" * 32, 5, now_s[0])
    keeper(link)
    assert len(link.sent) == 3


def test_keeper_tries_again_after_a_failure(repository: Repository, tmp_path: Path):
    now_s = [NOW]
    keeper = MetadataKeeper(Settings(home=tmp_path), repository, lambda: now_s[0])
    keeper(FakeLink())
    now_s[0] += 4 * DAY
    with pytest.raises(LinkError):
        keeper(FakeLink(fail_after=0))
    link = FakeLink()
    keeper(link)
    assert [payload for _, payload, _ in link.sent] == [repository.metadata_bundle()]


# -------------------------------------------------------------------------------------------------------- wants


def test_first_want(registry: MemoryRegistry):
    want = build_want("gw-1", {"pump-vibration": record()}, registry, NOW + 0.7)
    assert (want.gateway, want.seq, want.issued_s) == ("gw-1", int(NOW), int(NOW))
    assert want.expires_s == int(NOW) + 30 * 86_400
    assert [(b.slot, b.target, b.length) for b in want.bundles] == [
        ("pump-vibration", "pump-vibration/1.0.0-abababab.mwb", 1000)
    ]


def test_other_slots_stay(registry: MemoryRegistry):
    pump, fan = record(), record(slot="fan", sha256="cd" * 32)
    for known in (pump, fan):
        registry.add_bundle(known)
    registry.add_want(WantRecord("gw-1", 7, 0.0, 0.0, (("pump-vibration", pump.sha256), ("fan", fan.sha256))))
    new = record(version="2.0.0", sha256="ef" * 32)
    want = build_want("gw-1", {"pump-vibration": new}, registry, NOW)
    assert {b.slot: b.version for b in want.bundles} == {"pump-vibration": "2.0.0", "fan": "1.0.0"}
    want = build_want("gw-1", {"fan": None}, registry, NOW)
    assert {b.slot: b.version for b in want.bundles} == {"pump-vibration": "1.0.0"}


@pytest.mark.parametrize(
    ("current", "expected"), [(5, int(NOW)), (int(NOW), int(NOW) + 1), (int(NOW) + 99, int(NOW) + 100)]
)
def test_number_only_grows(registry: MemoryRegistry, current: int, expected: int):
    registry.add_want(WantRecord("gw-1", current, 0.0, 0.0, ()))
    assert build_want("gw-1", {}, registry, NOW).seq == expected


def test_what_cannot_be_wanted(registry: MemoryRegistry):
    with pytest.raises(GateError, match=r"slot fan: bundle pump-vibration/.* is for the slot pump-vibration"):
        build_want("gw-1", {"fan": record()}, registry, NOW)
    with pytest.raises(TopicError, match="gateway"):
        build_want("gw/1", {}, registry, NOW)
    with pytest.raises(GateError, match="expires at"):
        build_want("gw-1", {}, registry, NOW, When(int(NOW)))
    with pytest.raises(GateError, match="expires at"):
        build_want("gw-1", {}, registry, NOW, When(int(NOW) + 60, not_before_s=int(NOW) + 60))
    many = {f"s{i}": record(slot=f"s{i}") for i in range(17)}
    with pytest.raises(GateError, match="at most 16 slots, got 17"):
        build_want("gw-1", many, registry, NOW)
    registry.add_want(WantRecord("gw-1", 1, 0.0, 0.0, (("fan", "00" * 32),)))
    with pytest.raises(NotFoundError):
        build_want("gw-1", {}, registry, NOW)


def test_send_want(repository: Repository, registry: MemoryRegistry):
    link = FakeLink()
    want = build_want("gw-1", {"pump-vibration": record()}, registry, NOW)
    send_want(want, repository, registry, link)
    ((topic, _, retain),) = link.sent
    assert (address_of(topic), retain) == (Want("gw-1"), True)
    assert registry.current_want("gw-1") == WantRecord(
        "gw-1", want.seq, NOW, NOW + 30 * DAY, (("pump-vibration", "ab" * 32),)
    )
    with pytest.raises(ConflictError):
        send_want(want, repository, registry, link)
    assert len(link.sent) == 1, "a number that is taken is never sent again"

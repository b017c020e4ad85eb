"""Packages from a USB stick: the same way in, the same refusals, whether the agent is online or not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloud_hub.delivery.package import make_package
from cloud_hub.delivery.registry import BundleRecord
from cloud_hub.delivery.want import When
from edge_agent.cli import main
from edge_agent.stick import StickAnswer, put_package, read_answer
from edge_agent.update import State
from models.bundle.package import MAGIC, Package, decode_package, encode_package
from models.contract.messages import WantBody
from models.errors import BundleFormatError
from tests.edge_agent.kit import (
    CALIBRATION,
    GATEWAY,
    SLOT,
    UTC,
    Node,
    Site,
    bundle_bytes,
    config_toml,
    envelope,
    healthy,
    wanted,
)  # fmt: skip
from tests.edge_agent.live import LiveSite, live_site
from tests.simulators.brokers import KINDS, running_broker
from tests.simulators.registry import MemoryRegistry
from tests.simulators.trust import Fleet

ONE, TWO = bundle_bytes(), bundle_bytes("2.0.0")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path / "state")
    site.folder.mkdir()
    site.start()
    site.transport.cut()
    return site


def package(data: bytes, seq: int = 5, gateway: str = GATEWAY, *, genuine: bool = True, **changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "gateway": gateway, "seq": seq, "issued_s": int(UTC), "expires_s": int(UTC + 1e6), "bundles": [wanted(data)],
    }  # fmt: skip
    want = envelope(WantBody(**fields | changes), genuine=genuine)
    return encode_package(Package(metadata=b"by hand", wants={gateway: want}, bundle=data))


def insert(site: Site, data: bytes, name: str = "stick.mwx") -> StickAnswer | None:
    path = put_package(site.folder, name, data)
    site.run(60)
    answer = read_answer(path)
    assert path.exists() == (answer is None), "a package stays until it is answered"
    return answer


class TestAgent:
    def test_a_first_bundle_runs_without_any_broker(self, site: Site) -> None:
        assert insert(site, package(ONE)) == StickAnswer(text="bundle pump-vibration/1.0.0 runs")
        assert site.record.state is State.ACTIVE
        assert site.agent.orders.want_seq == 5
        assert site.trust.asked == ["want", "bundle"]

    def test_beside_a_champion_it_goes_into_shadow(self, site: Site) -> None:
        insert(site, package(ONE))
        site.transport.mend()
        site.calibrate()
        answer = insert(site, package(TWO, seq=6))
        assert answer == StickAnswer(text="bundle pump-vibration/2.0.0 in shadow beside the one that runs")
        site.feed(CALIBRATION + 6)
        assert site.record.active.version == "2.0.0"

    def test_a_kill_on_the_way_goes_on(self, site: Site) -> None:
        path = put_package(site.folder, "stick.mwx", package(ONE))
        for turn in range(12):
            site.run(1 + turn % 2, 0.6)
            site.agent.outbox.close()
            site.worker.jobs.clear()
            site.start()
            site.transport.cut()
        site.run(30)
        assert read_answer(path) == StickAnswer(text="bundle pump-vibration/1.0.0 runs")

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (package(ONE, genuine=False), "want_signature"),
            (package(ONE, gateway="gw-2"), "want_foreign"),
            (package(ONE, expires_s=1), "want_expired"),
            (package(ONE, bundles=[]), "target_digest"),
            (package(ONE, bundles=[wanted(TWO)]), "target_digest"),
            (package(bundle_bytes("3.0.0", wrong_scores=True)), "replay"),
            (package(bundle_bytes("9.0.0", "fan-vibration")), "unknown_slot"),
            (b"PK\x03\x04 a zip", "format"),
            (MAGIC + b"\xc1", "format"),
            (package(ONE)[:-5], "format"),
        ],
    )
    def test_refusals_have_their_reason_and_change_nothing(self, site: Site, data: bytes, reason: str) -> None:
        answer = insert(site, data)
        assert answer is not None
        assert answer.reason == reason
        assert answer.text
        assert site.record.active is None
        assert not list((site.folder / "slots" / SLOT).glob("*.mw?"))

    def test_a_bundle_that_was_changed_on_the_stick(self, site: Site) -> None:
        good = decode_package(package(ONE), "test")
        changed = bytearray(good.bundle)
        changed[5000] ^= 1
        bad = encode_package(Package(metadata=good.metadata, wants=good.wants, bundle=bytes(changed)))
        answer = insert(site, bad)
        assert answer is not None
        assert answer.reason == "target_digest"
        assert site.record.active is None

    def test_an_older_want_than_the_last_is_a_replay(self, site: Site) -> None:
        insert(site, package(ONE, seq=5))
        answer = insert(site, package(TWO, seq=4), "old.mwx")
        assert answer is not None
        assert answer.reason == "want_replayed"
        assert site.record.active.version == "1.0.0"

    def test_metadata_that_are_newer_here_decide(self, site: Site) -> None:
        site.transport.mend()
        site.publish_metadata(b"metadata-9")
        site.run(3)
        old = decode_package(package(ONE), "test")
        stale = encode_package(Package(metadata=b"expired", wants=old.wants, bundle=old.bundle))
        assert insert(site, stale) == StickAnswer(text="bundle pump-vibration/1.0.0 runs")
        assert site.agent.orders.metadata == b"metadata-9"


def test_bounds_of_the_format() -> None:
    good = decode_package(package(ONE), "test")
    assert decode_package(encode_package(good), "test") == good
    for bad in (
        Package(metadata=b"", wants=good.wants, bundle=ONE),
        Package(metadata=b"m", wants={}, bundle=ONE),
        Package(metadata=b"m", wants={"../x": b"w"}, bundle=ONE),
        Package(metadata=b"m", wants={"gw-1": b""}, bundle=ONE),
        Package(metadata=b"m", wants=good.wants, bundle=b""),
    ):
        with pytest.raises(BundleFormatError):
            encode_package(bad)


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code or 0  # type: ignore[return-value]


@pytest.mark.slow
class TestCommand:
    """With real keys, real metadata and the real trust worker."""

    @pytest.fixture
    def fleet(self, tmp_path: Path) -> Fleet:
        import time

        return Fleet(tmp_path, now_s=time.time())

    @pytest.fixture
    def config(self, tmp_path: Path, fleet: Fleet) -> Path:
        path = tmp_path / "agent.toml"
        path.write_text(config_toml(tmp_path / "state", 1, root=fleet.hub / "root.json"))
        return path

    def export(self, fleet: Fleet, data: bytes, gateway: str = GATEWAY) -> Path:
        one, registry = fleet.add(data), MemoryRegistry()
        record = BundleRecord(one.sha256, one.slot, one.version, "f", one.target, one.length, fleet.now_s, b"{}")  # type: ignore[arg-type]
        registry.add_bundle(record)
        folder = fleet.folder / "bundles"
        folder.mkdir(exist_ok=True)
        (folder / f"{one.sha256}.mwb").write_bytes(data)
        when = When(int(fleet.now_s) + 3600)
        made, _ = make_package(record, [gateway], fleet.repository, registry, folder, fleet.now_s, when)
        path = fleet.folder / f"{one.version}.mwx"
        path.write_bytes(made)
        return path

    def test_without_an_agent_the_command_does_it_all(
        self, fleet: Fleet, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run("install", self.export(fleet, ONE), "--config", config) == 0
        assert "bundle pump-vibration/1.0.0 runs" in capsys.readouterr().out
        assert (tmp_path / "state" / "slots" / SLOT / f"{wanted(ONE).sha256}.mwb").read_bytes() == ONE
        assert run("install", self.export(fleet, TWO, "gw-2"), "--config", config) == 4
        assert "refused (want_foreign): 2.0.0.mwx: holds no want for gateway gw-1" in capsys.readouterr().err
        (tmp_path / "junk.mwx").write_bytes(b"junk")
        assert run("install", tmp_path / "junk.mwx", "--config", config) == 4
        assert run("install", tmp_path / "none.mwx", "--config", config) == 1
        assert "none.mwx: cannot be read: No such file" in capsys.readouterr().err


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with running_broker("mosquitto", tmp_path_factory.mktemp("broker")) as port:
        yield port


@pytest.mark.parametrize("kind", KINDS[:1])
@pytest.mark.slow
def test_a_running_agent_takes_it_from_the_drop_folder(
    tmp_path: Path, port: int, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with live_site(tmp_path, port) as live:
        node = Node()
        go(live, node)
        path = TestCommand().export(live.fleet, TWO)
        assert run("install", path, "--config", live.config) == 0
        assert "2.0.0 in shadow beside the one that runs" in capsys.readouterr().out
        assert (
            run("install", TestCommand().export(live.fleet, bundle_bytes("4.0.0"), "gw-9"), "--config", live.config)
            == 4
        )


def go(live: LiveSite, node: Node) -> None:
    from models.contract.messages import Ack

    live.start()
    live.seq = int(live.fleet.now_s) - 10
    live.want(live.publish_bundle(ONE))
    live.await_(Ack, lambda ack: ack.phase == "active")
    live.feed(CALIBRATION + 5, healthy, node)

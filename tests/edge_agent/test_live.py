"""A real agent process on a real Mosquitto with real signatures: delivery, alarm, crash, bad input, memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from models.contract import topics
from models.contract.messages import (
    Ack,
    AgentState,
    AlarmEvent,
    CaptureChunk,
    CaptureCommand,
    RecalibrateCommand,
    TrendBatch,
    encode,
)
from tests.edge_agent.kit import (
    CALIBRATION,
    GATEWAY,
    RATE_HZ,
    SLOT,
    WINDOW,
    Node,
    bundle_bytes,
    config_toml,
    faulty,
    healthy,
)  # fmt: skip
from tests.edge_agent.live import LiveSite, live_site
from tests.simulators.brokers import KINDS, running_broker
from tests.simulators.trust import sign_envelope

pytestmark = KINDS[0].marks


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with running_broker("mosquitto", tmp_path_factory.mktemp("broker")) as port:
        yield port


@pytest.fixture
def site(tmp_path: Path, port: int) -> Iterator[LiveSite]:
    with live_site(tmp_path, port) as site:
        yield site


def online(state: AgentState) -> bool:
    return state.online and state.time_s > 0


def go_live(site: LiveSite, node: Node) -> None:
    """Deliver a bundle and calibrate the point."""
    site.start()
    site.await_(AgentState, online)
    site.want(site.publish_bundle(bundle_bytes()))
    site.await_(Ack, lambda ack: ack.phase == "active")
    site.feed(CALIBRATION + 5, healthy, node)
    site.await_(AgentState, lambda state: online(state) and state.points[0].warmup_left == 0)


class TestLife:
    def test_from_a_want_to_an_alarm_and_a_clean_stop(self, site: LiveSite) -> None:
        node = Node()
        go_live(site, node)
        site.feed(10, faulty, node)
        raised = site.await_(AlarmEvent, lambda event: event.kind == "raised")
        assert raised.machine == "P-101"
        assert raised.point == "de"
        assert raised.score > 1.0
        assert raised.evidence is not None
        assert len(raised.evidence.window) == 4 * WINDOW
        assert raised.diagnosis is not None
        site.await_(TrendBatch, lambda batch: any(row.windows for row in batch.rows))
        site.feed(20, healthy, node)
        cleared = site.await_(AlarmEvent, lambda event: event.kind == "cleared")
        assert cleared.alarm == raised.alarm
        assert [ack.phase for ack in site.got if isinstance(ack, Ack)] == [
            "seen", "fetching", "fetched", "verified", "replayed", "active", "confirmed",
        ]  # fmt: skip
        own, resident = site.memory_mb()
        assert own < 40.0, "measured 29 MB; the bound leaves room for other machines"
        assert resident < 90.0, "measured 52 to 71 MB, by how many pages of libraries the kernel maps at once"
        assert site.stop() == 0
        assert not site.await_(AgentState, lambda state: not state.online and state.time_s > 0).online

    def test_kill_9_publishes_the_last_will_and_the_events_survive(self, site: LiveSite) -> None:
        node = Node()
        go_live(site, node)
        site.receipts = False
        site.feed(10, faulty, node)
        raised = site.await_(AlarmEvent, lambda event: event.kind == "raised")
        site.forget()
        site.kill()
        site.await_(AgentState, lambda state: not state.online)
        site.receipts = True
        site.start()
        again = site.await_(AlarmEvent, lambda event: event.kind == "raised")
        assert encode(again) == encode(raised), "the same event, byte for byte, under its first boot id and number"
        state = site.await_(AgentState, lambda state: online(state) and state.boot_id != raised.boot_id)
        assert state.slots[0].active_sha256 == raised.bundle_sha256
        assert state.points[0].warmup_left == 0, "the calibration survived"

    def test_a_second_agent_on_the_same_folder_is_refused(self, site: LiveSite) -> None:
        site.start()
        site.await_(AgentState, online)
        second = subprocess.run(site.command("run"), capture_output=True, text=True, timeout=60, check=False)
        assert second.returncode == 1
        assert "another agent is running on this state folder" in second.stderr


class TestBadInput:
    def test_bad_frames_are_counted_and_the_model_stays(self, site: LiveSite) -> None:
        node = Node()
        go_live(site, node)
        good = node.frame(healthy(WINDOW, np.random.default_rng(1)))
        stranger = topics.topic_of(topics.Frames(GATEWAY, "stranger"))  # type: ignore[arg-type]
        for topic, payload in [
            (node.topic, good[:50]),
            (node.topic, b""),
            (node.topic, good[:-1] + bytes([good[-1] ^ 1])),
            (node.topic, good),
            (node.topic, good),
            (stranger, good),
        ]:
            site.publish(topic, payload)
        state = site.await_(
            AgentState,
            lambda state: (
                {"frames.crc", "frames.duplicate", "frames.short", "frames.unknown_node"} <= set(state.counters)
            ),
        )
        assert state.counters["frames.duplicate:P-101/de"] == 1
        assert state.slots[0].phase in {"active", "confirmed"}
        deadline = time.monotonic() + 20
        while "duplicate 1" not in (shown := status(site)) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert "crc 1" in shown
        assert "frames.unknown_node" in shown

    def test_a_forged_want_and_a_forged_bundle_change_nothing(self, site: LiveSite) -> None:
        site.config.write_text(site.config.read_text().replace("[update]", "[update]\nstall_s = 1"))
        go_live(site, Node())
        runs = site.await_(Ack, lambda ack: ack.phase == "active").sha256
        forged = site.publish_bundle(bundle_bytes("2.0.0"))
        site.forget()
        body = site.fleet.want(forged, gateway=GATEWAY, seq=50)
        envelope = sign_envelope(msgspec.json.encode(body), site.fleet.signer("timestamp"))
        site.publish(topics.topic_of(topics.Want(GATEWAY)), envelope, retain=True)
        refused = site.await_(Ack, lambda ack: ack.phase == "refused")
        assert refused.reason == "want_signature"
        chunk = topics.topic_of(topics.Chunk(forged.sha256, 0))
        site.publish(chunk, b"\0" * min(forged.length, 32_768), retain=True)
        site.want(forged)
        refused = site.await_(Ack, lambda ack: ack.phase == "refused" and ack.slot == SLOT)
        assert refused.reason == "target_digest"
        state = site.await_(AgentState, lambda state: state.slots[0].phase == "refused")
        assert state.slots[0].active_sha256 == runs
        assert state.points[0].verdict != "warming_up"


class TestCommands:
    def test_capture_and_recalibrate(self, site: LiveSite) -> None:
        node = Node()
        go_live(site, node)
        expires_s = int(time.time()) + 600
        capture = CaptureCommand(
            gateway=GATEWAY, id="cap-1", expires_s=expires_s, machine="P-101", point="de", seconds=2
        )
        site.order(capture)
        deadline = time.monotonic() + 20
        chunks: list[CaptureChunk] = []
        while len(chunks) < 3 and time.monotonic() < deadline:
            site.feed(20, healthy, node)
            chunks = [message for message in site.got if isinstance(message, CaptureChunk)]
        assert [chunk.index for chunk in chunks][:3] == [0, 1, 2]
        assert chunks[0].total == -(-int(2 * RATE_HZ) // 8192)
        assert not any(chunk.gap for chunk in chunks[:3])
        site.order(RecalibrateCommand(gateway=GATEWAY, id="rec-1", expires_s=expires_s, machine="P-101", point="de"))
        site.forget()
        site.await_(AgentState, lambda state: state.points[0].warmup_left > 0)


class TestCommandLine:
    def test_selftest_replays_what_is_installed_and_finds_the_broker(self, site: LiveSite) -> None:
        go_live(site, Node())
        done = subprocess.run(site.command("selftest"), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "bundle 1.0.0: golden scores differ by 0.00% at most" in done.stdout
        assert f"127.0.0.1:{site.port} accepts us" in done.stdout

    def test_replay_gives_verdicts_without_broker(self, site: LiveSite) -> None:
        rng = np.random.default_rng(2)
        samples = np.concatenate([healthy(WINDOW * 30, rng), faulty(WINDOW * 10, rng)])
        np.savez(site.folder / "samples.npz", x=samples[:, 0])
        (site.folder / "one.mwb").write_bytes(bundle_bytes())
        arguments = ["replay", str(site.folder / "samples.npz"), "--bundle", str(site.folder / "one.mwb")]
        done = subprocess.run(site.command(*arguments), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert "P-101/de  raised: score" in done.stdout
        assert "P-101/de: 40 windows" in done.stdout

    def test_selftest_fails_without_broker(self, tmp_path: Path) -> None:
        (tmp_path / "agent.toml").write_text(
            config_toml(tmp_path / "state", 1) + '[frames]\nhost = "127.0.0.1"\nport = 2\n'
        )
        command = [sys.executable, "-m", "edge_agent", "--config", str(tmp_path / "agent.toml"), "selftest"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1
        assert "FAIL  broker: broker 127.0.0.1:1: " in done.stdout
        assert "FAIL  broker of the frames: broker 127.0.0.1:2: " in done.stdout
        assert "ok    runtime: litert" in done.stdout


def status(site: LiveSite) -> str:
    done = subprocess.run(site.command("status"), capture_output=True, text=True, timeout=60, check=False)
    return done.stdout


def test_the_status_file_is_json_for_other_tools(site: LiveSite) -> None:
    site.start()
    site.await_(AgentState, online)
    path = site.state_dir / "status.json"
    deadline = time.monotonic() + 20
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert json.loads(path.read_text())["state"]["gateway"] == GATEWAY

"""Another gateway attacks by topic: on a Mosquitto with the rules that the hub wrote, with a hub and an agent as processes
of their own. The attacker has a genuine certificate (of gw-2) and what it sends is as good as it can be: wants and
commands are signed by the real director, reports are well formed. Nothing of it reaches gw-1 or is believed of gw-1.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from cloud_hub.trust.keys import hub_repository
from edge_agent.status import Status, read_status
from models.contract import topics
from models.contract.ids import GatewayId
from models.contract.messages import (
    Ack,
    AgentState,
    AlarmEvent,
    CaptureChunk,
    GetBody,
    RecalibrateCommand,
    ReportCommand,
    TrendBatch,
    WantBody,
    encode,
)
from tests.edge_agent.kit import CALIBRATION, GATEWAY, WINDOW, Node, bundle_bytes, healthy
from tests.integration.test_identity_live import Gateway, Site, wait_for
from tests.simulators.brokers import KINDS, running_broker
from tests.simulators.plant import Client

pytestmark = [*KINDS[0].marks, pytest.mark.slow]

BOOT = "cd" * 8
_ALWAYS = ("orders.json", "status.json", "outbox.sqlite3", "outbox.sqlite3-wal", "outbox.sqlite3-shm")


class Scene:
    """gw-1 runs a model; gw-2 is certified, too."""

    def __init__(self, folder: Path, frames_port: int) -> None:
        self.site = Site(folder)
        self.gateway = Gateway(self.site, folder / "gw", GATEWAY)
        with self.gateway.config.open("a") as config:
            config.write(f'[frames]\nhost = "127.0.0.1"\nport = {frames_port}\n')
        self.node = Node()
        self._told = 0
        self._sensor = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
        self._sensor.connect("127.0.0.1", frames_port)
        self._sensor.loop_start()
        plant = self.site.plant
        assert self.gateway.enrol(plant.token(GATEWAY)).returncode == 0
        bundle = folder / "pump.mwb"
        bundle.write_bytes(bundle_bytes())
        self.sha256 = hashlib.sha256(bundle.read_bytes()).hexdigest()
        self.order("publish", str(bundle))
        self.gateway.start()
        self.order("want", GATEWAY, "--bundle", self.sha256)
        wait_for("the bundle runs", lambda: self.phase() == "active", self.gateway.said)
        self.feed(CALIBRATION + 8, 0.08)
        wait_for("it is confirmed", lambda: self.phase() == "confirmed", self.gateway.said)
        self.attacker = Client(plant.ports.gateways, plant.broker / "root.crt", plant.certify("gw-2"), "gw-1")
        self.witness = Client(plant.ports.hub, plant.broker / "root.crt", plant.identity.hub_pem, "witness")
        self.witness.subscribe("mw/#")

    def close(self) -> None:
        self._sensor.disconnect()
        self._sensor.loop_stop()
        self.attacker.close()
        self.witness.close()
        self.gateway.stop()
        self.site.close()

    def order(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = self.site.cloud_hub(*arguments)
        assert done.returncode == 0, done.stderr
        return done

    def status(self) -> Status | None:
        path = self.gateway.state / "status.json"
        return read_status(self.gateway.state) if path.exists() else None

    def phase(self) -> str | None:
        status = self.status()
        return status.state.slots[0].phase if status is not None and status.state.slots else None

    def feed(self, windows: int, pace_s: float = 0.005) -> None:
        rng = np.random.default_rng(self.node.seq + 1)
        for _ in range(windows):
            self._sensor.publish(self.node.topic, self.node.frame(healthy(WINDOW, rng)))
            time.sleep(pace_s)

    def reported(self) -> AgentState:
        """The agent's state after it has obeyed the hub once more: whatever was sent to it before has reached it."""
        before = self.status()
        assert before is not None
        obeyed = before.state.counters.get("commands.obeyed", 0)
        self._told += 1  # not by the command line: starting it takes longer than all the rest
        body = ReportCommand(gateway=GATEWAY, id=f"report-{self._told}", expires_s=int(time.time()) + 600)
        signed = hub_repository(self.site.plant.settings).sign_command(body)
        self.witness.publish(topics.topic_of(topics.Command(GATEWAY)), signed)

        def obeys() -> AgentState | None:
            status = self.status()
            done = status is not None and status.state.counters.get("commands.obeyed", 0) > obeyed
            return status.state if done and status is not None else None

        state = wait_for("it obeys the hub", obeys, self.gateway.said)
        assert isinstance(state, AgentState)
        return state

    def disk(self) -> dict[str, str]:
        """Digests of all files, but for what changes with each command of the hub's that is obeyed."""
        orders = json.loads((self.gateway.state / "orders.json").read_text())
        assert "spoofed" not in orders.pop("commands")
        return {"orders.json": json.dumps(orders)} | {
            str(path.relative_to(self.gateway.state)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.gateway.state.rglob("*"))
            if path.is_file() and path.name not in _ALWAYS and not path.name.startswith(".")
        }

    def ingest(self) -> dict[str, Any]:
        shown: dict[str, Any] = self.site.get("/api/v1/ingest/status").json()
        return shown

    def alarms(self) -> int:
        return len(self.site.get("/api/v1/alarms").json()["items"])


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with running_broker("mosquitto", tmp_path_factory.mktemp("frames")) as frames_port:
        scene = Scene(tmp_path_factory.mktemp("scene"), frames_port)
        try:
            yield scene
        finally:
            scene.close()


def signed_want(scene: Scene) -> bytes:
    """Signed by the real director: were it heard, the gateway would stop its model."""
    now = int(time.time())
    body = WantBody(gateway=GATEWAY, seq=now + 1000, issued_s=now, expires_s=now + 600, bundles=[])
    return hub_repository(scene.site.plant.settings).sign_want(body)


def signed_command(scene: Scene) -> bytes:
    body = RecalibrateCommand(
        gateway=GATEWAY, id="spoofed", expires_s=int(time.time()) + 600, machine="P-101", point="de"
    )
    return hub_repository(scene.site.plant.settings).sign_command(body)


_NUMBERS = itertools.count(1)


def reports(gateway: str) -> dict[type[topics.Address], bytes]:
    """What gw-2 would like the hub to believe of a gateway."""
    made = {
        topics.State: AgentState(gateway=gateway, boot_id=BOOT, online=False, time_s=time.time()),
        topics.Ack: Ack(gateway=gateway, seq=1, slot=None, phase="idle", time_s=time.time()),
        topics.Event: AlarmEvent(
            gateway=gateway, boot_id=BOOT, seq=1, alarm="a", kind="raised", verdict="alarm", machine="P-101",
            point="de", slot="s", bundle_sha256="0" * 64, bundle_version="1", time_s=time.time(), score=9.0, peak=9.0,
        ),
        topics.Trend: TrendBatch(gateway=gateway, boot_id=BOOT, seq=next(_NUMBERS)),  # each looks like no other
        topics.Capture: CaptureChunk(
            gateway=gateway, capture="c", machine="P-101", point="de", index=0, total=1, rate_hz=1.0, axes=["x"],
            units="g", time_s=time.time(), data=bytes(8),
        ),
        topics.Get: GetBody(gateway=gateway, sha256="0" * 64, first=0, bitmap=b"\x01"),
    }  # fmt: skip
    return {address: encode(message) for address, message in made.items()}


def victims_topic(scene: Scene, kind: type[topics.Address]) -> str:
    values: dict[str, Any] = {
        "fleet": "plant", "sha256": scene.sha256, "index": 0, "token_hash": "cd" * 32, "node": "node-1",
        "gateway": GATEWAY,
    }  # fmt: skip
    return topics.topic_of(kind(**{name: values[name] for name in kind.__slots__}))


def payload_for(scene: Scene, kind: type[topics.Address]) -> bytes:
    made: dict[type[topics.Address], Callable[[], bytes]] = {
        topics.Want: lambda: signed_want(scene),
        topics.Command: lambda: signed_command(scene),
        topics.Frames: lambda: Node(boot_id=9).frame(50.0 * healthy(WINDOW, np.random.default_rng(1))),
    }
    return made[kind]() if kind in made else reports(GATEWAY).get(kind, b"spoofed " + kind.__name__.encode())


@pytest.mark.parametrize("kind", get_args(topics.Address), ids=lambda kind: kind.__name__)
def test_what_another_gateway_says_on_this_ones_topics(scene: Scene, kind: type[topics.Address]) -> None:
    state, disk, alarms, ingest = scene.reported(), scene.disk(), scene.alarms(), scene.ingest()
    topic, payload = victims_topic(scene, kind), payload_for(scene, kind)
    for retain in (False, True):
        scene.attacker.publish(topic, payload, retain=retain)
    assert scene.attacker.connected
    scene.feed(5)
    after = scene.reported()
    assert not scene.witness.got(payload), "the broker has let it through"
    assert scene.disk() == disk
    assert after.want_seq == state.want_seq
    assert after.slots[0].active_sha256 == scene.sha256
    assert after.points[0].windows >= state.points[0].windows + 5, "the model has stopped scoring"
    assert after.points[0].warmup_left == 0
    assert {n: v for n, v in after.counters.items() if n.startswith("refused")} == {
        n: v for n, v in state.counters.items() if n.startswith("refused")
    }
    assert scene.gateway.seen(), "the hub believes that it is gone"
    assert scene.alarms() == alarms
    assert scene.ingest()["rejections"] == ingest["rejections"]


def test_what_it_says_of_this_one_on_its_own_topics_is_refused_and_shown(scene: Scene) -> None:
    alarms, before = scene.alarms(), scene.ingest()["counters"].get("rejected.gateway", 0)
    spoken = {kind: payload for kind, payload in reports(GATEWAY).items() if kind is not topics.Get}
    own = {kind: topics.topic_of(kind(GatewayId("gw-2"))) for kind in spoken}  # type: ignore[call-arg]
    for kind, payload in spoken.items():
        scene.attacker.publish(own[kind], payload)
    wait_for(
        "the hub counts each of them",
        lambda: scene.ingest()["counters"].get("rejected.gateway", 0) == before + len(spoken),
    )
    shown = scene.ingest()["rejections"][: len(spoken)]
    assert {one["topic"] for one in shown} == set(own.values())
    assert all(
        one["reason"] == "gateway" and "expected a message of gw-2, got one of gw-1" in one["text"] for one in shown
    )
    assert scene.alarms() == alarms
    assert scene.gateway.seen()


def test_a_signed_want_of_another_gateway_is_no_want_of_this_one(scene: Scene) -> None:
    """Even where a broker has no rules at all (the hub's own listener stands for it), the gateway looks at the name."""
    state, disk = scene.reported(), scene.disk()
    now = int(time.time())
    body = WantBody(gateway="gw-2", seq=now + 2000, issued_s=now, expires_s=now + 600, bundles=[])
    scene.witness.publish(
        topics.topic_of(topics.Want(GATEWAY)), hub_repository(scene.site.plant.settings).sign_want(body)
    )
    scene.feed(5)
    after = scene.reported()
    assert (after.want_seq, after.slots[0].active_sha256) == (state.want_seq, scene.sha256)
    assert after.counters.get("refused.want_foreign", 0) == state.counters.get("refused.want_foreign", 0) + 1
    assert scene.disk() == disk
    assert after.points[0].windows >= state.points[0].windows + 5

"""From `cloud-hub publish` to a verified file on a gateway, through real brokers, with a client that knows only MQTT."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import msgspec
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from cloud_hub.cli import main
from cloud_hub.trust.keys import create_repository, load_signer, open_repository
from edge_agent.errors import TrustError
from edge_agent.trust import TrustStore
from models.bundle.archive import read_bundle
from models.bundle.package import decode_package
from models.contract.ids import FleetId, GatewayId
from models.contract.messages import CHUNK_BYTES, CaptureCommand, WantBody, WantedBundle
from models.contract.topics import Chunk, Command, Metadata, Want, topic_of
from tests.simulators.brokers import KINDS, running_broker
from tests.simulators.bundles import make_bundle
from tests.simulators.trust import sign_envelope

GATEWAY = GatewayId("gw-1")
METADATA = topic_of(Metadata(FleetId("plant")))
WANT = topic_of(Want(GATEWAY))
ONE, TWO = make_bundle(model_bytes=200_000), make_bundle(version="2.0.0", model_bytes=70_000, seed=8)
WAIT_S = 120.0


class BareClient:
    """A gateway's view of the broker: exact topics, QoS 1, nothing else."""

    def __init__(self, port: int) -> None:
        self.got: dict[str, bytes] = {}
        self._changed = threading.Condition()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="bare", protocol=mqtt.MQTTv311)
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: object, _userdata: object, message: mqtt.MQTTMessage) -> None:
        with self._changed:
            self.got[message.topic] = bytes(message.payload)
            self._changed.notify_all()

    def take(self, topic: str) -> bytes:
        """The retained message of a topic."""
        self._client.subscribe(topic, 1)
        payload = self.next(topic)
        self._client.unsubscribe(topic)
        return payload

    def listen(self, topic: str) -> None:
        """Subscribe, and be sure that the broker has taken it."""
        granted = threading.Event()
        self._client.on_subscribe = lambda *_: granted.set()
        self._client.subscribe(topic, 1)
        assert granted.wait(WAIT_S)

    def next(self, topic: str) -> bytes:
        with self._changed:
            assert self._changed.wait_for(lambda: topic in self.got, WAIT_S), f"nothing on {topic}"
            return self.got.pop(topic)

    def publish(self, topic: str, payload: bytes) -> None:
        """What an attacker on the broker could do."""
        self._client.publish(topic, payload, 1, retain=True).wait_for_publish(WAIT_S)

    def fetch(self, wanted: WantedBundle, part: Path) -> Path:
        count = -(-wanted.length // CHUNK_BYTES)
        part.write_bytes(b"".join(self.take(topic_of(Chunk(wanted.sha256, i))) for i in range(count)))
        return part


@dataclass
class Site:
    """A hub's folder, a gateway's folder, and a broker between them."""

    folder: Path
    port: int
    client: BareClient
    store: TrustStore = field(init=False)

    def __post_init__(self) -> None:
        self.home.mkdir()
        (self.home / "hub.toml").write_text(f"broker_port = {self.port}\n")
        self.hub("keys", "init", "--root-dir", str(self.folder / "safe"))
        self.gateway.mkdir()
        (self.gateway / "root.json").write_bytes((self.home / "repository" / "root.json").read_bytes())
        self.store = TrustStore(self.gateway)

    @property
    def home(self) -> Path:
        return self.folder / "hub"

    @property
    def gateway(self) -> Path:
        return self.folder / "gateway"

    def hub(self, *arguments: str, expect: int = 0) -> dict:
        """Run `cloud-hub` and give what it wrote with --json. In this process: importing takes longer than working."""
        result = self.folder / "result.json"
        result.unlink(missing_ok=True)
        said = io.StringIO()
        command = ["cloud-hub", *arguments, "--home", str(self.home), "--json", str(result)]
        with mock.patch.object(sys, "argv", command), contextlib.redirect_stderr(said):
            try:
                main()
                code = 0
            except SystemExit as ended:
                code = ended.code or 0
        assert code == expect, said.getvalue()
        return json.loads(result.read_text()) if expect == 0 else {"error": said.getvalue()}

    def publish(self, data: bytes, expect: int = 0) -> dict:
        path = self.folder / "new.mwb"
        path.write_bytes(data)
        return self.hub("publish", str(path), expect=expect)

    def verified_want(self, last_seq: int = 0) -> WantBody:
        metadata, envelope = self.client.take(METADATA), self.client.take(WANT)
        return self.store.verify_want(metadata, envelope, GATEWAY, last_seq, time.time())

    def install(self, wanted: WantedBundle) -> Path:
        part = self.client.fetch(wanted, self.gateway / f"{wanted.sha256}.part")
        destination = self.gateway / "bundles" / f"{wanted.sha256}.mwb"
        self.store.verify_bundle(self.client.take(METADATA), wanted, part, destination, time.time())
        return destination

    def on_disk(self) -> dict[str, bytes]:
        return {str(p.relative_to(self.gateway)): p.read_bytes() for p in self.gateway.rglob("*") if p.is_file()}


@pytest.fixture(params=KINDS)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    with running_broker(request.param, tmp_path) as port:
        client = BareClient(port)
        try:
            yield Site(tmp_path, port, client)
        finally:
            client.close()


def test_publish_want_fetch_verify(site: Site):
    report = site.publish(ONE)
    assert report["chunks"] == -(-len(ONE) // CHUNK_BYTES)
    assert len(ONE) < report["bytes_sent"] < 1.02 * len(ONE) + 5000
    issued = site.hub("want", GATEWAY, "gw-2", "--bundle", "pump-vibration/1.0.0", "--jitter", "90s")
    assert [w["gateway"] for w in issued["wants"]] == ["gw-1", "gw-2"]
    want = site.verified_want()
    assert (want.seq, want.jitter_s) == (issued["wants"][0]["seq"], 90)
    installed = site.install(want.bundles[0])
    assert installed.read_bytes() == ONE
    bundle = read_bundle(installed.read_bytes(), "gateway")
    assert (bundle.sha256, bundle.manifest.slot) == (want.bundles[0].sha256, "pump-vibration")
    assert not list(site.gateway.glob("*.part"))

    # The next version, and another slot beside it, which stays when only one of them is changed.
    site.publish(TWO)
    fan = site.publish(make_bundle(slot="fan-vibration"))
    site.hub("want", GATEWAY, "--bundle", fan["sha256"][:10])
    second = site.verified_want(last_seq=want.seq)
    assert second.seq > want.seq
    assert {b.slot: b.version for b in second.bundles} == {"fan-vibration": "1.0.0", "pump-vibration": "1.0.0"}
    site.hub("want", GATEWAY, "--bundle", "pump-vibration/2.0.0", "--slot", "pump-vibration")
    third = site.verified_want(last_seq=second.seq)
    assert {b.slot: b.version for b in third.bundles} == {"fan-vibration": "1.0.0", "pump-vibration": "2.0.0"}
    assert site.install(third.bundles[1]).read_bytes() == TWO


def test_forged(site: Site):
    """Whoever can write to the broker can offer what he likes; nothing of it is taken, and each time it is said why."""
    site.publish(ONE)
    site.hub("want", GATEWAY, "--bundle", "pump-vibration/1.0.0")
    good = site.verified_want()
    good_metadata, good_want = site.client.take(METADATA), site.client.take(WANT)
    before = site.on_disk()

    def refused(reason: str) -> None:
        with pytest.raises(TrustError) as caught:
            site.install(site.verified_want(last_seq=good.seq).bundles[0])
        assert caught.value.reason == reason, str(caught.value)
        assert site.on_disk() == before

    # A flipped bit in one chunk.
    chunk = topic_of(Chunk(good.bundles[0].sha256, 1))
    payload = site.client.take(chunk)
    site.client.publish(chunk, payload[:99] + bytes([payload[99] ^ 1]) + payload[100:])
    refused("target_digest")
    site.client.publish(chunk, payload)

    # A hub of his own: foreign metadata, foreign want, each alone and both.
    create_repository(site.folder / "evil", site.folder / "evil-keys", site.folder / "evil-safe", time.time())
    evil = open_repository(site.folder / "evil", site.folder / "evil-keys")
    forged = read_bundle(TWO, "evil")
    target = evil.add_bundle(forged.manifest, forged.sha256, forged.length, time.time())
    wanted = WantedBundle(
        slot="pump-vibration", target=target, sha256=forged.sha256, length=forged.length, version="2.0.0"
    )
    body = msgspec.structs.replace(good, seq=good.seq + 1, bundles=[wanted])
    site.client.publish(METADATA, evil.metadata_bundle())
    refused("metadata_signature")
    site.client.publish(WANT, evil.sign_want(body))
    refused("metadata_signature")
    site.client.publish(METADATA, good_metadata)
    refused("want_signature")

    # A stolen director key: wants what was never published.
    director = load_signer(site.home / "keys" / "director.pem")
    site.client.publish(WANT, sign_envelope(msgspec.json.encode(body), director))
    for index in range(-(-len(TWO) // CHUNK_BYTES)):
        start = index * CHUNK_BYTES
        site.client.publish(topic_of(Chunk(forged.sha256, index)), TWO[start : start + CHUNK_BYTES])
    with pytest.raises(TrustError) as caught:
        site.install(site.verified_want(last_seq=good.seq).bundles[0])
    assert caught.value.reason == "target_unknown"
    (site.gateway / f"{forged.sha256}.part").unlink()
    assert site.on_disk() == before

    # The hub's own words at the wrong time or place.
    for change, reason in (
        ({"gateway": "gw-2"}, "want_foreign"),
        ({"expires_s": int(time.time()) - 1}, "want_expired"),
        ({"seq": good.seq - 1}, "want_replayed"),
    ):
        other = msgspec.structs.replace(good, **change)
        site.client.publish(WANT, sign_envelope(msgspec.json.encode(other), director))
        refused(reason)

    # And after all that, the good one still goes through.
    site.client.publish(WANT, good_want)
    assert site.install(site.verified_want(last_seq=good.seq).bundles[0]).read_bytes() == ONE


def test_publish_refuses_bad_bundles_before_anything_is_sent(site: Site):
    flipped = ONE[:9000] + bytes([ONE[9000] ^ 1]) + ONE[9001:]
    error = site.publish(flipped, expect=4)["error"]
    assert error.startswith("cloud-hub: new.mwb, ")
    assert "expected SHA-256" in error
    site.publish(ONE)
    again = site.publish(make_bundle(seed=99), expect=4)["error"]
    assert "pump-vibration/1.0.0: already published as" in again
    assert site.publish(ONE)["target"] == f"pump-vibration/1.0.0-{read_bundle(ONE, '').sha256[:8]}.mwb"
    reserved = site.publish(make_bundle(slot="wants"), expect=4)["error"]
    assert "this name is reserved" in reserved


def test_commands_and_errors(site: Site):
    topic = topic_of(Command(GATEWAY))
    site.publish(ONE)
    site.client.listen(topic)
    sent = site.hub("capture", GATEWAY, "P-101", "DE", "--seconds", "5")
    metadata, envelope = site.client.take(METADATA), site.client.next(topic)
    command = site.store.verify_command(metadata, envelope, GATEWAY, time.time())
    assert isinstance(command, CaptureCommand)
    assert (command.id, command.machine, command.point, command.seconds) == (sent["id"], "P-101", "DE", 5)
    for arguments in (("recalibrate", GATEWAY, "P-101", "DE"), ("report", GATEWAY)):
        sent = site.hub(*arguments)
        command = site.store.verify_command(metadata, site.client.next(topic), GATEWAY, time.time())
        assert command.id == sent["id"]
    assert "report for gw/1: not a valid command" in site.hub("report", "gw/1", expect=1)["error"]
    assert (
        "capture for gw-1: not a valid command"
        in site.hub("capture", GATEWAY, "a/b", "DE", "--seconds", "5", expect=1)["error"]
    )
    assert "expected" in site.hub("want", GATEWAY, "--bundle", "nonsense", expect=1)["error"]
    assert (
        "is for the slot pump-vibration, not fan"
        in site.hub("want", GATEWAY, "--bundle", "pump-vibration/1.0.0", "--slot", "fan", expect=4)["error"]
    )
    assert (
        "will not be overwritten" in site.hub("keys", "init", "--root-dir", str(site.folder / "x"), expect=3)["error"]
    )


def test_no_broker(tmp_path: Path):
    with running_broker("amqtt", tmp_path) as port:
        pass
    home = tmp_path / "hub"
    home.mkdir()
    (home / "hub.toml").write_text(f"broker_port = {port}\n")
    path = tmp_path / "one.mwb"
    path.write_bytes(ONE)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cloud_hub", *arguments, "--home", str(home)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    without_keys = run("publish", str(path))
    assert (without_keys.returncode, "`cloud-hub keys init`" in without_keys.stderr) == (3, True)
    assert run("keys", "init", "--root-dir", str(tmp_path / "safe")).returncode == 0
    without_broker = run("publish", str(path))
    assert without_broker.returncode == 1
    assert f"broker 127.0.0.1:{port}: " in without_broker.stderr


def test_an_exported_package_holds_all_that_a_gateway_needs(site: Site) -> None:
    site.publish(ONE)
    path = site.folder / "stick.mwx"
    result = site.hub("export", "pump-vibration/1.0.0", "--gateway", GATEWAY, "--out", str(path))
    package = decode_package(path.read_bytes(), "stick")
    want = site.store.verify_want(package.metadata, package.wants[GATEWAY], GATEWAY, 0, time.time())
    assert package.bundle == ONE
    assert [(one.slot, one.sha256) for one in want.bundles] == [("pump-vibration", result["sha256"])]
    assert want.seq == result["wants"][0]["seq"]
    again = site.hub("want", GATEWAY, "--bundle", "pump-vibration/1.0.0")
    assert again["wants"][0]["seq"] > want.seq, "a want on a stick takes a number like any other"
    site.hub("export", "pump-vibration/9", "--gateway", GATEWAY, "--out", str(path), expect=1)

"""The key of the issuing authority was stolen: what the thief certifies opens a real Mosquitto until the root has
revoked the authority, and neither that broker nor an agent's connection after it.
"""

from __future__ import annotations

import ssl
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from cloud_hub.errors import LinkError
from cloud_hub.identity.authority import Authority, fingerprint, key_pem, load_certificate, new_key, pem
from cloud_hub.identity.broker_files import Ports, write_broker_files
from cloud_hub.settings import Settings
from cloud_hub.transport import Link
from edge_agent.config import BrokerSettings
from edge_agent.errors import TransportError
from edge_agent.identity import Identity
from edge_agent.identity_worker import _read_root_crl
from edge_agent.storage import prepare_folder
from edge_agent.transport import MqttTransport
from edge_agent.wire import Inbox
from tests.simulators.brokers import KINDS
from tests.simulators.plant import PASSPHRASE, Client, Plant, free_ports

pytestmark = [*KINDS[0].marks, pytest.mark.slow]


def comes_in(plant: Plant, certificate: Path) -> bool:
    try:
        client = Client(plant.ports.gateways, plant.broker / "root.crt", certificate, "")
    except (ssl.SSLError, ConnectionError):
        return False
    try:
        return client.connected
    finally:
        client.close()


def certified(authority: Authority, path: Path, now_s: float) -> Path:
    key = new_key()
    made = authority.issue_gateway(key.public_key(), "gw-1", "plant", now_s, 5)
    path.write_bytes(key_pem(key) + (pem(made) + pem(authority.certificate)).encode())
    return path


def hub_link(plant: Plant, port: int) -> Link:
    """The hub's own, with the list in its identity folder."""
    return Link(Settings(home=plant.home, broker_host="localhost", broker_port=port, broker_identity=True), "hub-x")


def cloud_hub(plant: Plant, *arguments: str) -> str:
    file = plant.folder / "passphrase"
    file.write_bytes(PASSPHRASE)
    command = [sys.executable, "-m", "cloud_hub", "identity", *arguments, "--home", str(plant.home)]
    safe = ["--root-dir", str(plant.folder / "safe"), "--passphrase-file", str(file)]
    done = subprocess.run([*command, *safe], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_a_thief_certifies_is_let_in_no_more(tmp_path: Path) -> None:
    plant = Plant(tmp_path / "plant")
    plant.start()
    try:
        stolen = plant.identity.issuing_authority()
        digits = fingerprint(stolen.certificate)[:12]
        thief = certified(stolen, tmp_path / "thief.pem", time.time())
        assert comes_in(plant, thief)
        ports = Ports(*free_ports(3), "127.0.0.1", "127.0.0.1")
        write_broker_files(plant.identity, tmp_path / "false", ["localhost"], ports, user="root")

        time.sleep(1.1)  # the names of authorities differ by the second
        assert f"revoke-authority {digits}" in cloud_hub(plant, "reissue")
        said = cloud_hub(plant, "revoke-authority", digits)
        assert "list number 2" in said
        assert "start the broker again" in said
        write_broker_files(plant.identity, plant.broker, ["localhost", "127.0.0.1"], plant.ports, user="root")
        plant.restart()
        assert not comes_in(plant, thief)
        assert not comes_in(plant, certified(stolen, tmp_path / "later.pem", time.time() + 1))
        honest = plant.certify("gw-2")
        assert comes_in(plant, honest)

        # A gateway that was certified anew, at a broker with a server certificate by the thief.
        identity = Identity(tmp_path / "identity")
        prepare_folder(identity.folder)
        root = load_certificate(plant.identity.root)
        identity.ca.write_bytes(plant.identity.root.read_bytes())
        identity.pem.write_bytes(honest.read_bytes())
        revoked = _read_root_crl(plant.identity.root_crl.read_text(), root)
        identity.revoked_file.write_bytes(msgspec.json.encode(revoked))
        false = subprocess.Popen(
            [*plant.command[:-1], str(tmp_path / "false" / "mosquitto.conf")], stderr=subprocess.DEVNULL
        )
        try:
            plant.wait_for_ports((ports.gateways,), false)
            settings = BrokerSettings(host="localhost", port=ports.gateways, identity_dir=identity.folder)
            with pytest.raises(TransportError, match=r"is by Millwright plant issuing .*, which the root has revoked"):
                MqttTransport(settings, "gw-2", Inbox("-")).check(5.0)
            with pytest.raises(LinkError, match=r"is by Millwright plant issuing .*, which the root has revoked"):
                hub_link(plant, ports.hub).connect(5.0)
        finally:
            false.terminate()
            false.wait(30)
        settings = BrokerSettings(host="localhost", port=plant.ports.gateways, identity_dir=identity.folder)
        MqttTransport(settings, "gw-2", Inbox("-")).check(30.0)
        with hub_link(plant, plant.ports.hub) as link:
            assert link.connected
    finally:
        plant.close()

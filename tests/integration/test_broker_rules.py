"""The generated rules on a real Mosquitto with mutual TLS, for every kind of topic that the contract has."""

from __future__ import annotations

import itertools
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from models.contract import topics
from models.contract.topics import ACCESS, Access, Address, topic_of
from tests.simulators.brokers import KINDS
from tests.simulators.plant import Client, Plant

pytestmark = KINDS[0].marks
KINDS_OF_ADDRESS = get_args(Address)
_VALUES: dict[str, Any] = {
    "fleet": "plant", "sha256": "ab" * 32, "index": 3, "token_hash": "cd" * 32, "node": "node-1", "gateway": "gw-1",
}  # fmt: skip
_numbers = itertools.count()


def address(kind: type[Address], **changes: Any) -> Address:
    values = _VALUES | changes
    return kind(**{name: values[name] for name in kind.__slots__})


def fresh() -> bytes:
    return b"message %d" % next(_numbers)


class People:
    def __init__(self, plant: Plant) -> None:
        ca, ports = plant.broker / "root.crt", plant.ports
        self.plant = plant
        self.hub = Client(ports.hub, ca, plant.identity.hub_pem, "hub-test")
        self.one = Client(ports.gateways, ca, plant.certify("gw-1"), "whatever")
        self.two = Client(ports.gateways, ca, plant.certify("gw-2"), "whatever")
        self.stranger = Client(ports.strangers, ca, None, "", "enrol.00")
        self.all = {"hub": self.hub, "gw-1": self.one, "gw-2": self.two, "stranger": self.stranger}
        for client in self.all.values():
            assert client.connected, client.refused
            client.subscribe("mw/#")
            client.subscribe("#")

    def readers(self, topic: str, payload: bytes) -> set[str]:
        """Who got it, after a message that everybody may get has come through behind it."""
        marker = fresh()
        self.hub.publish(topic_of(address(topics.Chunk)), marker)
        self.hub.publish(topic_of(address(topics.EnrollReply)), marker)
        for client in self.all.values():
            client.wait_for(marker)
        return {name for name, client in self.all.items() if client.got(payload)}


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    plant = Plant(tmp_path_factory.mktemp("plant"))
    plant.start()
    try:
        people = People(plant)
        yield people
        for client in people.all.values():
            client.close()
    finally:
        plant.close()


MAY_READ = {
    Access.FLEET_READS: {"hub", "gw-1", "gw-2"},
    Access.OWNER_READS: {"hub", "gw-1"},
    Access.OWNER_WRITES: {"hub"},
    Access.STRANGER_READS: {"hub", "stranger"},
    Access.STRANGER_WRITES: {"hub"},
    Access.SITE_ONLY: set(),
}
MAY_WRITE = {
    Access.FLEET_READS: {"hub"},
    Access.OWNER_READS: {"hub"},
    Access.OWNER_WRITES: {"hub", "gw-1"},
    Access.STRANGER_READS: {"hub"},
    Access.STRANGER_WRITES: {"hub", "stranger"},
    Access.SITE_ONLY: set(),
}


@pytest.mark.parametrize("kind", KINDS_OF_ADDRESS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("writer", ["hub", "gw-1", "gw-2", "stranger"])
def test_who_writes_and_who_reads(people: People, kind: type[Address], writer: str) -> None:
    """Topics are gw-1's, so gw-2 is the other gateway, for whom every one of them is foreign."""
    topic, payload = topic_of(address(kind)), fresh()
    people.all[writer].publish(topic, payload)
    allowed = writer in MAY_WRITE[ACCESS[kind]]
    assert people.readers(topic, payload) == (MAY_READ[ACCESS[kind]] if allowed else set())


@pytest.mark.parametrize("kind", KINDS_OF_ADDRESS, ids=lambda kind: kind.__name__)
def test_what_is_retained_is_shown_to_nobody_else(people: People, kind: type[Address]) -> None:
    topic, payload = topic_of(address(kind)), fresh()
    people.hub.publish(topic, payload, retain=True)
    late = {
        "gw-2": Client(people.plant.ports.gateways, people.plant.broker / "root.crt", people.plant.folder / "gw-2.pem", ""),
        "stranger": Client(people.plant.ports.strangers, people.plant.broker / "root.crt", None, "", "enrol.01"),
    }  # fmt: skip
    try:
        marker = fresh()
        for name, client in late.items():
            assert client.connected
            client.subscribe(topic)
            client.subscribe("#")
            client.subscribe(topic_of(address(topics.Chunk if name == "gw-2" else topics.EnrollReply)))
        people.hub.publish(topic_of(address(topics.Chunk)), marker)
        people.hub.publish(topic_of(address(topics.EnrollReply)), marker)
        for client in late.values():
            client.wait_for(marker)
        assert {name for name, client in late.items() if client.got(payload)} == MAY_READ[ACCESS[kind]] & set(late)
    finally:
        people.hub.publish(topic, b"", retain=True)
        for client in late.values():
            client.close()
        # the second client of gw-2 took the first one's place: its name is its client id
        people.all["gw-2"] = people.two = _again(people)


def _again(people: People) -> Client:
    people.two.close()
    client = Client(
        people.plant.ports.gateways, people.plant.broker / "root.crt", people.plant.folder / "gw-2.pem", "x"
    )
    assert client.connected
    client.subscribe("#")
    return client


def test_a_gateway_cannot_take_anothers_client_id(people: People) -> None:
    intruder = Client(
        people.plant.ports.gateways, people.plant.broker / "root.crt", people.plant.certify("gw-3"), "gw-1"
    )
    assert intruder.connected
    stranger = Client(people.plant.ports.strangers, people.plant.broker / "root.crt", None, "gw-1", "enrol.02")
    assert stranger.connected
    time.sleep(0.3)
    assert people.one.connected
    intruder.close()
    stranger.close()


@pytest.mark.parametrize(
    "what", ["no certificate", "no name", "gateway at the hub's", "hub at the gateways'", "expired", "other root"]
)
def test_who_does_not_come_in(people: People, what: str, tmp_path: Path) -> None:
    plant, ca = people.plant, people.plant.broker / "root.crt"
    port, certificate = plant.ports.gateways, None
    if what == "no name":
        port = plant.ports.strangers
    elif what == "gateway at the hub's":
        port, certificate = plant.ports.hub, plant.folder / "gw-1.pem"
    elif what == "hub at the gateways'":
        certificate = plant.identity.hub_pem
    elif what == "expired":
        certificate = plant.certify("gw-old", time.time() - 10 * 86_400, days=1)
    elif what == "other root":
        from cloud_hub.identity.authority import key_pem, make_issuing, make_root, new_key, pem

        root, key = make_root("plant", time.time(), 10), new_key()
        issuing = make_issuing(root, "plant", time.time(), 10)
        made = issuing.issue_gateway(key.public_key(), "gw-1", "plant", time.time(), 1)
        certificate = tmp_path / "evil.pem"
        certificate.write_bytes(key_pem(key) + (pem(made) + pem(issuing.certificate)).encode())
    try:
        client = Client(port, ca, certificate, "x")
    except (ssl.SSLError, ConnectionError):
        return
    try:
        assert not client.connected
    finally:
        client.close()

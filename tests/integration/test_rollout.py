"""A rollout by `cloud-hub serve` over a real broker, to light clients that report how bundles behave."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from cloud_hub.store.database import Database
from cloud_hub.trust.keys import create_repository
from models.contract import topics
from models.contract.ids import GatewayId
from models.contract.messages import Ack, AgentState, encode
from tests.cloud_hub.rollout_kit import add_bundles
from tests.integration.test_hub_serve import HubProcess, Mosquitto, wait_for
from tests.simulators.fleet import NEW, OLD, SLOT, SimGateway

pytestmark = pytest.mark.broker
_TICK_S = 0.2
_COHORTS = [
    {"name": "canary", "share": "25 %", "errors": "0", "success": "100 %", "shadow_windows": 400, "soak_windows": 60},
    {"name": "all", "share": "100 %", "shadow_windows": 400, "soak_windows": 60},
]


class LightClient:
    """A gateway without a body on a connection of its own."""

    def __init__(self, gateway: SimGateway, port: int) -> None:
        self.gateway = gateway
        self._wants: queue.Queue[bytes] = queue.Queue()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=gateway.name, protocol=mqtt.MQTTv311)
        self._client.on_message = lambda _c, _u, m: self._wants.put(m.payload)
        self._client.on_connect = lambda c, *_: c.subscribe(topics.topic_of(topics.Want(GatewayId(gateway.name))), 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def tick(self) -> None:
        while not self._wants.empty():
            for ack in self.gateway.want(self._wants.get(), time.time()):
                self._send(ack)
        for message in self.gateway.tick(time.time()):
            self._send(message)

    def _send(self, message: Ack | AgentState) -> None:
        kind = topics.State if isinstance(message, AgentState) else topics.Ack
        topic = topics.topic_of(kind(GatewayId(message.gateway)))
        self._client.publish(topic, encode(message), 1, isinstance(message, AgentState))

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class Plant:
    """Broker, hub process and eight gateways."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.broker = Mosquitto(folder)
        self.broker.start()
        home = folder / "hub"
        create_repository(home / "repository", home / "keys", folder / "safe", time.time())
        with Database(f"sqlite:///{home / 'hub.sqlite3'}") as database:
            database.migrate()
            add_bundles(database)
        self.hub = HubProcess(home, self.broker.port)
        self.hub.start()
        self.hub.wait_until_ready()
        self.clients = [LightClient(SimGateway(f"gw-{i}", kind), self.broker.port) for i in range(8)]  # type: ignore[arg-type]

    def until(self, what: str, check: Any) -> Any:
        def ticked() -> Any:
            for client in self.clients:
                client.tick()
            time.sleep(_TICK_S)
            return check()

        return wait_for(what, ticked)

    def rollout(self) -> dict[str, Any]:
        return self.hub.get("/api/v1/rollouts/r1")["rollout"]

    def begin(self) -> None:
        self.until("all report", lambda: len(self.hub.get("/api/v1/gateways")["items"]) == 8)
        body = {"name": "r1", "slot": SLOT, "sha256": NEW, "cohorts": _COHORTS}
        answer = httpx.post(f"{self.hub.url}/api/v1/rollouts", json=body, headers=self.hub.headers, timeout=30)
        assert answer.status_code == 201, answer.text

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.hub.kill()
        self.broker.stop()


@pytest.fixture
def plant(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Plant]:
    made = Plant(tmp_path, request.param)
    yield made
    made.close()


@pytest.mark.slow
@pytest.mark.parametrize("plant", ["good"], indirect=True)
def test_a_good_rollout_finishes_although_the_hub_is_killed(plant: Plant) -> None:
    plant.begin()
    plant.until("some are in shadow", lambda: any(c.gateway.phase == "shadow" for c in plant.clients))
    plant.hub.kill()
    (plant.hub.home / "ready.json").unlink()
    plant.hub.start()
    plant.hub.wait_until_ready()
    plant.until("it is finished", lambda: plant.rollout()["status"] == "finished")
    assert {c.gateway.active for c in plant.clients} == {NEW}
    for client in plant.clients:
        assert [w.bundles[0].hold for w in client.gateway.wants] == [True, False]
    assert plant.hub.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize("plant", ["flood"], indirect=True)
def test_a_bad_one_pauses_in_the_canary_and_the_others_never_hear_of_it(plant: Plant) -> None:
    plant.begin()
    plant.until("it is paused", lambda: plant.rollout()["status"] == "paused")
    # Whichever rule sees it first: that of the cohort as a whole, or that of the errors in it.
    assert plant.rollout()["cause"] in {"alarm_rate", "errors"}
    assert plant.rollout()["cohort_name"] == "canary"
    plant.until(
        "the canary has its old bundle back",
        lambda: (
            plant.hub.get("/api/v1/rollouts/r1")["cohorts"][0]["failures"].get("alarm_rate") == 2
            and all(c.gateway.phase == "confirmed" for c in plant.clients)
        ),
    )
    touched = [c for c in plant.clients if c.gateway.wants]
    assert len(touched) == 2
    assert {c.gateway.active for c in plant.clients} == {OLD}
    assert plant.hub.stop() == 0

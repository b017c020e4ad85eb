"""Records of a running hub carry the ids of what they are about, whichever module writes them."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cloud_hub.accounts.permissions import Permission
from cloud_hub.ingest.worker import IngestWorker
from cloud_hub.observing.logs import set_up
from cloud_hub.store.accounts_queries import list_audit
from cloud_hub.store.database import Database
from cloud_hub.store.paging import Paging
from cloud_hub.transport import Incoming
from tests.cloud_hub.mlops_kit import MlopsHub, runner, table, until
from tests.cloud_hub.people import Town, bearer
from tests.cloud_hub.rollout_kit import World, fleet_of, plan
from tests.cloud_hub.whole_hub import whole_hub
from tests.simulators.fleet import NEW
from tests.simulators.hub import QueueBroker, event, incoming


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    set_up(logging.INFO, "json", stream)
    yield stream
    root.handlers[:], root.level = handlers, level


def lines(log: io.StringIO, text: str) -> list[dict[str, Any]]:
    found = [line for line in map(json.loads, log.getvalue().splitlines()) if text in line["text"]]
    assert found, log.getvalue()
    return found


def test_a_request(database: Database, tmp_path: Path, log: io.StringIO) -> None:
    town = Town(database, tmp_path)
    secret = town.token(Permission.SITES_WRITE)
    answer = bearer(town, secret, "PUT", "/api/v1/gateways/gw-1/site", {"labels": {}})
    assert answer.status_code == 200
    (line,) = (line for line in lines(log, "PUT ") if line["logger"] == "cloud_hub.api.auth")
    assert line["request"] == answer.headers["x-request-id"]
    assert line["who"] == "bot"
    assert line["text"].startswith("PUT /api/v1/gateways/{gateway}/site: 200 in ")
    assert secret not in log.getvalue()


def test_what_is_written_down_names_the_request(tmp_path: Path) -> None:
    """Also where nobody hands its id on."""
    with whole_hub(tmp_path) as (app, secret):

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://hub") as client:
                headers = {"authorization": f"Bearer {secret}"}
                return await client.post("/api/v1/gateways/gw-9/enrol-tokens", json={}, headers=headers)

        answer = asyncio.run(ask())
        assert answer.status_code == 201
        with app.state.context.database.read() as session:
            (entry,) = list_audit(session, Paging(10), action="enrolment.create").items
    assert entry.request_id == answer.headers["x-request-id"]


def test_what_other_modules_say_during_a_request(tmp_path: Path, log: io.StringIO) -> None:
    with whole_hub(tmp_path) as (app, _):

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://hub") as client:
                headers = {"x-request-id": "mine-7"}
                return await client.post("/api/v1/enroll", content=b"{}", headers=headers)

        assert asyncio.run(ask()).headers["x-request-id"] == "mine-7"
    (line,) = lines(log, "enrolment refused")
    assert (line["logger"], line["request"]) == ("cloud_hub.identity.registrar", "mine-7")


def test_a_message_that_is_not_taken(database: Database, tmp_path: Path, log: io.StringIO) -> None:
    worker = IngestWorker(database, QueueBroker(), tmp_path, now_s=lambda: 1.0)
    worker.take(
        [Incoming(incoming(event(gateway="gw-7")).topic, b"{}", False), Incoming("mw/1/elsewhere", b"{}", False)]
    )
    first, *others = lines(log, "rejected")
    assert first["gateway"] == "gw-7"
    assert all("gateway" not in line for line in others)


def test_a_rollout(database: Database, log: io.StringIO) -> None:
    world = World(database, fleet_of(5, gw0="refuse", gw1="refuse", gw2="refuse", gw3="refuse", gw4="refuse"))
    world.create(plan())
    world.run(10, until="paused")
    found = lines(log, "rollout r1")
    assert {(line["rollout"], line["bundle"]) for line in found} == {("r1", NEW)}


def test_a_training_job(database: Database, tmp_path: Path, log: io.StringIO) -> None:
    hub = MlopsHub(database, tmp_path)
    item = {"kind": "upload", "ref": hub.upload("hall.csv", table())["sha256"], "role": "healthy"}
    hub.ask("POST", "/data-sets", 201, json={"name": "hall", "items": [item]})
    job = hub.ask("POST", "/training-jobs", 201, json={"data_set": "hall"})["id"]
    worker = runner(hub, "raise SystemExit(3)")
    worker.start()
    try:
        until(lambda: hub.ask("GET", f"/training-jobs/{job}")["job"]["state"] == "failed")
    finally:
        worker.stop()
    assert {line["job"] for line in lines(log, f"training job {job}")} == {job}

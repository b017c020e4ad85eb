"""Taking a gateway out of the fleet: what leaves, what stays, what stands in the way, how it comes back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from cloud_hub.accounts.permissions import ROLE_PERMISSIONS, Principal, Role
from cloud_hub.delivery.registry import WantRecord
from cloud_hub.store import tables as t
from cloud_hub.store.database import Database
from cloud_hub.store.figures import fleet_figures
from cloud_hub.store.registry import SqlRegistry
from cloud_hub.store.writer import Message, Received, Writer
from tests.cloud_hub.mlops_kit import NOW_S, MlopsHub
from tests.simulators.hub import SHA, event, point, state

ADMIN = Principal("anna", "user", ROLE_PERMISSIONS[Role.ADMIN])
WHY = {"why": "scrapped"}


def store(hub: MlopsHub, *messages: Message) -> None:
    Writer(hub.database, lambda: NOW_S).store([Received(one) for one in messages])


@pytest.fixture
def hub(database: Database, tmp_path: Path) -> MlopsHub:
    """gw-1 is away for good, its machine in alarm; gw-2 is there."""
    made = MlopsHub(database, tmp_path)
    made.as_ = ADMIN
    store(made, state("gw-1", points=[point(machine="P-1")]), event(1, machine="P-1"))
    store(made, state("gw-1", online=False), state("gw-2", points=[point(machine="P-2")]))
    made.send("PUT", "/api/v1/gateways/gw-1/site", json={"time_zone": None, "labels": {"line": "3"}})
    return made


def ids(hub: MlopsHub, path: str) -> list[str]:
    return [one["id"] for one in hub.ask("GET", path)["items"]]


def audited(hub: MlopsHub) -> list[Any]:
    with hub.database.read() as session:
        rows = session.scalars(select(t.AuditEntry).where(t.AuditEntry.action == "gateway.retire")).all()
        return [(row.who, row.target, row.before, row.after) for row in rows]


def test_it_leaves_every_list_and_count(hub: MlopsHub) -> None:
    assert hub.ask("POST", "/gateways/gw-1/retire", json=WHY) == {"gateway": "gw-1", "changed": True}
    assert ids(hub, "/gateways") == ["gw-2"]
    assert ids(hub, "/gateways?retired=true") == ["gw-1"]
    assert ids(hub, "/inventory") == ["gw-2"]
    overview = hub.ask("GET", "/overview?since=0")
    assert overview["gateways"] == {"total": 1, "online": 1}
    assert "gw-1" not in json.dumps(overview["gateway_changes"])
    with hub.database.read() as session:
        figures = fleet_figures(session, NOW_S)
    assert (figures.gateways, sum(figures.agents.values())) == ({"online": 1, "offline": 0}, 1)
    assert hub.ask("GET", "/points?gateway=gw-1&current=true")["items"] == []


def test_its_history_stays_and_its_alarms_end(hub: MlopsHub) -> None:
    hub.ask("POST", "/gateways/gw-1/retire", json=WHY)
    shown = hub.ask("GET", "/gateways/gw-1")
    assert shown["gateway"]["retired_s"] == NOW_S
    assert (shown["slots"], [one["current"] for one in shown["points"]]) == ([], [False])
    (alarm,) = hub.ask("GET", "/alarms?gateway=gw-1")["items"]
    assert (alarm["status"], alarm["state"]) == ("cleared", "returned")  # nobody has seen it yet
    history = hub.ask("GET", f"/alarms/{alarm['id']}/actions")["items"]
    assert [(one["who"], one["action"], one["text"]) for one in history] == [
        ("anna", "cleared", "its gateway was retired: scrapped")
    ]
    before = {"slots": ["pump-vibration"], "time_zone": None, "labels": {"line": "3"}}
    after = {"retired_s": NOW_S, "why": "scrapped", "alarms_ended": 1}
    assert audited(hub) == [("anna", "gateway:gw-1", before, after)]


def test_again_changes_nothing(hub: MlopsHub) -> None:
    hub.ask("POST", "/gateways/gw-1/retire", json=WHY)
    assert hub.ask("POST", "/gateways/gw-1/retire", json=WHY)["changed"] is False
    assert len(audited(hub)) == 1


def test_it_comes_back_when_it_reports_itself(hub: MlopsHub) -> None:
    hub.ask("POST", "/gateways/gw-1/retire", json=WHY)
    store(hub, event(2, machine="P-1"))  # what came late is kept, and is no sign of life
    assert ids(hub, "/gateways") == ["gw-2"]
    store(hub, state("gw-1", points=[point(machine="P-1")]))
    assert ids(hub, "/gateways") == ["gw-1", "gw-2"]
    assert hub.ask("GET", "/points?gateway=gw-1&current=true")["items"]


def _certificate(hub: MlopsHub, **changes: Any) -> None:
    digits = f"{7:064d}"
    row = {
        "sha256": digits, "serial": "7", "key_sha256": digits, "csr_sha256": digits, "gateway": "gw-1", "chain": "",
        "issuer_sha256": SHA, "issued_s": 1.0, "not_before_s": 1.0, "not_after_s": NOW_S + 50, "revoked_s": None,
        "revoked_why": None,
    }  # fmt: skip
    with hub.database.write() as session:
        session.add(t.Certificate(**(row | changes)))


def _token(hub: MlopsHub, **changes: Any) -> None:
    row = {
        "token_hash": SHA, "public_key": b"x", "gateway": "gw-1", "created_s": 1.0, "expires_s": NOW_S + 50,
        "used_s": None, "csr_sha256": None,
    }  # fmt: skip
    with hub.database.write() as session:
        session.add(t.EnrolToken(**(row | changes)))


def test_not_while_it_can_come_in(hub: MlopsHub) -> None:
    _certificate(hub)
    problem = hub.ask("POST", "/gateways/gw-1/retire", 409, json=WHY)
    assert problem["detail"] == "gateway gw-1: it has a valid certificate, revoke it first"
    with hub.database.write() as session:
        session.query(t.Certificate).update({"revoked_s": NOW_S})
    _token(hub)
    assert "token to enrol with" in hub.ask("POST", "/gateways/gw-1/retire", 409, json=WHY)["detail"]
    with hub.database.write() as session:
        session.query(t.EnrolToken).update({"expires_s": NOW_S})
    assert hub.ask("POST", "/gateways/gw-1/retire", json=WHY)["changed"] is True


def test_an_expired_certificate_does_not_stand_in_the_way(hub: MlopsHub) -> None:
    _certificate(hub, not_after_s=NOW_S)
    assert hub.ask("POST", "/gateways/gw-1/retire", json=WHY)["changed"] is True


def test_not_while_it_is_there(hub: MlopsHub) -> None:
    assert "it is online" in hub.ask("POST", "/gateways/gw-2/retire", 409, json=WHY)["detail"]


def test_what_is_refused(hub: MlopsHub) -> None:
    assert "none has reported itself" in hub.ask("POST", "/gateways/gw-9/retire", 404, json=WHY)["detail"]
    hub.ask("POST", "/gateways/gw-1/retire", 422, json={})
    hub.as_ = Principal("ada", "user", ROLE_PERMISSIONS[Role.ENGINEER])
    hub.ask("POST", "/gateways/gw-1/retire", 403, json=WHY)


def test_its_wants_are_no_longer_renewed(hub: MlopsHub) -> None:
    registry = SqlRegistry(hub.database)
    for gateway in ("gw-1", "gw-2"):
        registry.add_want(WantRecord(gateway, 5, NOW_S, NOW_S + 9e6, ()))
    assert [one.gateway for some in registry.standing_wants() for one in some] == ["gw-1", "gw-2"]
    hub.ask("POST", "/gateways/gw-1/retire", json=WHY)
    assert [one.gateway for some in registry.standing_wants() for one in some] == ["gw-2"]

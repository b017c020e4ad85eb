"""Enrolment tokens and revocation over the API, with a certificate authority of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud_hub.accounts.permissions import ROLE_PERMISSIONS, Principal, Role
from cloud_hub.identity.folder import IdentityFolder
from cloud_hub.identity.revocation import refresh_crl
from cloud_hub.services.gateways import GatewayDesk
from cloud_hub.services.workshop import Workshop
from cloud_hub.store import tables as t
from cloud_hub.store.database import Database
from cloud_hub.store.identities import SqlIdentities
from models.contract.identity import parse_token
from tests.cloud_hub.mlops_kit import NOW_S, MlopsHub

ADMIN = Principal("anna", "user", ROLE_PERMISSIONS[Role.ADMIN])


@pytest.fixture
def hub(database: Database, tmp_path: Path) -> MlopsHub:
    made = MlopsHub(database, tmp_path)
    folder = IdentityFolder(made.settings.identity_dir, "plant")
    folder.create(tmp_path / "root", b"a long enough passphrase", NOW_S)
    refresh_crl(folder, SqlIdentities(database), 30)
    context = made.app.state.context
    desk = GatewayDesk(made.settings, folder, database)
    object.__setattr__(context, "workshop", Workshop(made.places, desk=desk))
    made.as_ = ADMIN
    return made


def test_a_token_is_shown_once_and_the_one_before_is_void(hub: MlopsHub) -> None:
    first = hub.ask("POST", "/gateways/gw-9/enrol-tokens", 201, json={"hours": 2})
    assert first["expires_s"] == NOW_S + 7200
    assert parse_token(first["token"])
    second = hub.send("POST", "/api/v1/gateways/gw-9/enrol-tokens", json={})
    assert second.headers["cache-control"] == "no-store"
    assert second.json()["token"] != first["token"]
    with hub.database.read() as session:
        rows = session.query(t.EnrolToken).order_by(t.EnrolToken.expires_s).all()
        entries = session.query(t.AuditEntry).all()
    assert [row.expires_s > NOW_S for row in rows] == [False, True]
    assert {(e.who, e.action) for e in entries} == {("anna", "enrolment.create")}
    assert first["token"] not in str([e.after for e in entries])


def test_revoking(hub: MlopsHub) -> None:
    hub.ask("POST", "/gateways/gw-9/enrol-tokens", 201, json={})
    done = hub.ask("POST", "/gateways/gw-9/revoke", json={"why": "stolen"})
    assert (done["serials"], done["session_ended"]) == ([], False)
    assert "broker_crl_file is not set" in done["broker"]
    assert hub.ask("GET", "/gateways/gw-9/certificates") == []


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        ("/gateways/hub-x/enrol-tokens", {}, 409, "names that begin with hub- are the hub's own"),
        ("/gateways/a b/enrol-tokens", {}, 422, "gateway"),
        ("/gateways/gw-9/enrol-tokens", {"hours": 0}, 422, "hours"),
        ("/gateways/gw-9/revoke", {}, 422, "why"),
    ],
)
def test_what_is_refused(hub: MlopsHub, path: str, body: dict[str, object], status: int, text: str) -> None:
    assert text in hub.ask("POST", path, status, json=body)["detail"]


def test_engineers_may_not(hub: MlopsHub) -> None:
    hub.as_ = Principal("ada", "user", ROLE_PERMISSIONS[Role.ENGINEER])
    hub.ask("POST", "/gateways/gw-9/enrol-tokens", 403, json={})
    hub.ask("POST", "/gateways/gw-9/revoke", 403, json={"why": "x"})

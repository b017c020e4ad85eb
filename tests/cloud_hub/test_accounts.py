"""People, passwords, sessions, tokens, links: what lets somebody in, and what does not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cloud_hub.accounts import secrets
from cloud_hub.accounts.errors import MayNotError
from cloud_hub.accounts.permissions import Permission, Principal, Role
from cloud_hub.accounts.records import Limits
from cloud_hub.api import limits
from cloud_hub.errors import ConflictError, NotFoundError
from cloud_hub.services import accounts, tokens
from cloud_hub.services.sign_in import Door, Visitor
from cloud_hub.store.database import Database
from tests.cloud_hub.people import BASE, BETTER, GOOD, ROOT, Browser, Town, bearer


@pytest.fixture
def town(database: Database, tmp_path: Path) -> Town:
    return Town(database, tmp_path)


# ------------------------------------------------------------------------------------------------ people


def test_who_is_disabled_or_gets_another_role_is_out_at_once(town: Town) -> None:
    town.add("ann", Role.ENGINEER)
    browser, token = Browser(town), town.token(Permission.FLEET_READ, account="ann")
    browser.sign_in("ann")
    assert bearer(town, token, "GET", "/api/v1/gateways").status_code == 200
    accounts.change_account(town.database, ROOT, "ann", town.now_s, disabled=True)
    assert browser.api("GET", "/account").status_code == 401
    assert bearer(town, token, "GET", "/api/v1/gateways").status_code == 401
    assert Browser(town).sign_in("ann").status_code == 401
    with pytest.raises(ConflictError, match="disabled"):
        accounts.password_link(town.database, town.door, ROOT, "ann", town.now_s)
    accounts.change_account(town.database, ROOT, "ann", town.now_s, disabled=False)
    assert browser.api("GET", "/account").status_code == 401  # the old session does not come back
    assert bearer(town, token, "GET", "/api/v1/gateways").status_code == 200
    browser.sign_in("ann")
    accounts.change_account(town.database, ROOT, "ann", town.now_s, role=Role.VIEWER)
    assert browser.api("GET", "/account").status_code == 401


def test_the_last_administrator_stays(town: Town) -> None:
    town.add("ann", Role.ADMIN)
    for change in ({"disabled": True}, {"role": Role.ENGINEER}):
        with pytest.raises(ConflictError, match="the last administrator who can sign in"):
            accounts.change_account(town.database, ROOT, "ann", town.now_s, **change)  # type: ignore[arg-type]
    accounts.create_account(town.database, ROOT, "bob", Role.ADMIN, town.now_s)
    with pytest.raises(ConflictError):  # bob has no password yet: he could not let her in again
        accounts.change_account(town.database, ROOT, "ann", town.now_s, disabled=True)
    secret = accounts.password_link(town.database, town.door, ROOT, "bob", town.now_s)
    accounts.use_link(town.database, town.door, Visitor("x"), secret, GOOD, town.now_s)
    assert accounts.change_account(town.database, ROOT, "ann", town.now_s, disabled=True).disabled_s == town.now_s


def test_nobody_hands_out_more_than_they_have(town: Town) -> None:
    town.add("ann", Role.ADMIN)
    clerk = Principal("clerk", "token", frozenset({Permission.USERS_MANAGE, Permission.FLEET_READ}))
    accounts.create_account(town.database, clerk, "vic", Role.VIEWER, town.now_s)
    with pytest.raises(MayNotError):
        accounts.create_account(town.database, clerk, "eve", Role.ADMIN, town.now_s)
    with pytest.raises(MayNotError):
        accounts.change_account(town.database, clerk, "vic", town.now_s, role=Role.ENGINEER)
    with pytest.raises(MayNotError):
        accounts.password_link(town.database, town.door, clerk, "ann", town.now_s)
    with pytest.raises(MayNotError, match="has not audit:read"):
        tokens.create_token(
            town.database, clerk, Limits(), "x", [Permission.AUDIT_READ], 60.0, town.now_s, account=None
        )
    with pytest.raises(NotFoundError):
        accounts.change_account(town.database, ROOT, "eve", town.now_s, disabled=True)


def test_users_over_the_api_with_etags(town: Town) -> None:
    town.add("ann", Role.ADMIN)
    browser = Browser(town)
    browser.sign_in("ann")
    made = browser.api("POST", "/users", {"name": "carl", "role": "viewer", "full_name": "Carl C."})
    assert made.status_code == 201
    url = made.json()["url"]
    assert url.startswith(f"{BASE}/link/")
    shown = browser.api("GET", "/users/carl")
    assert shown.json()["has_password"] is False
    changed = browser.api("PATCH", "/users/carl", {"role": "operator"}, if_match=shown.headers["etag"])
    assert (changed.status_code, changed.json()["role"]) == (200, "operator")
    assert changed.headers["etag"] != shown.headers["etag"]
    stale = browser.api("PATCH", "/users/carl", {"role": "admin"}, if_match=shown.headers["etag"])
    assert (stale.status_code, stale.json()["type"]) == (412, "urn:millwright:problem:stale")
    assert browser.api("PATCH", "/users/carl", {"role": "admin"}, if_match='"nonsense"').status_code == 412
    assert browser.api("GET", "/users/carl").json()["role"] == "operator"
    assert [u["name"] for u in browser.api("GET", "/users?role=operator").json()["items"]] == ["carl"]
    assert browser.api("POST", "/users", {"name": "carl", "role": "viewer"}).status_code == 409
    assert browser.api("POST", "/users", {"name": "no good", "role": "viewer"}).status_code == 422
    assert browser.api("PATCH", "/users/ann", {"disabled": True}).status_code == 409
    carl = Browser(town)
    assert carl.send("POST", url.removeprefix(BASE), data={"password": GOOD, "again": GOOD}).status_code == 303
    assert carl.api("GET", "/users").status_code == 403
    assert carl.api("GET", "/account").json()["name"] == "carl"


def test_ones_own_password(town: Town) -> None:
    town.add("ann")
    here, there = Browser(town), Browser(town)
    here.sign_in("ann")
    there.sign_in("ann")
    wrong = here.api("POST", "/account/password", {"old": "wrong wrong wrong", "new": BETTER})
    assert (wrong.status_code, "the one that you have now" in wrong.json()["detail"]) == (422, True)
    weak = here.api("POST", "/account/password", {"old": GOOD, "new": "ann ann ann ann"})
    assert weak.status_code == 422
    before = here.cookies["mw_session"]
    assert here.api("POST", "/account/password", {"old": GOOD, "new": BETTER}).status_code == 204
    assert here.cookies["mw_session"] != before
    assert here.api("GET", "/account").status_code == 200
    assert there.api("GET", "/account").status_code == 401
    assert Browser(town).sign_in("ann", BETTER).status_code == 303
    token = town.token(Permission.FLEET_READ, account="ann")
    assert bearer(town, token, "POST", "/api/v1/account/password", {"old": BETTER, "new": GOOD}).status_code == 403


def test_guessing_the_old_password_is_slowed_down_too(town: Town) -> None:
    town.add("ann")
    browser = Browser(town)
    browser.sign_in("ann")
    body = {"old": "wrong wrong wrong", "new": BETTER}
    answers = [browser.api("POST", "/account/password", body).status_code for _ in range(9)]
    assert answers == [422] * 8 + [429]


# ------------------------------------------------------------------------------------------------ tokens


def test_a_token_does_what_its_scopes_and_its_owner_may(town: Town) -> None:
    town.add("ann", Role.OPERATOR)
    token = town.token(Permission.FLEET_READ, Permission.USERS_MANAGE, account="ann")
    assert bearer(town, token, "GET", "/api/v1/gateways").status_code == 200
    assert bearer(town, token, "GET", "/api/v1/users").status_code == 403  # an operator's cannot
    assert bearer(town, token, "GET", "/api/v1/captures").status_code == 403  # she may, the token may not
    assert bearer(town, token, "GET", "/api/v1/account").json() == {
        "name": "ann/bot", "kind": "token", "permissions": ["fleet:read"],
    }  # fmt: skip
    free = town.token(Permission.USERS_MANAGE)
    assert bearer(town, free, "GET", "/api/v1/users").status_code == 200


def test_a_token_ends(town: Town) -> None:
    token = town.token(Permission.FLEET_READ, lasts_s=100.0)
    assert bearer(town, token, "GET", "/api/v1/gateways").status_code == 200
    town.now_s += 99.9
    assert bearer(town, token, "GET", "/api/v1/gateways").status_code == 200
    town.now_s += 0.2
    refused = bearer(town, token, "GET", "/api/v1/gateways")
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, 'Bearer error="invalid_token"')
    assert refused.json()["detail"] == "API token: unknown, expired or revoked"


@pytest.mark.parametrize(
    "text", ["", "mw_", "mw_" + "A" * 43, "Bearer", "A" * 43, "mw_" + "A" * 5000, "mw_\xe4" + "A" * 42]
)
def test_what_is_no_token(town: Town, text: str) -> None:
    headers: dict[str, Any] = {"authorization": f"Bearer {text}".encode("latin-1"), "accept": "application/json"}
    assert Browser(town).send("GET", "/api/v1/gateways", headers=headers).status_code == 401


def test_a_bad_token_is_not_helped_out_by_a_cookie(town: Town) -> None:
    town.add("ann", Role.ADMIN)
    browser = Browser(town)
    browser.sign_in("ann")
    assert browser.api("GET", "/users", authorization="Bearer mw_nonsense").status_code == 401
    assert browser.api("GET", "/users", authorization="Basic YW5uOng=").status_code == 401


def test_own_tokens_over_the_api(town: Town) -> None:
    for name, role in (("ann", Role.OPERATOR), ("boss", Role.ADMIN), ("eve", Role.OPERATOR)):
        town.add(name, role)
    ann, boss, eve = Browser(town), Browser(town), Browser(town)
    for browser, name in ((ann, "ann"), (boss, "boss"), (eve, "eve")):
        browser.sign_in(name)
    assert ann.api("POST", "/account/tokens", {"name": "x", "scopes": ["users:manage"]}).status_code == 403
    assert ann.api("POST", "/account/tokens", {"name": "x", "scopes": ["fleet:read"], "days": 1000}).status_code == 422
    made = ann.api("POST", "/account/tokens", {"name": "script", "scopes": ["fleet:read"], "days": 1})
    assert made.status_code == 201
    secret, id_ = made.json()["secret"], made.json()["token"]["id"]
    assert bearer(town, secret, "GET", "/api/v1/machines").status_code == 200
    assert bearer(town, secret, "POST", "/api/v1/account/tokens", {"name": "y", "scopes": ["fleet:read"]}).status_code == 403  # fmt: skip
    assert [t["id"] for t in ann.api("GET", "/account/tokens").json()["items"]] == [id_]
    assert eve.api("GET", "/account/tokens").json()["items"] == []
    assert eve.api("DELETE", f"/tokens/{id_}").status_code == 403
    assert boss.api("GET", "/tokens?user=ann").json()["items"][0]["last_used_s"] == town.now_s
    assert boss.api("DELETE", f"/tokens/{id_}").json()["revoked_s"] == town.now_s
    assert bearer(town, secret, "GET", "/api/v1/machines").status_code == 401
    assert ann.api("DELETE", "/tokens/nothing").status_code == 404


# ------------------------------------------------------------------------------------------------ audit, secrets


def test_no_secret_is_ever_stored(town: Town) -> None:
    town.add("ann", Role.ADMIN)
    browser = Browser(town)
    browser.sign_in("ann")
    made = browser.api("POST", "/users", {"name": "carl", "role": "viewer"}, idempotency_key="k1").json()
    link = made["url"].rsplit("/", 1)[1]
    token = browser.api("POST", "/account/tokens", {"name": "t", "scopes": ["fleet:read"]}, idempotency_key="k2").json()
    Browser(town).send("POST", f"/link/{link}", data={"password": BETTER, "again": BETTER})
    stored = town.stored()
    known = [
        GOOD,
        BETTER,
        link,
        token["secret"],
        browser.cookies["mw_session"],
        browser.cookies["mw_device"],
        browser.csrf,
    ]
    assert [secret for secret in known if secret in stored] == []
    assert secrets.digest(token["secret"]) in stored
    for entry in town.audit():
        text = json.dumps([entry.before, entry.after])
        assert "argon2" not in text
        assert not any(secret in text for secret in known)


def test_the_audit_log_says_who_changed_what(town: Town) -> None:
    town.add("ann", Role.ADMIN)
    town.add("carl")
    browser = Browser(town)
    browser.sign_in("ann")
    answer = browser.api("PATCH", "/users/carl", {"role": "engineer"}, x_request_id="req-7")
    assert answer.headers["x-request-id"] == "req-7"
    assert browser.api("PATCH", "/users/carl", {"role": "engineer"}).status_code == 200  # changes nothing
    found = browser.api("GET", "/audit?action=account.change").json()["items"]
    assert [(e["who"], e["kind"], e["target"], e["before"], e["after"], e["request_id"]) for e in found] == [
        ("ann", "user", "account:carl", {"role": "viewer"}, {"role": "engineer"}, "req-7")
    ]
    assert {e["action"] for e in browser.api("GET", "/audit?action=account.").json()["items"]} > {"account.create"}
    assert browser.api("GET", "/audit?target=account%3Acarl&who=root").json()["items"]
    first = browser.api("GET", "/audit?limit=1").json()
    assert len(first["items"]) == 1
    assert (
        browser.api("GET", f"/audit?limit=500&cursor={first['next']}").json()["items"][0]["id"]
        < first["items"][0]["id"]
    )


# ------------------------------------------------------------------------------------------------ idempotency


def test_the_same_key_makes_it_once(town: Town) -> None:
    town.add("ann", Role.ADMIN)
    browser = Browser(town)
    browser.sign_in("ann")
    body = {"name": "carl", "role": "viewer"}
    assert browser.api("POST", "/users", body, idempotency_key="k1").status_code == 201
    again = browser.api("POST", "/users", body, idempotency_key="k1")
    assert (again.status_code, "shown only once" in again.json()["detail"]) == (409, True)
    other = browser.api("POST", "/users", body | {"name": "dora"}, idempotency_key="k1")
    assert (other.status_code, other.json()["type"]) == (422, "urn:millwright:problem:key-reused")
    assert browser.api("GET", "/users/dora").status_code == 404
    # What failed may be tried again under its key.
    assert browser.api("POST", "/users", body, idempotency_key="k2").status_code == 409
    assert "there is one of this name" in browser.api("POST", "/users", body, idempotency_key="k2").json()["detail"]
    assert browser.api("POST", "/users", body, idempotency_key="a b").status_code == 422


# ------------------------------------------------------------------------------------------------ start


def test_a_hub_that_cannot_ask_its_database_lets_nobody_in(town: Town) -> None:
    token = town.token(Permission.FLEET_READ)
    with town.database.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE api_tokens")
    assert bearer(town, token, "GET", "/api/v1/gateways").status_code == 503


def test_doors_are_strong_unless_a_test_says_otherwise() -> None:
    assert Door().passwords.make("x").startswith("$argon2id$v=19$m=65536,t=3,p=4$")


# ------------------------------------------------------------------------------------------------ headers, bounds


def test_every_answer_has_the_headers(town: Town, database: Database, tmp_path: Path) -> None:
    for answer in (Browser(town).get("/login"), Browser(town).get("/nowhere"), Browser(town).get("/api/v1/health")):
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "camera=()" in answer.headers["permissions-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"  # without one, forms come with "Origin: null"
        assert "strict-transport-security" not in answer.headers
    safe = Town(database, tmp_path, public_url="https://hub.example")
    assert Browser(safe).get("/login").headers["strict-transport-security"] == "max-age=31536000"


def test_a_body_that_is_too_long_is_not_read(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DEFAULT_BYTES", 1000)
    larger = {"/api/v1/big": 5000, "/api/v1/big/small": 10}
    assert [limits.bound_of(p, larger) for p in ("/x", "/api/v1/big/x", "/api/v1/big/small")] == [1000, 5000, 10]
    json_ = {"accept": "application/json"}
    announced = Browser(town).send("POST", "/api/v1/enroll", content=b"x" * 1001, headers=json_)
    assert (announced.status_code, announced.json()["type"]) == (413, "urn:millwright:problem:too-large")

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 400

    town.add("ann")
    form = {**json_, "content-type": "application/x-www-form-urlencoded"}
    assert Browser(town).send("POST", "/login", content=pieces(), headers=form).status_code == 413
    nonsense = Browser(town).send("POST", "/login", content=b"x", headers={**form, "content-length": "ten"})
    assert nonsense.status_code == 413

"""Signing in and out, sessions, one-time links, and forged requests, over HTTP as a browser has it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from cloud_hub.accounts.errors import SignInError
from cloud_hub.accounts.permissions import Role
from cloud_hub.accounts.records import Limits
from cloud_hub.errors import StoreUnavailableError
from cloud_hub.services import accounts
from cloud_hub.services.sign_in import Visitor
from cloud_hub.store.database import Database
from tests.cloud_hub.people import BASE, BETTER, GOOD, ROOT, Browser, Town, quick_door


@pytest.fixture
def town(database: Database, tmp_path: Path) -> Town:
    return Town(database, tmp_path)


# ------------------------------------------------------------------------------------------------ sign-in


def test_in_by_the_form_and_out_again(town: Town) -> None:
    town.add("ann", Role.OPERATOR)
    browser = Browser(town)
    led = browser.get("/api")
    assert (led.status_code, led.headers["location"]) == (303, "/login?next=%2Fapi")
    assert "Sign in" in browser.get(led.headers["location"]).text
    answer = browser.send("POST", "/login", data={"name": " Ann ", "password": GOOD, "next": "/api"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/api")
    (session,) = (one for one in browser.set_cookie if one.startswith("mw_session="))
    assert {"HttpOnly", "Path=/", "SameSite=lax"} <= set(session.split("; "))
    assert "Max-Age" not in session
    assert browser.get("/api").status_code == 200
    assert browser.api("GET", "/account").json()["name"] == "ann"
    assert browser.get("/login?next=/api").headers["location"] == "/api"
    assert browser.send("POST", "/logout", data={"csrf_token": browser.csrf}).headers["location"] == "/login"
    assert "mw_session" not in browser.cookies
    assert [e.action for e in town.audit("session.")] == ["session.end", "session.begin", "session.begin"]


def test_a_session_that_ended_is_dead_even_for_who_kept_the_cookie(town: Town) -> None:
    town.add("ann")
    browser = Browser(town)
    browser.sign_in("ann")
    kept = dict(browser.cookies)
    browser.send("POST", "/logout", data={"csrf_token": browser.csrf})
    browser.cookies = kept
    assert browser.api("GET", "/account").status_code == 401


@pytest.mark.parametrize("next_", ["//evil.test", "https://evil.test", "/\\evil.test", "/a\r\nX: y", ""])
def test_signing_in_never_leads_elsewhere(town: Town, next_: str) -> None:
    town.add("ann")
    answer = Browser(town).send("POST", "/login", data={"name": "ann", "password": GOOD, "next": next_})
    assert answer.headers["location"] == "/"


def test_what_the_hub_says_does_not_tell_whether_there_is_an_account(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    town.add("ann")
    accounts.create_account(town.database, ROOT, "new", Role.VIEWER, town.now_s)  # has no password yet
    town.add("gone")
    accounts.change_account(town.database, ROOT, "gone", town.now_s, disabled=True)
    work: list[str] = []
    real = PasswordHasher.verify
    monkeypatch.setattr(
        PasswordHasher, "verify", lambda self, h, p: (work.append(h.rsplit("$", 2)[0]), real(self, h, p))[1]
    )
    said = set()
    for name, password in (("ann", "wrong wrong wrong"), ("nobody", GOOD), ("new", GOOD), ("gone", GOOD), ("", ""), ("☃" * 90, GOOD)):  # fmt: skip
        answer = Browser(town).sign_in(name, password)
        said.add((answer.status_code, answer.text.replace(name, "") if name else answer.text))
    assert {status for status, _ in said} == {401}
    # Every one of them has cost one hash of the same strength.
    assert len(work) == 6
    assert len(set(work)) == 1


def test_too_many_tries_wait_but_a_known_browser_comes_in(town: Town) -> None:
    town.add("ann")
    hers = Browser(town, "203.0.113.9")
    hers.sign_in("ann")
    hers.cookies.pop("mw_session")
    stranger = Browser(town, "198.51.100.1")
    answers = [stranger.sign_in("ann", "wrong wrong wrong") for _ in range(9)]
    assert [a.status_code for a in answers] == [401] * 8 + [429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    assert stranger.sign_in("ann", GOOD).status_code == 429  # not even the right one is looked at
    assert Browser(town, "203.0.113.10").sign_in("ann").status_code == 429
    assert hers.sign_in("ann").status_code == 303
    town.now_s += 61
    assert Browser(town, "203.0.113.10").sign_in("ann").status_code == 303


def test_who_is_right_is_not_slowed_down(town: Town) -> None:
    town.add("ann")
    assert all(Browser(town).sign_in("ann").status_code == 303 for _ in range(50))


def test_a_session_that_was_planted_is_not_taken_over(town: Town) -> None:
    town.add("ann")
    town.add("eve")
    eve = Browser(town)
    eve.sign_in("eve")
    planted = eve.cookies["mw_session"]
    victim = Browser(town)
    victim.cookies = {"mw_session": planted}
    assert victim.sign_in("ann").status_code == 303
    assert victim.cookies["mw_session"] != planted
    assert victim.api("GET", "/account").json()["name"] == "ann"
    assert eve.api("GET", "/account").status_code == 401  # and the planted one is over
    made_up = Browser(town)
    made_up.cookies = {"mw_session": "A" * 43}
    made_up.sign_in("ann")
    assert made_up.cookies["mw_session"] != "A" * 43


def test_sessions_end_idle_and_for_good(database: Database, tmp_path: Path) -> None:
    town = Town(database, tmp_path, door=quick_door(Limits(idle_s=3600.0, session_s=10_000.0)))
    town.add("ann")
    browser = Browser(town)
    browser.sign_in("ann")
    for _ in range(3):  # in use: it goes on
        town.now_s += 3000
        assert browser.api("GET", "/account").status_code == 200
    town.now_s += 1001
    assert browser.api("GET", "/account").status_code == 401
    browser.sign_in("ann")
    town.now_s += 3601
    assert browser.api("GET", "/account").status_code == 401


def test_cookies_over_tls_are_secure_and_bound_to_the_host(database: Database, tmp_path: Path) -> None:
    town = Town(database, tmp_path, public_url="https://hub.example")
    town.add("ann")
    browser = Browser(town, base="http://10.0.0.5:8080")  # what the proxy forwards
    assert browser.sign_in("ann", origin="https://hub.example").status_code == 303
    assert all({"Secure", "HttpOnly", "Path=/"} <= set(one.split("; ")) for one in browser.set_cookie)
    assert all(one.startswith("__Host-mw_") and "Domain" not in one for one in browser.set_cookie)
    plain = Browser(town, base="http://10.0.0.5:8080")
    plain.cookies = {"mw_session": browser.cookies["__Host-mw_session"]}
    assert plain.api("GET", "/account").status_code == 401


# ------------------------------------------------------------------------------------------------ forgery


def test_a_change_by_cookie_needs_the_token_of_this_session(town: Town) -> None:
    for name in ("ann", "bob"):
        town.add(name, Role.ADMIN)
    ann, bob = Browser(town), Browser(town)
    ann.sign_in("ann")
    bob.sign_in("bob")
    body = {"name": "carl", "role": "viewer"}
    json_ = {"accept": "application/json"}
    missing = ann.send("POST", "/api/v1/users", headers=json_, json=body)
    assert (missing.status_code, "CSRF token: missing" in missing.json()["detail"]) == (403, True)
    foreign = ann.send("POST", "/api/v1/users", headers={**json_, "x-csrf-token": bob.csrf}, json=body)
    assert (foreign.status_code, "CSRF token: wrong" in foreign.json()["detail"]) == (403, True)
    assert ann.send("POST", "/logout", data={"csrf_token": bob.csrf}, headers=json_).status_code == 403
    assert ann.send("POST", "/logout?csrf_token=" + ann.csrf, headers=json_).status_code == 403
    assert bob.api("GET", "/users/carl").status_code == 404
    assert ann.api("POST", "/users", body).status_code == 201


@pytest.mark.parametrize("origin", ["https://hub.test", "http://hub.test:81", "http://evil.test", "null"])
def test_pages_of_others_change_nothing_and_sign_nobody_in(town: Town, origin: str) -> None:
    town.add("ann", Role.ADMIN)
    browser = Browser(town)
    assert browser.sign_in("ann", origin=origin).status_code == 403
    browser.sign_in("ann")
    answer = browser.send(
        "POST", "/api/v1/users", origin=origin, json={"name": "carl", "role": "viewer"},
        headers={"x-csrf-token": browser.csrf, "accept": "application/json"},
    )  # fmt: skip
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:millwright:problem:origin")
    assert f"origin: expected {BASE}, got" in answer.json()["detail"]
    cross = browser.send("GET", "/api", headers={"sec-fetch-site": "cross-site"})
    assert cross.status_code == 200  # a link from elsewhere


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 303), (None, 303)]
)
def test_without_origin_the_browser_says_where_from(town: Town, site: str | None, status: int) -> None:
    town.add("ann")
    browser = Browser(town)
    form = {"name": "ann", "password": GOOD}
    headers = {"sec-fetch-site": site} if site is not None else {}
    assert browser.send("POST", "/login", data=form, origin="", headers=headers).status_code == status


# ------------------------------------------------------------------------------------------------ links


def test_the_first_administrator_comes_by_a_link_that_works_once(town: Town) -> None:
    link = accounts.administrator_link(town.database, town.door, ROOT, town.now_s, only_first=True)
    assert link is not None
    browser = Browser(town)
    assert "Become an administrator" in browser.get(f"/link/{link}").text
    assert "Become an administrator" in browser.get(f"/link/{link}").text  # looking does not use it up
    form = {"name": "Boss", "password": "short", "again": "short"}
    refused = browser.send("POST", f"/link/{link}", data=form)
    assert (refused.status_code, "expected 12 to 256" in refused.text) == (422, True)
    form |= {"password": GOOD, "again": GOOD + "x"}
    assert "differ" in browser.send("POST", f"/link/{link}", data=form).text
    done = browser.send("POST", f"/link/{link}", data=form | {"again": GOOD, "next": "/api"})
    assert (done.status_code, done.headers["location"]) == (303, "/api")
    assert browser.api("GET", "/users/boss").json()["role"] == "admin"
    assert Browser(town).get(f"/link/{link}", headers={"accept": "application/json"}).status_code == 401
    again = Browser(town).send("POST", f"/link/{link}", data=form | {"name": "eve", "again": GOOD})
    assert again.status_code in {303, 401}
    assert browser.api("GET", "/users/eve").status_code == 404
    assert accounts.administrator_link(town.database, town.door, ROOT, town.now_s, only_first=True) is None


def test_links_grow_old_and_newer_ones_take_their_place(town: Town) -> None:
    old = accounts.administrator_link(town.database, town.door, ROOT, town.now_s)
    new = accounts.administrator_link(town.database, town.door, ROOT, town.now_s)
    assert old is not None
    assert new is not None
    with pytest.raises(SignInError, match="not good any more"):
        accounts.look_at_link(town.database, old, town.now_s)
    accounts.look_at_link(town.database, new, town.now_s + 24 * 3600 - 1)
    with pytest.raises(SignInError, match="not good any more"):
        accounts.look_at_link(town.database, new, town.now_s + 24 * 3600)
    with pytest.raises(SignInError, match="not good any more"):
        accounts.use_link(town.database, town.door, Visitor("x"), new, GOOD, town.now_s + 24 * 3600, name="eve")


def test_a_reset_ends_all_sessions_and_the_old_password(town: Town) -> None:
    town.add("ann")
    browser = Browser(town)
    browser.sign_in("ann")
    secret = accounts.password_link(town.database, town.door, ROOT, "ann", town.now_s)
    assert browser.api("GET", "/account").status_code == 200
    accounts.use_link(town.database, town.door, Visitor("x"), secret, BETTER, town.now_s)
    assert browser.api("GET", "/account").status_code == 401
    assert Browser(town).sign_in("ann", GOOD).status_code == 401
    assert Browser(town).sign_in("ann", BETTER).status_code == 303


def test_the_secret_of_a_link_is_in_no_log_also_when_the_database_is_away(
    town: Town, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    town.add("ann")
    browser = Browser(town)
    browser.sign_in("ann")
    secret = accounts.password_link(town.database, town.door, ROOT, "ann", town.now_s)

    def away(*_: object) -> None:
        raise StoreUnavailableError("database: away, says the test")

    monkeypatch.setattr("cloud_hub.services.sign_in.session_of", away)
    with caplog.at_level(logging.DEBUG):
        assert browser.get(f"/link/{secret}").status_code == 503
    assert "GET: the caller could not be looked up: database: away" in caplog.text
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("cloud_hub")]
    assert ours
    assert not any(secret in line for line in ours)

"""People, passwords, sessions, tokens, links: what lets somebody in, and what does not."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st

from cloud_hub.accounts import secrets, throttle
from cloud_hub.accounts.errors import AccountError, MayNotError, SignInError
from cloud_hub.accounts.names import check_name
from cloud_hub.accounts.passwords import Passwords, check_password
from cloud_hub.accounts.permissions import Permission, Principal, Role
from cloud_hub.accounts.records import Limits
from cloud_hub.api import limits
from cloud_hub.errors import ConflictError, NotFoundError
from cloud_hub.services import accounts, tokens
from cloud_hub.services.sign_in import Door, Visitor
from cloud_hub.store.database import Database
from tests.cloud_hub.people import BASE, BETTER, GOOD, ROOT, Browser, Town, bearer, quick_door


@pytest.fixture
def town(database: Database, tmp_path: Path) -> Town:
    return Town(database, tmp_path)


# ------------------------------------------------------------------------------------------------ passwords, names


@pytest.mark.parametrize(
    "password",
    ["Password1234", "P@ssw0rd2024!", "qwertyuiop12", "Summer2024!!!!", "abcabcabcabcabc1", "letmeinletmein",
     "millwright2026", "annannann1234", "0123456789012", "northplant-north-plant", "Siemens12345!"],
)  # fmt: skip
def test_what_is_guessed_first_is_no_password(password: str) -> None:
    with pytest.raises(AccountError, match="^password: "):
        check_password(password, "ann", "north-plant")


@pytest.mark.parametrize(
    "password", [GOOD, BETTER, "4f6a9c1e7b20", "Grüße aus Oberammergau", "пароль не такой простой"]
)
def test_what_is_not_is_one(password: str) -> None:
    check_password(password, "ann", "plant")


def test_length_counts_in_characters_and_is_bounded() -> None:
    with pytest.raises(AccountError, match="expected 12 to 256 characters, got 11"):
        check_password("kelp brim o")
    with pytest.raises(AccountError, match="got 257"):
        check_password("kelpbrimoxtally!"[:16] * 16 + "x")


@given(st.text(max_size=300))
def test_any_text_is_judged_and_never_breaks(text: str) -> None:
    with contextlib.suppress(AccountError):
        check_password(text, "ann")


def test_hashes_are_argon2id_salted_and_fit_however_a_keyboard_composes() -> None:
    passwords = Passwords()
    first, second = passwords.make("Grüße aus Oberammergau"), passwords.make("Grüße aus Oberammergau")
    assert first != second
    assert first.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert passwords.matches(first, "Gru\u0308ße aus Oberammergau")
    assert not passwords.matches(first, "Grusse aus Oberammergau")
    assert not passwords.matches(None, "nobody has this password, whatever it is compared with")
    with pytest.raises(AccountError, match="no argon2 hash"):
        passwords.matches("plain", "plain")


@pytest.mark.parametrize("name", ["", "-ann", "a b", "ä", "a" * 65, "a/b", "a\n"])
def test_what_is_no_name(name: str) -> None:
    if name != "a\n":  # spaces around are taken away
        with pytest.raises(AccountError, match="account name: expected 1 to 64"):
            check_name(name)
    assert check_name(" Ann.O@plant ") == "ann.o@plant"


# ------------------------------------------------------------------------------------------------ throttle


def test_a_bucket_empties_refills_and_never_locks() -> None:
    buckets = throttle.Throttle()
    keys = throttle.keys_for("ann", "192.0.2.1", None)
    assert [buckets.take(keys, 0.0) for _ in range(8)] == [0.0] * 8
    assert buckets.take(keys, 0.0) == pytest.approx(60.0)
    for second in range(1, 60):  # whoever goes on trying does not make it longer
        assert buckets.take(keys, float(second)) > 0
    assert buckets.take(keys, 60.0) == 0.0


def test_a_browser_that_is_known_is_not_shut_out_by_strangers() -> None:
    buckets = throttle.Throttle()
    for i in range(100):
        buckets.take(throttle.keys_for("ann", f"198.51.100.{i}", None), 0.0)
    assert buckets.take(throttle.keys_for("ann", "203.0.113.9", None), 0.0) > 0
    assert buckets.take(throttle.keys_for("ann", "203.0.113.9", "her laptop"), 0.0) == 0.0


def test_addresses_are_counted_by_who_has_them() -> None:
    assert throttle.network_of("2001:db8:1:2:3::4") == throttle.network_of("2001:db8:1:2:ffff::1")
    assert throttle.network_of("2001:db8:1:3::1") != throttle.network_of("2001:db8:1:2::1")
    assert throttle.network_of("::ffff:192.0.2.1") == "192.0.2.1"
    assert throttle.network_of("unix:/run/hub.sock") == "unix:/run/hub.sock"


def test_one_address_cannot_try_many_accounts() -> None:
    buckets = throttle.Throttle()
    granted = [buckets.take(throttle.keys_for(f"a{i}", "192.0.2.1", None), 0.0) == 0.0 for i in range(60)]
    assert sum(granted) == 40


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

"""The pages of administration and of one's own account, without a browser: what they do, and what they show once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cloud_hub.accounts.permissions import Permission, Role
from cloud_hub.store.database import Database
from tests.cloud_hub.people import BASE, BETTER, GOOD, Browser, Town, bearer


@pytest.fixture
def town(database: Database, tmp_path: Path) -> Town:
    return Town(database, tmp_path)


@pytest.fixture
def boss(town: Town) -> Browser:
    town.add("boss", Role.ADMIN)
    browser = Browser(town)
    browser.sign_in("boss")
    return browser


def form(browser: Browser, path: str, **fields: str | list[str]) -> tuple[int, str]:
    """Send a form with its token; status and page, or where it leads."""
    answer = browser.send("POST", path, data={"csrf_token": browser.csrf, **fields})
    return answer.status_code, answer.headers.get("location") or answer.text


def test_somebody_is_added_invited_changed_and_disabled(town: Town, boss: Browser) -> None:
    status, page = form(boss, "/admin/users", name="Carl", full_name="Carl <b>C.</b>", role="operator")
    assert status == 200
    (link,) = re.findall(rf'value="{BASE}(/link/[\w-]+)"', page)
    carl = Browser(town)
    assert "For the account <strong>carl</strong>" in carl.get(link).text
    assert carl.send("POST", link, data={"password": GOOD, "again": GOOD}).status_code == 303
    listed = boss.get("/admin/users").text
    assert "Carl &lt;b&gt;C.&lt;/b&gt;" in listed
    shown = boss.get("/admin/users/carl").text
    (revision,) = set(re.findall(r'name="revision" value="(\d+)"', shown))
    assert form(boss, "/admin/users/carl", revision=revision, role="engineer", full_name="Carl") == (
        303,
        "/admin/users/carl",
    )
    assert carl.api("GET", "/account").status_code == 401
    assert form(boss, "/admin/users/carl", revision=revision, disabled="true")[0] == 412  # seen before the change
    now = re.findall(r'name="revision" value="(\d+)"', boss.get("/admin/users/carl").text)[0]
    assert form(boss, "/admin/users/carl", revision=now, disabled="true")[0] == 303
    assert "disabled" in boss.get("/admin/users/carl").text
    assert Browser(town).sign_in("carl").status_code == 401


def test_a_form_that_is_not_right_is_shown_again(boss: Browser) -> None:
    status, page = form(boss, "/admin/users", name="no good", role="viewer")
    assert (status, "account name: expected 1 to 64" in page, 'value="no good"' in page) == (422, True, True)
    assert form(boss, "/admin/users", name="boss", role="viewer")[0] == 422
    assert form(boss, "/account/password", old=GOOD, new=BETTER, again=GOOD)[0] == 422
    assert "differ" in form(boss, "/account/password", old=GOOD, new=BETTER, again=GOOD)[1]
    assert "at least one scope" in form(boss, "/account/tokens", name="x", days="1")[1]


def test_ones_own_password_and_tokens(town: Town, boss: Browser) -> None:
    status, page = form(boss, "/account/tokens", name="script", days="1", scopes=["fleet:read", "data:read"])
    assert status == 200
    (secret,) = re.findall(r'value="(mw_[\w-]{43})"', page)
    assert bearer(town, secret, "GET", "/api/v1/captures").status_code == 200
    assert secret not in boss.get("/account").text
    (revoke,) = set(re.findall(r'action="(/account/tokens/\w+/revoke)"', boss.get("/account").text))
    assert form(boss, revoke) == (303, "/account")
    assert "The token script is good no more." in boss.get("/account").text
    assert bearer(town, secret, "GET", "/api/v1/captures").status_code == 401
    assert form(boss, "/account/password", old=GOOD, new=BETTER, again=BETTER) == (303, "/account")
    assert boss.get("/account").status_code == 200


def test_tokens_and_the_audit_log(town: Town, boss: Browser) -> None:
    token = town.token(Permission.FLEET_READ)
    page = boss.get("/admin/tokens").text
    assert "a program" in page
    (revoke,) = set(re.findall(r'action="(/admin/tokens/\w+/revoke)"', page))
    assert form(boss, revoke)[0] == 303
    assert bearer(town, token, "GET", "/api/v1/machines").status_code == 401
    log = boss.get("/admin/audit?action=token.").text
    assert "token.revoke" in log
    assert "account.create" not in log
    assert "account.create" in boss.get("/admin/audit?who=root").text
    assert "Nothing was changed." in boss.get("/admin/audit?who=stranger").text


def test_who_may_not_sees_a_page_that_says_so(town: Town, boss: Browser) -> None:
    town.add("vic", Role.VIEWER)
    vic = Browser(town)
    vic.sign_in("vic")
    assert vic.get("/admin").headers["location"] == "/admin/audit"
    refused = vic.get("/admin/users")
    assert refused.status_code == 403
    assert "users:manage is needed" in refused.text
    assert vic.get("/account").status_code == 200
    assert boss.get("/admin").headers["location"] == "/admin/users"
    assert boss.get("/admin/users/nobody").status_code == 404


def test_private_pages_are_kept_nowhere(boss: Browser) -> None:
    for path in ("/account", "/admin/users", "/api/v1/account", "/login"):
        assert boss.get(path).headers["cache-control"] == "no-store", path

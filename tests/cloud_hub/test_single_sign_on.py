"""Single sign-on: what is believed of a provider's answers, and the whole way through a real one."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, RSAKey

from cloud_hub.accounts import single_sign_on as rules
from cloud_hub.accounts.errors import SignInError
from cloud_hub.accounts.permissions import Role
from cloud_hub.accounts.records import ProviderSettings
from cloud_hub.api.app import create_app
from cloud_hub.services import accounts
from cloud_hub.services.single_sign_on import Provider
from cloud_hub.settings import load_settings
from cloud_hub.store.database import Database
from tests.cloud_hub.people import BASE, ROOT, Browser, Town

NOW_S = 1_700_000_000.0
SETTINGS = ProviderSettings(
    issuer="https://id.example",
    client_id="millwright",
    client_secret="s3cret",
    redirect_uri=f"{BASE}/login/single-sign-on/back",
    role_claim="groups",
    roles={"reliability": Role.ENGINEER, "shift": Role.OPERATOR},
    default_role=None,
)
KEY = RSAKey.generate_key(2048, {"kid": "k1"})
KEYS = KeySet([KEY]).as_dict(private=False)
ATTEMPT = rules.new_attempt()
CLAIMS = {
    "iss": "https://id.example", "aud": "millwright", "sub": "42", "exp": NOW_S + 300, "iat": NOW_S,
    "nonce": ATTEMPT.nonce, "preferred_username": "Ann.O", "name": "Ann O.", "groups": ["shift", "reliability", "x"],
}  # fmt: skip


def signed(key: Any = KEY, alg: str = "RS256", **changes: Any) -> str:
    claims = {k: v for k, v in {**CLAIMS, **changes}.items() if v is not None}
    return jwt.encode({"alg": alg, "kid": "k1"}, claims, key, algorithms=[alg])


def test_a_good_token_names_somebody() -> None:
    person = rules.read_id_token(SETTINGS, signed(), KEYS, ATTEMPT, NOW_S)
    assert person == rules.Person("https://id.example", "42", "ann.o", "Ann O.", Role.ENGINEER)
    several = signed(aud=["other", "millwright"], azp="millwright")
    assert rules.read_id_token(SETTINGS, several, KEYS, ATTEMPT, NOW_S).subject == "42"
    assert rules.read_id_token(SETTINGS, signed(groups="nobody"), KEYS, ATTEMPT, NOW_S).role is None
    lenient = replace(SETTINGS, default_role=Role.VIEWER)
    assert rules.read_id_token(lenient, signed(groups=None), KEYS, ATTEMPT, NOW_S).role is Role.VIEWER


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://id.example/"},
        {"iss": None},
        {"aud": "another"},
        {"aud": ["another"]},
        {"aud": ["other", "millwright"]},
        {"azp": "another"},
        {"exp": NOW_S - 61},
        {"exp": None},
        {"iat": None},
        {"iat": NOW_S + 3600},
        {"nonce": "another"},
        {"nonce": None},
        {"sub": None},
        {"sub": "x" * 256},
        {"sub": 42},
    ],
)
def test_what_is_wrong_with_a_token(changes: dict[str, Any]) -> None:
    with pytest.raises(SignInError, match="single sign-on: ID token refused"):
        rules.read_id_token(SETTINGS, signed(**changes), KEYS, ATTEMPT, NOW_S)


def test_a_signature_counts_only_by_the_providers_key_and_a_public_key_algorithm() -> None:
    stranger = RSAKey.generate_key(2048, {"kid": "k1"})
    shared = OctKey.import_key("s3cret" * 8)
    head, body, _ = signed().split(".")
    unsigned = "eyJhbGciOiJub25lIn0." + body + "."
    tampered = f"{head}.{body[:-2]}AA." + signed().rsplit(".", 1)[1]
    for token in (signed(stranger), signed(shared, "HS256"), unsigned, tampered, "", "a.b.c", "x" * 40_000):
        with pytest.raises(SignInError):
            rules.read_id_token(SETTINGS, token, KEYS, ATTEMPT, NOW_S)
    for keys in ({}, {"keys": []}, {"keys": [{"kty": "nonsense"}]}):
        with pytest.raises(SignInError):
            rules.read_id_token(SETTINGS, signed(), keys, ATTEMPT, NOW_S)


def test_an_answer_belongs_to_one_browser() -> None:
    assert rules.read_attempt(ATTEMPT.to_text(), ATTEMPT.state) == ATTEMPT
    for text, state in (("", ""), (ATTEMPT.to_text(), rules.new_attempt().state), (ATTEMPT.to_text(), ""), ("..", "")):
        with pytest.raises(SignInError, match="belongs to no sign-in of this browser"):
            rules.read_attempt(text, state)


def test_discovery_is_believed_for_this_issuer_and_over_tls() -> None:
    names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
    good = {"issuer": SETTINGS.issuer, **{name: f"https://id.example/{name}" for name in names}}
    assert rules.read_discovery(SETTINGS, good).token == "https://id.example/token_endpoint"
    with pytest.raises(SignInError, match="expected issuer 'https://id.example', got 'https://evil.test'"):
        rules.read_discovery(SETTINGS, good | {"issuer": "https://evil.test"})
    for url in (None, "http://id.example/x", "http://localhost.evil.test/", "file:///etc/passwd"):
        with pytest.raises(SignInError, match="token_endpoint: expected an https:// address"):
            rules.read_discovery(SETTINGS, good | {"token_endpoint": url})


@pytest.mark.parametrize(
    ("text", "name"), [("Ann O'Neil", "ann-o-neil"), ("a@b.c", "a@b.c"), ("☃", "person"), ("-x", "x")]
)
def test_names_become_account_names(text: str, name: str) -> None:
    assert rules.account_name(text) == name


def test_settings(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    (tmp_path / "hub.toml").write_text(
        'public_url = "https://hub.example"\noidc_issuer = "https://id.example"\noidc_client_id = "millwright"\n'
        f'oidc_client_secret_file = "{tmp_path}/secret"\n[oidc_roles]\nshift = "operator"\n'
    )
    made = load_settings(tmp_path).provider
    assert made is not None
    assert (made.client_secret, made.roles) == ("s3cret", {"shift": Role.OPERATOR})
    assert made.redirect_uri == "https://hub.example/login/single-sign-on/back"


# ------------------------------------------------------------------------------------------------ a real provider


@contextmanager
def provider() -> Iterator[str]:
    """An OpenID provider of somebody else's making, in a process of its own."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    ann = {"sub": "42", "preferred_username": "Ann", "name": "Ann O.", "groups": ["shift"]}
    bob = {"sub": "43", "preferred_username": "bob", "groups": []}
    command = [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "-p", str(port), "-n", "true"]
    command += ["--user-claims", json.dumps(ann), "--user-claims", json.dumps(bob)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                issuer = str(httpx.get(f"{url}/.well-known/openid-configuration", timeout=30).json()["issuer"])
                break
            except httpx.TransportError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.2)
        yield issuer
    finally:
        process.terminate()
        process.wait(30)


def through(browser: Browser, subject: str) -> httpx.Response:
    """As a person: to the provider, sign in there as somebody, and come back."""
    leave = browser.get("/login/single-sign-on")
    assert leave.status_code == 303
    there = leave.headers["location"]
    query = parse_qs(urlsplit(there).query)
    assert query["code_challenge_method"] == ["S256"]
    answer = httpx.post(there, data={"sub": subject}, timeout=60)
    assert answer.status_code in {302, 303}, answer.text
    home = urlsplit(answer.headers["location"])
    return browser.get(f"{home.path}?{home.query}")


def test_in_through_a_real_provider(database: Database, tmp_path: Path) -> None:
    with provider() as issuer:
        town = Town(database, tmp_path)
        town.now_s = time.time()
        settings = replace(SETTINGS, issuer=issuer)
        town.context = replace(town.context, provider=Provider(settings))
        town.app = create_app(town.context)
        assert "company account" in Browser(town).get("/login").text
        browser = Browser(town)
        back = through(browser, "42")
        assert (back.status_code, back.headers.get("location")) == (303, "/"), back.text
        me = browser.api("GET", "/account").json()
        assert (me["name"], "alarms:act" in me["permissions"]) == ("ann", True)
        assert "mw_attempt" not in browser.cookies
        assert [e.after["method"] for e in town.audit("session.begin") if e.after] == ["oidc"]
        # No role of ours: not let in, and no account made.
        bob = Browser(town)
        assert through(bob, "43").status_code == 401
        # An answer that belongs to another browser, or comes a second time, is worth nothing.
        leave = browser.get("/login/single-sign-on").headers["location"]
        home = urlsplit(httpx.post(leave, data={"sub": "42"}, timeout=60).headers["location"])
        assert Browser(town).get(f"{home.path}?{home.query}").status_code == 401
        assert browser.get(f"{home.path}?{home.query}").status_code == 303
        assert browser.get(f"{home.path}?{home.query}").status_code == 401
        # Disabled here is disabled, whatever the provider says.
        accounts.change_account(database, ROOT, "ann", town.now_s, disabled=True)
        assert through(Browser(town), "42").status_code == 401
    with database.read() as session:
        from cloud_hub.store import accounts as store

        assert store.find_account(session, "bob") is None


def test_nobody_gets_into_a_local_account_by_its_name(database: Database, tmp_path: Path) -> None:
    from cloud_hub.accounts.records import Limits
    from cloud_hub.errors import ConflictError
    from cloud_hub.services.sign_in import Visitor
    from cloud_hub.services.single_sign_on import enter

    town = Town(database, tmp_path)
    town.add("ann", Role.ADMIN)
    person = rules.Person("https://id.example", "42", "ann", "Ann", Role.VIEWER)
    with pytest.raises(ConflictError, match="the account ann is not from there"):
        enter(database, Limits(), Visitor("x"), person, town.now_s)
    other = replace(person, name="carl")
    assert enter(database, Limits(), Visitor("x"), other, town.now_s).account.role is Role.VIEWER
    raised = enter(database, Limits(), Visitor("x"), replace(other, role=Role.ENGINEER), town.now_s)
    assert (raised.account.name, raised.account.role) == ("carl", Role.ENGINEER)
    assert town.audit("account.change")[0].after == {"role": "engineer"}


def test_a_provider_that_cannot_be_asked(database: Database, tmp_path: Path) -> None:
    town = Town(database, tmp_path)
    settings = replace(SETTINGS, issuer="http://127.0.0.1:9")
    town.context = replace(town.context, provider=Provider(settings))
    town.app = create_app(town.context)
    answer = Browser(town).get("/login/single-sign-on")
    assert (answer.status_code, "does not answer as it should" in answer.text) == (401, True)
    assert Browser(Town(database, tmp_path)).get("/login/single-sign-on").status_code == 404

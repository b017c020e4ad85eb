"""`cloud-hub admin-link | user | token` over a hub's folder, and what they leave in the audit log."""

from __future__ import annotations

import getpass
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cloud_hub.accounts.errors import AccountError
from cloud_hub.accounts.permissions import Permission
from cloud_hub.cli import build_app
from cloud_hub.services import accounts, sign_in
from cloud_hub.services.sign_in import Door, Visitor
from cloud_hub.settings import load_settings
from cloud_hub.store.accounts_queries import AuditView, list_audit
from cloud_hub.store.database import Database, open_database
from cloud_hub.store.paging import Paging
from tests.cloud_hub.people import GOOD, quick_door


def cli(home: Path, *arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(build_app(), [*arguments, "--home", str(home)], catch_exceptions=code != 0)
    assert result.exit_code == code, result.output
    return result.stdout.strip()


def opened(home: Path) -> Database:
    return open_database(load_settings(home))


def log(home: Path) -> list[AuditView]:
    with opened(home) as database, database.read() as session:
        return list(list_audit(session, Paging(100)).items)


def enter(home: Path, link: str, door: Door, name: str = "") -> str:
    with opened(home) as database:
        secret = link.rsplit("/", 1)[1]
        done = accounts.use_link(database, door, Visitor("test"), secret, GOOD, sign_in_now(), name=name)
    return done.account.name


def sign_in_now() -> float:
    import time

    return time.time()


def test_people_come_change_and_go(tmp_path: Path) -> None:
    door = quick_door()
    (tmp_path / "hub.toml").write_text('public_url = "https://hub.example"\n')
    link = cli(tmp_path, "admin-link")
    assert link.startswith("https://hub.example/link/")
    assert cli(tmp_path, "admin-link", "--next", "/alarms/a b", "--url", "http://x:1/").startswith("http://x:1/link/")
    assert cli(tmp_path, "admin-link", "--next", "/alarms/a b").endswith("?next=%2Falarms%2Fa%20b")
    assert enter(tmp_path, cli(tmp_path, "admin-link"), door, "boss") == "boss"
    out = tmp_path / "ann.json"
    invited = cli(tmp_path, "user", "add", "ann", "--role", "operator", "--full-name", "Ann O.", "--json", str(out))
    assert json.loads(out.read_text()) == {"name": "ann", "role": "operator", "url": invited}
    assert enter(tmp_path, invited, door) == "ann"
    assert cli(tmp_path, "user", "role", "ann", "engineer") == "ann: engineer, active"
    assert cli(tmp_path, "user", "disable", "ann") == "ann: engineer, disabled"
    assert "the last administrator" in str(CliRunner().invoke(build_app(), ["user", "disable", "boss", "--home", str(tmp_path)]).exception)  # fmt: skip
    listed = cli(tmp_path, "user", "list")
    assert "Ann O." in listed
    assert "disabled" in listed
    assert cli(tmp_path, "user", "enable", "ann") == "ann: engineer, active"
    assert cli(tmp_path, "user", "reset", "ann").startswith("https://hub.example/link/")
    who = {(e.who, e.kind) for e in log(tmp_path) if e.action.startswith("account.change")}
    assert who == {(getpass.getuser(), "command line")}


def test_tokens(tmp_path: Path) -> None:
    out = tmp_path / "token.json"
    secret = cli(tmp_path, "token", "create", "--name", "demo", "--scopes", "fleet:read, data:read", "--expires", "1d", "--json", str(out))  # fmt: skip
    with opened(tmp_path) as database:
        found = sign_in.token_of(database, secret, sign_in_now())
    assert found is not None
    assert found[0].permissions == {Permission.FLEET_READ, Permission.DATA_READ}
    listed = cli(tmp_path, "token", "list")
    assert "demo" in listed
    assert secret not in listed
    assert cli(tmp_path, "token", "revoke", json.loads(out.read_text())["id"]).endswith("demo is revoked")
    with opened(tmp_path) as database:
        assert sign_in.token_of(database, secret, sign_in_now()) is None
    assert "expected some of fleet:read" in CliRunner().invoke(build_app(), ["token", "create", "--name", "x", "--scopes", "everything"]).stderr.replace("\n", " ").replace("│", "")  # fmt: skip
    with pytest.raises(AccountError, match="expected to expire within a minute to 366 days"):
        cli(tmp_path, "token", "create", "--name", "x", "--scopes", "all", "--expires", "400d")
    assert not any(secret in str((e.before, e.after)) for e in log(tmp_path))


def test_a_hub_without_an_administrator_offers_a_link_until_there_is_one(tmp_path: Path) -> None:
    from cloud_hub.cli._common import caller

    door = quick_door()
    with opened(tmp_path) as database:
        first = accounts.administrator_link(database, door, caller(), sign_in_now(), only_first=True)
        again = accounts.administrator_link(database, door, caller(), sign_in_now(), only_first=True)
        assert first is not None
        assert again is not None
        accounts.use_link(database, door, Visitor("x"), again, GOOD, sign_in_now(), name="boss")
        assert accounts.administrator_link(database, door, caller(), sign_in_now(), only_first=True) is None

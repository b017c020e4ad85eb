"""The doctor finds what is wrong with a deployment, says what to mend, and passes one that is well."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink
from sqlalchemy import text

from cloud_hub.accounts.permissions import Role
from cloud_hub.broker.loopback import find_mosquitto
from cloud_hub.doctor import places, services, trust
from cloud_hub.doctor.finding import Check, Finding, examine
from cloud_hub.errors import KeysError
from cloud_hub.identity.folder import IdentityFolder
from cloud_hub.identity.revocation import refresh_crl
from cloud_hub.identity.root_crl import first_root_crl
from cloud_hub.settings import Settings
from cloud_hub.store.accounts import add_account
from cloud_hub.store.database import Database
from cloud_hub.store.identities import SqlIdentities
from cloud_hub.trust.keys import create_repository
from tests.simulators.brokers import running_broker
from tests.simulators.plant import free_ports
from tests.simulators.postgres import Postgres

DAY_S = 86_400.0


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "hub").mkdir(mode=0o700)
    return Settings(home=tmp_path / "hub")


def bad(findings: Iterable[Finding]) -> list[Finding]:
    return [f for f in findings if f.grade != "ok"]


def test_secrets_that_others_may_read_are_named_with_the_cure(settings: Settings) -> None:
    create_repository(settings.repository_dir, settings.keys_dir, settings.home.parent / "safe", 1.8e9)
    assert bad(places.look_at_secrets(settings)) == []
    (settings.keys_dir / "director.pem").chmod(0o644)
    (found,) = bad(places.look_at_secrets(settings))
    assert found.grade == "problem"
    assert "others may read it (0644)" in found.text
    assert found.mend == f"chmod 0600 {settings.keys_dir / 'director.pem'}"


def test_a_secret_that_is_named_and_not_there(settings: Settings) -> None:
    named = settings.model_copy(update={"smtp_password_file": settings.home / "gone"})
    (found,) = bad(places.look_at_secrets(named))
    assert "no such file" in found.text


def test_a_home_that_everybody_may_write(settings: Settings) -> None:
    settings.home.chmod(0o777)
    assert any("everybody may write" in f.text for f in bad(places.look_at_home(settings)))
    settings.home.chmod(0o750)
    assert not any(f.about == "home" for f in bad(places.look_at_home(settings)))


def test_metadata_by_who_can_renew_it(settings: Settings) -> None:
    now_s = 1.8e9
    create_repository(
        settings.repository_dir, settings.keys_dir, settings.home.parent / "safe", now_s, offline_targets=True
    )
    assert bad(trust.look_at_keys(settings, now_s)) == []
    soon = bad(trust.look_at_keys(settings, now_s + 360 * DAY_S))
    assert {f.grade for f in soon if f.text.startswith("targets")} == {"warning"}
    assert any("keys export targets" in (f.mend or "") for f in soon)
    expired = {f.text.split(":")[0]: f for f in trust.look_at_keys(settings, now_s + 10 * DAY_S)}
    assert expired["timestamp"].grade == "problem"
    assert "no gateway installs anything" in expired["timestamp"].text
    assert expired["root"].grade == "ok"


def test_a_hub_without_keys_is_told_what_it_cannot_do(settings: Settings) -> None:
    (found,) = trust.look_at_keys(settings, 1.8e9)
    assert (found.grade, found.text) == ("warning", "there are none: this hub watches and signs nothing")


def test_a_database_at_another_revision(settings: Settings) -> None:
    with Database(settings.sqlalchemy_url) as database:
        database.migrate()
        with database.write() as session:
            session.execute(text("UPDATE alembic_version SET version_num = '0003'"))
    (found,) = services.look_at_database(settings)
    assert found.grade == "problem"
    assert "revision 0003, this release has" in found.text


def test_a_server_that_does_not_wait_for_its_disk(settings: Settings, postgres: Postgres) -> None:
    with postgres.database() as url:  # as the tests have it, and as no plant must
        found = bad(services.look_at_database(settings.model_copy(update={"database_url": url})))
    assert [(f.grade, f.text) for f in found if f.about == "database"] == [("problem", "fsync is off")]


def test_a_database_without_an_administrator_and_with_one(settings: Settings) -> None:
    with Database(settings.sqlalchemy_url) as database:
        database.migrate()
        assert [f.about for f in bad(services.look_at_database(settings))] == ["accounts"]
        with database.write() as session:
            account = add_account(session, "ann", "Ann", Role.ADMIN, 1.0, "test")
            account.password_hash = "x"
        assert bad(services.look_at_database(settings)) == []
        with database.read() as session:
            assert session.scalar(text("SELECT count(*) FROM machines")) == 0, "it leaves no trace"


def test_postgresql_is_examined_too(database: Database, settings: Settings) -> None:
    url = database.engine.url.render_as_string(hide_password=False)
    found = list(services.look_at_database(settings.model_copy(update={"database_url": url})))
    assert found[0].grade == "ok"
    assert found[0].text.startswith(database.engine.dialect.name)


@pytest.mark.parametrize(
    ("changes", "grade"),
    [
        ({}, "ok"),
        ({"api_host": "0.0.0.0"}, "problem"),
        ({"api_host": "0.0.0.0", "public_url": "https://hub.plant", "trusted_proxies": ["10.0.0.1"]}, "ok"),
        ({"public_url": "https://hub.plant"}, "ok"),
    ],
)
def test_passwords_in_the_clear(settings: Settings, changes: dict[str, object], grade: str) -> None:
    assert next(iter(services.look_at_api(settings.model_copy(update=changes)))).grade == grade


def test_mail_servers(settings: Settings) -> None:
    assert [f.text for f in services.look_at_mail(settings)] == ["not set up"]
    port = free_ports(1)[0]
    named = settings.model_copy(update={"smtp_host": "127.0.0.1", "smtp_port": port, "smtp_security": "none"})
    (found,) = services.look_at_mail(named)
    assert found.grade == "problem"
    controller = Controller(Sink(), hostname="127.0.0.1", port=port)
    controller.start()
    try:
        assert [f.grade for f in services.look_at_mail(named)] == ["ok"]
        (found,) = services.look_at_mail(named.model_copy(update={"smtp_security": "starttls"}))
        assert found.grade == "problem"
        assert "STARTTLS" in found.text
    finally:
        controller.stop()


def test_a_clock_before_this_release() -> None:
    assert [f.grade for f in services.look_at_clock(1e9)] == ["problem"]
    assert [f.grade for f in services.look_at_clock(time.time())] == ["ok"]


def test_one_question_that_fails_does_not_stop_the_others() -> None:
    def broken() -> Iterable[Finding]:
        raise KeysError("the key is a picture")

    found = list(examine([Check("a", "mend it", broken), Check("b", "", lambda: services.look_at_clock(2e9))]))
    assert [(f.about, f.grade) for f in found] == [("a", "problem"), ("clock", "ok")]
    assert (found[0].text, found[0].mend) == ("the key is a picture", "mend it")


@pytest.mark.broker
def test_certificates_and_lists_of_revocation(settings: Settings) -> None:
    now_s = 1_800_000_000.0
    identity = IdentityFolder(settings.identity_dir, settings.fleet)
    identity.create(settings.home.parent / "safe", b"correct horse battery", now_s)
    first_root_crl(identity, settings.home.parent / "safe", b"correct horse battery", now_s)
    with SqlIdentities(settings) as store:
        refresh_crl(identity, store, settings.crl_days, lambda: now_s)
    assert bad(trust.look_at_certificates(settings, now_s)) == []
    assert any("crl.pem: good for 30 days" in f.text for f in trust.look_at_certificates(settings, now_s))
    late = bad(trust.look_at_certificates(settings, now_s + 31 * DAY_S))
    assert [f.text for f in late] == ["crl.pem: over its date since 1 days: the broker refuses every gateway"]
    identity.crl.write_text("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")
    assert "expected a revocation list" in bad(trust.look_at_certificates(settings, now_s))[0].text


@pytest.mark.slow
def test_a_deployment_that_is_well_and_one_without_its_broker(tmp_path: Path) -> None:
    assert find_mosquitto() is not None
    home, result = tmp_path / "hub", tmp_path / "found.json"

    def run(*words: str, port: int) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"MILLWRIGHT_BROKER_PORT": str(port), "COLUMNS": "100"}
        command = [sys.executable, "-m", "cloud_hub", *words, "--home", str(home)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    with running_broker("mosquitto", tmp_path) as port:
        assert run("keys", "init", "--root-dir", str(tmp_path / "safe"), port=port).returncode == 0
        with Database(f"sqlite:///{home / 'hub.sqlite3'}") as database:
            database.migrate()
            with database.write() as session:
                add_account(session, "ann", "Ann", Role.ADMIN, 1.0, "test").password_hash = "x"
        well = run("doctor", "--json", str(result), port=port)
        assert well.returncode == 0, well.stdout + well.stderr
        findings = {f["about"]: f["grade"] for f in json.loads(result.read_text())["findings"]}
        assert findings["broker"] == findings["database"] == findings["metadata"] == findings["secrets"] == "ok"
    ill = run("doctor", port=port)
    assert ill.returncode == 1
    assert "is it running at broker_host, broker_port?" in " ".join(ill.stdout.split())


@pytest.mark.parametrize(
    ("text_of_file", "code", "said"),
    [
        ('fleet = "north"\n', 0, "can be understood"),
        ('flet = "north"\nbroker_port = 0\n', 3, "flet: Extra inputs are not permitted"),
        ("fleet = \n", 3, "not valid TOML"),
        (None, 3, "no such file"),
    ],
)
def test_settings_alone_before_they_are_put_in_place(
    tmp_path: Path, text_of_file: str | None, code: int, said: str
) -> None:
    home, proposed = tmp_path / "hub", tmp_path / "proposed.toml"
    if text_of_file is not None:
        proposed.write_text(text_of_file)
    command = [sys.executable, "-m", "cloud_hub", "doctor", "--home", str(home), "--settings", str(proposed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, said in done.stdout + done.stderr) == (code, True), done.stdout + done.stderr
    assert not home.exists(), "checking changes nothing"

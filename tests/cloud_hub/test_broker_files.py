"""The broker's files made a second time: what is good stays, what is not is made anew, and both are said."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cloud_hub.cli import build_app
from cloud_hub.identity import broker_files
from cloud_hub.identity.authority import load_certificate
from cloud_hub.identity.broker_files import Ports, write_broker_files
from cloud_hub.identity.folder import IdentityFolder
from cloud_hub.identity.revocation import refresh_crl
from cloud_hub.identity.root_crl import first_root_crl
from cloud_hub.settings import load_settings
from cloud_hub.store.identities import SqlIdentities

PASSPHRASE = b"correct horse battery"
HOSTS = ["broker.plant", "10.0.0.2"]
PORTS = Ports()
ALL = {
    "root.crt", "services.crt", "crl.pem", "gateways.acl", "hub.acl", "strangers.acl", "mosquitto.conf", "server.key",
    "server.pem", "strangers.passwords",
}  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "hub"
    home.mkdir()
    settings = load_settings(home)
    identity = IdentityFolder(settings.identity_dir, settings.fleet)
    identity.create(tmp_path / "safe", PASSPHRASE, time.time())
    first_root_crl(identity, tmp_path / "safe", PASSPHRASE, time.time())
    with SqlIdentities(settings) as store:
        refresh_crl(identity, store, settings.crl_days)
    return home


class Files:
    """Broker's files of one hub, in one folder."""

    def __init__(self, home: Path) -> None:
        self.identity = IdentityFolder(home / "identity", "plant")
        self.folder = home.parent / "broker"

    def write(self, hosts: list[str] = HOSTS, ports: Ports = PORTS, *, keep: bool = True) -> set[str]:
        return {p.name for p in write_broker_files(self.identity, self.folder, hosts, ports, keep=keep)}

    @property
    def serial(self) -> int:
        return load_certificate(self.folder / "server.pem").serial_number


@pytest.fixture
def files(home: Path) -> Files:
    return Files(home)


def test_a_second_time_writes_nothing(files: Files) -> None:
    assert files.write() == ALL
    before = {path.name: path.read_bytes() for path in files.folder.iterdir() if path.is_file()}
    assert files.write() == set()
    assert {path.name: path.read_bytes() for path in files.folder.iterdir() if path.is_file()} == before


def test_without_keep_the_key_is_made_anew(files: Files) -> None:
    files.write()
    serial = files.serial
    assert files.write(keep=False) == ALL
    assert files.serial != serial


def test_only_what_differs_is_written(files: Files) -> None:
    files.write()
    assert files.write(ports=Ports(gateways=9883)) == {"mosquitto.conf"}
    (files.folder / "hub.acl").write_text("topic readwrite #\n")
    assert files.write(ports=Ports(gateways=9883)) == {"hub.acl"}
    (files.folder / "strangers.passwords").write_text("enrol-00:$7$101$x$y\n")
    assert files.write(ports=Ports(gateways=9883)) == {"strangers.passwords"}


def test_other_hosts_a_lost_key_or_age_need_a_new_certificate(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    both = {"server.key", "server.pem"}
    files.write()
    assert files.write(hosts=["broker.plant"]) == both
    (files.folder / "server.key").unlink()
    assert files.write(hosts=["broker.plant"]) == both
    serial = files.serial
    aged = time.time() + 2.1 / 3 * 730 * 86_400
    monkeypatch.setattr(broker_files.time, "time", lambda: aged)
    assert files.write(hosts=["broker.plant"]) == both
    assert files.serial != serial


def test_another_authority_needs_a_new_certificate(files: Files, home: Path) -> None:
    files.write()
    files.identity.reissue(home.parent / "safe", PASSPHRASE, time.time() + 1)
    with SqlIdentities(load_settings(home)) as store:
        refresh_crl(files.identity, store, 30)
    assert files.write() == {"server.key", "server.pem", "crl.pem"}


def test_the_command_names_the_place_where_the_broker_reads_them(home: Path, tmp_path: Path) -> None:
    folder, result = tmp_path / "staged", tmp_path / "result.json"
    arguments = ["identity", "broker-files", str(folder), "--home", str(home), "--host", "mq.plant", "--keep",
                 "--at", "/srv/broker", "--json", str(result)]  # fmt: skip
    first = CliRunner().invoke(build_app(), arguments)
    assert first.exit_code == 0, first.output
    assert 'broker_crl_file = "/srv/broker/crl.pem"' in first.output
    assert set(json.loads(result.read_text())["written"]) == ALL
    config = (folder / "mosquitto.conf").read_text()
    assert "crlfile /srv/broker/crl.pem" in config
    assert str(folder) not in config
    again = CliRunner().invoke(build_app(), arguments)
    assert again.exit_code == 0
    assert "nothing was written" in again.output
    assert json.loads(result.read_text())["written"] == []

"""A hub, a Mosquitto with mutual TLS, and `edge-agent` as processes of their own: enrolment, renewal, revocation."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from edge_agent.identity import Identity
from tests.edge_agent.kit import config_toml
from tests.integration.test_hub_serve import HubProcess
from tests.simulators.brokers import KINDS
from tests.simulators.plant import Client, Plant

pytestmark = [*KINDS[0].marks, pytest.mark.slow]
WAIT_S = 90.0


def wait_for(what: str, check: Callable[[], Any], said: Callable[[], str] = str) -> Any:
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        result = check()
        if result:
            return result
        time.sleep(0.1)
    raise AssertionError(f"not within {WAIT_S:g} s: {what}\n{said()}")


class Site:
    """The plant, its hub, and one gateway."""

    def __init__(self, folder: Path) -> None:
        self.plant = Plant(folder)
        self.plant.start()
        self.hub = HubProcess(self.plant.home, self.plant.ports.hub)
        self.hub.start()
        self.hub.wait_until_ready()

    def close(self) -> None:
        self.hub.stop()
        self.plant.close()

    def cloud_hub(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cloud_hub", *arguments, "--home", str(self.plant.home)]
        return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)


class Gateway:
    def __init__(self, site: Site, folder: Path, name: str) -> None:
        folder.mkdir()
        self.site, self.folder, self.name = site, folder, name
        self.state = folder / "state"
        self.config = folder / "agent.toml"
        text = config_toml(self.state, site.plant.ports.gateways).replace('"gw-1"', f'"{name}"')
        self.config.write_text(
            text.replace('host = "127.0.0.1"', f'host = "localhost"\nidentity_dir = "{self.state}/identity"')
        )
        self.identity = Identity(self.state / "identity")
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "edge_agent", *arguments, "--config", str(self.config)]
        return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)

    def enrol(self, token: str, way: str = "mqtt") -> subprocess.CompletedProcess[str]:
        file = self.folder / "token"
        file.write_text(token + "\n")
        plant = self.site.plant
        to = ["--mqtt", f"localhost:{plant.ports.strangers}"] if way == "mqtt" else ["--url", self.site.hub.url]
        return self.run("enrol", "--token-file", str(file), *to)

    def start(self) -> None:
        with (self.folder / "agent.log").open("ab") as log:
            command = [sys.executable, "-m", "edge_agent", "run", "--config", str(self.config)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def said(self) -> str:
        return (self.folder / "agent.log").read_text()

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WAIT_S)

    def seen(self, online: bool = True) -> bool:
        shown = httpx.get(f"{self.site.hub.url}/api/v1/gateways/{self.name}", headers=self.site.hub.headers, timeout=30)
        return shown.status_code == 200 and shown.json()["gateway"]["online"] is online


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"))
    try:
        yield site
    finally:
        site.close()


@pytest.mark.parametrize("way", ["mqtt", "https"])
def test_enrolled_by_token_it_comes_up_and_reports(site: Site, tmp_path: Path, way: str) -> None:
    gateway = Gateway(site, tmp_path / "gw", f"gw-{way}")
    missing = gateway.run("run")
    assert (missing.returncode, "edge-agent enrol --token-file" in missing.stderr) == (1, True), missing.stderr
    token = site.plant.token(gateway.name)
    done = gateway.enrol(token, way)
    assert done.returncode == 0, done.stderr
    assert f"gateway {gateway.name} of fleet plant: certificate valid until" in done.stdout
    for path in gateway.identity.folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    root = (site.plant.settings.repository_dir / "root.json").read_bytes()
    assert (gateway.state / "root.json").read_bytes() == root
    key = gateway.identity.pem.read_text().split("-----BEGIN CERTIFICATE")[0].split("-----")[2].strip()
    hub_files = b"".join(p.read_bytes() for p in site.plant.home.rglob("*") if p.is_file())
    assert key.encode() not in hub_files
    assert token.encode() not in hub_files
    assert "certificate: of" in gateway.run("selftest").stdout
    gateway.start()
    try:
        wait_for("reported state over mutual TLS", gateway.seen, gateway.said)
    finally:
        assert gateway.stop() == 0
    wait_for("the farewell", lambda: gateway.seen(online=False))
    before = gateway.identity.pem.read_bytes()
    again = gateway.enrol(token, way)
    assert (again.returncode, "token_used" in again.stderr) == (1, True), again.stderr
    assert gateway.identity.pem.read_bytes() == before


@pytest.mark.parametrize("way", ["mqtt", "https"])
def test_tokens_that_are_no_good(site: Site, tmp_path: Path, way: str) -> None:
    gateway = Gateway(site, tmp_path / "gw", f"gw-no-{way}")
    for reason, token in (
        ("gateway_foreign", site.plant.token(f"gw-other-{way}")),
        ("token_expired", site.plant.token(gateway.name, life_s=0.0)),
    ):
        refused = gateway.enrol(token, way)
        assert (refused.returncode, f"({reason})" in refused.stderr) == (1, True), refused.stderr
        assert not gateway.identity.pem.exists()
        assert not (gateway.state / "root.json").exists()
    stranger = Plant.token(site.plant, gateway.name)
    other_root = stranger[:-43] + "A" * 43  # the token of another hub, or an answer of another authority
    refused = gateway.enrol(other_root, way)
    assert (refused.returncode, "not one of the hub that issued the token" in refused.stderr) == (1, True), (
        refused.stderr
    )
    assert not gateway.identity.pem.exists()


def test_renewal_while_the_agent_runs(site: Site, tmp_path: Path) -> None:
    gateway = Gateway(site, tmp_path / "gw", "gw-renew")
    assert gateway.enrol(site.plant.token(gateway.name)).returncode == 0
    pem = gateway.identity.pem
    first, rest = pem.read_text().split("\n", 1)
    facts = json.loads(first.removeprefix("# "))
    facts["not_after_s"] = time.time() + 3600  # as if most of its life were over
    facts["not_before_s"] = time.time() - 36_000
    pem.write_text("# " + json.dumps(facts) + "\n" + rest)
    gateway.start()
    try:
        wait_for("a new certificate", lambda: gateway.identity.facts().sha256 != facts["sha256"], gateway.said)
        assert not gateway.identity.pending.exists()
        wait_for("a second connection", lambda: gateway.said().count(": connected") >= 2, gateway.said)
        wait_for("it is seen", gateway.seen, gateway.said)
    finally:
        assert gateway.stop() == 0
    assert len(site.plant.store.certificates(gateway.name)) == 2


def test_revoked_and_thrown_out_then_enrolled_anew(site: Site, tmp_path: Path) -> None:
    gateway = Gateway(site, tmp_path / "gw", "gw-stolen")
    assert gateway.enrol(site.plant.token(gateway.name)).returncode == 0
    stolen = tmp_path / "stolen.pem"
    stolen.write_bytes(gateway.identity.pem.read_bytes())
    bystander = Client(
        site.plant.ports.gateways, site.plant.broker / "root.crt", site.plant.certify("gw-bystander"), ""
    )
    gateway.start()
    try:
        wait_for("it is seen", gateway.seen, gateway.said)
        done = site.cloud_hub("identity", "revoke", gateway.name, "--why", "stolen")
        assert done.returncode == 0, done.stderr
        assert "its session at the broker was ended" in done.stdout
        wait_for("it is gone", lambda: gateway.seen(online=False), gateway.said)
        wait_for("it is refused", lambda: "again in" in gateway.said(), gateway.said)
        time.sleep(3.0)
        assert gateway.seen(online=False)
        assert bystander.connected
        # The running agent takes the new certificate as soon as somebody has enrolled it anew.
        assert gateway.enrol(site.plant.token(gateway.name)).returncode == 0
        wait_for("it is back", gateway.seen, gateway.said)
    finally:
        bystander.close()
        gateway.stop()
    try:
        thief = Client(site.plant.ports.gateways, site.plant.broker / "root.crt", stolen, "")
    except OSError:
        return
    assert not thief.connected
    thief.close()


def test_a_year_in_a_cupboard(site: Site, tmp_path: Path) -> None:
    gateway = Gateway(site, tmp_path / "gw", "gw-old")
    assert gateway.enrol(site.plant.token(gateway.name)).returncode == 0
    first, rest = gateway.identity.pem.read_text().split("\n", 1)
    facts = json.loads(first.removeprefix("# "))
    key = rest.split("-----BEGIN CERTIFICATE")[0]
    old = site.plant.certify("gw-old-x", time.time() - 400 * 86_400, days=30).read_text()
    facts |= {"not_before_s": time.time() - 400 * 86_400, "not_after_s": time.time() - 370 * 86_400}
    assert key
    gateway.identity.pem.write_text("# " + json.dumps(facts) + "\n" + old)
    selftest = gateway.run("selftest")
    assert selftest.returncode == 1
    assert "expired 370.0 days ago: get a new token (`cloud-hub identity token gw-old`)" in selftest.stdout
    gateway.start()
    try:
        wait_for("it says what to do", lambda: "get a new token" in gateway.said(), gateway.said)
        assert gateway.process is not None
        assert gateway.process.poll() is None  # machines are watched all the same
        assert gateway.enrol(site.plant.token(gateway.name)).returncode == 0
        wait_for("it is back", gateway.seen, gateway.said)
    finally:
        assert gateway.stop() == 0
    assert (gateway.state / "root.json").exists()

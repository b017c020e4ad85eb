"""A hub, a Mosquitto with mutual TLS, and `edge-agent` as processes of their own: enrolment, renewal, revocation."""

from __future__ import annotations

import json
import signal
import ssl
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from cloud_hub.identity.authority import key_pem, make_issuing, make_root, new_key, pem
from cloud_hub.transport import Link
from edge_agent.identity import Identity
from models.contract.identity import Token, parse_token
from tests.edge_agent.kit import config_toml
from tests.integration.test_hub_serve import HubProcess
from tests.simulators.brokers import KINDS
from tests.simulators.plant import Client, Plant

pytestmark = [*KINDS[0].marks, pytest.mark.slow]
WAIT_S = 180.0


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
        self.plant = Plant(folder, toml='api_names = ["127.0.0.1", "localhost"]\n')
        self.plant.start()
        self.hub = HubProcess(self.plant.home, self.plant.ports.hub)
        self.hub.start()
        self.hub.wait_until_ready()
        assert self.hub.url.startswith("https://")
        self.tls = ssl.create_default_context(cafile=str(self.plant.broker / "root.crt"))

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.hub.url}{path}", timeout=30, verify=self.tls, headers=self.hub.headers)

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

    def enrol(self, token: str, way: str = "mqtt", *more: str) -> subprocess.CompletedProcess[str]:
        """`way`: mqtt, https, or an address of its own."""
        file = self.folder / "token"
        file.write_text(token + "\n")
        to = {
            "mqtt": ["--mqtt", f"localhost:{self.site.plant.ports.strangers}"],
            "https": ["--url", self.site.hub.url],
        }.get(way, ["--url", way])
        return self.run("enrol", "--token-file", str(file), *to, *more)

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
        shown = self.site.get(f"/api/v1/gateways/{self.name}")
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
    token = parse_token(stranger)
    other_root = Token(
        token.seed, bytes(32), token.crl_number
    ).to_text()  # the token of another hub, or an answer of another authority
    refused = gateway.enrol(other_root, way)
    said = "not one of the hub that issued the token" if way == "mqtt" else "is this the hub that issued the token?"
    assert (refused.returncode, said in refused.stderr) == (1, True), refused.stderr
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
        for said in ("is retired", "was retired before"):
            done = site.cloud_hub("identity", "retire", gateway.name)
            assert (done.returncode, done.stdout) == (0, f"gateway {gateway.name} {said}\n"), done.stderr
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


def test_a_brokers_certificate_that_ends_is_told(site: Site) -> None:
    """The hub has seen the certificate in the handshake; today's has two years, the hub's own clock decides."""
    shown = site.get("/api/v1/concerns")
    assert (shown.status_code, shown.json()) == (200, [])
    with Link(site.plant.settings, "looks-at-the-certificate") as link:
        assert link.peer_ends_s is not None
        assert abs(link.peer_ends_s - time.time() - 730 * 86_400) < 3600
    assert link.peer_ends_s is None


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


class Impostor:
    """An HTTPS server with a certificate of its own that answers GET with what it was given, and counts POSTs."""

    def __init__(self, certificate: Path, root: str) -> None:
        posts = self.posts = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(root.encode())

            def do_POST(self) -> None:
                posts.append(self.path)
                self._answer(b"{}")

            def _answer(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://localhost:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(WAIT_S)


@pytest.mark.parametrize("what", ["another authority", "another name", "expired"])
def test_over_https_the_servers_certificate_is_checked(site: Site, tmp_path: Path, what: str) -> None:
    """Whoever sits in between knows the root certificate, which is public, but has no certificate by it for this name."""
    now_s, days = time.time(), 1.0
    authority, hosts = site.plant.identity.issuing_authority(), ["localhost"]
    if what == "another authority":
        authority = make_issuing(make_root("plant", now_s, 10), "plant", now_s, 10)
    elif what == "another name":
        hosts = ["hub.elsewhere"]
    else:
        now_s -= 10 * 86_400
    key = new_key()
    made = authority.issue_server(key.public_key(), hosts, now_s, days)
    file = tmp_path / "server.pem"
    file.write_bytes(key_pem(key) + (pem(made) + pem(authority.certificate)).encode())
    gateway = Gateway(site, tmp_path / "gw", f"gw-tls-{what.replace(' ', '-')}")
    impostor = Impostor(file, site.plant.identity.root.read_text())
    try:
        refused = gateway.enrol(site.plant.token(gateway.name), impostor.url)
    finally:
        impostor.close()
    assert refused.returncode == 1
    assert "the server's certificate is not good" in refused.stderr, refused.stderr
    assert "Traceback" not in refused.stderr
    assert impostor.posts == []
    assert not gateway.identity.pem.exists()


def test_over_https_with_an_authority_that_is_named(site: Site, tmp_path: Path) -> None:
    gateway = Gateway(site, tmp_path / "gw", "gw-tls-ca")
    other = tmp_path / "other.crt"
    other.write_text(pem(make_root("plant", time.time(), 10).certificate))
    token = site.plant.token(gateway.name)
    refused = gateway.enrol(token, "https", "--ca", str(other))
    assert (refused.returncode, "the server's certificate is not good" in refused.stderr) == (1, True), refused.stderr
    done = gateway.enrol(token, "https", "--ca", str(site.plant.identity.root))
    assert done.returncode == 0, done.stderr

"""The inventory plug-in, asked through `ansible-inventory`, at a hub that runs, over TLS."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cloud_hub.accounts.permissions import Permission, command_line
from cloud_hub.accounts.records import Limits
from cloud_hub.api.app import create_app
from cloud_hub.api.context import HubContext
from cloud_hub.api.server import ApiServer
from cloud_hub.identity.api_certificate import renew_api
from cloud_hub.identity.folder import IdentityFolder
from cloud_hub.ingest.status import IngestStatus
from cloud_hub.services import ask, tokens
from cloud_hub.store.database import Database
from cloud_hub.store.writer import Received, Writer
from tests.ansible.kit import ansible
from tests.simulators.hub import point, state

pytestmark = pytest.mark.slow  # a second and more for each start of ansible-inventory
ROOT = command_line("root")


@dataclass(frozen=True)
class Plant:
    """A hub that serves, and what is needed to ask it. `asked`: the requests so far."""

    url: str
    token: str
    powerless: str
    ca: Path
    pair: tuple[Path, None]
    asked: list[str]


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    folder = tmp_path_factory.mktemp("hub")
    now_s = time.time()
    identity = IdentityFolder(folder / "identity", "plant")
    identity.create(folder / "safe", b"correct horse battery", now_s)
    renew_api(identity, ["127.0.0.1"], now_s)
    database = Database(f"sqlite:///{folder / 'hub.db'}")
    database.migrate()
    fleet = [
        state("gw-1", points=[point(machine="P-1", verdict="ok")]),
        state("gw-2", points=[point(machine="P-2", verdict="alarm")]),
        state("gw-3", points=[point(machine="P-3", verdict="ok")]),
        state("gw-3", online=False, slots=[]),
    ]
    Writer(database, time.time).store([Received(message) for message in fleet])
    ask.set_site(database, ROOT, "gw-1", "UTC", {"site": "north", "line": "3", "address": "192.0.2.7"}, now_s)
    ask.set_site(database, ROOT, "gw-9", None, {"site": "south-east", "trap": "{{ 1 + 1 }}"}, now_s)
    made = [
        tokens.create_token(database, ROOT, Limits(), name, [scope], 3600.0, now_s, account=None)[1]
        for name, scope in (("inventory", Permission.FLEET_READ), ("other", Permission.DATA_READ))
    ]
    app = create_app(HubContext(database, folder, "plant", time.time, IngestStatus().view, lambda: True, public_url=""))
    asked: list[str] = []

    async def counted(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            asked.append(scope["path"])
        await app(scope, receive, send)

    counted.state = app.state  # type: ignore[attr-defined]  # what the server looks at
    pair = (identity.api_pem, None)
    server = ApiServer(counted, "127.0.0.1", 0, tls=pair)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield Plant(server.url, made[0], made[1], identity.root, pair, asked)
    finally:
        server.stop()
        thread.join(30)
        database.close()


def source(folder: Path, plant: Plant, name: str = "fleet.millwright.yml", **options: Any) -> Path:
    """A configuration file; JSON is YAML."""
    told = {"plugin": "millwright.fleet.hub", "url": plant.url, "ca_file": str(plant.ca), "token_file": "token"}
    folder.mkdir(exist_ok=True)
    (folder / "token").write_text(plant.token + "\n")
    path = folder / name
    path.write_text(json.dumps({key: value for key, value in (told | options).items() if value is not None}))
    return path


def plain(value: Any) -> Any:
    """Without the marks that say what is no template."""
    if isinstance(value, dict):
        return (
            value["__ansible_unsafe"] if set(value) == {"__ansible_unsafe"} else {k: plain(v) for k, v in value.items()}
        )
    return [plain(one) for one in value] if isinstance(value, list) else value


def listed(path: Path, home: Path, **environment: str) -> dict[str, Any]:
    done = ansible(
        "ansible-inventory",
        "--list",
        "-i",
        path,
        home=home,
        ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED="1",
        **environment,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_groups_and_variables_are_what_the_hub_says(plant: Plant, tmp_path: Path) -> None:
    path = source(
        tmp_path / "inventory", plant, page_size=2,
        compose={"ansible_host": "millwright_labels.address | default(inventory_hostname ~ '.plant')"},
        groups={"awake": "millwright_online"},
        keyed_groups=[{"key": "millwright_agent_version", "prefix": "agent"}],
    )  # fmt: skip
    found = listed(path, tmp_path)
    groups = {name: set(group.get("hosts", ())) for name, group in found.items() if name != "_meta"}
    assert groups["millwright_gateways"] == {"gw-1", "gw-2", "gw-3", "gw-9"}
    assert (groups["site_north"], groups["site_south_east"]) == ({"gw-1"}, {"gw-9"})
    assert groups["label_line_3"] == {"gw-1"}
    assert groups["model_pump_vibration_1"] == {"gw-1", "gw-2", "gw-3"}  # the last that gw-3 said
    standing = {name: groups[name] for name in groups if name.startswith("health_")}
    assert standing == {
        "health_ok": {"gw-1"}, "health_alarm": {"gw-2"}, "health_offline": {"gw-3"}, "health_unseen": {"gw-9"},
    }  # fmt: skip
    assert groups["awake"] == {"gw-1", "gw-2"}
    assert groups["agent_0_1_0"] >= {"gw-1", "gw-2", "gw-3"}
    facts = found["_meta"]["hostvars"]
    # What somebody typed at the hub is data, never a template; that is how ansible-inventory says so.
    assert facts["gw-9"]["millwright_labels"]["trap"] == {"__ansible_unsafe": "{{ 1 + 1 }}"}
    facts = plain(facts)
    assert (facts["gw-1"]["ansible_host"], facts["gw-2"]["ansible_host"]) == ("192.0.2.7", "gw-2.plant")
    assert facts["gw-1"]["millwright_slots"][0]["version"] == "1"
    assert facts["gw-1"]["millwright_machines"] == ["P-1"]
    assert plant.token not in json.dumps(found)


def test_with_its_cache_the_hub_is_asked_once(plant: Plant, tmp_path: Path) -> None:
    path = source(
        tmp_path, plant, token_file=None, cache=True, cache_plugin="ansible.builtin.jsonfile", cache_connection=str(tmp_path / "cache"),
        cache_timeout=3600,
    )  # fmt: skip
    before = len(plant.asked)
    environment = {"MILLWRIGHT_HUB_TOKEN": plant.token}
    first = listed(path, tmp_path, **environment)
    assert len(plant.asked) == before + 1
    assert listed(path, tmp_path, **environment) == first
    assert len(plant.asked) == before + 1
    (kept,) = (tmp_path / "cache").iterdir()
    assert plant.token not in kept.read_text()
    kept.unlink()
    assert listed(path, tmp_path, **environment) == first
    assert len(plant.asked) == before + 2


GATEWAY = {
    "id": "gw-1", "standing": "ok", "online": True, "last_seen_s": 1.0, "agent_version": "1", "runtime": "litert",
    "time_zone": None, "labels": {}, "slots": [], "machines": [], "certificate_s": None,
}  # fmt: skip
# What a server that is no hub, or one gone wrong, says: case to status, body and Location.
ODD: dict[str, tuple[int, bytes, str]] = {
    "html": (200, b"<html>sign in</html>", ""),
    "list": (200, b"[]", ""),
    "old": (200, json.dumps({"items": [{"id": "gw-1"}], "next": None}).encode(), ""),
    "id": (200, json.dumps({"items": [{**GATEWAY, "id": "../x"}], "next": None}).encode(), ""),
    "labels": (200, json.dumps({"items": [{**GATEWAY, "labels": {"a": 1}}], "next": None}).encode(), ""),
    "slots": (200, json.dumps({"items": [{**GATEWAY, "slots": [7]}], "next": None}).encode(), ""),
    "loop": (200, json.dumps({"items": [GATEWAY], "next": "again"}).encode(), ""),
    "void": (200, json.dumps({"items": [], "next": "again"}).encode(), ""),
    "huge": (200, b" " * (32 * 2**20 + 10), ""),
    "moved": (302, b"", "https://127.0.0.1:1/stolen"),
    "broken": (500, b"", ""),
}


@pytest.fixture(scope="module")
def odd_server(plant: Plant) -> Iterator[str]:
    """Speaks TLS with the hub's own certificate."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body, location = ODD[self.path.split("/")[1]]
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*plant.pair)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join(10)
    server.server_close()


def refusals(sources: dict[str, Path], home: Path) -> dict[str, str]:
    """What is said of each source, all in one run; none of them gives a host."""
    words = [word for path in sources.values() for word in ("-i", str(path))]
    done = ansible("ansible-inventory", "--list", *words, home=home)
    assert json.loads(done.stdout)["_meta"]["hostvars"] == {}
    said = " ".join(done.stderr.split())
    parts = said.split("[WARNING]")
    return {case: " ".join(part for part in parts if str(path) in part) for case, path in sources.items()}


def test_an_answer_that_is_none_is_told_and_nothing_is_taken(plant: Plant, odd_server: str, tmp_path: Path) -> None:
    sources = {case: source(tmp_path, plant, f"{case}.millwright.yml", url=f"{odd_server}/{case}") for case in ODD}
    told = refusals(sources, tmp_path)
    for case, text in {
        "html": "expected JSON, got b'<html>sign in</html>'",
        "list": "expected an object with `items` and `next`, got b'[]'",
        "old": "gateway gw-1 has no standing, online",
        "id": "expected a gateway with an id, got",
        "labels": "gateway gw-1: labels and slots are not as expected",
        "slots": "gateway gw-1: expected a slot with a version, got 7",
        "loop": "gateway 'gw-1' came twice",
        "void": "an empty page that is not the last one",
        "huge": "a page of more than 33554432 bytes; ask for a smaller page_size",
        "moved": "the hub answered 302",
        "broken": "the hub answered 500",
    }.items():
        assert text in told[case], (case, told[case])


def test_settings_that_cannot_work_are_told(plant: Plant, tmp_path: Path) -> None:
    (tmp_path / "powerless").write_text(plant.powerless)
    (tmp_path / "empty").write_text("\n")
    cases: dict[str, tuple[dict[str, Any], str]] = {
        "plain": ({"url": plant.url.replace("https", "http")}, "expected https://HOST[:PORT], got 'http://127.0.0.1"),
        "stranger": ({"ca_file": None}, "is ca_file the plant's root?"),
        "nofile": ({"ca_file": "nowhere.pem"}, "ca_file: there is no file"),
        "wrong": ({"token_file": None, "token": "mw_" + "x" * 43}, "the token is unknown, expired or revoked"),
        "powerless": ({"token_file": "powerless"}, "the token lacks the scope fleet:read"),
        "none": ({"token_file": "empty"}, "expected an API token, got none"),
        "lines": ({"token_file": None, "token": "a\nb"}, "token: expected one word of ASCII"),
        "away": ({"url": "https://127.0.0.1:1"}, "the hub cannot be reached"),
        "many": ({"max_gateways": 3}, "more than max_gateways = 3 gateways"),
        "size": ({"page_size": 501}, "page_size: expected 1 to 500, got 501"),
        "elsewhere": ({"url": plant.url + "/shop"}, "no inventory there: is this a hub"),
    }
    sources = {
        case: source(tmp_path, plant, f"{case}.millwright.yml", **options) for case, (options, _) in cases.items()
    }
    told = refusals(sources, tmp_path)
    for case, (_, text) in cases.items():
        assert text in told[case], (case, told[case])
    assert plant.token not in " ".join(told.values())

"""The plant of the demo: a broker, the hub, gateways with their agents, all in one folder."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from demo.processes import Processes, StepFailedError, read_ready, wait_for

SLOT = "vibration"
FLEET = "demo"


@dataclass(frozen=True, slots=True)
class Point:
    """One sensor position, as the agent's settings name it."""

    gateway: str
    machine: str
    point: str
    node: str
    port: int
    axes: tuple[str, ...]
    units: str
    rate_hz: float
    shaft_hz: float
    orders: dict[str, float]

    def toml(self) -> str:
        """Its table in `agent.toml`."""
        orders = ", ".join(f"{name} = {order}" for name, order in self.orders.items())
        return f"""
[[point]]
machine = "{self.machine}"
point = "{self.point}"
slot = "{SLOT}"
node = "{self.node}"
port = {self.port}
axes = {json.dumps(self.axes)}
units = "{self.units}"
quantity = "acceleration"
rate_hz = {self.rate_hz}

[point.facts]
shaft_hz = {self.shaft_hz}
orders = {{ {orders} }}
zone_limits_mm_s = [1.4, 2.8, 4.5]
zone_source = "ISO 20816-3:2022, group 2, rigid support"
"""


class Plant:
    """Everything that runs, and how to ask the hub about it."""

    def __init__(self, folder: Path, started: Processes, points: list[Point]) -> None:
        self.folder = folder
        self.started = started
        self.points = points
        self.home = folder / "hub"
        self.broker_port = 0
        self.broker_kind = ""
        self.url = ""
        self._headers: dict[str, str] = {}
        self.hub_bytes = 0

    @property
    def gateways(self) -> list[str]:
        """Gateway ids, in order of appearance."""
        return list(dict.fromkeys(point.gateway for point in self.points))

    # ------------------------------------------------------------------------------------------------- coming up

    def start_broker(self) -> None:
        """Start the embedded broker on a free port."""
        ready = self.folder / "broker.json"
        self.started.start("broker", "cloud-hub", "broker", "--port", "0", "--ready-file", str(ready))
        found = wait_for("the broker", lambda: read_ready(ready), self.started)
        self.broker_port, self.broker_kind = int(found["port"]), str(found["kind"])
        self.started.environment |= {
            "MILLWRIGHT_HOME": str(self.home),
            "MILLWRIGHT_BROKER_PORT": str(self.broker_port),
            "MILLWRIGHT_FLEET": FLEET,
            "MILLWRIGHT_BROKER": f"127.0.0.1:{self.broker_port}",
        }

    def start_hub(self) -> None:
        """Make keys, the root apart from the others, and start the hub."""
        self.started.run("keys", "cloud-hub", "keys", "init", "--root-dir", str(self.folder / "root-keys"))
        ready = self.folder / "hub.json"
        self.started.start("hub", "cloud-hub", "serve", "--port", "0", "--ready-file", str(ready))
        self.url = str(wait_for("the hub", lambda: read_ready(ready), self.started)["url"]).rstrip("/")
        self._headers = {"Authorization": f"Bearer {self._token()}"}

    def _token(self) -> str:
        scopes = "fleet:read,data:read"
        command = ("cloud-hub", "token", "create", "--name", "demo", "--scopes", scopes, "--expires", "1d")
        return self.started.run("token", *command, secret=True).strip()

    def sign_in_link(self, page: str = "/") -> str:
        """A one-time link by which whoever runs the demo becomes the hub's administrator, and that leads to `page`."""
        command = ("cloud-hub", "admin-link", "--url", self.url, "--next", page)
        return self.started.run("admin-link", *command, secret=True).strip()

    def start_agents(self) -> None:
        """Write settings, check them and start an agent on each gateway; wait until the hub sees them."""
        for gateway in self.gateways:
            config = self.folder / gateway / "agent.toml"
            config.parent.mkdir(parents=True, exist_ok=True)
            config.write_text(self._agent_toml(gateway))
            self.started.run(f"{gateway}-check", "edge-agent", "--config", str(config), "check-config")
            self.started.start(gateway, "edge-agent", "--config", str(config), "run")
        for gateway in self.gateways:
            wait_for(f"agent {gateway} online", partial(self._online, gateway), self.started)

    def _agent_toml(self, gateway: str) -> str:
        head = f"""# Written by the demo; an agent on a real gateway has a file like this.
[gateway]
id = "{gateway}"
fleet = "{FLEET}"
state_dir = "state"

[broker]
host = "127.0.0.1"
port = {self.broker_port}

[trust]
root = "{self._root_json()}"

[trend]
span_s = 1.0
"""
        return head + "".join(point.toml() for point in self.points if point.gateway == gateway)

    def _root_json(self) -> Path:
        found = sorted(self.home.joinpath("repository").glob("*root.json"))
        if not found:
            raise StepFailedError(f"no root.json in {self.home / 'repository'}")
        return found[-1]

    # --------------------------------------------------------------------------------------------- asking the hub

    def get(self, path: str, **query: str | float) -> Any:  # noqa: ANN401 - JSON
        """GET /api/v1/`path`."""
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=query, headers=self._headers, timeout=20.0)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        answer.raise_for_status()
        return answer.json()

    def all(self, path: str, **query: str | float) -> list[dict[str, Any]]:
        """All pages of a list."""
        items: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            page = self.get(path, limit=500, **query, **({"cursor": cursor} if cursor else {}))
            items.extend(page["items"])
            cursor = page["next"]
            if not cursor:
                return items

    def _online(self, gateway: str) -> bool | None:
        found = self.get(f"gateways/{gateway}")
        return True if found is not None and found["gateway"]["online"] else None

    def wait(self, what: str, look: Callable[[], Any], timeout_s: float = 60.0) -> Any:  # noqa: ANN401 - what it finds
        """`wait_for` with this plant's processes."""
        return wait_for(what, look, self.started, timeout_s)

    # -------------------------------------------------------------------------------------------------- delivery

    def publish(self, bundle: Path, home: Path | None = None) -> dict[str, Any]:
        """`cloud-hub publish`; what it reports."""
        return self._hub("publish", home, str(bundle))

    def want(self, gateways: list[str], reference: str, home: Path | None = None) -> dict[str, Any]:
        """`cloud-hub want`; what it reports."""
        return self._hub("want", home, *gateways, "--bundle", reference)

    def _hub(self, command: str, home: Path | None, *arguments: str) -> dict[str, Any]:
        out = self.folder / f"{command}-{time.monotonic_ns()}.json"
        where = ["--home", str(home)] if home is not None else []
        self.started.run(command, "cloud-hub", command, *arguments, *where, "--json", str(out))
        result: dict[str, Any] = json.loads(out.read_text())
        if home is None:
            self.hub_bytes += int(result.get("bytes_sent", 0))
        return result

    def slot_of(self, gateway: str) -> dict[str, Any] | None:
        """The vibration slot of a gateway, as reported."""
        found = self.get(f"gateways/{gateway}")
        slots = [s for s in found["slots"] if s["slot"] == SLOT] if found else []
        return slots[0] if slots else None

    def running(self, sha256: str) -> bool | None:
        """True when every gateway runs this bundle."""
        slots = [self.slot_of(gateway) for gateway in self.gateways]
        done = all(
            s is not None and s["active_sha256"] == sha256 and s["phase"] in {"active", "confirmed"} for s in slots
        )
        refused = [s["error"] for s in slots if s is not None and s["phase"] == "refused"]
        if refused:
            raise StepFailedError(f"the bundle was refused: {refused[0]}")
        return True if done else None

    def verdicts(self) -> dict[str, str]:
        """Verdict of each point, by machine/point."""
        return {f"{p['machine']}/{p['point']}": p["verdict"] for p in self.all("points")}

    def rss_mb(self) -> float:
        """Largest resident memory of an agent, as the agents report it."""
        return max(float(g["rss_mb"]) for g in self.all("gateways"))

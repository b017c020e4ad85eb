"""What Prometheus sees: true figures, names that the dashboard and the rules use, no series per id, no growth with age."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text
from starlette.types import ASGIApp, Receive, Scope, Send

import cloud_hub.observing
from cloud_hub.accounts.permissions import Permission, Principal
from cloud_hub.api.app import create_app
from cloud_hub.api.context import HubContext
from cloud_hub.ingest.status import IngestStatus
from cloud_hub.store.database import Database
from cloud_hub.store.writer import Received, Writer
from tests.simulators.hub import ApiClient, event, state, trends

FILES = Path(cloud_hub.observing.__file__).parent / "dashboards"
READER = Principal("prometheus", "token", frozenset({Permission.METRICS_READ}))


class KnownAs:
    """Stands in for accounts: everybody is this principal."""

    def __init__(self, app: ASGIApp, principal: Principal | None) -> None:
        self._app = app
        self._principal = principal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["principal"] = self._principal
        await self._app(scope, receive, send)


class Scraped:
    """A hub and its figures by name and labels."""

    def __init__(self, database: Database, folder: Path, principal: Principal | None = READER) -> None:
        self.now_s = 5000.0
        self.status = IngestStatus()
        self.connected = True
        self.database = database
        self.writer = Writer(database, lambda: self.now_s)
        context = HubContext(
            database=database,
            captures_dir=folder,
            fleet="plant",
            now_s=lambda: self.now_s,
            ingest=self.status.view,
            connected=lambda: self.connected,
            metadata_until_s=lambda: {"timestamp": 5600.0},
        )
        self.api = ApiClient(KnownAs(create_app(context), principal))  # type: ignore[arg-type]

    def scrape(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        answer = self.api.get("/metrics")
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith("text/plain")
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
        }


@pytest.fixture
def hub(database: Database, tmp_path: Path) -> Scraped:
    return Scraped(database, tmp_path)


def test_figures_are_those_of_the_fleet(hub: Scraped) -> None:
    hub.writer.store([Received(m) for m in (state("gw-1"), state("gw-2"), state("gw-2", online=False), event())])
    hub.status.count("taken", 7)
    hub.status.reject(1.0, "t", "schema", "why", 3)
    seen = hub.scrape()
    assert seen["millwright_gateways", (("state", "online"),)] == 1
    assert seen["millwright_gateways", (("state", "offline"),)] == 1
    assert sum(v for (name, _), v in seen.items() if name == "millwright_alarms_raised") == 1
    assert seen["millwright_ingest_total", (("kind", "taken"),)] == 7
    assert seen["millwright_ingest_rejected_total", (("reason", "schema"),)] == 1
    assert seen["millwright_metadata_seconds_left", (("role", "timestamp"),)] == 600.0
    assert seen["millwright_broker_connected", ()] == 1
    assert seen["millwright_database_up", ()] == 1


def test_a_gateway_that_says_nothing_is_silent_though_online(hub: Scraped) -> None:
    hub.writer.store([Received(state("gw-1"))])
    assert hub.scrape()["millwright_gateways_silent", ()] == 0
    hub.now_s += 3600.0
    assert hub.scrape()["millwright_gateways_silent", ()] == 1


def test_scrapes_in_a_row_ask_the_database_once(hub: Scraped) -> None:
    assert hub.scrape()["millwright_gateways", (("state", "online"),)] == 0
    hub.writer.store([Received(state("gw-1"))])
    assert hub.scrape()["millwright_gateways", (("state", "online"),)] == 0
    hub.now_s += 6.0
    assert hub.scrape()["millwright_gateways", (("state", "online"),)] == 1


def test_a_database_that_fails_is_a_figure(hub: Scraped) -> None:
    with hub.database.write() as session:
        session.execute(text("ALTER TABLE points RENAME TO gone"))
    seen = hub.scrape()
    assert seen["millwright_database_up", ()] == 0
    assert ("millwright_gateways", (("state", "online"),)) not in seen
    assert seen["millwright_broker_connected", ()] == 1


def test_requests_are_timed_by_template_not_by_id(hub: Scraped) -> None:
    for name in ("a", "b", "c"):
        hub.api.get(f"/metrics?{name}=1")
        hub.api.get(f"/nothing/{name}")
        hub.api.request(f"ODD{name.upper()}", "/metrics")
    hub.writer.store([Received(trends())])
    counts = {k: v for k, v in hub.scrape().items() if k[0] == "millwright_http_request_seconds_count"}
    assert {dict(labels)["route"] for _, labels in counts} == {"/metrics", "none"}
    assert {dict(labels)["method"] for _, labels in counts} == {"GET", "other"}
    assert sum(v for (_, labels), v in counts.items() if dict(labels)["status"] == "4xx") == 6


def test_metrics_are_not_for_everybody(database: Database, tmp_path: Path) -> None:
    assert Scraped(database, tmp_path, None).api.get("/metrics").status_code == 401
    other = Principal("v", "user", frozenset({Permission.FLEET_READ}))
    refused = Scraped(database, tmp_path, other).api.get("/metrics")
    assert refused.status_code == 403
    assert "metrics:read" in refused.json()["detail"]


def used_in_files() -> set[str]:
    words = re.findall(r"\bmillwright_[a-z_]+", (FILES / "alerts.yml").read_text("utf-8"))
    dashboard = json.loads((FILES / "grafana.json").read_text("utf-8"))
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            words += re.findall(r"\bmillwright_[a-z_]+", target["expr"])
    return {re.sub(r"_bucket$", "", w) for w in words}


def test_dashboard_and_rules_ask_only_for_figures_that_exist(hub: Scraped) -> None:
    hub.writer.store([Received(m) for m in (state("gw-1"), event())])
    hub.status.count("taken")
    hub.status.reject(1.0, "t", "schema", "why", 3)
    hub.status.committed(1.0)
    hub.api.get("/metrics")
    families = text_string_to_metric_families(hub.api.get("/metrics").text)
    known = {f.name for f in families} | {f"{f.name}_total" for f in families if f.type == "counter"}
    known |= {name for name, _ in hub.scrape()}
    assert used_in_files() - known == set()


def test_panels_do_not_overlap_and_have_their_own_ids() -> None:
    panels = json.loads((FILES / "grafana.json").read_text("utf-8"))["panels"]
    assert len({p["id"] for p in panels}) == len(panels)
    cells = [
        (x, y)
        for g in (p["gridPos"] for p in panels)
        for x in range(g["x"], g["x"] + g["w"])
        for y in range(g["y"], g["y"] + g["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) == 23

"""Rollouts over the API and on the command line."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console
from typer.testing import CliRunner

from cloud_hub.accounts.permissions import ROLE_PERMISSIONS, Principal, Role
from cloud_hub.api.app import create_app
from cloud_hub.api.context import HubContext
from cloud_hub.api.problems import MEDIA_TYPE
from cloud_hub.cli import build_app
from cloud_hub.errors import PlanError
from cloud_hub.ingest.status import IngestStatus
from cloud_hub.store.database import Database
from tests.cloud_hub.rollout_kit import World, fleet_of
from tests.simulators.fleet import NEW, SLOT
from tests.simulators.hub import As

BODY: dict[str, Any] = {
    "name": "r1",
    "slot": SLOT,
    "sha256": NEW,
    "cohorts": [
        {"name": "canary", "share": "20 %", "errors": "0", "shadow_windows": 400, "soak_windows": 60},
        {"name": "all", "share": "100 %", "shadow_windows": 400, "soak_windows": 60},
    ],
}


class Site:
    """A world, and the API over its database."""

    def __init__(self, database: Database, folder: Path, **kinds: str) -> None:
        self.world = World(database, fleet_of(20, **kinds))
        context = HubContext(
            database=database,
            captures_dir=folder,
            fleet="plant",
            now_s=lambda: self.world.now_s,
            ingest=IngestStatus().view,
            connected=lambda: True,
        )
        self.app = create_app(context)

    def send(self, method: str, path: str, *, by: str = "ann", **more: Any) -> httpx.Response:
        async def call() -> httpx.Response:
            app = As(self.app, Principal(by, "user", ROLE_PERMISSIONS[Role.ENGINEER]))
            transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://hub") as client:
                return await client.request(method, f"/api/v1{path}", **more)

        return asyncio.run(call())

    def call(self, method: str, path: str, status: int, body: Any = None, *, by: str = "ann") -> Any:
        answer = self.send(method, path, by=by, **({} if body is None else {"json": body}))
        assert answer.status_code == status, answer.text
        if status >= 400:
            assert answer.headers["content-type"] == MEDIA_TYPE
        return answer.json()


def test_made_watched_and_steered_over_the_api(database: Database, tmp_path: Path):
    site = Site(database, tmp_path, **{f"gw{i}": "refuse" for i in range(20)})
    made = site.call("POST", "/rollouts", 201, BODY)
    assert (made["rollout"]["status"], made["rollout"]["version"], made["rollout"]["created_by"]) == (
        "trying",
        "2",
        "ann",
    )
    assert [(c["name"], c["size"], c["errors"]) for c in made["cohorts"]] == [("canary", 4, "0"), ("all", 16, "5 %")]
    site.world.run(5)
    shown = site.call("GET", "/rollouts/r1", 200)
    assert (shown["rollout"]["status"], shown["rollout"]["cause"]) == ("paused", "errors")
    assert shown["rollout"]["detail"] == "cohort canary: 4 of 4 failed, at most 0: 4 refused"
    assert shown["cohorts"][0]["failures"] == {"refused": 4}
    failed = site.call("GET", "/rollouts/r1/gateways?stage=failed&limit=3", 200)
    assert [(m["kind"], m["detail"]) for m in failed["items"]] == [("refused", "budget")] * 3
    assert failed["next"] is not None
    assert site.call("POST", "/rollouts/r1/retry", 200, {})["cohorts"][0]["stages"] == {"waiting": 4}
    assert site.call("POST", "/rollouts/r1/resume", 200, {})["rollout"]["status"] == "trying"
    assert site.call("POST", "/rollouts/r1/pause", 200, {"why": "no"}, by="bob")["rollout"]["detail"] == "no"
    assert site.call("POST", "/rollouts/r1/abort", 200, {}, by="bob")["rollout"]["status"] == "aborting"
    log = site.call("GET", "/rollouts/r1/log", 200)["items"]
    assert [(n["event"], n["by"]) for n in log][:2] == [("abort", "bob"), ("stopped", "bob")]
    assert [r["id"] for r in site.call("GET", "/rollouts?status=aborting", 200)["items"]] == ["r1"]


@pytest.mark.parametrize(
    ("change", "status", "text"),
    [
        ({"cohorts": [{"name": "a", "share": "all of them"}]}, 422, "cohort 'a', share: expected a share such as"),
        ({"cohorts": [{"name": "a", "share": "1 %", "errors": "few"}]}, 422, 'errors: expected a share such as "5 %"'),
        ({"sha256": "00" * 32}, 404, "none was published"),
        ({"slot": "fan"}, 422, "is for the slot pump-vibration, not fan"),
        ({"limits": {"alarm_ratio": 0.5}}, 422, "plan: Expected `float` >= 1.0 - at `$.limits.alarm_ratio`"),
        ({"limits": {"alarm_rate": 2}}, 422, "unknown field `alarm_rate`"),
        ({"surprise": 1}, 422, "body.surprise"),
        ({"by": "bob"}, 422, "body.by"),
        ({"cohorts": []}, 422, "body.cohorts"),
    ],
)
def test_a_bad_plan_is_a_problem(database: Database, tmp_path: Path, change: dict, status: int, text: str):
    site = Site(database, tmp_path)
    assert text in site.call("POST", "/rollouts", status, BODY | change)["detail"]
    assert site.call("GET", "/rollouts", 200)["items"] == []


def test_what_has_no_place_is_a_conflict(database: Database, tmp_path: Path):
    site = Site(database, tmp_path)
    site.call("POST", "/rollouts", 201, BODY)
    assert "there is one of this name" in site.call("POST", "/rollouts", 409, BODY)["detail"]
    assert "r1 is changing the slot" in site.call("POST", "/rollouts", 409, BODY | {"name": "r2"})["detail"]
    assert site.call("POST", "/rollouts/r1/approve", 409, {})["type"] == "urn:millwright:problem:rollout-state"
    site.call("POST", "/rollouts/r9/approve", 404, {})
    site.call("GET", "/rollouts/r9", 404)
    plain = {"content-type": "text/plain"}
    answer = site.send("POST", "/rollouts/r1/abort", content=b"{}", headers=plain)
    assert (answer.status_code, answer.headers["content-type"]) == (415, MEDIA_TYPE)
    assert site.call("GET", "/rollouts/r1", 200)["rollout"]["status"] == "trying"


def test_an_end_by_force_over_the_api(database: Database, tmp_path: Path):
    site = Site(database, tmp_path)
    site.call("POST", "/rollouts", 201, BODY)
    both = site.call("POST", "/rollouts/r1/abort", 422, {"force": True, "undo": True})
    assert both["detail"] == "rollout r1, abort: expected force or undo, got both: by force nothing is sent"
    assert site.call("POST", "/rollouts/r1/abort", 200, {"force": True})["rollout"]["status"] == "aborted"
    assert (
        site.call("POST", "/rollouts/r1/abort", 409, {"force": True})["type"] == "urn:millwright:problem:rollout-state"
    )


def test_a_rollout_that_is_sent_twice_is_made_once(database: Database, tmp_path: Path):
    site = Site(database, tmp_path)
    body = {k: v for k, v in BODY.items() if k != "name"}
    first, again = (site.send("POST", "/rollouts", json=body, headers={"idempotency-key": "k1"}) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert len(site.call("GET", "/rollouts", 200)["items"]) == 1
    assert site.send("POST", "/rollouts", by="bob", json=body, headers={"idempotency-key": "k1"}).status_code == 409


def test_sites(database: Database, tmp_path: Path):
    site = Site(database, tmp_path)
    nothing = {"gateway": "gw-1", "time_zone": None, "labels": {}, "revision": 0}
    assert site.call("GET", "/gateways/gw-1/site", 200) == nothing
    body = {"time_zone": "Europe/Berlin", "labels": {"hall": "3"}}
    said = site.call("PUT", "/gateways/gw-1/site", 200, body)
    assert said == {"gateway": "gw-1", **body, "revision": said["revision"]}
    assert site.call("GET", "/sites", 200)["items"] == [said]
    late = site.send("PUT", "/gateways/gw-1/site", json={"labels": {}}, headers={"If-Match": '"0"'})
    assert late.status_code == 412
    fresh = site.send("PUT", "/gateways/gw-1/site", json=body, headers={"If-Match": f'"{said["revision"]}"'})
    assert (fresh.status_code, fresh.headers["etag"]) == (200, f'"{said["revision"]}"')
    assert "expected a time zone" in site.call("PUT", "/gateways/gw-1/site", 422, {"time_zone": "Moon"})["detail"]


def _cli(home: Path, *arguments: str) -> str:
    result = CliRunner().invoke(build_app(), ["rollout", *arguments, "--home", str(home)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_command_line(tmp_path: Path):
    with Database(f"sqlite:///{tmp_path / 'hub.sqlite3'}") as database:
        database.migrate()
        world = World(database, fleet_of(20, **{f"gw{i}": "refuse" for i in range(20)}))
        world.now_s = time.time()  # as the command line has it
        world.hear()
        assert "gw-1: time zone Asia/Tokyo; labels: hall=3, lab" in _cli(
            tmp_path, "site", "gw-1", "--time-zone", "Asia/Tokyo", "--label", "hall=3", "--label", "lab"
        )
        made = _cli(tmp_path, "create", f"{SLOT}/2", "--name", "r1", "--cohort", "canary=20 %", "--cohort", "all=100 %", "--by", "ann")  # fmt: skip
        assert made == "r1: pump-vibration/2, 2 cohorts\n"
        world.run(5)
        out = tmp_path / "r.json"
        lines = _cli(tmp_path, "show", "r1", "--json", str(out)).splitlines()
        assert lines[0] == "r1: paused, pump-vibration 2, cohort canary"
        assert lines[1] == "paused: errors: cohort canary: 4 of 4 failed, at most 0: 4 refused"
        assert "cohort canary (4; errors at most 5 %, success 90 %): 4 failed" in lines
        assert sum("refused: budget" in line for line in lines) == 4
        written = json.loads(out.read_text())
        assert len(written["gateways"]) == 20
        assert written["rollout"]["cause"] == "errors"
        assert _cli(tmp_path, "retry", "r1") == "r1: paused\n"
        assert _cli(tmp_path, "resume", "r1") == "r1: trying\n"
        assert _cli(tmp_path, "pause", "r1", "--why", "lunch") == "r1: paused\n"
        assert _cli(tmp_path, "abort", "r1", "--undo") == "r1: aborting\n"
        assert "aborting" in _cli(tmp_path, "list")
        assert _cli(tmp_path, "abort", "r1", "--force") == "r1: aborted\n"


def test_the_live_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with Database(f"sqlite:///{tmp_path / 'hub.sqlite3'}") as database:
        database.migrate()
        world = World(database, fleet_of(20))
        world.now_s = time.time()
        world.hear()
        _cli(tmp_path, "create", f"{SLOT}/2", "--name", "r1", "--cohort", "all=100 %")

        def look_away(_seconds: float) -> None:
            world.run(5)

        monkeypatch.setattr("cloud_hub.cli.rollout.time.sleep", look_away)
        monkeypatch.setattr("cloud_hub.cli.rollout.Console", lambda: Console(force_terminal=True, width=160))
        shown = _cli(tmp_path, "show", "r1")
    assert "0 of 20 behave well beside the champion, 18 must" in shown
    assert "20/20" in shown
    assert "finished" in shown


def test_command_line_refuses_a_bad_plan_file(tmp_path: Path):
    with Database(f"sqlite:///{tmp_path / 'hub.sqlite3'}") as database:
        database.migrate()
        World(database, fleet_of(2))
    file = tmp_path / "plan.toml"
    file.write_text('in_flight = "many"\n')
    with pytest.raises(PlanError, match=r"plan\.toml: Expected `int`, got `str` - at `\$\.in_flight`"):
        _cli(tmp_path, "create", f"{SLOT}/2", "--plan", str(file))

"""Alarms over HTTP: who may, what is refused and how, revisions as ETags."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud_hub.api.problems import MEDIA_TYPE
from cloud_hub.store.database import Database
from tests.cloud_hub.test_api import NOW_S, Hub
from tests.simulators.callers import OPERATOR, VIEWER
from tests.simulators.hub import ApiClient, event, state

ALARM = "/api/v1/alarms/gw-1.a1"


@pytest.fixture
def hub(database: Database, tmp_path: Path) -> Hub:
    made = Hub(database, tmp_path)
    made.api = ApiClient(made.app, OPERATOR)
    made.store(state(), event(1))
    return made


def test_a_shift_over_http(hub: Hub) -> None:
    assert hub.get("/api/v1/alarms/counts")["unacknowledged"] == 1
    seen = hub.api.get(ALARM)
    assert seen.headers["etag"] == '"1"'
    done = hub.api.change("POST", f"{ALARM}/acknowledge", {"text": "going"}, {"If-Match": '"1"'})
    assert (done.status_code, done.headers["etag"], done.json()["state"]) == (200, '"2"', "acknowledged")
    assert hub.api.change("POST", f"{ALARM}/comments", {"text": "oil is low"}).json()["revision"] == 3
    assert hub.api.change("PUT", f"{ALARM}/assignee", {"assignee": "otto"}).json()["assignee"] == "otto"
    reviewed = hub.api.change("PUT", f"{ALARM}/review", {"review": "true", "fault": "BPFO"}).json()
    assert (reviewed["review"], reviewed["review_fault"], reviewed["reviewed_by"]) == ("true", "BPFO", "olga")
    shelved = hub.api.change("POST", f"{ALARM}/shelve", {"duration_s": 3600, "reason": "parts ordered"}).json()
    assert (shelved["state"], shelved["shelved_until_s"]) == ("shelved", NOW_S + 3600)
    assert hub.get("/api/v1/suppressions")["items"][0]["reason"] == "parts ordered"
    assert hub.api.change("POST", f"{ALARM}/unshelve", {}).json()["state"] == "unacknowledged"
    assert [item["action"] for item in hub.api.items(f"{ALARM}/actions", limit=2)] == [
        "unshelve", "shelve", "review", "assign", "comment", "acknowledge",
    ]  # fmt: skip
    assert hub.ids("/api/v1/alarms", assignee="otto", state="unacknowledged") == ["gw-1.a1"]
    assert hub.ids("/api/v1/alarms/labels", "label") == ["confirmed fault"]
    assert hub.get("/api/v1/alarms/metrics", since=NOW_S - 600, until=NOW_S + 600)["load"]["alarms"] == 1


def test_somebody_else_was_faster(hub: Hub) -> None:
    assert hub.api.change("POST", f"{ALARM}/acknowledge", {}, {"If-Match": "*"}).status_code == 200
    late = hub.api.change("PUT", f"{ALARM}/assignee", {"assignee": "olga"}, {"If-Match": '"1"'})
    assert (late.status_code, late.json()["type"]) == (412, "urn:millwright:problem:stale")
    strange = hub.api.change("PUT", f"{ALARM}/assignee", {"assignee": "olga"}, {"If-Match": "W/abc"})
    assert strange.status_code == 412
    again = hub.api.change("POST", f"{ALARM}/acknowledge", {})
    assert (again.status_code, again.json()["type"]) == (409, "urn:millwright:problem:alarm-state")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "detail"),
    [
        ("POST", f"{ALARM}/shelve", {"duration_s": 10, "reason": "x"}, 422, "greater than or equal to 60"),
        ("POST", f"{ALARM}/shelve", {"duration_s": 600, "reason": " "}, 422, "pattern"),
        ("POST", f"{ALARM}/shelve", {"duration_s": 600}, 422, "Field required"),
        ("POST", f"{ALARM}/comments", {"text": "x" * 2001}, 422, "at most 2000"),
        ("POST", f"{ALARM}/acknowledge", {"txt": "x"}, 422, "Extra inputs"),
        ("PUT", f"{ALARM}/review", {"review": "false", "fault": "BPFO"}, 422, "only a true alarm has one"),
        ("PUT", f"{ALARM}/review", {"review": "maybe"}, 422, "'true', 'false' or 'unsure'"),
        ("POST", "/api/v1/alarms/gw-1.a9/acknowledge", {}, 404, "not known"),
        ("POST", "/api/v1/alarms/bulk", {"alarms": [], "action": {"do": "unshelve"}}, 422, "at least 1 item"),
        ("POST", "/api/v1/alarms/bulk", {"alarms": [{"alarm": "x"}], "action": {"do": "dance"}}, 422, "does not match"),
        ("PUT", "/api/v1/machines/P-9/out-of-service", {"reason": "x"}, 404, "machine 'P-9'"),
        ("PUT", "/api/v1/machines/P-101/points/top/out-of-service", {"reason": "x"}, 404, "point P-101/top"),
        ("DELETE", "/api/v1/machines/P-101/out-of-service", None, 409, "P-101 is in service"),
    ],
)
def test_what_is_refused(hub: Hub, method: str, path: str, body: object, status: int, detail: str) -> None:
    answer = hub.api.change(method, path, body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert detail in answer.json()["detail"]


def test_many_at_once_and_a_machine_out_of_service(hub: Hub) -> None:
    hub.store(event(2, alarm="a2"))
    body = {
        "alarms": [{"alarm": "gw-1.a1", "revision": 1}, {"alarm": "gw-1.a2", "revision": 5}],
        "action": {"do": "acknowledge"},
    }
    outcome = hub.api.change("POST", "/api/v1/alarms/bulk", body).json()
    assert outcome["done"] == ["gw-1.a1"]
    assert outcome["refused"][0]["alarm"] == "gw-1.a2"
    out = "/api/v1/machines/P-101/out-of-service"
    assert hub.api.change("PUT", out, {"reason": "overhaul"}).json() == {"alarms": 2}
    assert hub.get("/api/v1/alarms/counts")["out_of_service"] == 2
    assert hub.api.change("DELETE", out).json() == {"alarms": 2}
    assert hub.api.change("PUT", "/api/v1/machines/P-101/points/de/out-of-service", {"reason": "x"}).status_code == 200
    assert hub.api.change("DELETE", "/api/v1/machines/P-101/points/de/out-of-service").status_code == 200


def test_only_json_changes_anything(hub: Hub) -> None:
    answer = hub.api.change("POST", f"{ALARM}/acknowledge", None, {"content-type": "text/plain"})
    assert answer.status_code == 415


def test_who_may_look_and_who_may_act(hub: Hub) -> None:
    hub.api = ApiClient(hub.app, VIEWER)
    assert hub.api.get(ALARM).status_code == 200
    refused = hub.api.change("POST", f"{ALARM}/acknowledge", {})
    assert (refused.status_code, refused.json()["detail"]) == (403, "victor may not do this: alarms:act is needed")
    hub.api._app = hub.app  # nobody
    assert hub.api.get("/api/v1/alarms").status_code == 401
    assert hub.api.change("POST", f"{ALARM}/acknowledge", {}).status_code == 401


def test_figures_of_a_span_that_is_none(hub: Hub) -> None:
    for since, until in ((5, 5), (9, 5), (0, 1e9)):
        assert "400 days" in hub.problem("/api/v1/alarms/metrics", 422, since=since, until=until).detail

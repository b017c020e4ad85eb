"""Wants for single gateways over the API: what `cloud-hub want` does, through the same service."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud_hub.services.workshop import Workshop
from cloud_hub.store.accounts_queries import list_audit
from cloud_hub.store.database import Database
from cloud_hub.store.paging import Paging
from cloud_hub.store.writer import Received, Writer
from tests.cloud_hub.mlops_kit import NOW_S, OPERATOR, MlopsHub
from tests.cloud_hub.rollout_kit import add_bundles
from tests.cloud_hub.want_kit import Line, plain_issuer
from tests.simulators.fleet import NEW, OTHER, SLOT
from tests.simulators.hub import state

PATH = "/gateways/gw-1/wants"


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def hub(database: Database, tmp_path: Path, line: Line) -> MlopsHub:
    made = MlopsHub(database, tmp_path)
    add_bundles(database)
    workshop = Workshop(made.places, want=plain_issuer(database, tmp_path, line))
    object.__setattr__(made.app.state.context, "workshop", workshop)
    return made


def test_what_is_wanted_is_sent_listed_and_written_down(hub: MlopsHub, line: Line) -> None:
    said = hub.ask("POST", PATH, 201, json={"bundles": [f"{SLOT}/2"], "jitter_s": 90, "expires_in_s": 3600})
    (body,) = line.sent
    assert line.topics[0].endswith("/gw-1/dn/want")
    assert (said["seq"], said["expires_s"], said["issued_s"]) == (body.seq, NOW_S + 3600, NOW_S)
    assert [(one.slot, one.sha256) for one in body.bundles] == [(SLOT, NEW)]
    assert (body.jitter_s, body.expires_s) == (90, int(NOW_S) + 3600)
    assert hub.ask("GET", "/wants?gateway=gw-1&current=true")["items"] == [said]
    other = hub.ask("POST", PATH, 201, json={"bundles": [OTHER[:8]], "slot": SLOT, "not_before_s": int(NOW_S) + 60})
    assert other["seq"] == said["seq"] + 1
    assert other["expires_s"] == NOW_S + 60 + 30 * 86_400
    anew = hub.ask("POST", PATH, 201, json={"resign": True})
    assert (anew["seq"], anew["bundles"]) == (said["seq"] + 2, other["bundles"])
    assert hub.ask("POST", PATH, 201, json={"remove": [SLOT]})["bundles"] == []
    with hub.database.read() as session:
        entries = list_audit(session, Paging(10), action="want.issue").items
    assert [(e.who, e.target) for e in entries] == [("ada", "gateway:gw-1")] * 4
    assert (entries[2].before, entries[2].after) == (
        {"seq": said["seq"], "bundles": {SLOT: NEW}}, {"seq": other["seq"], "bundles": {SLOT: OTHER}},
    )  # fmt: skip
    assert all(entry.request_id for entry in entries)


def test_sent_twice_with_one_key_it_is_issued_once(hub: MlopsHub, line: Line) -> None:
    asked = {"json": {"bundles": [NEW]}, "headers": {"Idempotency-Key": "k"}}
    assert hub.ask("POST", PATH, 201, **asked) == hub.ask("POST", PATH, 201, **asked)
    assert len(line.sent) == 1


def test_a_broker_that_does_not_answer(hub: MlopsHub, line: Line) -> None:
    """The want is remembered by then: the next one has a number above it."""
    asked = {"json": {"bundles": [NEW]}, "headers": {"Idempotency-Key": "k"}}
    line.cut = True
    assert hub.ask("POST", PATH, 503, **asked)["type"] == "urn:millwright:problem:broker-unavailable"
    line.cut = False
    (lost,) = hub.ask("GET", "/wants?gateway=gw-1")["items"]
    assert hub.ask("POST", PATH, 201, **asked)["seq"] == lost["seq"] + 1


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({}, 422, "expected bundles, remove or resign"),
        ({"bundles": ["nonsense"]}, 404, "expected a digest"),
        ({"bundles": [f"{SLOT}/9"]}, 404, "none was published"),
        ({"bundles": [NEW], "slot": "fan"}, 409, f"for the slot {SLOT}, not fan"),
        ({"resign": True}, 404, "none was issued that could be signed anew"),
        ({"bundles": [NEW], "expires_in_s": 0}, 422, "expires_in_s"),
        ({"bundles": [NEW], "hold": True}, 422, "hold"),
    ],
)
def test_what_is_refused(hub: MlopsHub, line: Line, body: dict[str, object], status: int, text: str) -> None:
    assert text in hub.ask("POST", PATH, status, json=body)["detail"]
    assert line.sent == []


def test_those_who_may_not_publish(hub: MlopsHub, line: Line) -> None:
    hub.as_ = OPERATOR
    hub.ask("POST", PATH, 403, json={"bundles": [NEW]})
    assert line.sent == []


def test_a_rollout_under_way_stops_nobody(hub: MlopsHub, line: Line) -> None:
    cohorts = [{"name": "all", "gateways": ["gw-1"]}]
    Writer(hub.database, lambda: NOW_S).store([Received(state("gw-1"))])
    hub.ask("POST", "/rollouts", 201, json={"name": "r1", "slot": SLOT, "sha256": NEW, "cohorts": cohorts})
    hub.ask("POST", PATH, 201, json={"bundles": [OTHER]})
    assert [one.sha256 for one in line.sent[0].bundles] == [OTHER]


def test_a_hub_without_keys(hub: MlopsHub) -> None:
    object.__setattr__(hub.app.state.context, "workshop", Workshop(hub.places))
    assert "no signing keys" in hub.ask("POST", PATH, 409, json={"bundles": [NEW]})["detail"]

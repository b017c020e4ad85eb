"""Commands to gateways over the API: what is sent is signed and names who may carry it out; who asked is written down."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud_hub.errors import LinkError
from cloud_hub.services.workshop import Workshop
from cloud_hub.store.accounts_queries import list_audit
from cloud_hub.store.database import Database
from cloud_hub.store.paging import Paging
from cloud_hub.store.writer import Received, Writer
from models.contract.messages import CaptureCommand, CommandBody, RecalibrateCommand, ReportCommand
from tests.cloud_hub.mlops_kit import NOW_S, OPERATOR, MlopsHub
from tests.simulators.hub import point, state

PATH = "/gateways/gw-1/commands"


class Line:
    """What sends; may be cut."""

    def __init__(self) -> None:
        self.sent: list[CommandBody] = []
        self.cut = False

    def __call__(self, body: CommandBody) -> None:
        if self.cut:
            raise LinkError("broker: no answer")
        self.sent.append(body)


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def hub(database: Database, tmp_path: Path, line: Line) -> MlopsHub:
    made = MlopsHub(database, tmp_path)
    Writer(database, lambda: NOW_S).store([Received(state("gw-1", points=[point(), point("nde")]))])
    object.__setattr__(made.app.state.context, "workshop", Workshop(made.places, command=line))
    made.as_ = OPERATOR
    return made


def test_what_is_asked_is_sent_and_written_down(hub: MlopsHub, line: Line) -> None:
    place = {"machine": "P-101", "point": "nde"}
    first = hub.ask("POST", PATH, 202, json={"do": "capture", **place, "seconds": 30})
    hub.ask("POST", PATH, 202, json={"do": "recalibrate", **place, "expires_in_s": 60})
    hub.ask("POST", PATH, 202, json={"do": "report"})
    capture, recalibrate, report = line.sent
    assert isinstance(capture, CaptureCommand)
    assert (capture.id, capture.seconds, capture.expires_s) == (first["id"], 30, int(NOW_S) + 300)
    assert isinstance(recalibrate, RecalibrateCommand)
    assert (recalibrate.point, recalibrate.expires_s) == ("nde", int(NOW_S) + 60)
    assert isinstance(report, ReportCommand)
    with hub.database.read() as session:
        entries = list_audit(session, Paging(10), action="gateway.command").items
    assert [(e.who, e.target, (e.after or {})["kind"]) for e in reversed(entries)] == [
        ("olga", "gateway:gw-1", "capture"), ("olga", "gateway:gw-1", "recalibrate"), ("olga", "gateway:gw-1", "report"),
    ]  # fmt: skip
    assert (entries[-1].after or {})["id"] == first["id"]


def test_sent_twice_with_one_key_it_is_asked_once(hub: MlopsHub, line: Line) -> None:
    body, headers = {"do": "report"}, {"Idempotency-Key": "k"}
    assert hub.ask("POST", PATH, 202, json=body, headers=headers) == hub.ask(
        "POST", PATH, 202, json=body, headers=headers
    )
    assert len(line.sent) == 1


def test_a_broker_that_does_not_answer(hub: MlopsHub, line: Line) -> None:
    line.cut = True
    refused = hub.ask("POST", PATH, 503, json={"do": "report"}, headers={"Idempotency-Key": "k"})
    assert refused["type"] == "urn:millwright:problem:broker-unavailable"
    line.cut = False
    hub.ask(
        "POST", PATH, 202, json={"do": "report"}, headers={"Idempotency-Key": "k"}
    )  # what failed may be tried again


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        ("/gateways/gw-9/commands", {"do": "report"}, 404, "gw-9"),
        (PATH, {"do": "capture", "machine": "P-101", "point": "x", "seconds": 1}, 404, "reports no point P-101/x"),
        (PATH, {"do": "capture", "machine": "P-101", "point": "de", "seconds": 0}, 422, "seconds"),
        (PATH, {"do": "explode"}, 422, "do"),
        (PATH, {"do": "report", "expires_in_s": 10**6}, 422, "expires_in_s"),
    ],
)
def test_what_is_refused(hub: MlopsHub, line: Line, path: str, body: dict[str, object], status: int, text: str) -> None:
    assert text in hub.ask("POST", path, status, json=body)["detail"]
    assert line.sent == []


def test_a_hub_without_keys(hub: MlopsHub) -> None:
    object.__setattr__(hub.app.state.context, "workshop", Workshop(hub.places))
    assert "no signing keys" in hub.ask("POST", PATH, 409, json={"do": "report"})["detail"]

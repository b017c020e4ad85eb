"""The API over a database with known content: what it shows, how it pages, how it says no."""

from __future__ import annotations

import io
import re
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from cloud_hub.api.answers import EvidenceBody
from cloud_hub.api.app import create_app
from cloud_hub.api.context import HubContext
from cloud_hub.api.problems import MEDIA_TYPE, Problem
from cloud_hub.api.server import ApiServer
from cloud_hub.delivery.registry import BundleRecord, WantRecord
from cloud_hub.identity.registrar import Answer
from cloud_hub.ingest.assemble import assemble_capture
from cloud_hub.ingest.status import IngestStatus
from cloud_hub.store.database import Database
from cloud_hub.store.registry import SqlRegistry
from cloud_hub.store.rescores import store_rescore
from cloud_hub.store.writer import Message, Received, Writer
from models.contract.messages import TrendBatch, TrendRow
from tests.simulators.hub import BOOT, SHA, ApiClient, ack, chunks, event, point, state, trends

NOW_S = 10_000.0
BUNDLE = BundleRecord(
    sha256=SHA,
    slot="pump-vibration",
    version="1",
    family="spectral",
    target="pump-vibration/1.mwb",
    length=280_123,
    created_s=900.0,
    manifest_json='{"slot": "pump-vibration"}\n',
)


class Hub:
    """A database to write to and an API to ask."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.folder = folder
        self.status = IngestStatus()
        self.connected = True
        self._writer = Writer(database, lambda: NOW_S)
        context = HubContext(
            database=database,
            captures_dir=folder,
            fleet="plant",
            now_s=lambda: NOW_S,
            ingest=self.status.view,
            connected=lambda: self.connected,
        )
        self.app = create_app(context)
        self.api = ApiClient(self.app)

    def store(self, *messages: Message) -> None:
        self._writer.store([Received(m) for m in messages])

    def get(self, path: str, **parameters: Any) -> Any:
        answer = self.api.get(path, **parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def ids(self, path: str, key: str = "id", **parameters: Any) -> list[Any]:
        return [item[key] for item in self.api.items(path, **parameters)]

    def problem(self, path: str, status: int, method: str = "GET", /, **parameters: Any) -> Problem:
        answer = self.api.request(method, path, **parameters)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == MEDIA_TYPE
        problem = Problem.model_validate_json(answer.content)
        assert problem.status == status
        assert problem.instance == path
        return problem


@pytest.fixture
def hub(database: Database, tmp_path: Path) -> Hub:
    return Hub(database, tmp_path)


# ------------------------------------------------------------------------------------------------ what is shown


def test_an_empty_hub_has_empty_lists(hub: Hub) -> None:
    for name in (
        "gateways",
        "inventory",
        "machines",
        "points",
        "bundles",
        "wants",
        "acks",
        "alarms",
        "trends",
        "captures",
    ):
        assert hub.get(f"/api/v1/{name}") == {"items": [], "next": None}


def test_gateways(hub: Hub) -> None:
    hub.store(state("gw-1"), state("gw-2"), state("gw-2", online=False), trends())
    assert hub.ids("/api/v1/gateways") == ["gw-1", "gw-2"]
    assert hub.ids("/api/v1/gateways", online="true") == ["gw-1"]
    shown = hub.get("/api/v1/gateways/gw-1")
    assert shown["gateway"]["runtime"] == "litert"
    assert shown["slots"][0]["active_sha256"] == SHA
    assert shown["points"][0]["score"] == 0.4
    assert shown["counters"] == {"frames": 10}
    assert shown["health"]["window_us"] == 40.0
    assert shown["want"] is None
    assert hub.ids("/api/v1/gateways/gw-1/health", "time_s") == [3001.0]


def test_a_machine_is_as_bad_as_its_worst_point(hub: Hub) -> None:
    def verdicts(machine: str, *words: str) -> list[Any]:
        return [point(f"p{i}", machine=machine, verdict=w, score=None) for i, w in enumerate(words)]

    hub.store(
        state(points=verdicts("fine", "ok") + verdicts("new", "ok", "warming_up") + verdicts("bad", "ok", "alarm"))
    )
    assert {m["id"]: m["verdict"] for m in hub.api.items("/api/v1/machines")} == {
        "fine": "ok",
        "new": "warming_up",
        "bad": "alarm",
    }
    for verdict, machine in (("ok", "fine"), ("warming_up", "new"), ("alarm", "bad")):
        assert hub.ids("/api/v1/machines", verdict=verdict) == [machine]
    assert hub.ids("/api/v1/machines", verdict="warn") == []
    assert hub.ids("/api/v1/machines", gateway="gw-2") == []
    assert hub.get("/api/v1/machines/new")["machine"]["score"] is None
    assert len(hub.get("/api/v1/machines/new")["points"]) == 2


def test_points_by_filter(hub: Hub) -> None:
    hub.store(state(points=[point("a"), point("b", verdict="warn")]), state("gw-2", points=[point("a", machine="F-1")]))
    hub.store(state("gw-2", points=[]))
    assert hub.ids("/api/v1/points", "point", gateway="gw-1") == ["a", "b"]
    assert hub.ids("/api/v1/points", "gateway", machine="F-1") == ["gw-2"]
    assert hub.ids("/api/v1/points", "point", verdict="warn") == ["b"]
    assert hub.ids("/api/v1/points", "machine", current="false") == ["F-1"]


def test_bundles_wants_and_how_far_gateways_have_come(hub: Hub) -> None:
    registry = SqlRegistry(hub.database)
    registry.add_bundle(BUNDLE)
    registry.add_bundle(replace(BUNDLE, sha256="cd" * 32, version="2", created_s=950.0))
    registry.add_want(WantRecord("gw-1", 3, 1000.0, 2000.0, (("pump-vibration", SHA),)))
    registry.add_want(WantRecord("gw-1", 4, 1001.0, 2000.0, (("pump-vibration", "cd" * 32),)))
    hub.store(
        state(),
        ack(4, "seen", time_s=1.0),
        ack(4, "refused", time_s=2.0, reason="signature", detail="key abcd is not trusted"),
        ack(3, "confirmed"),
    )
    assert hub.ids("/api/v1/bundles", "version") == ["2", "1"]
    assert hub.ids("/api/v1/bundles", "version", family="process") == []
    for reference in (SHA, SHA[:8], "pump-vibration/1"):
        shown = hub.get(f"/api/v1/bundles/{reference}")
        assert (shown["bundle"]["length"], shown["manifest_json"]) == (280_123, BUNDLE.manifest_json)
    assert hub.ids("/api/v1/wants", "seq", gateway="gw-1") == [4, 3]
    (current,) = hub.api.items("/api/v1/wants", current="true")
    assert current["bundles"] == [{"slot": "pump-vibration", "sha256": "cd" * 32, "version": "2"}]
    (step,) = current["progress"]
    assert (step["phase"], step["reason"], step["detail"]) == ("refused", "signature", "key abcd is not trusted")
    assert hub.get("/api/v1/gateways/gw-1")["want"] == current
    assert hub.ids("/api/v1/acks", "phase", seq=4) == ["refused", "seen"]
    assert hub.ids("/api/v1/acks", "seq", phase="confirmed") == [3]


def test_alarms_by_filter(hub: Hub) -> None:
    hub.store(
        event(1, alarm="a1", time_s=100.0),
        event(2, alarm="a2", time_s=200.0, machine="F-1", point="x"),
        event(3, "cleared", alarm="a1", time_s=300.0),
        event(1, alarm="a1", time_s=150.0, gateway="gw-2"),
    )
    assert hub.ids("/api/v1/alarms") == ["gw-1.a2", "gw-2.a1", "gw-1.a1"]
    assert hub.ids("/api/v1/alarms", status="raised") == ["gw-1.a2", "gw-2.a1"]
    assert hub.ids("/api/v1/alarms", status="cleared") == ["gw-1.a1"]
    assert hub.ids("/api/v1/alarms", machine="F-1") == ["gw-1.a2"]
    assert hub.ids("/api/v1/alarms", point="x") == ["gw-1.a2"]
    assert hub.ids("/api/v1/alarms", gateway="gw-2") == ["gw-2.a1"]
    assert hub.ids("/api/v1/alarms", since=150) == ["gw-1.a2", "gw-2.a1"]
    assert hub.get("/api/v1/machines/P-101")["machine"]["open_alarms"] == 1


def test_an_alarm_with_its_events_and_evidence(hub: Hub) -> None:
    hub.store(event(1, evidence=True), event(2, "updated", score=9.0, evidence=True), event(3, "cleared"))
    with hub.database.write() as session:
        store_rescore(session, 1, NOW_S, 7.25, None)
    shown = hub.get("/api/v1/alarms/gw-1.a1")
    assert [(e["kind"], e["seq"]) for e in shown["events"]] == [("cleared", 3), ("updated", 2), ("raised", 1)]
    assert shown["event_count"] == 3
    assert shown["alarm"]["diagnosis"]["drivers"] == [{"axis": "x", "label": "2.5-3.2 kHz", "share": 0.6, "ratio": 4.5}]
    raised = shown["events"][2]
    assert (raised["evidence"]["raw_score"], raised["evidence"]["rescored_raw"]) == (7.25, 7.25)
    assert shown["events"][0]["evidence"] is None

    worst = msgspec.convert(hub.get("/api/v1/alarms/gw-1.a1/evidence"), EvidenceBody)
    assert worst.event == shown["events"][1]["id"]
    chosen = msgspec.convert(hub.get("/api/v1/alarms/gw-1.a1/evidence", event=raised["id"]), EvidenceBody)
    assert (chosen.event, chosen.rescored_raw, chosen.axes) == (raised["id"], 7.25, ["x", "y"])
    assert chosen.window[:2] == [[0.0, 1.0], [2.0, 3.0]]
    answer = hub.api.get("/api/v1/alarms/gw-1.a1/evidence", format="npz")
    assert answer.headers["content-type"] == "application/vnd.numpy.npz"
    with np.load(io.BytesIO(answer.content), allow_pickle=False) as file:
        np.testing.assert_array_equal(file["data"], np.arange(512, dtype=np.float32).reshape(256, 2))
        assert (float(file["rate_hz"]), str(file["machine"])) == (12_000.0, "P-101")


def test_trends_by_time(hub: Hub) -> None:
    hub.store(trends(1, rows=5), trends(2, rows=1, gateway="gw-2"))
    times = hub.ids("/api/v1/trends", "time_s", gateway="gw-1")
    assert times == [3090.0, 3080.0, 3070.0, 3060.0, 3050.0]
    assert hub.ids("/api/v1/trends", "time_s", machine="P-101", point="de", since=3060, until=3080) == [3070.0, 3060.0]
    assert hub.api.items("/api/v1/trends", limit=1)[0]["rms"] == [1.0, 2.0]


def test_the_outlook_of_a_point(hub: Hub) -> None:
    path = "/api/v1/machines/P-101/points/de/outlook"
    assert "no gateway reports it" in hub.problem(path, 404).detail
    hub.store(state("gw-1"))
    assert hub.get(path)["state"] == "too_short"
    rows = [
        TrendRow(machine="P-101", point="de", time_s=3600.0 * i, span_s=3600.0, windows=9, score_mean=0.1 * 1.02**i)
        for i in range(80)
    ]
    hub.store(TrendBatch(gateway="gw-1", boot_id=BOOT, seq=9, rows=rows))
    shown = hub.get(path)
    assert (shown["state"], shown["rows"], shown["time_s"]) == ("rising", 80, 3600.0 * 79)
    left_s = (np.log(10) / np.log(1.02) - 79) * 3600
    assert shown["low_s"] <= shown["remaining_s"] <= shown["high_s"]
    assert shown["remaining_s"] == pytest.approx(left_s, rel=0.1)
    assert hub.get(path, limit=0.3)["state"] == "reached"
    assert hub.get(path, until=3600 * 5)["state"] == "too_short"
    hub.problem(path, 422, limit=0)
    hub.problem(path, 422, coverage=1.5)


def test_captures_and_their_file(hub: Hub) -> None:
    hub.store(*chunks()[:2])
    assert hub.get("/api/v1/captures/cap-1")["status"] == "receiving"
    assert "no file yet, 2 of 3 chunks have come" in hub.problem("/api/v1/captures/cap-1/file", 404).detail
    hub.store(chunks()[2])
    assert hub.get("/api/v1/captures/cap-1")["status"] == "complete"
    path = assemble_capture(hub.database, "cap-1", hub.folder, NOW_S)
    (shown,) = hub.api.items("/api/v1/captures", machine="P-101")
    assert (shown["status"], shown["samples"], shown["axes"]) == ("stored", 300, ["x", "y"])
    assert hub.api.get("/api/v1/captures/cap-1/file").content == path.read_bytes()
    path.unlink()
    assert "its file is gone" in hub.problem("/api/v1/captures/cap-1/file", 404).detail


def test_health_and_ingest_status(hub: Hub) -> None:
    assert hub.get("/api/v1/health")["status"] == "ok"
    hub.status.reject(NOW_S, "mw/1/x", "topic", "not ours", 3)
    shown = hub.get("/api/v1/ingest/status")
    assert shown["counters"] == {"rejected.topic": 1}
    assert shown["rejections"] == [
        {"time_s": NOW_S, "topic": "mw/1/x", "reason": "topic", "text": "not ours", "payload_bytes": 3}
    ]
    hub.status.failed("database: disk full")
    health = hub.get("/api/v1/health")
    assert (health["status"], health["store_error"]) == ("degraded", "database: disk full")
    hub.status.committed(NOW_S)
    hub.connected = False
    assert hub.get("/api/v1/health")["status"] == "degraded"


# ------------------------------------------------------------------------------------------------ paging


def test_pages_neither_skip_nor_repeat_while_rows_come_in(hub: Hub) -> None:
    hub.store(*(event(i, alarm=f"a{i}", time_s=1000.0 + i // 3) for i in range(20)))
    seen: list[str] = []
    cursor: dict[str, str] = {}
    for round_ in range(100):
        page = hub.get("/api/v1/alarms", limit=3, **cursor)
        assert len(page["items"]) <= 3
        seen += [a["alarm"] for a in page["items"]]
        hub.store(event(100 + round_, alarm=f"new{round_}", time_s=2000.0 + round_))
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert seen == [f"a{i}" for i in reversed(range(20))]


@pytest.mark.parametrize("path", ["gateways", "machines", "points", "trends", "acks", "captures"])
def test_every_list_can_be_paged_one_by_one(hub: Hub, path: str) -> None:
    for i in range(4):
        made = chunks(f"cap-{i}", 1, gateway=f"gw-{i}")
        hub.store(state(f"gw-{i}", points=[point(machine=f"M-{i}")]), trends(i, 1), ack(i, gateway=f"gw-{i}"), *made)
    whole = hub.get(f"/api/v1/{path}", limit=500)
    assert whole["next"] is None
    assert len(whole["items"]) >= 4
    assert hub.api.items(f"/api/v1/{path}", limit=1) == whole["items"]


@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "WyJhbGFybXMiXQ", "é" * 10, "A" * 5000])
def test_cursors_that_are_none(hub: Hub, cursor: str) -> None:
    problem = hub.problem("/api/v1/alarms", 400, cursor=cursor)
    assert problem.type == "urn:millwright:problem:cursor"
    assert "expected the `next` of a page of alarms" in problem.detail


def test_the_cursor_of_another_list(hub: Hub) -> None:
    hub.store(trends(1, rows=3))
    cursor = hub.get("/api/v1/trends", limit=1)["next"]
    hub.problem("/api/v1/alarms", 400, cursor=cursor)


# ------------------------------------------------------------------------------------------------ saying no


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/api/v1/gateways/none", "gateway 'none': none has reported itself under this id"),
        ("/api/v1/machines/none", "machine 'none': no gateway has named it"),
        ("/api/v1/bundles/none", "expected a digest, at least 6 digits of one, or slot/version"),
        ("/api/v1/bundles/pump/7", "none was published under this name"),
        ("/api/v1/alarms/none", "alarm 'none': not known (an alarm's id is gateway.alarm)"),
        ("/api/v1/alarms/none/evidence", "alarm 'none': not known"),
        ("/api/v1/captures/none", "capture 'none': no chunk of it has come"),
        ("/api/v1/captures/..%2f..%2fhub.sqlite3/file", ""),
    ],
)
def test_what_is_not_there(hub: Hub, path: str, text: str) -> None:
    answer = hub.api.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert text in Problem.model_validate_json(answer.content).detail


def test_evidence_that_never_came(hub: Hub) -> None:
    hub.store(event(1))
    assert "no evidence came with any event of it" in hub.problem("/api/v1/alarms/gw-1.a1/evidence", 404).detail
    assert "no evidence came with event 7" in hub.problem("/api/v1/alarms/gw-1.a1/evidence", 404, event=7).detail


@pytest.mark.parametrize(
    ("path", "parameters", "where"),
    [
        ("/api/v1/alarms", {"limit": 501}, "query.limit"),
        ("/api/v1/alarms", {"limit": 0}, "query.limit"),
        ("/api/v1/alarms", {"status": "open"}, "query.status"),
        ("/api/v1/alarms", {"since": "nan"}, "query.since"),
        ("/api/v1/alarms", {"since": "yesterday"}, "query.since"),
        ("/api/v1/alarms", {"machine": "P/101"}, "query.machine"),
        ("/api/v1/alarms", {"machine": "P-101\n"}, "query.machine"),
        ("/api/v1/machines", {"verdict": "bad"}, "query.verdict"),
        ("/api/v1/acks", {"seq": 2**63}, "query.seq"),
        ("/api/v1/alarms/gw-1.a1/evidence", {"format": "exe"}, "query.format"),
    ],
)
def test_parameters_out_of_bounds(hub: Hub, path: str, parameters: dict[str, Any], where: str) -> None:
    problem = hub.problem(path, 422, **parameters)
    assert problem.type == "urn:millwright:problem:validation"
    assert [e.where for e in problem.errors] == [where]
    assert where in problem.detail


def test_no_such_route_and_no_such_method(hub: Hub) -> None:
    assert hub.problem("/api/v1/nothing", 404).detail == "GET /api/v1/nothing: not found"
    assert hub.problem("/api/v1/alarms", 405, "DELETE").title == "Method Not Allowed"
    assert hub.api.request("DELETE", "/api/v1/alarms").headers["allow"] == "GET"


def test_a_fault_says_nothing_of_its_inside(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret inside")

    monkeypatch.setattr("cloud_hub.store.alarm_queries.search_alarms", broken)
    problem = hub.problem("/api/v1/alarms", 500)
    assert problem.type == "urn:millwright:problem:fault"
    assert "secret" not in problem.model_dump_json()


def test_a_store_that_is_away_is_503(hub: Hub) -> None:
    with hub.database.engine.begin() as connection:
        connection.execute(text("DROP TABLE trends"))
    problem = hub.problem("/api/v1/trends", 503)
    assert problem.type == "urn:millwright:problem:store-unavailable"
    assert re.match(r"database: OperationalError: no such table: trends|database: UndefinedTable: ", problem.detail)


# ------------------------------------------------------------------------------------------------ the document


def test_openapi_describes_every_answer(hub: Hub) -> None:
    document = hub.get("/api/v1/openapi.json")
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["description"], path
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    assert list(response["content"]) == [MEDIA_TYPE], (path, status)
                    schema = response["content"][MEDIA_TYPE]["schema"]
                    # A refused enrolment is a problem with one more member (RFC 9457, 3.2): the signed answer.
                    kind = "Refusal" if (path, status) == ("/api/v1/enroll", "403") else "Problem"
                    assert schema == {"$ref": f"#/components/schemas/{kind}"}, (path, status)
    assert "HTTPValidationError" not in document["components"]["schemas"]
    alarm = document["components"]["schemas"]["AlarmView"]
    assert alarm["properties"]["status"]["enum"] == ["raised", "cleared"]


def test_the_authority_is_shown_and_a_hub_without_one_says_so(hub: Hub) -> None:
    answer = hub.api.get("/api/v1/enroll/authority")
    assert (answer.status_code, answer.json()["detail"]) == (404, "this hub has no certificate authority")
    assert hub.get("/api/v1/concerns") == []


# ------------------------------------------------------------------------------------------------ enrolment


def test_enrolment_says_no_in_problems(hub: Hub) -> None:
    hub.problem("/api/v1/enroll", 404, "POST")
    answers: list[Any] = [Answer(b'{"signed": 1}', "token_used", "used already"), None]
    context = replace(hub.app.state.context, enrol=lambda _payload, _caller: answers.pop(0))
    api = ApiClient(create_app(context))
    refused = api.request("POST", "/api/v1/enroll")
    assert (refused.status_code, refused.headers["content-type"]) == (403, MEDIA_TYPE)
    assert refused.json()["type"] == "urn:millwright:problem:enrol-token-used"
    assert refused.json()["reply"] == '{"signed": 1}'
    assert api.request("POST", "/api/v1/enroll").status_code == 429


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ({"statuss": "x"}, "query.statuss: expected "),
        ({"machin": "P-101"}, "did you mean machine?"),
        ({"machine": ["P-101", "P-102"]}, "query.machine: expected it once, got it 2 times"),
    ],
)
def test_a_query_that_is_not_understood_is_refused(hub: Hub, query: dict[str, Any], text: str) -> None:
    assert text in hub.problem("/api/v1/trends", 422, **query).detail


def test_short_answers_do_not_wait_for_acknowledgements() -> None:
    """Without TCP_NODELAY each takes 40 ms; asyncio sets it where a connection says that it is TCP."""
    server = ApiServer(FastAPI(), "127.0.0.1", 0)
    with socket.create_connection(("127.0.0.1", server.port)), server._socket as listening:
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.proto == socket.IPPROTO_TCP

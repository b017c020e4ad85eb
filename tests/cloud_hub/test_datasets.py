"""Labels, uploads, data sets: what is kept, what is cut out, what is refused."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloud_hub.jobs.places import safe_name
from cloud_hub.store import tables as t
from cloud_hub.store.database import Database
from tests.cloud_hub.mlops_kit import OPERATOR, MlopsHub, table, vibration


@pytest.fixture
def hub(database: Database, tmp_path: Path) -> MlopsHub:
    return MlopsHub(database, tmp_path)


def audited(hub: MlopsHub) -> list[tuple[str, str, str]]:
    with hub.database.read() as session:
        return [(e.who, e.action, e.target) for e in session.query(t.AuditEntry).order_by(t.AuditEntry.id)]


# ---------------------------------------------------------------------------------------------------------- labels


def test_a_label_is_said_changed_and_taken_away(hub: MlopsHub) -> None:
    body = {"machine": "P-101", "point": "de", "from_s": 10, "to_s": 20, "verdict": "fault", "fault": "outer-race"}
    made = hub.ask("POST", "/labels", 201, json=body)
    assert (made["said_by"], made["revision"]) == ("ada", 1)
    path = f"/labels/{made['id']}"
    changed = hub.ask("PUT", path, json={"verdict": "healthy"}, headers={"If-Match": '"1"'})
    assert (changed["verdict"], changed["fault"], changed["revision"]) == ("healthy", None, 2)
    late = hub.ask("PUT", path, 412, json={"verdict": "exclude"}, headers={"If-Match": '"1"'})
    assert late["detail"] == f"label {made['id']}: expected revision 1, it is at 2: read it again"
    hub.ask("DELETE", path, 412, headers={"If-Match": '"1"'})
    assert hub.send("GET", f"/api/v1{path}").headers["etag"] == '"2"'
    hub.ask("DELETE", path, 204, headers={"If-Match": '"2"'})
    assert hub.ask("GET", "/labels") == {"items": [], "next": None}
    assert [action for _, action, _ in audited(hub)] == ["label.add", "label.change", "label.remove"]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"capture": "nowhere", "verdict": "healthy"}, "capture 'nowhere': no chunk of it has come"),
        ({"machine": "m", "verdict": "healthy"}, "expected either capture, or machine, point, from_s and to_s"),
        ({"machine": "m", "point": "p", "from_s": 2, "to_s": 2, "verdict": "healthy"}, "expected 0 <= from_s < to_s"),
        ({"machine": "m", "point": "p", "from_s": 1, "to_s": 2, "verdict": "fault"}, "a fault is named with"),
        (
            {"machine": "m", "point": "p", "from_s": 1, "to_s": 2, "verdict": "healthy", "fault": "x"},
            "a fault is named with the verdict fault",
        ),
    ],
)
def test_labels_that_say_nothing(hub: MlopsHub, body: dict[str, Any], text: str) -> None:
    answer = hub.send("POST", "/api/v1/labels", json=body)
    assert answer.status_code in {404, 422}
    assert text in answer.json()["detail"]


def test_who_may_not_write_and_who_may_not_read(hub: MlopsHub) -> None:
    hub.as_ = OPERATOR
    hub.ask("GET", "/labels")
    assert "data:write is needed" in hub.ask("POST", "/labels", 403, json={})["detail"]
    hub.as_ = None
    for path in ("/labels", "/uploads", "/data-sets", "/training-jobs", "/models"):
        hub.ask("GET", path, 401)


# --------------------------------------------------------------------------------------------------------- uploads


def test_an_upload_is_kept_under_its_digest_once(hub: MlopsHub) -> None:
    made = hub.upload("../../etc/Press line 3.CSV", table())
    assert made["name"] == "Press_line_3.csv"
    assert (made["rows"], made["rate_hz"], made["added_by"]) == (600, 1.0, "ada")
    assert "temp_degC (signal)" in made["columns"]
    assert [p.name for p in hub.places.uploads.iterdir()] == [f"{made['sha256']}.csv"]
    again = hub.upload("other.csv", table())
    assert again == made
    assert len(hub.ask("GET", "/uploads")["items"]) == 1
    assert hub.ask("GET", "/uploads", params={"kind": "npz"})["items"] == []
    hub.ask("DELETE", f"/uploads/{made['sha256']}", 204)
    assert list(hub.places.uploads.iterdir()) == []
    hub.ask("GET", f"/uploads/{made['sha256']}", 404)
    assert [action for _, action, _ in audited(hub)] == ["upload.add", "upload.remove"]


def pickled() -> bytes:
    file = io.BytesIO()
    np.savez(file, x=np.array([{"a": 1}], dtype=object))
    return file.getvalue()


def bomb() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w", force_zip64=True) as m:
        for _ in range(64):
            m.write(bytes(2**20))
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("x.exe", b"MZ", "expected a file of .csv, .parquet, .wav, .npz"),
        ("....csv", b"a", "expected a name of"),
        ("x.csv", b"", "the file is empty"),
        ("x.csv", bytes(range(256)), "expected text with columns, got binary data"),
        ("x.parquet", b"a,b\n1,2\n", "expected a parquet file, which begins with b'PAR1'"),
        ("x.wav", b"RIFF\x00\x00\x00\x00WAVEnothing", "cannot be read"),
        ("x.npz", b"PK\x03\x04 and then nothing", "not an npz file that can be read"),
        ("x.npz", pickled(), "Object arrays cannot be loaded when allow_pickle=False"),
        ("x.npz", bomb(), "expected at most 256 arrays of"),
        ("x.csv", b"1,2\n3,4\n", "expected names of columns in the first line"),
    ],
)
def test_files_that_are_refused_leave_nothing_behind(
    database: Database, tmp_path: Path, name: str, data: bytes, text: str
) -> None:
    hub = MlopsHub(database, tmp_path, upload_max_mb=1)
    answer = hub.upload(name, data, 422)
    assert text in answer["detail"]
    assert list(hub.places.uploads.iterdir()) == []
    assert hub.ask("GET", "/uploads")["items"] == []


def test_too_large_and_too_many(database: Database, tmp_path: Path) -> None:
    hub = MlopsHub(database, tmp_path, upload_max_mb=0.01, uploads_max_gb=0.01 / 1024)
    assert hub.upload("x.csv", table(2000), 413)["detail"].startswith("body: expected at most 10485 bytes")
    hub.upload("a.csv", table(300, 1))
    assert "there is room for" in hub.upload("b.csv", table(300, 2), 409)["detail"]
    assert len(list(hub.places.uploads.iterdir())) == 1


def test_a_recording_may_be_larger_than_other_requests(hub: MlopsHub) -> None:
    recording = table(80_000)
    assert len(recording) > 2**20
    assert hub.upload("long.csv", recording)["rows"] == 80_000
    hub.ask("POST", "/labels", 413, content=recording)


@pytest.mark.parametrize(
    ("given", "kept"), [("C:\\data\\a b.WAV", "a_b.wav"), ("/x/..csv.npz", "csv.npz"), ("é-1.csv", "1.csv")]
)
def test_names(given: str, kept: str) -> None:
    assert safe_name(given) == kept


# -------------------------------------------------------------------------------------------------------- data sets


def test_a_data_set_of_captures_is_cut_at_gaps_and_labels(hub: MlopsHub) -> None:
    """Three chunks of 100 samples at 100 Hz, one second each at 5000, 5001 and, after a gap, 5002."""
    hub.capture("cap-1", rate_hz=100.0)
    hub.ask("POST", "/labels", 201, json={"capture": "cap-1", "verdict": "healthy"})
    span = {"machine": "P-101", "point": "de", "from_s": 5000.5, "to_s": 5001.0}
    hub.ask("POST", "/labels", 201, json=span | {"verdict": "exclude"})
    body = {"name": "pumps", "items": [{"kind": "capture", "ref": "cap-1", "role": "healthy"}], "test_share": 0.2}
    made = hub.ask("POST", "/data-sets", 201, json=body)
    (source,) = made["sources"]
    rows = [[round(p["start"] * 300), round(p["end"] * 300)] for p in (*source["train"], *source["test"])]
    assert rows == [[0, 50], [100, 200], [200, 250], [250, 300]]
    assert source["seconds"] == 2.5
    assert source["name"] == "cap-1.npz"
    wrong = {"kind": "capture", "ref": "cap-1", "role": "fault", "fault": "belt"}
    answer = hub.ask("POST", "/data-sets", 422, json={"name": "broken", "items": [wrong]})
    assert "no part of it is belt: its labels say otherwise" in answer["detail"]


def test_a_span_takes_what_was_captured_in_it(hub: MlopsHub) -> None:
    hub.capture("cap-1", rate_hz=100.0)
    hub.capture("cap-2", rate_hz=100.0, point="nde")
    item = {"kind": "span", "role": "fault", "fault": "belt", "machine": "P-101", "point": "de"}
    made = hub.ask("POST", "/data-sets", 201, json={"name": "a", "items": [item | {"from_s": 5001.5}], "test_share": 0})
    (source,) = made["sources"]
    assert (source["ref"], source["seconds"], source["fault"]) == ("cap-1", 1.5, "belt")
    answer = hub.ask("POST", "/data-sets", 422, json={"name": "b", "items": [item | {"to_s": 4000.0}]})
    assert "P-101/de: nothing was captured between 0 and 4000" in answer["detail"]


def test_versions_stand_for_ever(hub: MlopsHub) -> None:
    one, two = hub.upload("a.csv", table(seed=1)), hub.upload("b.csv", table(seed=2))
    items = [{"kind": "upload", "ref": one["sha256"], "role": "healthy"}]
    first = hub.ask("POST", "/data-sets", 201, json={"name": "press", "title": "Press", "items": items})
    assert first["version"]["version"] == 1
    assert hub.ask("POST", "/data-sets", 409, json={"name": "press", "items": items})["detail"].startswith(
        "data set press: there is one already, at version 1"
    )
    same = hub.ask("POST", "/data-sets/press/versions", 201, json={"items": items})
    assert same["version"] == first["version"]
    more = [*items, {"kind": "upload", "ref": two["sha256"], "role": "fault", "start": 0.5}]
    second = hub.ask("POST", "/data-sets/press/versions", 201, json={"items": more}, headers={"If-Match": '"1"'})
    assert second["version"]["version"] == 2
    assert second["version"]["sha256"] != first["version"]["sha256"]
    late = hub.ask("POST", "/data-sets/press/versions", 412, json={"items": more[1:]}, headers={"If-Match": '"1"'})
    assert "expected version 1, it is at 2" in late["detail"]
    assert hub.ask("GET", "/data-sets/press/versions/1") == first
    assert [v["version"] for v in hub.ask("GET", "/data-sets/press/versions")["items"]] == [2, 1]
    (listed,) = hub.ask("GET", "/data-sets")["items"]
    assert (listed["title"], listed["version"], listed["sources"]) == ("Press", 2, 2)
    answer = hub.ask("DELETE", f"/uploads/{one['sha256']}", 409)
    assert answer["detail"] == "upload a.csv: data set press has it; versions are for ever, so is what they hold"
    hub.ask("GET", "/data-sets/nothing/versions", 404)
    hub.ask("GET", "/data-sets/press/versions/9", 404)


def test_no_row_may_be_in_a_data_set_twice(hub: MlopsHub) -> None:
    one = hub.upload("a.csv", table())["sha256"]
    half = {"kind": "upload", "ref": one, "role": "healthy", "end": 0.5}
    rest = {"kind": "upload", "ref": one, "role": "fault", "start": 0.4}
    answer = hub.ask("POST", "/data-sets", 422, json={"name": "a", "items": [half, rest]})
    assert answer["detail"] == "a.csv: the same rows are in a.csv too: each may be in a data set once"
    hub.ask("POST", "/data-sets", 201, json={"name": "a", "items": [half, rest | {"start": 0.5}]})


def test_a_version_is_inspected_once(hub: MlopsHub) -> None:
    sha256 = hub.upload("motor.npz", vibration())["sha256"]
    items = [{"kind": "upload", "ref": sha256, "role": "healthy"}]
    hub.ask("POST", "/data-sets", 201, json={"name": "m", "items": items, "test_share": 0.25})
    found = hub.ask("GET", "/data-sets/m/versions/1/inspection")
    assert found["files"][0]["path"] == "motor.npz"
    assert found["files"][0]["rows"] == 45_000
    assert found["proposal"]["family"] == "spectral"
    assert str(hub.settings.home) not in json.dumps(found)
    hub.places.upload(sha256, "npz").unlink()
    assert hub.ask("GET", "/data-sets/m/versions/1/inspection") == found
    assert list(hub.places.jobs.iterdir()) == []

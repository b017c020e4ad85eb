"""Training jobs: the table of their states, and the runner with real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cloud_hub.api.routes import jobs as jobs_route
from cloud_hub.errors import ConflictError
from cloud_hub.jobs.command import order_of, train_arguments
from cloud_hub.jobs.process import identity_of
from cloud_hub.jobs.states import ACTIVE, OVER, TRANSITIONS, JobEvent, JobState, after
from cloud_hub.store import jobs as store
from cloud_hub.store.database import Database
from cloud_hub.store.dataset_queries import get_version
from tests.cloud_hub.mlops_kit import NOW_S, MlopsHub, runner, table, until, vibration

ROOT = Path(__file__).parent.parent.parent
# A training of the test's own: tells progress where it is asked to, then ends as the seed says.
SCRIPT = """
import json, os, sys, time
words = dict(w[2:].split("=", 1) for w in sys.argv[1:] if w.startswith("--") and "=" in w)
tell = open(words["progress"], "w", buffering=1)
def say(**line): tell.write(json.dumps(line) + "\\n")
print("words:", *sys.argv[1:], flush=True)
say(share=0.25, what="fitting")
end = int(words["seed"])
if end == 99:
    print("y" * 2_000_000)
    time.sleep(600)
if end == 4:
    say(end="refused", text="the model is refused: int8 loses 0.2 of AUC")
if end == 7:
    os.kill(os.getpid(), 9)
if end == 1:
    print("cloud-hub: the disk is full", file=sys.stderr)
sys.exit(end)
"""


@pytest.fixture
def hub(database: Database, tmp_path: Path) -> MlopsHub:
    made = MlopsHub(database, tmp_path)
    sha256 = made.upload("press.csv", table())["sha256"]
    items = [{"kind": "upload", "ref": sha256, "role": "healthy"}]
    made.ask("POST", "/data-sets", 201, json={"name": "press", "items": items, "test_share": 0.25})
    return made


def start(hub: MlopsHub, **order: Any) -> str:
    made = hub.ask("POST", "/training-jobs", 201, json={"data_set": "press", **order})
    assert made["state"] == "queued"
    return str(made["id"])


def job(hub: MlopsHub, name: str) -> dict[str, Any]:
    found: dict[str, Any] = hub.ask("GET", f"/training-jobs/{name}")["job"]
    return found


def over(hub: MlopsHub, name: str) -> dict[str, Any]:
    found: dict[str, Any] = until(lambda: (one := job(hub, name))["state"] in OVER and one)
    return found


# ---------------------------------------------------------------------------------------------------------- states


@pytest.mark.parametrize("state", JobState)
@pytest.mark.parametrize("event", JobEvent)
def test_every_pair_leads_somewhere_or_is_refused(state: JobState, event: JobEvent) -> None:
    if (state, event) in TRANSITIONS:
        assert state not in OVER
        assert after(state, event, "j") is TRANSITIONS[state, event]
    else:
        with pytest.raises(ConflictError, match=f"training job j: is {state.value}, {event.value} has no place there"):
            after(state, event, "j")


def test_every_state_can_be_reached_and_left() -> None:
    assert set(TRANSITIONS.values()) | {JobState.QUEUED} == set(JobState)
    assert {state for state, _ in TRANSITIONS} == set(JobState) - OVER
    for state in ACTIVE:  # whatever its process does, a job that has begun ends
        assert {after(state, e, "j") for e in (JobEvent.SUCCEED, JobEvent.REFUSE, JobEvent.FAIL, JobEvent.LOSE)} <= OVER


# ------------------------------------------------------------------------------------------------------ starting


def test_a_training_is_queued_and_the_runner_woken(hub: MlopsHub) -> None:
    name = start(hub, family="process", seeds=2)
    assert hub.woken == 1
    assert job(hub, name)["asked"] == {"family": "process", "seed": 1, "seeds": 2}
    assert [j["id"] for j in hub.ask("GET", "/training-jobs", params={"state": "queued"})["items"]] == [name]
    assert hub.ask("GET", "/training-jobs", params={"data_set": "other"})["items"] == []
    hub.ask("GET", f"/training-jobs/{name}/log", 404)
    assert job(hub, name)["created_by"] == "ada"


@pytest.mark.parametrize(
    ("order", "status", "text"),
    [
        ({"data_set": "nothing"}, 404, "data set 'nothing': there is none"),
        ({"data_set_version": 7}, 404, "there is no version 7"),
        ({"family": "magic"}, 422, "expected one of"),
        ({"family": "remaining_life"}, 422, "learns from one file of whole lives"),
        ({"axes": ["a,b"]}, 422, "expected names without commas"),
        ({"version": "a/b"}, 422, "version"),
        ({"seed": -1}, 422, "seed"),
        ({"out": "/etc/passwd"}, 422, "out"),
    ],
)
def test_orders_that_cannot_be_carried_out(hub: MlopsHub, order: dict[str, Any], status: int, text: str) -> None:
    assert text in hub.ask("POST", "/training-jobs", status, json={"data_set": "press", **order})["detail"]


def test_nothing_in_an_order_is_taken_for_an_option(hub: MlopsHub, tmp_path: Path) -> None:
    order = order_of({"title": "--out=/etc/passwd", "axes": ["--json"], "units": "-x", "column_points": False})
    with hub.database.read() as session:
        detail = get_version(session, "press")
    words = train_arguments(order, detail, {0: Path("/data/press.csv")}, tmp_path)
    assert "--title=--out=/etc/passwd" in words
    assert "--axes=--json" in words
    assert "--one-point" in words
    assert all(word.startswith("--") for word in words[1:])
    assert "--data=/data/press.csv@0.000000000000-0.750000000000" in words
    assert "--test-healthy=/data/press.csv@0.750000000000-1.000000000000" in words


# ------------------------------------------------------------------------------------------------------- the runner


@pytest.mark.parametrize(
    ("seed", "state", "reason"),
    [
        (4, "refused", "the model is refused: int8 loses 0.2 of AUC"),
        (1, "failed", "the disk is full"),
        (7, "failed", "ended by signal 9: words:"),
        (0, "failed", "its result cannot be read"),
    ],
)
def test_how_a_training_ends(hub: MlopsHub, seed: int, state: str, reason: str) -> None:
    name = start(hub, seed=seed)
    running = runner(hub, SCRIPT)
    running.start()
    ended = over(hub, name)
    running.stop()
    assert (ended["state"], ended["stage"], ended["share"]) in {(state, "fitting", 0.25), (state, "starting", 0.0)}
    assert reason in ended["reason"]
    assert "press.csv@0.0000" in hub.ask("GET", f"/training-jobs/{name}/log").text
    assert not (hub.places.jobs / name / "data").exists()
    again = hub.ask("POST", f"/training-jobs/{name}/again", 201)
    assert (again["asked"], again["state"]) == (ended["asked"], "queued")
    assert "has no place there" in hub.ask("POST", f"/training-jobs/{name}/cancel", 409)["detail"]


def test_jobs_wait_for_their_turn_and_are_cancelled(hub: MlopsHub) -> None:
    first = start(hub, seed=99)
    running = runner(hub, SCRIPT)
    running.start()
    until(lambda: job(hub, first)["share"] == 0.25)
    second = start(hub, seed=4)
    running.wake()
    time.sleep(1.5)  # it could have begun by now
    assert job(hub, second)["state"] == "queued"
    with hub.database.read() as session:
        ((_, process),) = store.begun_by(session, running.name)
    assert process is not None
    pid = int(process.split(":")[0])
    assert os.getpgid(pid) == pid  # a group of its own
    assert os.getpriority(os.PRIO_PROCESS, pid) == 10
    assert hub.ask("POST", f"/training-jobs/{first}/cancel")["state"] == "cancelling"
    running.wake()
    assert over(hub, first)["state"] == "cancelled"
    assert identity_of(pid) is None
    assert over(hub, second)["state"] == "refused"
    log = (hub.places.jobs / first / "log.txt").read_bytes()
    assert log.startswith(b"words:")
    assert len(log) < 700_000
    running.stop()
    with hub.database.read() as session:
        assert store.begun_by(session, running.name) == []


def test_a_job_that_has_not_begun_is_cancelled_at_once(hub: MlopsHub) -> None:
    name = start(hub)
    revision = hub.send("GET", f"/api/v1/training-jobs/{name}").headers["etag"]
    hub.ask("POST", f"/training-jobs/{name}/cancel", 412, headers={"If-Match": '"9"'})
    assert hub.ask("POST", f"/training-jobs/{name}/cancel", headers={"If-Match": revision})["state"] == "cancelled"


def test_stopping_the_hub_interrupts_its_trainings(hub: MlopsHub) -> None:
    name = start(hub, seed=99)
    running = runner(hub, SCRIPT)
    running.start()
    until(lambda: job(hub, name)["share"] == 0.25)
    running.stop()
    assert (job(hub, name)["state"], job(hub, name)["reason"]) == ("interrupted", "the hub was stopped while it ran")


def test_a_hub_that_was_killed_ends_what_it_had_begun(hub: MlopsHub) -> None:
    """Its trainings outlive it: whoever comes back knows them again by number and start of the process."""
    name = start(hub, seed=99)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True) as orphan:
        identity = identity_of(orphan.pid)
        back = runner(hub, SCRIPT)
        with hub.database.write() as session:
            assert store.take_next(session, back.name, 1, NOW_S) is not None
            store.tell(session, name, "fitting", 0.5, identity)
        back.start()
        assert over(hub, name)["state"] == "interrupted"
        assert orphan.wait(20) == -9
    back.stop()


def test_another_process_of_that_number_is_left_alone(hub: MlopsHub) -> None:
    name = start(hub)
    back = runner(hub, SCRIPT)
    with hub.database.write() as session:
        store.take_next(session, back.name, 1, NOW_S)
        store.tell(session, name, "fitting", 0.5, f"{os.getpid()}:1:00000000")
    back.start()
    assert over(hub, name)["state"] == "interrupted"  # and this test is still here
    back.stop()


def test_two_hubs_do_not_take_the_same_job(hub: MlopsHub) -> None:
    name = start(hub)
    with hub.database.write() as session:
        taken = store.take_next(session, "one", 1, NOW_S)
    assert taken is not None
    assert taken.id == name
    with hub.database.write() as session:
        assert store.take_next(session, "two", 1, NOW_S) is None


def test_data_that_have_changed_are_not_trained_on(hub: MlopsHub) -> None:
    (upload,) = hub.places.uploads.iterdir()
    upload.write_bytes(upload.read_bytes().replace(b"temp", b"TEMP"))
    name = start(hub)
    running = runner(hub, SCRIPT)
    running.start()
    ended = over(hub, name)
    running.stop()
    assert ended["state"] == "failed"
    assert "upload press.csv: expected a file with digest" in ended["reason"]


def test_progress_is_told_as_it_comes(hub: MlopsHub) -> None:
    name = start(hub, seed=1)
    running = runner(hub, SCRIPT)
    running.start()
    answer = hub.send("GET", f"/api/v1/training-jobs/{name}/events")  # ends when the job is over
    running.stop()
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    states = [json.loads(line)["state"] for line in lines]
    assert states[-1] == "failed"
    revisions = [json.loads(line)["revision"] for line in lines]
    assert revisions == sorted(set(revisions))


def test_who_follows_a_job_is_asked_again_who_it_is(hub: MlopsHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else whoever may not look any more would go on until a job of hours is over, or one that waits for its turn."""
    name = start(hub)
    monkeypatch.setattr(jobs_route, "LIFE_S", 0.05)
    answer = hub.send("GET", f"/api/v1/training-jobs/{name}/events")  # nobody runs it: only the clock ends this
    assert answer.text.count("event: job") == 1
    assert json.loads(answer.text.split("data: ")[1].splitlines()[0])["state"] == "queued"


def test_the_hub_never_loads_tensorflow() -> None:
    code = (
        "import sys, cloud_hub.services.serve, cloud_hub.cli.serve, cloud_hub.api.app;"
        "print(*sorted({m.split('.')[0] for m in sys.modules} & {'tensorflow', 'keras', 'matplotlib', 'ai_edge_litert'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []


@pytest.mark.slow
def test_from_an_upload_to_a_model_that_is_compared_and_traced(database: Database, tmp_path: Path) -> None:
    hub = MlopsHub(database, tmp_path)
    good, bad = hub.upload("motor.npz", vibration(30)), hub.upload("broken.npz", vibration(10, 5, impacts=6.0))
    items = [
        {"kind": "upload", "ref": good["sha256"], "role": "healthy"},
        {"kind": "upload", "ref": bad["sha256"], "role": "fault", "fault": "outer-race"},
    ]
    hub.ask("POST", "/data-sets", 201, json={"name": "motor", "items": items, "test_share": 0.25})
    running = runner(hub, "import sys; from cloud_hub.cli import main; main()")
    running.start()
    names = [
        hub.ask("POST", "/training-jobs", 201, json={"data_set": "motor", "version": v, "seeds": 1, "seed": i})["id"]
        for i, v in enumerate(("1.0", "1.1"))
    ]
    ends = [until(lambda n=n: (j := job(hub, n))["state"] in OVER and j, 280) for n in names]
    running.stop()
    assert [e["state"] for e in ends] == ["succeeded", "succeeded"], ends
    detail = hub.ask("GET", f"/training-jobs/{names[0]}")
    tested = detail["summary"]["test"]["result"]
    assert {row["name"] for row in tested["rows"]} == {"motor.npz", "broken.npz"}
    assert tested["alarmed"] == 1
    one, other = ends[0]["sha256"], ends[1]["sha256"]
    models = hub.ask("GET", "/models")["items"]
    assert {(m["sha256"], m["published"], m["version"]) for m in models} == {(one, False, "1.0"), (other, False, "1.1")}
    card = hub.ask("GET", f"/models/{one}/card")
    assert set(card["manifest"]["provenance"]["data"]) == {"motor.npz"}
    assert card["evaluation"]["faults"] == "broken.npz"
    report = hub.ask("GET", f"/models/{one}/report")
    assert report.headers.get_list("content-security-policy") == [
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; sandbox"
    ]
    assert "<svg" in report.text
    rows = hub.ask("GET", f"/models/{one}/compare/{other}")
    changed = {row["name"]: (row["one"], row["other"]) for row in rows if not row["same"]}
    assert changed["version"] == ("1.0", "1.1")
    assert changed["seed"] == (0, 1)
    assert "windows_train" not in changed
    assert hub.ask("GET", f"/models/{one}/data") == [{"dataset": "motor", "version": 1, "by_job": True}]
    lineage = hub.ask("GET", "/data-sets/motor/versions/1/models")
    assert {row["job"] for row in lineage} == set(names)
    assert hub.ask("GET", f"/models/{one}/bundle").content[:13] == b"manifest.json"
    assert "no signing keys" in hub.ask("POST", f"/models/{one}/publish", 409)["detail"]

"""The typed client against a hub that is really served, over HTTPS: every operation of the API, the page of examples, the
command line.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

import cloud_hub.client
from cloud_hub.accounts.permissions import Permission, Role
from cloud_hub.api.routes import jobs as jobs_route
from cloud_hub.client import (
    ContradictionError,
    ForbiddenError,
    HubClient,
    MissingError,
    OutdatedError,
    ProblemError,
    UnauthorizedError,
    UnreachableError,
    WrongRequestError,
)
from cloud_hub.errors import SettingsError
from cloud_hub.rollout.plan import Cohort, Plan
from cloud_hub.store.writer import Received, Writer
from tests.cloud_hub.mlops_kit import table
from tests.cloud_hub.whole_hub import served, whole_hub
from tests.simulators.fleet import NEW, OTHER, SLOT
from tests.simulators.hub import state

ALARM = "gw-1.a1"
PAGE = Path(cloud_hub.client.__file__).with_name("README.md")


@dataclass(frozen=True)
class Site:
    """A hub that is served, and what it takes to ask it."""

    app: FastAPI
    url: str
    secret: str
    authority: Path
    folder: Path

    def client(self, **more: Any) -> HubClient:
        return HubClient(self.url, self.secret, **{"ca_file": self.authority, "tries": 1, **more})


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with whole_hub(tmp_path) as (app, secret), served(app, tmp_path) as (url, authority):
        (tmp_path / "token").write_text(secret + "\n")
        yield Site(app, url, secret, authority, tmp_path)


@pytest.fixture
def hub(site: Site) -> Iterator[HubClient]:
    with site.client() as client:
        yield client


# ------------------------------------------------------------------------------------------------ every operation


def test_every_operation_of_the_api_has_its_method(site: Site, hub: HubClient) -> None:
    """And what it answers is what the method says it is: it is decoded into that type."""
    call_all(site, hub)
    reached: dict[tuple[str, str], set[str]] = {}
    for family in text_string_to_metric_families(site.app.state.metrics.text().decode()):
        for sample in family.samples:
            if {"method", "route", "status"} <= sample.labels.keys():
                name = (sample.labels["method"].lower(), sample.labels["route"])
                reached.setdefault(name, set()).add(sample.labels["status"])
    operations = {
        (method, path.replace("{reference}", "{reference:path}"))
        for path, methods in site.app.openapi()["paths"].items()
        for method in methods
        if path.startswith("/api/v1")
    }
    assert operations - reached.keys() == set()
    well = {operation for operation in operations if "2xx" in reached[operation]}
    assert operations - well == {
        ("post", "/api/v1/account/tokens"),  # for people who have signed in, not for tokens
        ("get", "/api/v1/account/tokens"),
        ("post", "/api/v1/account/password"),
        ("post", "/api/v1/enroll"),  # what it takes is not signed here
        ("post", "/api/v1/models/{sha256}/publish"),  # this hub has no keys, and its bundles are names only
        ("get", "/api/v1/models/{sha256}/card"),
        ("get", "/api/v1/models/{sha256}/compare/{other}"),
        ("get", "/api/v1/models/{sha256}/report"),
        ("get", "/api/v1/models/{sha256}/bundle"),
        ("get", "/api/v1/training-jobs/{job}/log"),  # nothing has begun
        ("post", "/api/v1/hooks/{hook}/deliveries/{delivery}/again"),
    }


def call_all(site: Site, hub: HubClient) -> None:
    assert hub.health().fleet == "plant"
    assert hub.ingest_status().queued == 0
    assert hub.concerns() == []
    assert "paths" in hub.openapi()
    assert [event.kind for event in hub.events(since="9999", for_ever=False)][:1] == ["alarm"]
    for calls in (_of_the_fleet, _of_machines, _of_alarms, _of_data, _of_models, _of_rollouts, _of_people):
        calls(site, hub)  # the last one ends its own token


def _of_the_fleet(site: Site, hub: HubClient) -> None:
    fleet = hub.fleet
    assert [gateway.id for gateway in fleet.gateways(online=True, limit=1)] == ["gw-1", "gw-2"]
    assert {gateway.id for gateway in fleet.gateways(sort="silent", limit=1)} == {"gw-1", "gw-2"}
    assert [bundle.version for bundle in fleet.bundles(sort="slot", limit=1)] == ["1", "2", "3"]
    seen = fleet.overview(since=1.0)
    assert (seen.gateways.total, [tile.machine for tile in seen.health.tiles], seen.alarms_raised.count) == (
        2,
        ["P-101"],
        1,
    )
    assert {change.gateway for change in seen.gateway_changes} == {"gw-1", "gw-2"}
    assert fleet.gateway("gw-1").gateway.id == "gw-1"
    assert [(one.id, one.machines) for one in fleet.inventory(limit=1)] == [("gw-1", ("P-101",)), ("gw-2", ("P-101",))]
    assert next(iter(fleet.health("gw-1"))).gateway == "gw-1"
    assert [point.point for point in fleet.points(machine="P-101", gateway="gw-1", current=True)] == ["de"]
    assert {bundle.sha256 for bundle in fleet.bundles(slot=SLOT)} >= {NEW, OTHER}
    assert fleet.bundle(f"{SLOT}/2").bundle.sha256 == fleet.bundle(NEW[:8]).bundle.sha256 == NEW
    assert list(fleet.wants(gateway="gw-1", current=True)) == []
    wanted = fleet.want("gw-7", bundles=[f"{SLOT}/2"], slot=SLOT, expires_in_s=3600, key="w1")
    assert fleet.want("gw-7", bundles=[f"{SLOT}/2"], slot=SLOT, expires_in_s=3600, key="w1") == wanted
    assert list(fleet.wants(gateway="gw-7", current=True)) == [wanted]
    assert fleet.want("gw-7", resign=True).seq > wanted.seq
    assert fleet.want("gw-7", remove=[SLOT]).bundles == ()
    assert [ack.phase for ack in fleet.acks(gateway="gw-1")] == ["fetched"]
    assert [capture.id for capture in fleet.captures(machine="P-101")] == ["cap-1"]
    assert fleet.capture("cap-1").status == "stored"
    assert fleet.save_capture("cap-1", site.folder / "cap.npz") == (site.folder / "cap.npz").stat().st_size > 100
    before = fleet.site("gw-1")
    said = fleet.put_site("gw-1", "Europe/Berlin", {"hall": "2"}, revision=before.revision)
    assert list(fleet.sites()) == [said]
    with pytest.raises(OutdatedError):
        fleet.put_site("gw-1", None, {}, revision=before.revision)
    assert fleet.create_enrol_token("gw-9", hours=2).gateway == "gw-9"
    assert fleet.certificates("gw-9") == []
    assert fleet.revoke("gw-9", "stolen").serials == []
    gone = [state("gw-8"), state("gw-8", online=False)]
    Writer(site.app.state.context.database, time.time).store([Received(one) for one in gone])
    assert fleet.retire("gw-8", "scrapped").changed
    assert [one.id for one in fleet.gateways(retired=True)] == ["gw-8"]
    sent = fleet.record("gw-1", "P-101", "de", 5, expires_in_s=60, key="c1")
    assert fleet.record("gw-1", "P-101", "de", 5, expires_in_s=60, key="c1") == sent
    assert fleet.recalibrate("gw-1", "P-101", "de").id != sent.id
    assert fleet.ask_for_report("gw-2").gateway == "gw-2"
    with pytest.raises(MissingError, match="reports no point P-101/none"):
        fleet.record("gw-1", "P-101", "none", 5)
    assert fleet.authority().startswith(b"-----BEGIN CERTIFICATE-----")
    with pytest.raises(ProblemError):
        fleet.enrol(b"{}")


def _of_machines(site: Site, hub: HubClient) -> None:
    machines = hub.machines
    assert [machine.id for machine in machines.list(sort="score")] == ["P-101"]
    assert machines.get("P-101").points[0].point == "de"
    rows = list(machines.trends(machine="P-101", limit=1))
    assert len(rows) == 2
    assert machines.trend("P-101", "de").limit == 1.0
    assert machines.series("P-101", "de", 0.0, 10_000.0, max_points=10).point == "de"
    assert machines.outlook("P-101", "de").state == "too_short"
    usual = machines.retention("P-101", "de")
    assert (usual.days.rows, usual.own.rows, usual.revision) == (14, None, 0)
    longer = machines.keep("P-101", "de", rows=30, revision=0)
    assert (longer.days.rows, longer.days.hours) == (30, 1825)
    assert machines.retention("P-101", "de") == longer
    for wrong in ({"rows": 100}, {"hours": 20, "rows": 20}):
        with pytest.raises(WrongRequestError, match="days that do not fall"):
            machines.keep("P-101", "de", **wrong)
    with pytest.raises(OutdatedError):
        machines.keep("P-101", "de", revision=0)
    assert machines.keep("P-101", "de", revision=longer.revision) == usual
    assert machines.save_trends(site.folder / "t.parquet", format="parquet") > 100
    assert (site.folder / "t.parquet").read_bytes()[:4] == b"PAR1"
    assert machines.take_out_of_service("P-101", "overhaul").alarms == 1
    assert machines.restore("P-101").alarms == 1
    machines.take_out_of_service("P-101", "overhaul", "de")
    machines.restore("P-101", "de")


def _of_alarms(site: Site, hub: HubClient) -> None:
    alarms = hub.alarms
    assert [alarm.id for alarm in alarms.list(status="raised", machine="P-101", sort="peak")] == [ALARM]
    assert alarms.counts().open == 1
    assert alarms.metrics(since=1.0, until=100.0).reviewed == 0
    assert alarms.get(ALARM).alarm.machine == "P-101"
    window = alarms.evidence(ALARM)
    assert len(window.window[0]) == len(window.axes)
    assert alarms.spectrum(ALARM).axes == window.axes
    assert len(alarms.waveform(ALARM, columns=10).curves) == len(window.axes)
    assert alarms.save_evidence(ALARM, site.folder / "w.npz") > 100
    assert alarms.save(site.folder / "a.csv", machine="P-101") > 100
    seen = alarms.acknowledge(ALARM, "on my way")
    assert (seen.state, seen.acknowledged_by) == ("acknowledged", "all")
    with pytest.raises(OutdatedError):
        alarms.comment(ALARM, "late", revision=seen.revision - 1)
    said = alarms.comment(ALARM, "ordered", revision=seen.revision, key="note-1")
    assert alarms.comment(ALARM, "ordered", revision=seen.revision, key="note-1") == said
    assert [action.text for action in alarms.actions(ALARM, limit=1) if action.action == "comment"] == ["ordered"]
    with pytest.raises(WrongRequestError) as reused:
        alarms.comment(ALARM, "another thing", revision=seen.revision, key="note-1")
    assert reused.value.problem.word == "key-reused"
    assert alarms.assign(ALARM, "olga").assignee == "olga"
    assert alarms.review(ALARM, "true", fault="BPFO", text="seen").review == "true"
    assert [label.label for label in alarms.labels()] == ["confirmed fault"]
    assert alarms.shelve(ALARM, 3600, "parts are coming").state == "shelved"
    assert [one.kind for one in alarms.suppressions()] == ["shelf"]
    alarms.unshelve(ALARM)
    done = alarms.act_on_many({ALARM: None, "gw-1.none": None}, "comment", text="all of them")
    assert (done.done, [one.alarm for one in done.refused]) == ((ALARM,), ["gw-1.none"])


def _of_data(site: Site, hub: HubClient) -> None:
    data = hub.data
    (site.folder / "press.csv").write_bytes(table(seed=2))
    made = data.add_upload(site.folder / "press.csv")
    assert data.add_upload(site.folder / "press.csv") == made
    assert data.upload(made.sha256) == made
    assert {one.name for one in data.uploads(kind="csv")} == {"hall.csv", "press.csv"}
    item = {"kind": "upload", "ref": made.sha256, "role": "healthy"}
    first = data.create_set("press", [item], title="The press", key="k1")
    assert data.create_set("press", [item], title="The press", key="k1") == first
    with pytest.raises(ContradictionError):
        data.create_set("press", [item])
    assert data.set("press").version == 1
    second = data.add_version("press", [item], test_share=0.4, revision=1)
    with pytest.raises(OutdatedError):
        data.add_version("press", [item], test_share=0.5, revision=1)
    assert [one.version for one in data.versions("press", limit=1)] == [2, 1]
    assert data.version("press", 2) == second
    assert data.inspection("press", 1)
    assert data.models_from("press", 1) == []
    assert [one.name for one in data.sets(sort="name", limit=1)] == ["hall", "press"]
    other = hub.data.add_upload(_other(site.folder))
    data.remove_upload(other.sha256)
    label = data.label_span("P-101", "de", 10.0, 20.0, "fault", fault="outer-race")
    assert data.label(label.id) == label
    changed = data.change_label(label.id, "exclude", revision=label.revision)
    assert changed.verdict == "exclude"
    data.remove_label(label.id, revision=changed.revision)
    data.label_capture("cap-1", "exclude", note="loose sensor")
    assert {one.verdict for one in data.labels(capture="cap-1")} == {"exclude", "healthy"}


def _other(folder: Path) -> Path:
    path = folder / "other.csv"
    path.write_bytes(table(seed=3))
    return path


def _of_models(_site: Site, hub: HubClient) -> None:
    models, jobs = hub.models, hub.jobs
    assert NEW in {model.sha256 for model in models.list(slot=SLOT, published=True, sort="length")}
    assert models.get(NEW).version == "2"
    assert models.use(NEW).gateways == ()
    assert models.origins(NEW) == []
    refused: list[Callable[[], object]] = [
        lambda: models.card(NEW),
        lambda: models.report(NEW),
        lambda: models.compare(NEW, OTHER),
        lambda: models.save_bundle(NEW, Path("never.mwb")),
        lambda: models.publish(NEW),
    ]
    for call in refused:
        with pytest.raises((MissingError, ContradictionError)):
            call()
    assert not Path("never.mwb").exists()
    job = jobs.start("hall", version=1, seed=3)
    assert jobs.get(job.id).job == job
    with pytest.raises(MissingError, match="has not begun"):
        jobs.log(job.id)
    ended = jobs.cancel(job.id, revision=job.revision)
    assert [one.state for one in jobs.follow(job.id)] == [ended.state] == ["cancelled"]
    again = jobs.again(job.id)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs_route, "LIFE_S", 0.0)  # each stream ends with what it begins with
        following = jobs.follow(again.id)
        assert next(following).state == "queued"
        jobs.cancel(again.id)
        assert [one.state for one in following] == ["cancelled"]
    assert again.id in {one.id for one in jobs.list(data_set="hall", sort="oldest")}


def _of_rollouts(_site: Site, hub: HubClient) -> None:
    rollouts = hub.rollouts
    assert [one.id for one in rollouts.list(sort="name")] == ["r1"]
    paused = rollouts.pause("r1", "night shift")
    assert paused.rollout.status == "paused"
    assert [one.gateway for one in rollouts.members("r1", cohort=0)] == ["gw-2"]
    assert "night shift" in str([note.text for note in rollouts.log("r1")])
    with pytest.raises(OutdatedError):
        rollouts.resume("r1", revision=paused.rollout.revision - 1)
    rollouts.resume("r1", revision=paused.rollout.revision)
    with pytest.raises(ContradictionError):
        rollouts.approve("r1")
    assert rollouts.get("r1").rollout.status == "trying"
    assert rollouts.retry("r1").rollout.status == "trying"  # none has failed
    rollouts.abort("r1", undo=True)
    plan = Plan(slot=SLOT, sha256=OTHER, cohorts=[Cohort(name="all", gateways=["gw-1"], approval=True)])
    made = rollouts.create(plan, name="r2", key="k2")
    assert rollouts.create(plan, name="r2", key="k2") == made
    assert rollouts.approve("r2").rollout.status == "trying"
    with pytest.raises((ContradictionError, WrongRequestError)):
        rollouts.retry("r2", ["gw-1"])


def _of_people(_site: Site, hub: HubClient) -> None:
    assert hub.account.me().name == "all"
    for own in (
        lambda: hub.account.tokens().take(1),
        lambda: hub.account.create_token("x", [Permission.FLEET_READ]),
        lambda: hub.account.change_password("a", "b"),
    ):
        with pytest.raises(ForbiddenError):
            own()
    people = hub.people
    made = people.create("otto", Role.OPERATOR, full_name="Otto")
    assert "/link/" in made.url
    with pytest.raises(OutdatedError):
        people.change("otto", role=Role.ENGINEER, revision=made.user.revision + 7)
    assert people.change("otto", role=Role.ENGINEER, revision=made.user.revision).role is Role.ENGINEER
    assert people.get("otto").full_name == "Otto"
    assert [one.name for one in people.list(role=Role.ENGINEER)] == ["otto"]
    assert people.password_link("otto").user.name == "otto"
    assert people.audit(action="account.").take(1)[0].target == "account:otto"
    times = [entry.time_s for entry in people.audit(sort="oldest", limit=2)]
    assert times == sorted(times)
    hooks = hub.hooks
    hook = hooks.create("mail", addresses=["ops@plant.example"], kinds=["alarm.raised"])
    assert hooks.get(hook.hook.id) == hook.hook
    changed = hooks.change(hook.hook.id, hook.hook.revision, "mail", addresses=["ops@plant.example"], enabled=False)
    web = hooks.create("web", url="https://cmms.example/x")
    assert hooks.renew_secret(web.hook.id).secret not in {None, web.secret}
    key = hooks.test(web.hook.id, key="t1").key
    assert hooks.test(web.hook.id, key="t1").key == key
    assert list(hooks.deliveries(web.hook.id, state="failed")) == []
    with pytest.raises(MissingError):
        hooks.send_again(web.hook.id, 10**6)
    hooks.remove(changed.id, changed.revision)
    assert {one.name for one in hooks.list()} == {"cmms", "web"}
    token = people.tokens().take(1)[0]
    assert people.revoke_token(token.id).revoked_s is not None
    with pytest.raises(UnauthorizedError):
        hub.account.me()


# ------------------------------------------------------------------------------------------------ who is believed


def test_only_a_hub_that_its_authority_vouches_for_is_asked(site: Site, tmp_path: Path) -> None:
    with HubClient(site.url, site.secret, tries=1) as stranger, pytest.raises(UnreachableError, match="certificate"):
        stranger.health()
    by_another_name = site.url.replace("127.0.0.1", "127.0.0.2")
    with (
        HubClient(by_another_name, site.secret, ca_file=site.authority, tries=1) as other,
        pytest.raises(UnreachableError),
    ):
        other.health()
    nonsense = tmp_path / "nonsense.crt"
    nonsense.write_text("no certificate")
    with pytest.raises(SettingsError, match="expected certificates in PEM"):
        HubClient(site.url, site.secret, ca_file=nonsense)


def test_a_bad_token_and_one_that_may_not(site: Site, hub: HubClient) -> None:
    with HubClient(site.url, "mw_nonsense", ca_file=site.authority) as nobody:
        assert nobody.health().fleet == "plant"
        with pytest.raises(UnauthorizedError, match="unknown, expired or revoked") as refused:
            nobody.account.me()
    assert refused.value.request_id


def test_what_is_asked_leads_nowhere_else(hub: HubClient) -> None:
    for name in ("../users", "a/b", "?x=1", "%2e%2e"):
        with pytest.raises((MissingError, WrongRequestError)):
            hub.alarms.get(name)


# ------------------------------------------------------------------------------------------------ the page


def blocks(language: str) -> str:
    """All examples in a language, one after the other."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert len(found) > 5
    return "\n".join(found)


def run(site: Site, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir()
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HUB": site.url,
        "TOKEN_FILE": str(site.folder / "token"),
        "CA_FILE": str(site.authority),
        "HOME": str(folder),
    }
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=folder, env=environment, timeout=300
    )


def test_the_examples_with_curl_and_on_the_command_line(site: Site) -> None:
    script = blocks("sh").replace("export HUB=https://hub.plant:8443 TOKEN_FILE=token CA_FILE=root.crt\n", "")
    done = run(site, site.folder / "shell", "bash", "-eu", "-o", "pipefail", "-c", script)
    assert done.returncode == 0, done.stdout + done.stderr
    for text in (
        '"id":"gw-1.a1"', '"id":"gw-2"', "did you mean status?", "urn:millwright:problem:stale", "somebody was faster",
        "event: alarm", "not a kind of file that can be trained on", '"status":"paused"', "r1: paused", "gw-1.a1",
    ):  # fmt: skip
        assert text in done.stdout, f"{text}: {done.stdout}{done.stderr}"
    with site.client() as hub:
        said = [action.text for action in hub.alarms.actions(ALARM) if action.action == "comment"]
    assert said == ["bearing ordered"]  # it was sent twice


def test_the_examples_with_the_client(site: Site) -> None:
    with site.client() as hub:
        hub.rollouts.pause("r1")
    done = run(site, site.folder / "python", sys.executable, "-c", blocks("python"))
    assert done.returncode == 0, done.stdout + done.stderr
    for text in (
        "degraded",
        "gw-1.a1 P-101",
        "gw-1.nothing",
        "['query.coverage']",
        "['bearing ordered']",
        "AlarmChange",
        "r1",
    ):
        assert text in done.stdout or text == "degraded", f"{text}: {done.stdout}"
    assert (site.folder / "python" / "trends.parquet").stat().st_size > 100


def test_the_command_line_asks_a_hub_that_is_elsewhere(site: Site) -> None:
    def ask(*words: str, status: int = 0) -> str:
        folder = site.folder / f"cli-{len(list(site.folder.iterdir()))}"
        hub = ["--hub", site.url, "--token-file", str(site.folder / "token"), "--ca-file", str(site.authority)]
        done = run(site, folder, sys.executable, "-m", "cloud_hub", *words, *hub)
        assert done.returncode == status, done.stdout + done.stderr
        assert not (folder / "var").exists()  # nothing is read or made here
        return done.stdout + done.stderr

    assert "gw-2" in ask("list", "gateways")
    new = ["rollout", "create", f"{SLOT}/3", "--name", "r9", "--cohort", "all=100 %"]
    assert "409 Conflict: " in ask(*new, status=1)
    assert "hall=2" in ask("rollout", "site", "gw-1", "--label", "hall=2")
    assert ask(*new, "--select", "hall=2") == f"r9: {SLOT}/3, 1 cohorts\n"
    assert "r9: paused" in ask("rollout", "pause", "r9", "--why", "lunch")
    assert "r9: trying" in ask("rollout", "resume", "r9")
    assert "r1: aborting" in ask("rollout", "abort", "r1")
    assert len(ask("capture", "gw-1", "P-101", "de", "--seconds", "5").strip()) == 16
    assert "reports no point" in ask("recalibrate", "gw-1", "P-101", "none", status=1)
    assert len(ask("report", "gw-2").strip()) == 16
    assert [line.split(": want ")[0] for line in ask("want", "gw-7", "gw-8", "--bundle", f"{SLOT}/2").splitlines()] == [
        "gw-7", "gw-8",
    ]  # fmt: skip
    assert ask("want", "gw-7", "--resign").strip().endswith(f": {SLOT}/2")
    assert "none was published" in ask("want", "gw-7", "--bundle", f"{SLOT}/9", status=1)
    assert "expected none with --hub" in ask("rollout", "pause", "r9", "--by", "me", status=2)
    with site.client() as hub:
        assert {entry.who for entry in hub.people.audit(action="rollout.")} == {"anna", "all"}
    (site.folder / "token").write_text("mw_nonsense")
    assert "401 Unauthorized" in ask("rollout", "list", status=3)

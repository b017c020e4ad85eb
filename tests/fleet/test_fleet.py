"""`make test-fleet`: a plant's fleet from bare Debian on, through what happens to it in its life.

Each test is one step; they are in order, and one that fails ends the story. Everything is asserted from outside: what
systemd says, which ports answer, what the hub's API tells.
"""

from __future__ import annotations

import platform
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.identity import RENEW_AFTER
from tests.fleet import clock, scenes
from tests.fleet.ansible import command, environment, play
from tests.fleet.floor import Floor, floor_for_test
from tests.fleet.hub_api import HubApi
from tests.fleet.plant import VERSION, ensure_archives, furnish
from tests.fleet.processes import wait_until
from tests.fleet.story import Story

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.timeout(1500)]
GATEWAYS = ("gw-1", "gw-2", "gw-3")
ALL = ("hub", *GATEWAYS)
OTHER_SUITE = {"gw-3": "trixie"}  # the others are Debian 12
NEXT, LATEST = f"{VERSION}.post1", f"{VERSION}.post2"
# One gateway alone first, then the others together.
_UPGRADE = {"upgrade_batches": [1, "100%"], "upgrade_soak_s": 10}
CERTIFICATE_DAYS = 90.0  # so that a hundred days are longer than a certificate lives
# A rollout as short as it can be and still be one: every gateway scores with both, then decides with the new one.
_PLAN = """
[[cohorts]]
name = "canary"
share = "33 %"
errors = "0"
success = "100 %"
shadow_windows = 40
soak_windows = 20
[[cohorts]]
name = "all"
share = "100 %"
errors = "0"
success = "100 %"
shadow_windows = 40
soak_windows = 20
"""


class Fleet:
    """The floor, the hub as it is reached, and the story so far."""

    def __init__(self, floor: Floor) -> None:
        self.floor, self.story = floor, Story()
        self._hub: HubApi | None = None
        self.ahead_s = 0.0
        self.backup = floor.folder / "inventory.kept/backups"

    @property
    def hub(self) -> HubApi:
        """Through one token all along."""
        self._hub = self._hub or HubApi(self.floor)
        return self._hub

    def scores_again(self, *gateways: str) -> None:
        """New windows of these gateways arrive at the hub."""
        before = {name: scenes.windows_scored(self.hub, name) for name in gateways}
        for name in gateways:
            wait_until(
                f"scores of {name}",
                lambda n=name: scenes.windows_scored(self.hub, n) != before[n],  # type: ignore[misc]
                scenes.SEEN_S,
            )

    def version_of(self, name: str) -> str:
        return str(self.hub.gateway(name)["gateway"]["agent_version"])

    def await_version(self, version: str, *gateways: str) -> None:
        for name in gateways:
            wait_until(f"{name} with {version}", lambda n=name: self.version_of(n) == version, scenes.SEEN_S)  # type: ignore[misc]

    def certificates(self, name: str) -> set[str]:
        """Serial numbers of what a gateway may show: not revoked, and not expired by the plant's clock."""
        listed = self.hub.get(f"gateways/{name}/certificates")
        now_s = time.time() + self.ahead_s
        return {one["serial"] for one in listed if one["revoked_s"] is None and one["not_after_s"] > now_s}

    def pass_days(self, days: float, *names: str) -> None:
        """The plant is so many days after the beginning."""
        clock.pass_days(self.floor, days, *names)
        self.ahead_s = days * 86_400.0


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with floor_for_test(list(ALL), OTHER_SUITE) as floor:
        fleet = Fleet(floor)
        try:
            yield fleet
        finally:
            fleet.story.say("\n" + fleet.story.table())


def test_archives_are_built_and_machines_boot(fleet: Fleet) -> None:
    with fleet.story.step("archives", "controller") as step:
        ensure_archives(VERSION, NEXT)
        ensure_archives(LATEST, kinds="gateway")
        ensure_archives(VERSION, NEXT, kinds="gateway", platform=f"debian13-{platform.machine()}")
        step.seen.append("for Debian 12 and 13")
    with fleet.story.step("boot", *ALL) as step:
        furnish(fleet.floor, certificate_days=CERTIFICATE_DAYS)
        fleet.floor.boot(*ALL)
        for name in ALL:
            way_out = fleet.floor.machines[name].inside("ip", "route", "show", "default")
            assert way_out == ""
        release = fleet.floor.machines["gw-3"].inside("cat", "/etc/debian_version")
        assert release.startswith("13."), release
        step.seen.append("gw-3 is Debian 13, the others 12")
        step.seen.append("no way out of their network")


def test_site(fleet: Fleet) -> None:
    with fleet.story.step("site.yml", *ALL) as step:
        step.played.append(play(fleet.floor, "site"))
        scenes.everything_runs(fleet.floor, step, *ALL)
        scenes.seen_online(fleet.floor, fleet.hub, *GATEWAYS)
        step.seen.append("the hub hears all three")


def test_sensor_frames_become_scores(fleet: Fleet) -> None:
    with fleet.story.step("frames, a model, scores", *ALL) as step:
        scenes.publish(fleet.floor, "1.0.0")
        for name in GATEWAYS:
            fleet.floor.ssh("hub", f"sudo cloud-hub want {name} --bundle pump-vibration/1.0.0")
        for name in GATEWAYS:
            wait_until(name, lambda n=name: scenes.runs_bundle(fleet.hub, n, "1.0.0"), scenes.SEEN_S)  # type: ignore[misc]
        fleet.scores_again(*GATEWAYS)
        step.seen.append("scores of all three at the hub's API")


def test_a_rollout_reaches_all(fleet: Fleet) -> None:
    with fleet.story.step("rollout", *ALL) as step:
        scenes.publish(fleet.floor, "1.1.0")
        plan = fleet.floor.folder / "plan.toml"
        plan.write_text(_PLAN)
        scenes.hand_over(fleet.floor, plan, "plan.toml")
        fleet.floor.ssh(
            "hub",
            "sudo cloud-hub rollout create pump-vibration/1.1.0 --name next --plan /var/lib/millwright/hub/plan.toml",
        )

        def status() -> str:
            return str(fleet.hub.get("rollouts/next")["rollout"]["status"])

        wait_until("the rollout to move on", lambda: status() in {"finished", "paused", "aborted"}, 300.0, every_s=2.0)
        assert status() == "finished", fleet.hub.get("rollouts/next")
        for name in GATEWAYS:
            assert scenes.runs_bundle(fleet.hub, name, "1.1.0"), fleet.hub.gateway(name)
        step.seen.append("canary, then all: 3 of 3 run it")


def test_a_second_run_changes_nothing(fleet: Fleet) -> None:
    with fleet.story.step("site.yml again", *ALL) as step:
        scenes.second_run(fleet.floor, step)


def test_the_agents_unit_is_closed(fleet: Fleet) -> None:
    with fleet.story.step("systemd-analyze security", *GATEWAYS) as step:
        found = {name: scenes.exposure(fleet.floor, name, "millwright-agent.service") for name in GATEWAYS}
        assert max(found.values()) <= 2.0, found
        step.seen.append(f"exposure {max(found.values())}")
    with fleet.story.step("a hung agent", "gw-1") as step:
        scenes.watchdog_bites(fleet.floor, "gw-1")
        scenes.seen_online(fleet.floor, fleet.hub, "gw-1")
        step.seen.append("stopped by SIGSTOP, started anew by the watchdog")


def test_upgrade(fleet: Fleet) -> None:
    with fleet.story.step("upgrade.yml", *ALL) as step:
        step.played.append(play(fleet.floor, "upgrade", extra=_UPGRADE | {"millwright_version": NEXT}))
        fleet.await_version(NEXT, *GATEWAYS)
        scenes.everything_runs(fleet.floor, step, *ALL)
        for name in GATEWAYS:
            assert scenes.runs_bundle(fleet.hub, name, "1.1.0"), "the model is the one that ran before"
        fleet.scores_again(*GATEWAYS)
        step.seen.append(f"all run {NEXT}, with their models")


def test_rollback(fleet: Fleet) -> None:
    with fleet.story.step("rollback.yml", "gw-1") as step:
        step.played.append(play(fleet.floor, "rollback", limit=["gw-1"]))
        fleet.await_version(VERSION, "gw-1")
        assert {fleet.version_of(name) for name in ("gw-2", "gw-3")} == {NEXT}
        fleet.scores_again("gw-1")
        step.seen.append(f"gw-1 runs {VERSION} again, the others still {NEXT}")


def test_a_gateway_killed_in_mid_upgrade(fleet: Fleet) -> None:
    floor = fleet.floor
    with fleet.story.step("killed in mid-upgrade", "gw-2") as step:
        upgrade = command(
            floor,
            "upgrade",
            limit=["millwright_hub", "gw-2"],
            tags=["gateways"],
            extra=_UPGRADE | {"millwright_version": LATEST},
        )
        log = floor.logs / "killed-upgrade.log"
        with log.open("wb") as out:
            running = subprocess.Popen(
                upgrade, env=environment(floor), stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
            )
            try:
                wait_until("pip to install", lambda: scenes.runs_process(floor, "gw-2", ".whl/pip install"), 300.0, 0.1)
                floor.machines["gw-2"].kill()
                floor.hang_up("gw-2")
                assert running.wait(300) != 0, f"expected the upgrade to fail, see {log}"
            finally:
                running.kill()
                running.wait()
        step.seen.append("power lost while pip installed; the playbook says so")
        floor.machines["gw-2"].start()
        floor.wait("gw-2")
        scenes.seen_online(floor, fleet.hub, "gw-2")
        assert fleet.version_of("gw-2") == NEXT
        fleet.scores_again("gw-2")
        scenes.everything_runs(floor, step, "gw-2")
        step.seen.append(f"it comes back with {NEXT} by itself")
    with fleet.story.step("the upgrade once more", "gw-2") as step:
        step.played.append(
            play(
                floor,
                "upgrade",
                limit=["millwright_hub", "gw-2"],
                tags=["gateways"],
                extra=_UPGRADE | {"millwright_version": LATEST},
            )
        )
        fleet.await_version(LATEST, "gw-2")
        fleet.scores_again("gw-2")
        step.seen.append(f"it runs {LATEST}")


def test_rotation_of_certificates(fleet: Fleet) -> None:
    with fleet.story.step("rotate_certs.yml", *ALL) as step:
        before = {name: fleet.certificates(name) for name in GATEWAYS}
        broker = scenes.certificate_of(fleet.floor, "hub", 8883)
        step.played.append(play(fleet.floor, "rotate_certs", extra={"rotate_revoke_old": True}))
        scenes.seen_online(fleet.floor, fleet.hub, *GATEWAYS)
        for name in GATEWAYS:
            after = fleet.certificates(name)
            assert after, name
            assert not after & before[name], f"{name}: {before[name]} and then {after}"
        assert scenes.certificate_of(fleet.floor, "hub", 8883) != broker
        fleet.scores_again(*GATEWAYS)
        step.seen.append("broker and gateways have others, the old ones are revoked")


def test_the_hub_restored_on_a_fresh_host(fleet: Fleet) -> None:
    floor = fleet.floor
    with fleet.story.step("backup.yml", "hub") as step:
        step.played.append(play(floor, "backup"))
        (kept,) = fleet.backup.glob("*.tar")
        step.seen.append(f"{kept.stat().st_size / 1e6:.1f} MB on the controller")
    with fleet.story.step("restore.yml on a fresh host", *ALL) as step:
        before = fleet.hub.get("rollouts/next")["rollout"]
        floor.replace("hub")
        assert not scenes.is_open(floor, "hub", 443)
        step.played.append(play(floor, "restore", extra={"restore_file": str(kept), "millwright_version": NEXT}))
        scenes.everything_runs(floor, step, "hub")
        scenes.seen_online(floor, fleet.hub, *GATEWAYS)  # with the token that the old one gave out
        assert fleet.hub.get("rollouts/next")["rollout"] == before
        fleet.scores_again(*GATEWAYS)
        step.seen.append("same token, same history, all three are back by themselves")


def test_a_revoked_gateway_is_out(fleet: Fleet) -> None:
    with fleet.story.step("revoke.yml", "gw-2") as step:
        step.played.append(play(fleet.floor, "revoke", extra={"revoke": "gw-2"}))
        wait_until("gw-2 to be gone", lambda: not fleet.hub.online("gw-2"), scenes.SEEN_S)
        scored = scenes.windows_scored(fleet.hub, "gw-2")
        until = time.monotonic() + 30  # its agent runs and tries again all the time
        while time.monotonic() < until:
            assert not fleet.hub.online("gw-2")
            time.sleep(1.0)
        assert scenes.units(fleet.floor, "gw-2", "millwright-agent") == {"millwright-agent": "active running"}
        assert scenes.windows_scored(fleet.hub, "gw-2") == scored
        assert fleet.certificates("gw-2") == set()
        assert fleet.hub.online("gw-1")
        step.seen.append("its session ended, and 30 s of trying did not bring it back; the others stay")


def test_decommissioning(fleet: Fleet) -> None:
    floor = fleet.floor
    with fleet.story.step("decommission.yml", "gw-2") as step:
        step.played.append(play(floor, "decommission", extra={"decommission": "gw-2"}))
        scenes.nothing_left(floor, "gw-2")
        listed = {one["id"] for one in fleet.hub.get("gateways")["items"]}
        assert listed == {"gw-1", "gw-3"}
        assert not scenes.is_open(floor, "gw-2", 1883)
        assert fleet.hub.online("gw-1")
        scenes.second_run(floor, step, "decommission", extra={"decommission": "gw-2"})
        step.seen.append("nothing of ours is on it, and the hub lists the others")


def test_a_gateway_that_nobody_reaches(fleet: Fleet) -> None:
    """The one that was cleared, in another place: nothing comes to it but what a person carries there."""
    floor, gateway = fleet.floor, fleet.floor.machines["gw-2"]
    with fleet.story.step("pull.yml", "gw-2") as step:
        gateway.inside("systemctl", "stop", "ssh.service")
        floor.hang_up("gw-2")
        assert not scenes.is_open(floor, "gw-2", 22)
        scenario = "/media/stick/scenario.toml"
        step.played.append(
            play(
                floor,
                "pull",
                limit=["millwright_hub", "gw-2"],
                extra={"millwright_version": NEXT, "sensors_sim_scenario": scenario},
            )
        )
        scenes.carry_bundle(floor, "gw-2", fleet.backup.with_name("pull"))
        gateway.carry(floor.folder / "scenario.toml", scenario)
    with fleet.story.step("carried there and applied", "gw-2") as step:
        apply = ("sh", "/media/stick/apply.sh")
        gateway.inside(
            "sh", "-c", "cd /media/stick && cp gw-2.tar bad.tar && cp gw-2.tar.sig bad.tar.sig && echo >> bad.tar"
        )
        scenes.apply_refuses(floor, "gw-2", *apply, "/media/stick/bad.tar", "/media/stick/allowed_signers")
        scenes.nothing_runs(floor, "gw-2")
        gateway.inside(*apply, "/media/stick/gw-2.tar", "/media/stick/allowed_signers", timeout_s=600.0)
        scenes.seen_online(floor, fleet.hub, "gw-2")
        fleet.await_version(NEXT, "gw-2")
        again = gateway.inside("millwright-pull", "/media/stick/gw-2.tar", timeout_s=600.0)
        assert re.search(r"changed=0 .*failed=0", again), again
        gateway.inside("systemctl", "start", "ssh.service")
        scenes.everything_runs(floor, step, "gw-2")
        step.seen.append("a spoiled file is refused; the hub hears it again; once more changes nothing")


def test_a_hundred_days_off_the_network(fleet: Fleet) -> None:
    floor, here = fleet.floor, ("hub", "gw-1", "gw-3")
    with fleet.story.step("100 days off the network", *here) as step:
        clock.prepare(floor, *here)
        fleet.hub.trust_at_any_time()
        scenes.seen_online(floor, fleet.hub, "gw-1", "gw-3")
        first = {name: fleet.certificates(name) for name in ("gw-1", "gw-3")}
        floor.machines["gw-3"].plug(into=False)
        wait_until("gw-3 to be missed", lambda: not fleet.hub.online("gw-3"), 300.0)
        for days in (25, 50, 70, 85, 100):
            fleet.pass_days(days, *here)
            fleet.scores_again("gw-1")  # who stays lives on
            if days > CERTIFICATE_DAYS * (RENEW_AFTER + 0.1):  # each gateway puts it off by up to a tenth of the life
                wait_until(
                    "gw-1 to renew its certificate", lambda: fleet.certificates("gw-1") - first["gw-1"] or None, 300.0
                )
        assert fleet.certificates("gw-3") == set(), "that of gw-3 has expired"
        states = scenes.units(floor, "gw-3", *scenes.GATEWAY_UNITS)
        assert set(states.values()) == {"active running"}, f"it watches its machine all the same: {states}"
        step.seen.append("gw-1 has renewed its certificate, that of gw-3 has expired; it went on watching")
        floor.machines["gw-3"].plug(into=True)
        until = time.monotonic() + 20
        while time.monotonic() < until:
            assert not fleet.hub.online("gw-3"), "an expired certificate let it in"
            time.sleep(1.0)
    with fleet.story.step("enroll.yml", "gw-3") as step:
        step.played.append(play(floor, "enroll", limit=["gw-3"], extra={"millwright_version": NEXT}))
        scenes.seen_online(floor, fleet.hub, "gw-3")
        fleet.scores_again("gw-3")
        assert fleet.certificates("gw-3")
        assert fleet.hub.online("gw-1")
        step.seen.append("back with a new certificate")


def test_nothing_is_left_behind(fleet: Fleet, tmp_path: Path) -> None:
    """No secret of the plant stands in any log that the playbooks wrote."""
    with fleet.story.step("logs", "controller") as step:
        written = "".join(path.read_text("utf-8", "replace") for path in fleet.floor.logs.iterdir())
        for secret in ("PRIVATE KEY", "correct horse battery staple", "Bearer mw_"):
            assert secret not in written
        step.seen.append(f"{len(written):,} characters without a secret")

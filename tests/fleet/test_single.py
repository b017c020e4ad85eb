"""A hub and one gateway, from bare Debian to a model that scores: the shortest form of `make test-fleet`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fleet import scenes
from tests.fleet.ansible import play
from tests.fleet.floor import floor_for_test
from tests.fleet.hub_api import HubApi
from tests.fleet.plant import VERSION, ensure_archives, furnish
from tests.fleet.processes import Process, wait_until
from tests.fleet.story import Story

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


_AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="machines are booted by root")


@_AS_ROOT
def test_nothing_is_left_of_machines_when_a_test_fails() -> None:
    with pytest.raises(ZeroDivisionError), floor_for_test(["gw-1", "gw-2"]) as floor:  # noqa: PT012 - a test that fails
        floor.boot("gw-1", "gw-2")
        floor.power_cycle("gw-2")
        floor.machines["gw-1"].plug(into=False)
        with pytest.raises(TimeoutError):
            floor.network.connect(floor.machines["gw-1"].address, 22, timeout_s=2.0)
        inits = [Process.of(int(pid)) for pid in _inits(floor.folder)]
        assert len(inits) == 4  # the container's and the machine's own, each
        assert all(inits)
        raise ZeroDivisionError
    assert not any(process.is_alive for process in inits if process is not None)
    assert not floor.folder.exists()
    assert not Path("/run/netns", floor.network.name).exists()
    assert not list(Path("/sys/fs/cgroup").glob(f"*/{floor.network.name}-*"))


def _inits(folder: Path) -> list[str]:
    return [line.split()[0] for pids in folder.glob("*/pids") for line in pids.read_text("ascii").splitlines()]


@_AS_ROOT
def test_from_bare_debian_to_a_model_that_scores(capsys: pytest.CaptureFixture[str]) -> None:
    story = Story()
    with floor_for_test(["hub", "gw-1"]) as floor:
        furnish(floor)
        with story.step("archives", "controller"):
            ensure_archives(VERSION)
        with story.step("boot", "hub", "gw-1"):
            floor.boot("hub", "gw-1")
            assert not scenes.is_open(floor, "hub", 443)
        with story.step("site.yml", "hub", "gw-1") as step:
            step.played.append(play(floor, "site"))
            scenes.everything_runs(floor, step, "hub", "gw-1")
            hub = HubApi(floor)
            scenes.seen_online(floor, hub, "gw-1")
        with story.step("frames, a model, scores", "hub", "gw-1") as step:
            scenes.publish(floor, "1.0.0")
            floor.ssh("hub", "sudo cloud-hub want gw-1 --bundle pump-vibration/1.0.0")
            wait_until("gw-1 to confirm the model", lambda: scenes.runs_bundle(hub, "gw-1", "1.0.0"), scenes.SEEN_S)
            before = scenes.windows_scored(hub, "gw-1")
            wait_until("scores", lambda: scenes.windows_scored(hub, "gw-1") > before, scenes.SEEN_S)
            step.seen.append("the hub hears of scored windows")
        with story.step("systemd-analyze security", "gw-1") as step:
            exposure = scenes.exposure(floor, "gw-1", "millwright-agent.service")
            assert exposure <= 2.0
            step.seen.append(f"{exposure}")
        with story.step("second run", "hub", "gw-1") as step:
            scenes.second_run(floor, step)
    with capsys.disabled():
        story.say("\n" + story.table())

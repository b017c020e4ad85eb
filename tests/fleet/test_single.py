"""A hub and one gateway, from bare Debian to a model that scores: the shortest form of `make test-fleet`."""

from __future__ import annotations

import os

import pytest

from tests.fleet import scenes
from tests.fleet.ansible import play
from tests.fleet.floor import floor_for_test
from tests.fleet.hub_api import HubApi
from tests.fleet.plant import VERSION, ensure_archives, furnish
from tests.fleet.processes import wait_until
from tests.fleet.story import Story

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.mark.skipif(os.geteuid() != 0, reason="machines are booted by root")
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

"""Candidates beside the one that runs, and what fails later: with a fake broker and no cryptography."""

from __future__ import annotations

import dataclasses
import errno
from pathlib import Path

import msgspec
import pytest

from edge_agent.errors import RuntimeLoadError
from edge_agent.update import State
from models.bundle.archive import CARD, EVALUATION, MODEL, SBOM, golden_members, pack_bundle, read_bundle
from models.contract.messages import CHUNK_BYTES
from models.signal.monitor import Result
from tests.edge_agent.kit import (
    CALIBRATION,
    SLOT,
    Site,
    bundle_bytes,
    config,
    faulty,
    point,
    wanted,
)  # fmt: skip

ONE = bundle_bytes()
TWO = bundle_bytes("2.0.0", padding=3 * CHUNK_BYTES)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    site.start()
    return site


def live(site: Site) -> Site:
    site.deliver(ONE)
    site.calibrate()
    assert site.record.state is State.CONFIRMED
    site.broker.log.clear()
    return site


def files(site: Site) -> set[str]:
    folder = site.folder / "slots" / SLOT
    return {path.name for path in folder.iterdir() if path.suffix in {".mwb", ".part"}}


def name(data: bytes) -> str:
    return f"{wanted(data).sha256}.mwb"


class TestShadow:
    def test_a_held_candidate_stays_until_a_want_lets_it_go(self, site: Site) -> None:
        live(site)
        held = msgspec.structs.replace(wanted(TWO), hold=True, shadow_windows=5)
        site.publish_bundle(TWO)
        site.publish_want(held)
        site.run(20)
        site.feed(CALIBRATION + 30)
        assert site.record.state is State.SHADOW
        state = site.agent.state().slots[0]
        assert state.error == "in shadow, waiting for: the hub, which holds it there"
        assert state.champion is not None
        assert state.candidate is not None
        assert state.champion.sha256 == wanted(ONE).sha256
        assert state.candidate.sha256 == wanted(TWO).sha256
        assert abs(state.champion.windows - state.candidate.windows) <= 2, "measured on the same windows"
        assert sum(state.candidate.scores) == state.candidate.windows >= 25
        assert state.candidate.memory_kb is not None
        assert state.candidate.window_us > 0.0
        site.broker.log.clear()
        site.publish_want(msgspec.structs.replace(held, hold=False))
        site.run(5)
        assert site.phases() == ["shadow", "active"], "nothing was fetched again"
        assert not [topic for topic, _, _ in site.broker.log if "/get" in topic]
        site.feed(5)
        assert site.record.state is State.CONFIRMED

    def test_enough_windows_are_compared_first_and_a_restart_does_not_begin_anew(self, site: Site) -> None:
        live(site)
        site.publish_bundle(TWO)
        site.publish_want(msgspec.structs.replace(wanted(TWO), shadow_windows=40))
        site.run(20)
        site.feed(CALIBRATION + 20)
        assert site.record.state is State.SHADOW
        assert "of 40 windows to compare" in (site.agent.state().slots[0].error or "")
        before = site.agent.state().slots[0].candidate
        site.agent.close()
        site.start()
        site.run(3)
        after = site.agent.state().slots[0].candidate
        assert after is not None
        assert before is not None
        assert (after.windows, after.scores, after.since_s) == (before.windows, before.scores, before.since_s)
        site.feed(12)
        assert site.record.state is State.SHADOW
        site.feed(12)
        assert site.record.state is State.CONFIRMED

    def test_alarms_of_a_candidate_never_go_up(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        live(site)
        site.publish_bundle(TWO)
        site.publish_want(msgspec.structs.replace(wanted(TWO), hold=True))
        site.run(20)
        site.feed(CALIBRATION + 2)
        candidate = site.agent.deliveries[SLOT].slot.candidate
        real = candidate.monitor.process
        monkeypatch.setattr(candidate.monitor, "process", lambda *a: [_loud(result) for result in real(*a)])
        site.feed(10)
        assert site.agent.state().slots[0].candidate.flagged >= 9
        assert site.agent.state().slots[0].candidate.alarms >= 1
        assert site.events() == []
        assert site.agent.state().points[0].verdict == "ok"
        site.feed(200)
        assert site.record.state is State.ROLLED_BACK
        assert site.record.reason == "shadow_flags"
        assert "the champion 0 of" in site.record.error
        assert site.events() == []

    def test_a_score_that_is_no_number_gives_a_candidate_up(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        live(site)
        site.deliver(TWO)
        site.feed(CALIBRATION - 2)
        candidate = site.agent.deliveries[SLOT].slot.candidate
        real = candidate.monitor.process
        strange = lambda *a: [dataclasses.replace(r, score=float("nan")) for r in real(*a)]  # noqa: E731
        monkeypatch.setattr(candidate.monitor, "process", strange)
        site.feed(3)
        assert (site.record.state, site.record.reason) == (State.ROLLED_BACK, "shadow_scores")
        assert site.agent.state().points[0].verdict == "ok"

    def test_on_probation_a_score_that_is_no_number_rolls_back(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        live(site)
        site.deliver(TWO)
        site.feed(CALIBRATION)
        site.run(3)
        assert site.record.state is State.ACTIVE
        champion = site.agent.deliveries[SLOT].slot.champion
        real = champion.monitor.process
        strange = lambda *a: [dataclasses.replace(r, score=float("inf")) for r in real(*a)]  # noqa: E731
        monkeypatch.setattr(champion.monitor, "process", strange)
        site.feed(1)
        assert (site.record.state, site.record.active.version) == (State.ROLLED_BACK, "1.0.0")

    def test_a_candidate_that_is_too_slow_on_live_samples_is_given_up(self, site: Site) -> None:
        live(site)
        site.publish_bundle(TWO)
        site.publish_want(msgspec.structs.replace(wanted(TWO), hold=True))
        site.run(20)
        site.feed(CALIBRATION)
        site.agent.deliveries[SLOT].slot._candidate_meter.took(1000.0, 1)
        site.feed(25)
        assert (site.record.state, site.record.reason) == (State.ROLLED_BACK, "shadow_latency")

    def test_a_second_bundle_learns_beside_the_first_and_takes_over(self, site: Site) -> None:
        live(site)
        site.deliver(TWO)
        assert site.record.state is State.SHADOW
        assert site.state().slots[0].active_version == "1.0.0"
        assert "waiting for" in (site.state().slots[0].error or "")
        verdicts = set()
        for _ in range(CALIBRATION + 3):
            site.feed(1)
            verdicts.add(site.agent.state().points[0].verdict)
        assert site.record.state is State.CONFIRMED
        assert "warming_up" not in verdicts, "the machine was never unwatched"
        assert site.record.active.version == "2.0.0"
        assert files(site) == {name(ONE), name(TWO)}
        site.feed(5)
        assert site.phases() == ["seen", "fetching", "fetched", "verified", "replayed", "shadow", "active", "confirmed"]

    def test_without_frames_the_candidate_waits(self, site: Site) -> None:
        live(site)
        site.deliver(TWO)
        site.run(5, 100.0)
        assert site.record.state is State.SHADOW
        assert "no point delivers frames" in (site.state().slots[0].error or "")

    def test_a_silent_point_does_not_hold_it_back_but_a_delivering_one_does(self, tmp_path: Path) -> None:
        site = Site(tmp_path)
        site.settings = config(tmp_path, point(), point("nde", node="node-2"))
        site.start()
        live(site)
        site.deliver(TWO)
        site.feed(CALIBRATION + 3)
        assert site.record.state is State.CONFIRMED
        assert site.record.active.version == "2.0.0"

    def test_a_candidate_does_not_learn_a_fault_as_healthy(self, site: Site) -> None:
        live(site)
        site.feed(8, faulty)
        site.deliver(TWO)
        site.feed(CALIBRATION * 2, faulty)
        assert site.record.state is State.SHADOW
        assert "held back while it is in alarm" in (site.agent.state().slots[0].error or "")
        site.feed(CALIBRATION + 10)
        assert site.record.state is State.CONFIRMED
        site.feed(8, faulty)
        assert site.agent.state().points[0].verdict == "alarm"

    def test_an_open_alarm_outlives_the_change_of_bundle(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        live(site)
        site.deliver(TWO)
        site.feed(CALIBRATION)
        site.feed(6, faulty)
        assert site.record.active.version == "2.0.0"
        site.feed(10)
        kinds = [(event.kind, event.alarm) for event in site.events()]
        assert [kind for kind, _ in kinds] == ["raised", "cleared"]
        assert len({alarm for _, alarm in kinds}) == 1


class TestFailure:
    def test_a_candidate_that_fails_in_shadow_is_dropped(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        live(site)
        site.deliver(TWO)
        candidate = site.agent.deliveries[SLOT].slot.candidate
        monkeypatch.setattr(candidate, "tick", _broken)
        site.feed(1)
        assert site.record.state is State.ROLLED_BACK
        assert site.acks()[-1].reason == "candidate_failed"
        assert site.acks()[-1].detail == "test: the runtime gave up"
        site.feed(2)
        assert site.agent.state().points[0].verdict == "ok"
        assert files(site) == {name(ONE)}

    def test_an_active_one_on_trial_that_fails_gives_way_to_the_previous(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        live(site)
        site.deliver(TWO)
        site.feed(CALIBRATION)
        site.run(3)
        assert site.record.state is State.ACTIVE
        monkeypatch.setattr(site.agent.deliveries[SLOT].slot.champion, "tick", _broken)
        site.feed(2)
        assert site.record.state is State.ROLLED_BACK
        assert site.record.active.version == "1.0.0"
        state = site.agent.state()
        assert state.slots[0].active_version == "1.0.0"
        assert state.points[0].verdict == "ok", "with its calibration from before"
        assert files(site) == {name(ONE)}

    def test_a_rolled_back_bundle_is_not_tried_again_by_the_same_want(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        live(site)
        site.deliver(TWO)
        monkeypatch.setattr(site.agent.deliveries[SLOT].slot.candidate, "tick", _broken)
        site.feed(1)
        site.kill()
        site.start()
        site.publish_metadata(b"metadata-2")
        site.run(30)
        assert site.record.state is State.ROLLED_BACK
        site.publish_want(wanted(TWO))
        site.run(30)
        assert site.record.state is State.SHADOW

    def test_too_many_starts_on_trial_roll_back(self, site: Site) -> None:
        live(site)
        site.deliver(TWO)
        site.feed(CALIBRATION)
        site.run(3)
        assert site.record.state is State.ACTIVE
        for _ in range(site.settings.update.max_starts):
            site.kill()
            site.start()
            assert site.record.state is State.ACTIVE
        site.kill()
        site.start()
        assert site.record.state is State.ROLLED_BACK
        assert site.record.active.version == "1.0.0"
        site.run(3)
        assert site.acks()[-1].reason == "boot_loop"
        site.feed(2)
        assert site.agent.state().points[0].verdict == "ok"

    def test_clean_stops_and_long_lives_are_no_boot_loop(self, site: Site) -> None:
        live(site)
        site.deliver(TWO)
        for _ in range(6):
            site.agent.close()
            site.start()
            site.run(10)
        for _ in range(6):
            site.kill()
            site.start()
            site.run(10, 40.0)
        assert site.record.state is State.SHADOW

    def test_a_file_that_was_damaged_on_the_disk_falls_back(self, site: Site) -> None:
        live(site)
        site.deliver(TWO)
        site.feed(CALIBRATION + 6)
        assert site.record.state is State.CONFIRMED
        (site.folder / "slots" / SLOT / name(TWO)).write_bytes(b"rot")
        site.kill()
        site.start()
        assert site.record.state is State.ROLLED_BACK
        assert site.record.active.version == "1.0.0"
        site.feed(2)
        assert site.agent.state().points[0].verdict == "ok"

    def test_settings_that_do_not_fit_cost_no_bundle_and_right_ones_bring_it_back(self, site: Site) -> None:
        live(site)
        right = site.settings
        for wrong, field in (({"units": "g"}, "units"), ({"rate_hz": 48_000.0}, "rate_hz")):
            site.settings = config(site.folder, point(**wrong))
            for _ in range(5):
                site.kill()
                site.start()
                site.run(3, 60.0)
            state = site.state().slots[0]
            assert (site.record.state, site.record.active.version) == (State.CONFIRMED, "1.0.0")
            assert state.error is not None
            why = f"nothing runs: bundle 1.0.0 does not load any more: bundle {SLOT}/1.0.0, {field}"
            assert state.error.startswith(why)
        site.settings = right
        site.kill()
        site.start()
        site.feed(3)
        site.run(20)
        assert site.state().slots[0].error is None
        assert site.agent.state().points[0].verdict == "ok", "what it had learned is there too"

    def test_a_disk_that_cannot_be_read_for_a_while_costs_no_bundle(
        self, site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        live(site)
        read = Path.read_bytes

        def failing(path: Path) -> bytes:
            if path.suffix == ".mwb":
                raise OSError(errno.EIO, "Input/output error")
            return read(path)

        site.kill()
        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_bytes", failing)
            site.start()
            site.run(5, 40.0)
            assert site.record.state is State.CONFIRMED
            assert "Input/output error" in (site.agent.state().slots[0].error or "")
        assert len([line for line in caplog.messages if "nothing runs" in line]) == 1
        site.run(5, 40.0)
        site.feed(3)
        assert site.agent.state().slots[0].error is None
        assert site.agent.state().points[0].verdict == "ok"

    def test_a_bundle_that_fits_takes_the_place_of_one_that_does_not_any_more(self, site: Site) -> None:
        live(site)
        site.settings = config(site.folder, point("nde", units="g"))
        site.kill()
        site.start()
        three = read_bundle(bundle_bytes("3.0.0"), "test")
        source = msgspec.structs.replace(three.manifest.input, units="g")
        golden = golden_members(three.golden.windows, three.golden.features, three.golden.scores)
        members = {MODEL: three.model, EVALUATION: b"{}", CARD: b"# Card", SBOM: b"{}", **golden}
        site.deliver(pack_bundle(msgspec.structs.replace(three.manifest, input=source), members))
        site.feed(CALIBRATION + 6)
        assert (site.record.state, site.record.active.version) == (State.CONFIRMED, "3.0.0")
        assert site.agent.state().slots[0].error is None


def _loud(result: Result) -> Result:
    """As if the candidate saw a fault in every window."""
    if result.score is None:
        return result
    return dataclasses.replace(result, score=5.0, verdict="alarm", change="raised")


def _broken(*_: object) -> None:
    raise RuntimeLoadError("test: the runtime gave up")

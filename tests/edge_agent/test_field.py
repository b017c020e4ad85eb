"""What a gateway meets in the field: clocks that are set, disks that fill up and are cleared again, floods."""

from __future__ import annotations

import errno
import logging
import resource
from pathlib import Path

import pytest

from edge_agent import storage
from edge_agent.errors import StorageError
from edge_agent.install import resident_bytes
from edge_agent.orders import MAX_WAITING_COMMANDS
from edge_agent.status import bounded_counters
from edge_agent.update import State
from models.contract.frames import encode_values
from models.contract.messages import AgentState, ReportCommand, decode, encode
from tests.edge_agent.kit import (
    CALIBRATION,
    GATEWAY,
    SLOT,
    UTC,
    WINDOW,
    Node,
    Site,
    bundle_bytes,
    config,
    faulty,
    healthy,
    point,
    wanted,
)

ONE, TWO = bundle_bytes(), bundle_bytes("2.0.0")
EXPIRES_S = int(UTC + 1e6)
DAY_S = 86_400.0


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    site.start()
    site.deliver(ONE)
    return site


def full(*_: object, **__: object) -> None:
    raise StorageError("disk: No space left on device")


class FullDisk(storage.Disk):
    """Has room for empty files only, as a file system whose blocks are used up."""

    def write(self, path: Path, data: bytes) -> None:
        super().write(path, b"")
        if data:
            raise OSError(errno.ENOSPC, "No space left on device")

    def put(self, path: Path, offset: int, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


class TestClock:
    @pytest.mark.parametrize("set_s", [-10 * 365 * DAY_S, DAY_S])
    def test_what_was_refused_by_a_wrong_clock_is_looked_at_again_by_the_right_one(
        self, site: Site, set_s: float
    ) -> None:
        """A gateway that starts with a clock far ahead finds that everything has expired, until the time is set."""
        site.publish_metadata(b"expired")
        site.publish_bundle(TWO)
        site.publish_want(wanted(TWO))
        site.run(5)
        assert site.acks()[-1].reason == "metadata_expired"
        site.trust.valid.add(b"expired")
        site.run(5)
        assert site.agent.orders.want_seq == 1, "not asked again before its time"
        site.time.stepped_s = set_s
        site.run(5)
        assert site.agent.orders.want_seq == 2

    def test_a_clock_that_is_set_lets_no_point_go_unwatched(self, tmp_path: Path) -> None:
        """All points but the first seem to be silent then: a candidate must wait for them all the same."""
        site = Site(tmp_path)
        second = Node("node-2")
        site.settings = config(tmp_path, point(), point("nde", node="node-2"))
        site.start()
        site.deliver(ONE)
        for _ in range(CALIBRATION + 2):
            site.feed(1)
            site.feed(1, node=second)
        site.publish_bundle(TWO)
        site.publish_want(wanted(TWO))
        site.run(20)
        assert site.record.state is State.SHADOW
        for _ in range(3):
            site.feed(3)
            site.feed(1, node=second)
        site.time.stepped_s = 3600.0
        site.feed(5)
        waits = site.agent.state().slots[0].error or ""
        assert site.record.state is State.SHADOW
        assert "P-101/nde: 7 windows to calibrate" in waits

    def test_a_silent_point_holds_nothing_back_when_the_clock_was_set_back(self, tmp_path: Path) -> None:
        site = Site(tmp_path)
        second = Node("node-2")
        site.settings = config(tmp_path, point(), point("nde", node="node-2"))
        site.start()
        site.deliver(ONE)
        for _ in range(CALIBRATION + 2):
            site.feed(1)
            site.feed(1, node=second)
        site.time.stepped_s = -DAY_S
        site.run(70, 1.0)
        site.publish_bundle(TWO)
        site.publish_want(wanted(TWO))
        site.run(20)
        site.feed(CALIBRATION + 5)
        assert site.record.active.sha256 == wanted(TWO).sha256


class TestDisk:
    def test_a_calibration_that_found_no_room_is_stored_when_there_is_some(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr("edge_agent.slot_folder.write_atomically", full)
            site.calibrate()
        site.feed(2)
        site.kill()
        site.start()
        site.run(3)
        assert site.agent.state().points[0].warmup_left == 0

    def test_an_open_alarm_that_found_no_room_keeps_its_id_over_a_restart(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        site.calibrate()
        with monkeypatch.context() as patch:
            patch.setattr("edge_agent.slot_folder.save_document", full)
            site.feed(6, faulty)
        site.feed(2, faulty)
        site.kill()
        site.start()
        site.run(3)
        site.feed(30)
        events = site.events()
        assert {event.kind for event in events} == {"raised", "cleared"}
        assert len({event.alarm for event in events}) == 1

    @pytest.mark.parametrize("state", [State.FETCHING, State.FETCHED, State.VERIFIED, State.SHADOW, State.CONFIRMED])
    def test_a_start_on_a_full_disk_watches_whatever_was_on_its_way(
        self, site: Site, monkeypatch: pytest.MonkeyPatch, state: State
    ) -> None:
        site.calibrate()
        if state is not State.CONFIRMED:
            site.publish_bundle(TWO, 0 if state is State.FETCHING else None)
            site.publish_want(wanted(TWO))
            for _ in range(40):
                if site.record.state is state:
                    break
                site.worker.held = site.record.state is State.FETCHED is state
                site.run(1)
        assert site.record.state is state
        site.kill()
        with monkeypatch.context() as patch:
            patch.setattr(storage, "disk", FullDisk())
            site.start()
            site.feed(3)
            assert site.agent.state().points[0].verdict == "ok", "what it has learned is there too"
            assert site.agent.deliveries[SLOT].slot.champion is not None
        site.worker.held = False
        site.publish_bundle(TWO)
        site.run(40, 1.0)
        site.feed(2 * CALIBRATION)
        expected = wanted(ONE if state is State.CONFIRMED else TWO).sha256
        assert site.record.active.sha256 == expected, "with room again it goes on where it was"

    def test_open_alarms_that_cannot_be_read_keep_no_machine_unwatched(self, site: Site) -> None:
        site.calibrate()
        site.kill()
        (site.folder / "slots" / SLOT / "alarms.json").write_text("rot")
        site.start()
        site.feed(3)
        state = site.agent.state()
        assert state.points[0].verdict == "ok"
        assert "open alarms are lost" in (state.slots[0].error or "")

    def test_a_full_disk_is_not_filled_further_with_one_line_over_and_over(
        self, site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        site.calibrate()
        caplog.set_level(logging.INFO)
        monkeypatch.setattr(site.agent.outbox, "add_event", full)
        site.feed(6, faulty)
        site.run(100)
        assert len([line for line in caplog.messages if "raised" in line]) == 1

    def test_events_that_memory_has_no_room_for_are_counted(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        site.calibrate()
        monkeypatch.setattr("edge_agent.agent.MAX_UNSTORED_EVENTS", 1)
        monkeypatch.setattr(site.agent.outbox, "add_event", full)
        site.feed(6, faulty)
        site.feed(20)
        assert site.agent.state().counters["events.lost"] == 1


class TestBounds:
    def test_wants_that_come_faster_than_they_are_verified_do_not_pile_up(self, site: Site) -> None:
        site.worker.held = True
        for _ in range(50):
            site.publish_want(wanted(TWO), genuine=False)
            site.run(1)
        assert len(site.worker.jobs) == 1
        site.publish_want(wanted(TWO))
        site.worker.held = False
        site.run(5)
        assert site.agent.orders.want_seq == site.seq, "the newest one counts"

    def test_commands_that_come_faster_than_they_are_verified_are_refused(self, site: Site) -> None:
        site.worker.held = True
        for at in range(2 * MAX_WAITING_COMMANDS):
            site.command(ReportCommand(gateway=GATEWAY, id=f"r-{at}", expires_s=EXPIRES_S))
        assert len(site.worker.jobs) <= MAX_WAITING_COMMANDS
        site.worker.held = False
        site.run(5)
        counters = site.agent.state().counters
        assert counters["commands.obeyed"] == counters["refused.command_flood"] == MAX_WAITING_COMMANDS

    def test_counters_stay_within_the_contract_whatever_clock_a_node_has(self, site: Site) -> None:
        samples = healthy(WINDOW, site.rng)
        for seq, clock in enumerate([0, 2**62 - 300, 0, 2**62 - 300, 0, 2**62 - 300]):
            site.broker.publish(
                site.node.topic, encode_values(samples, boot_id=1, seq=seq, clock=clock, rate_hz=12_000.0)
            )
        site.run(3)
        state = decode(AgentState, encode(site.agent.state()), "state")
        assert state.counters["samples.lost"] == 2**62
        assert bounded_counters({"a": 2**70}, {"m/p": {"crc": 2**63}}) == {"a": 2**62, "frames.crc:m/p": 2**62}

    def test_memory_is_counted_in_the_pages_of_this_machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        before, size = resident_bytes(), resource.getpagesize()
        monkeypatch.setattr("resource.getpagesize", lambda: 16 * size)
        assert resident_bytes() == pytest.approx(16 * before, rel=0.2)

"""The loop: outbox and receipts over a bad network, commands, captures, state and status, a failing disk."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from edge_agent import storage
from edge_agent.captures import MAX_CAPTURES, MAX_HELD_BYTES, MAX_IN_FLIGHT, SILENT_S, Captures
from edge_agent.errors import CommandError, StorageError
from edge_agent.reporting import HEARTBEAT_S
from edge_agent.status import MAX_COUNTERS, bounded_counters, read_status, render_status
from edge_agent.wire import WAKE_FRAMES, Inbox, Incoming, Lane
from models.contract import topics
from models.contract.messages import (
    CaptureChunk,
    CaptureCommand,
    RecalibrateCommand,
    ReportCommand,
    decode,
)
from tests.edge_agent.kit import CALIBRATION, GATEWAY, UTC, WINDOW, Site, bundle_bytes, faulty, healthy, point

EXPIRES_S = int(UTC + 1e6)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    site.start()
    site.deliver(bundle_bytes())
    site.calibrate()
    return site


def capture(identifier: str = "cap-1", seconds: int = 1, **changes: object) -> CaptureCommand:
    fields = {
        "gateway": GATEWAY, "id": identifier, "expires_s": EXPIRES_S, "machine": "P-101", "point": "de",
        "seconds": seconds,
    }  # fmt: skip
    return CaptureCommand(**fields | changes)  # type: ignore[arg-type]


def chunks(site: Site) -> list[CaptureChunk]:
    sent = site.broker.sent(topics.topic_of(topics.Capture(GATEWAY)))
    return [decode(CaptureChunk, payload, "capture") for payload in sent]


class TestUp:
    def test_events_reach_the_hub_exactly_once_over_a_network_that_loses_and_repeats(self, site: Site) -> None:
        stored: dict[tuple[str, int], str] = {}
        losing = np.random.default_rng(8)

        def hub(topic: str, payload: bytes) -> None:
            if topic == topics.topic_of(topics.Event(GATEWAY)) and losing.random() < 0.5:
                event = site.events()[-1]
                stored[event.boot_id, event.seq] = event.kind
                if losing.random() < 0.5:
                    site.receipt(events=[(event.boot_id, event.seq)])

        site.broker.listeners.append(hub)
        for _ in range(3):
            site.feed(6, faulty)
            site.transport.cut()
            site.feed(8)
            site.transport.mend()
            site.feed(4)
        for _ in range(30):
            site.run(3, 25.0)
            site.transport.cut()
            site.transport.mend()
        site.broker.listeners.clear()
        for key in stored:
            site.receipt(events=[key])
        assert set(stored) == {(event.boot_id, event.seq) for event in site.events()}
        assert list(stored.values()).count("raised") == list(stored.values()).count("cleared") == 3

    def test_what_happens_offline_is_sent_later(self, site: Site) -> None:
        site.feed(1)
        frames = [site.node.frame(faulty(WINDOW, site.rng)) for _ in range(6)]
        site.transport.cut()
        for frame in frames:  # they had come before the cut and were not looked at yet
            site.transport.inbox.put(Incoming(site.node.topic, frame))
        site.run(5)
        assert site.agent.state().points[0].verdict == "alarm"
        assert site.events() == []
        site.transport.mend()
        site.run(3)
        assert [event.kind for event in site.events()] == ["raised"]

    def test_the_state_is_told_on_change_and_as_a_heartbeat(self, site: Site) -> None:
        site.feed(25, faulty)
        assert site.state().points[0].verdict == "alarm"
        site.run(5, 1.1)
        topic = topics.topic_of(topics.State(GATEWAY))
        before = len(site.broker.sent(topic))
        site.run(int(3 * HEARTBEAT_S), 1.0)
        assert 3 <= len(site.broker.sent(topic)) - before <= 4

    def test_the_last_will_and_the_farewell(self, site: Site) -> None:
        site.kill()
        assert not site.state().online
        site.start()
        site.run(15)
        assert site.state().online
        site.agent.close()
        state = site.state()
        assert not state.online
        assert state.time_s > UTC

    def test_trends_carry_health(self, site: Site) -> None:
        site.feed(20)
        site.run(40, 1.0)
        site.feed(20)
        site.run(10, 1.0)
        health = [batch.health for batch in site.trends() if batch.health is not None]
        assert health[-1].rss_mb > 10
        assert health[-1].outbox_bytes >= 0
        assert sum(row.windows for batch in site.trends() for row in batch.rows) >= 40


class TestCommands:
    def test_a_capture_sends_what_was_measured(self, site: Site) -> None:
        site.command(capture(seconds=2))
        samples = healthy(WINDOW * 100, np.random.default_rng(4))
        for at in range(100):
            site.broker.publish(site.node.topic, site.node.frame(samples[at * WINDOW : (at + 1) * WINDOW]))
            site.run(1)
        got = chunks(site)
        assert [chunk.index for chunk in got] == [0, 1, 2]
        assert {chunk.total for chunk in got} == {3}
        assert got[0].axes == ["x"]
        data = np.concatenate([np.frombuffer(chunk.data, "<f4") for chunk in got])
        np.testing.assert_allclose(data, samples[: len(data), 0], atol=0.0006)
        site.receipt(chunks=[("cap-1", at) for at in range(3)])
        site.run(10, 60.0)
        assert len(chunks(site)) == 3

    def test_unreceipted_chunks_come_again(self, site: Site) -> None:
        site.command(capture())
        site.feed(60)
        first = len(chunks(site))
        site.run(1, 11.0)
        assert len(chunks(site)) == 2 * first
        assert site.agent.state().counters["captures.resent"] == first

    def test_captures_of_a_point_that_fell_silent_make_room_for_others(self, site: Site) -> None:
        for at in range(MAX_CAPTURES):
            site.command(capture(f"cap-{at}", seconds=60))
        site.feed(2)
        site.run(5, SILENT_S / 4)
        site.command(capture("next"))
        told = site.acks()[-MAX_CAPTURES:]
        assert {(ack.phase, ack.reason, ack.slot) for ack in told} == {("refused", "capture_silent", None)}
        assert told[0].detail == "capture cap-0: given up after 1 of 88 chunks: no frames of P-101/de for 900 s"
        assert len({chunk.capture for chunk in chunks(site)}) == MAX_CAPTURES, "what there was has gone up"
        site.feed(60)
        assert chunks(site)[-1].capture == "next"
        assert site.agent.state().counters["captures.given_up"] == MAX_CAPTURES

    def test_a_capture_goes_on_as_long_as_frames_come_now_and_then(self, site: Site) -> None:
        site.command(capture(seconds=1))
        for _ in range(64):
            site.feed(1)
            site.run(2, SILENT_S / 4)
        assert len({chunk.index for chunk in chunks(site)}) == 2
        assert "captures.given_up" not in site.agent.state().counters

    def test_a_command_is_carried_out_once_also_over_a_restart(self, site: Site) -> None:
        command = RecalibrateCommand(gateway=GATEWAY, id="r-1", expires_s=EXPIRES_S, machine="P-101", point="de")
        site.command(command)
        assert site.agent.state().points[0].warmup_left == CALIBRATION
        site.calibrate()
        site.command(command)
        site.kill()
        site.start()
        site.run(3)
        site.command(command)
        assert site.agent.state().points[0].warmup_left == 0
        assert site.agent.state().counters["commands.repeated"] == 1

    def test_a_forged_or_retained_command_does_nothing(self, site: Site) -> None:
        site.command(capture(), genuine=False)
        topic = topics.topic_of(topics.Command(GATEWAY))
        site.transport.inbox.put(Incoming(topic, b"{}", retained=True))
        site.feed(60)
        assert chunks(site) == []
        counters = site.agent.state().counters
        assert counters["refused.command_signature"] == counters["ignored.retained_command"] == 1

    def test_a_command_for_a_point_that_is_not_here(self, site: Site) -> None:
        site.command(capture(point="nowhere"))
        ack = site.acks()[-1]
        assert (ack.phase, ack.reason) == ("refused", "unknown_point")
        assert ack.detail == "command: this gateway has no point P-101/nowhere"

    def test_report_publishes_the_state(self, site: Site) -> None:
        site.run(30)
        topic = topics.topic_of(topics.State(GATEWAY))
        before = len(site.broker.sent(topic))
        site.command(ReportCommand(gateway=GATEWAY, id="rep-1", expires_s=EXPIRES_S))
        assert len(site.broker.sent(topic)) == before + 1


class TestCaptures:
    def test_a_gap_ends_a_chunk_and_marks_the_next(self) -> None:
        captures = Captures("gw-1", (point(),))
        captures.begin("c", 0, 2)
        captures.push(0, healthy(100, np.random.default_rng(1)), 1.0, gap=True)
        captures.push(0, healthy(8192, np.random.default_rng(1)), 2.0, gap=True)
        got = [decode(CaptureChunk, payload, "test") for _, payload in captures.due(0.0)]
        assert [(chunk.index, chunk.gap, len(chunk.data) // 4, chunk.time_s) for chunk in got] == [
            (0, False, 100, 1.0), (1, True, 8192, 2.0),
        ]  # fmt: skip

    def test_in_flight_and_in_memory_are_bounded(self) -> None:
        captures = Captures("gw-1", (point(),))
        captures.begin("c", 0, 3600)
        block = healthy(8192, np.random.default_rng(1))
        for _ in range(400):
            captures.push(0, block, 1.0, gap=False)
        assert captures._bytes < MAX_HELD_BYTES + 40_000
        assert captures.counters["captures.samples_left_out"] > 0
        due = captures.due(0.0)
        assert len(due) == MAX_IN_FLIGHT
        for key, _ in due:
            captures.mark_sent(key, 0.0, sent=True)
        assert captures.due(1.0) == []
        captures.receipt([key for key, _ in due[:3]])
        assert len(captures.due(1.0)) == 3
        captures.forget_in_flight()
        assert captures.due(2.0)[0][0] == due[3][0]

    def test_what_cannot_be_captured(self) -> None:
        captures = Captures("gw-1", (point(rate_hz=500_000.0),))
        with pytest.raises(CommandError, match="capture c: expected at most 100000 chunks, 86400 s make"):
            captures.begin("c", 0, 86_400)
        for at in range(MAX_CAPTURES):
            captures.begin(f"c{at}", 0, 1)
        with pytest.raises(CommandError, match="8 are under way already"):
            captures.begin("more", 0, 1)


class TestTrouble:
    def test_a_full_disk_is_reported_and_the_machines_stay_watched(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object, **__: object) -> None:
            raise StorageError("disk: No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(site.agent.outbox, "add_event", full)
            patch.setattr(storage, "write_atomically", full)
            patch.setattr("edge_agent.slot_folder.save_document", full)
            site.feed(6, faulty)
        assert site.agent.state().points[0].verdict == "alarm"
        assert site.agent.state().counters["storage_failed"] > 0
        site.feed(1, faulty)
        assert [event.kind for event in site.events()] == ["raised"], "kept in memory until the disk could take it"

    def test_frames_and_topics_that_nobody_asked_for(self, site: Site) -> None:
        frame = site.node.frame(healthy(WINDOW, site.rng))
        site.transport.inbox.put(Incoming(site.node.topic, frame, retained=True))
        site.transport.inbox.put(Incoming("mw/1/d/gw-2/dn/want", b"x"))
        site.run(2)
        counters = site.agent.state().counters
        assert counters["ignored.retained_frame"] == counters["ignored.unasked_topic"] == 1

    def test_an_exception_that_is_ours_ends_the_agent(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        def bug(*_: object) -> None:
            raise KeyError("a bug")

        monkeypatch.setattr(site.agent.deliveries["pump-vibration"].slot, "tick", bug)
        with pytest.raises(KeyError, match="a bug"):
            site.run(1)


class TestStatus:
    def test_it_is_written_and_rendered(self, site: Site) -> None:
        site.broker.publish(site.node.topic, b"short")
        site.feed(5)
        site.run(60)
        lock = storage.lock_folder(site.folder)
        status = read_status(site.folder)
        os.close(lock)
        text = render_status(status, status.state.time_s + 4.0)
        assert "gateway gw-1   running, 4 s ago   broker connected" in text
        assert "pump-vibration  confirmed  1.0.0 (" in text
        assert "P-101/de" in text
        assert "short 1" in text
        assert "frames.short" in text

    def test_of_an_agent_that_was_killed_does_not_claim_that_it_runs(self, site: Site) -> None:
        site.run(60)
        os.close(storage.lock_folder(site.folder))
        status = read_status(site.folder)
        assert (status.running, status.state.online) == (False, True)
        text = render_status(status, status.state.time_s + 86_400.0)
        assert "gateway gw-1   NOT running, ended without a word, 86400 s ago   broker NOT connected" in text

    def test_of_an_agent_that_was_told_to_end(self, site: Site) -> None:
        site.agent.close()
        text = render_status(read_status(site.folder), UTC + site.time.now_s + 5.0)
        assert "gateway gw-1   stopped, 5 s ago   broker NOT connected" in text

    def test_no_status_yet(self, tmp_path: Path) -> None:
        with pytest.raises(
            StorageError, match=r"status\.json: no status: No such file or directory; has the agent run"
        ):
            read_status(tmp_path)
        (tmp_path / "status.json").write_text("{}")
        with pytest.raises(StorageError, match=r"status\.json: damaged: "):
            read_status(tmp_path)

    def test_counters_stay_within_the_message(self) -> None:
        points = {f"m/p{at}": {"crc": at, "accepted": 5} for at in range(256)}
        kept = bounded_counters({"a": 1, "b": 0}, points)
        assert len(kept) == MAX_COUNTERS
        assert kept["a"] == 1
        assert "b" not in kept
        assert kept["frames.crc:m/p255"] == 255
        assert not any("accepted" in name for name in kept)


class TestInbox:
    def test_a_flood_of_frames_cannot_push_out_a_want(self) -> None:
        inbox = Inbox("mw/1/n/gw-1/")
        for _ in range(30_000):
            inbox.put(Incoming("mw/1/n/gw-1/x/f", b"frame"))
        inbox.put(Incoming("mw/1/d/gw-1/dn/want", b"want"))
        control, frames = inbox.take(0.0)
        assert [message.payload for message in control] == [b"want"]
        assert len(frames) == 256
        assert inbox.drops() == {"inbox.control_dropped": 0, "inbox.frames_dropped": 10_000}

    def test_a_lane_is_bounded_in_bytes_and_gives_them_back(self) -> None:
        lane = Lane(100, 1000)
        for _ in range(20):
            lane.put(Incoming("t", bytes(100)))
        assert (len(lane), lane.dropped) == (10, 10)
        lane.take(4)
        for _ in range(20):
            lane.put(Incoming("t", bytes(100)))
        assert len(lane) == 10

    def test_waiting_ends_with_a_message_or_a_wake(self) -> None:
        inbox = Inbox("f/")
        inbox.wake()
        assert inbox.take(60.0) == ([], [])
        for _ in range(WAKE_FRAMES):
            inbox.put(Incoming("f/1", b""))
        assert len(inbox.take(60.0)[1]) == WAKE_FRAMES
        inbox.put(Incoming("f/1", b""))
        assert len(inbox.take(0.0)[1]) == 1
        inbox.put(Incoming("want", b""))
        assert len(inbox.take(60.0)[0]) == 1

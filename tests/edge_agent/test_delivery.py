"""Wants and bundles, with a fake broker and no cryptography: every state, every restart, every refusal."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from edge_agent.config import UpdateSettings
from edge_agent.fetch import AHEAD
from edge_agent.update import State, share_of_jitter
from models.contract import topics
from models.contract.messages import CHUNK_BYTES, BlockBody, encode
from tests.edge_agent.kit import (
    CALIBRATION,
    FLEET,
    GATEWAY,
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
STEPS = ["seen", "fetching", "fetched", "verified", "replayed", "active"]


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


class TestWayIn:
    def test_a_first_bundle_goes_active_at_once_and_is_confirmed_by_running(self, site: Site) -> None:
        site.deliver(ONE)
        assert site.phases() == STEPS
        assert site.state().slots[0].active_version == "1.0.0"
        site.calibrate()
        assert site.phases() == [*STEPS, "confirmed"]
        assert files(site) == {name(ONE)}
        assert {ack.seq for ack in site.acks()} == {1}

    @pytest.mark.parametrize("order", [("want", "metadata", "chunks"), ("metadata", "want", "chunks")])
    def test_want_and_metadata_come_in_any_order(self, site: Site, order: tuple[str, ...]) -> None:
        publish: dict[str, Callable[[], None]] = {
            "want": lambda: site.publish_want(wanted(ONE)),
            "metadata": site.publish_metadata,
            "chunks": lambda: site.publish_bundle(ONE),
        }
        for what in order:
            publish[what]()
            site.run(3)
        site.run(20)
        assert site.phases() == STEPS

    def test_only_missing_chunks_are_subscribed_to(self, site: Site) -> None:
        site.publish_metadata()
        site.publish_want(wanted(TWO))
        site.run(5)
        asked = {f for f in site.transport.filters if "/b/" in f}
        assert asked == {topics.topic_of(topics.Chunk(wanted(TWO).sha256, at)) for at in range(AHEAD)}
        site.publish_bundle(TWO)
        site.run(20)
        assert not {f for f in site.transport.filters if "/b/" in f}
        assert site.record.state is State.ACTIVE

    def test_the_same_want_again_changes_nothing(self, site: Site) -> None:
        live(site)
        for _ in range(3):
            site.transport.cut()
            site.transport.mend()
            site.run(10)
        assert site.phases() == []
        assert site.trust.asked.count("want") == 1

    def test_not_before_is_waited_for(self, site: Site) -> None:
        site.publish_bundle(ONE)
        site.publish_metadata()
        begin_s = int(site.time.clock().utc()) + 100
        site.publish_want(wanted(ONE), not_before_s=begin_s)
        site.run(10)
        assert site.record.state is State.SEEN
        site.run(1, 101.0)
        site.run(20)
        assert site.record.state is State.ACTIVE

    def test_a_stall_is_reported_and_goes_on(self, site: Site) -> None:
        site.publish_metadata()
        site.publish_want(wanted(ONE))
        site.run(5)
        site.run(3, 21.0)
        stalled = [ack for ack in site.acks() if ack.reason == "stalled"]
        assert stalled
        assert f"at 0 of {len(ONE)} bytes; still waiting for 0" in (stalled[0].detail or "")
        assert "no chunk for a while" in (site.state().slots[0].error or "")
        site.publish_bundle(ONE)
        site.run(20)
        assert site.record.state is State.ACTIVE
        assert site.state().slots[0].error is None

    def test_a_faulty_network_only_delays(self, tmp_path: Path) -> None:
        site = Site(tmp_path)
        site.broker.loss, site.broker.duplicate, site.broker.reorder = 0.3, 0.3, 0.3
        site.start()
        site.publish_bundle(TWO)
        site.publish_metadata()
        site.publish_want(wanted(TWO))
        for _ in range(40):
            site.run(10)
            site.transport.cut()
            site.transport.mend()
        assert site.record.state is State.ACTIVE
        assert site.state().slots[0].active_version == "2.0.0"


class TestRepair:
    """What the broker retains is missing or is not what was published; the hub is there."""

    def test_a_poisoned_chunk_is_found_and_mended_by_the_hub(self, site: Site) -> None:
        desk = site.answer_requests(TWO)
        site.publish_bundle(TWO)
        chunk = topics.topic_of(topics.Chunk(wanted(TWO).sha256, 2))
        site.broker.retained[chunk] = bytes(CHUNK_BYTES)
        site.publish_metadata()
        site.publish_want(wanted(TWO))
        site.run(30)
        assert site.record.state is State.ACTIVE
        assert desk.counters["sent"] == 2, "the digests, and the one block that was wrong"
        assert site.broker.retained[chunk] == TWO[2 * CHUNK_BYTES : 3 * CHUNK_BYTES], "mended for everybody"
        assert "fetching" in site.phases()[site.phases().index("fetched") :]

    def test_a_missing_chunk_comes_from_the_hub(self, site: Site) -> None:
        desk = site.answer_requests(TWO)
        site.publish_bundle(TWO)
        del site.broker.retained[topics.topic_of(topics.Chunk(wanted(TWO).sha256, 1))]
        site.publish_metadata()
        site.publish_want(wanted(TWO))
        site.run(10)
        assert desk.counters["sent"] == 0, "not at once: the chunk may be under way"
        site.run(3, 21.0)
        site.run(20)
        assert site.record.state is State.ACTIVE
        assert desk.counters["sent"] >= 1

    def test_nothing_retained_at_all(self, site: Site) -> None:
        site.answer_requests(TWO)
        site.publish_metadata()
        site.publish_want(wanted(TWO))
        site.run(5)
        site.run(3, 21.0)
        site.run(30)
        assert site.record.state is State.ACTIVE

    @pytest.mark.parametrize("lie", ["all is well", "all is wrong", "too short"])
    def test_a_lie_about_digests_ends_in_a_refusal_or_in_the_right_file(self, site: Site, lie: str) -> None:
        live(site)
        site.publish_bundle(TWO)
        sha256, chunks = wanted(TWO).sha256, -(-len(TWO) // CHUNK_BYTES)
        poison = bytes(CHUNK_BYTES)
        site.broker.retained[topics.topic_of(topics.Chunk(sha256, 1))] = poison
        parts = [TWO[at : at + CHUNK_BYTES] for at in range(0, len(TWO), CHUNK_BYTES)]
        parts[1] = poison
        said = {
            "all is well": b"".join(hashlib.sha256(part).digest()[:16] for part in parts),
            "all is wrong": bytes(16 * chunks),
            "too short": bytes(15),
        }[lie]

        def spoof(topic: str, payload: bytes) -> None:
            if topic.endswith("/get"):
                answer = BlockBody(sha256=sha256, data=said)
                site.broker.publish(topics.topic_of(topics.Block(GATEWAY)), encode(answer))

        site.broker.listeners.append(spoof)
        site.publish_want(wanted(TWO))
        site.run(150, 1.0)
        site.run(20)
        assert site.record.state is State.REFUSED
        assert site.record.reason == "target_digest"
        assert files(site) == {name(ONE)}

    def test_blocks_that_nobody_asked_for_are_counted(self, site: Site) -> None:
        live(site)
        topic = topics.topic_of(topics.Block(GATEWAY))
        site.broker.publish(topic, encode(BlockBody(sha256=wanted(TWO).sha256, index=0, data=b"x")))
        site.broker.publish(topic, b"\xc1")
        site.broker.publish(topic, b"x", retain=True)
        site.run(3)
        counters = site.agent.all_counters()
        assert (counters["ignored.block"], counters["refused.block"]) == (1, 2)

    def test_a_bundle_that_is_still_on_the_disk_is_not_fetched_again(self, site: Site) -> None:
        live(site)
        site.deliver(TWO)
        site.feed(CALIBRATION + 6)
        assert site.record.active.version == "2.0.0"
        site.broker.retained = {t: p for t, p in site.broker.retained.items() if "/b/" not in t}
        site.publish_want(wanted(ONE))
        site.run(20)
        assert site.record.state is State.ACTIVE, "with what it had learned before"
        site.feed(6)
        assert site.record.state is State.CONFIRMED
        assert site.record.active.version == "1.0.0"

    def test_a_cap_on_bytes_a_second_spreads_the_chunks(self, tmp_path: Path) -> None:
        site = Site(tmp_path)
        site.settings = config(tmp_path, update=UpdateSettings(confirm_ticks=3, max_bytes_s=CHUNK_BYTES / 10))
        site.start()
        site.deliver(TWO)
        assert site.record.state is State.FETCHING
        assert site.agent.deliveries[SLOT].fetcher.fetched_bytes == CHUNK_BYTES
        site.run(100, 0.1)
        assert site.agent.deliveries[SLOT].fetcher.fetched_bytes == 2 * CHUNK_BYTES
        site.run(400, 0.1)
        assert site.record.state is State.ACTIVE
        assert not [ack for ack in site.acks() if ack.reason == "stalled"], "waiting for its own pace is no stall"

    def test_jitter_is_the_same_each_time_and_spread_over_gateways(self, site: Site) -> None:
        site.publish_metadata()
        site.publish_want(wanted(TWO), jitter_s=1000)
        site.run(3)
        first = site.record.begin_s
        site.kill()
        site.start()
        site.run(3)
        assert site.record.begin_s == first
        shares = sorted(share_of_jitter(f"gw-{at}", 7) for at in range(1000))
        assert max(abs(share - at / 1000) for at, share in enumerate(shares)) < 0.05


class TestRefusal:
    """Whatever is offered, what runs goes on, and the hub learns why."""

    def refused(self, site: Site, reason: str, slot: str | None = SLOT) -> str:
        ack = [ack for ack in site.acks() if ack.phase == "refused"][-1]
        assert (ack.reason, ack.slot) == (reason, slot)
        site.feed(3)
        state = site.agent.state()
        assert state.slots[0].active_version == "1.0.0"
        assert state.points[0].verdict == "ok"
        assert files(site) == {name(ONE)}
        return ack.detail or ""

    def test_a_forged_want(self, site: Site) -> None:
        live(site)
        site.publish_want(wanted(TWO), genuine=False)
        site.run(5)
        assert self.refused(site, "want_signature", None) == "want: no signature of the director"
        assert site.agent.state().counters["refused.want_signature"] == 1
        assert site.record.state is State.CONFIRMED

    def test_a_want_for_another_gateway_or_replayed(self, site: Site) -> None:
        live(site)
        site.publish_want(wanted(TWO), gateway="gw-2")
        site.run(5)
        self.refused(site, "want_foreign", None)
        site.publish_want(wanted(TWO), expires_s=1)
        site.run(5)
        self.refused(site, "want_expired", None)

    def test_a_want_under_expired_metadata_is_followed_once_the_metadata_is_fresh(self, site: Site) -> None:
        live(site)
        site.publish_bundle(TWO)
        site.publish_metadata(b"expired")
        site.publish_want(wanted(TWO))
        site.run(5)
        self.refused(site, "metadata_expired", None)
        site.publish_metadata(b"metadata-3")
        site.run(20)
        assert site.record.state is State.SHADOW

    def test_a_want_is_looked_at_again_when_the_worker_had_failed(self, site: Site) -> None:
        live(site)
        site.trust.down = True
        site.publish_bundle(TWO)
        site.publish_want(wanted(TWO))
        site.run(10)
        self.refused(site, "worker_failed", None)
        asked = len(site.trust.asked)
        site.trust.down = False
        site.run(10)
        assert len(site.trust.asked) == asked, "not at once"
        site.run(1, 61.0)
        site.run(20)
        assert site.record.state is State.SHADOW

    def test_poisoned_chunks(self, site: Site) -> None:
        live(site)
        site.publish_bundle(TWO)
        chunk = topics.topic_of(topics.Chunk(wanted(TWO).sha256, 1))
        site.broker.retained[chunk] = bytes(CHUNK_BYTES)
        site.publish_want(wanted(TWO))
        site.run(30)
        site.run(120, 1.0)  # nobody answers, and all of it fetched again is no better
        site.run(20)
        assert "expected SHA-256" in self.refused(site, "target_digest")
        site.publish_bundle(TWO)
        site.publish_metadata(b"metadata-2")
        site.run(30)
        assert site.record.state is State.SHADOW, "new metadata is another chance"

    def test_golden_vectors_that_come_out_otherwise(self, site: Site) -> None:
        live(site)
        site.deliver(bundle_bytes("3.0.0", wrong_scores=True))
        assert "a golden score differs by 50.00%" in self.refused(site, "replay")
        site.publish_metadata(b"metadata-2")
        site.run(20)
        assert site.record.state is State.REFUSED, "fresh metadata cannot mend wrong scores"

    def test_a_bundle_for_another_slot_under_our_name(self, site: Site) -> None:
        live(site)
        foreign = bundle_bytes("9.0.0", "fan-vibration")
        site.publish_bundle(foreign)
        site.publish_want(msgspec.structs.replace(wanted(foreign), slot=SLOT))
        site.run(30)
        assert "is for slot fan-vibration, expected pump-vibration" in self.refused(site, "mismatch")

    def test_a_bundle_that_does_not_fit_the_points(self, tmp_path: Path) -> None:
        site = Site(tmp_path)
        site.settings = config(tmp_path, point(units="g"))
        site.start()
        site.deliver(ONE)
        ack = site.acks()[-1]
        assert (ack.phase, ack.reason) == ("refused", "mismatch")
        assert "units: point P-101/de has 'g', the bundle wants 'm/s2'" in (ack.detail or "")

    def test_a_slot_that_this_gateway_does_not_have(self, site: Site) -> None:
        live(site)
        site.publish_want(wanted(ONE), wanted(bundle_bytes("9.0.0", "fan-vibration")))
        site.run(10)
        assert "no point of this gateway names slot" in self.refused(site, "unknown_slot", "fan-vibration")

    def test_junk_on_every_topic(self, site: Site) -> None:
        live(site)
        for address in (
            topics.Want(GATEWAY), topics.Command(GATEWAY), topics.Receipt(GATEWAY), topics.Metadata(FLEET),
        ):  # fmt: skip
            for payload in (b"", b"{}", b"\xff" * 100, b"x" * 5_000_000):
                site.broker.publish(topics.topic_of(address), payload)
                site.run(3)
        self.refused(site, "metadata_format", None)
        counters = site.agent.state().counters
        assert counters["refused.receipt"] == 3, "an empty object is a receipt for nothing"
        assert counters["refused.metadata_format"] == 2
        assert counters["refused.want_format"] == 2


class TestPower:
    """A kill -9 in every state: it comes back with the old model or the new one, and goes on where it was."""

    @pytest.mark.parametrize("first", [True, False], ids=["first bundle", "beside a champion"])
    def test_a_kill_after_every_turn_of_the_loop(self, tmp_path: Path, first: bool) -> None:
        site = Site(tmp_path)
        site.settings = config(tmp_path, update=site.settings.update.__class__(confirm_ticks=3, max_starts=1000))
        site.start()
        if not first:
            live(site)
        site.publish_bundle(TWO)
        site.publish_metadata()
        site.publish_want(wanted(TWO))
        seen = set()
        for turn in range(60):
            site.run(turn % 3)
            seen.add(site.record.state)
            site.kill()
            site.start()
            if not first:
                assert site.agent.deliveries[SLOT].slot.champion is not None, "never neither"
            site.run(1)
            seen.add(site.record.state)
        site.run(20)
        site.feed(CALIBRATION + 6)
        assert site.record.state is State.CONFIRMED
        assert site.record.active.version == "2.0.0"
        assert len(seen) >= 2, "kills came in the midst of it"

    @pytest.mark.parametrize("state", [State.SEEN, State.FETCHING, State.FETCHED, State.VERIFIED, State.REPLAYED])
    def test_each_state_is_resumed(self, site: Site, state: State, monkeypatch: pytest.MonkeyPatch) -> None:
        live(site)
        _stop_at(site, state)
        site.kill()
        site.start()
        assert site.record.state is state
        assert site.agent.deliveries[SLOT].slot.champion is not None
        if state is State.SEEN:
            site.run(1, 200.0)
        site.worker.held = False
        site.publish_bundle(TWO)
        site.run(30)
        assert site.record.state is State.SHADOW
        site.feed(CALIBRATION + 6)
        assert site.record.active.version == "2.0.0"

    def test_a_fetch_goes_on_from_its_part(self, site: Site) -> None:
        live(site)
        site.publish_want(wanted(TWO))
        sha256 = wanted(TWO).sha256
        site.run(3)
        for at in (0, 1):
            chunk = TWO[at * CHUNK_BYTES : (at + 1) * CHUNK_BYTES]
            site.broker.publish(topics.topic_of(topics.Chunk(sha256, at)), chunk)
        site.run(2)
        site.kill()
        site.start()
        site.run(2)
        asked = {f for f in site.transport.filters if "/b/" in f}
        assert topics.topic_of(topics.Chunk(sha256, 1)) not in asked
        assert topics.topic_of(topics.Chunk(sha256, 2)) in asked

    def test_power_lost_between_rename_and_record(self, site: Site) -> None:
        """The bundle has its final name, the record still says `fetched`."""
        live(site)
        _stop_at(site, State.FETCHED)
        folder = site.folder / "slots" / SLOT
        (folder / f"{wanted(TWO).sha256}.part").rename(folder / name(TWO))
        site.kill()
        site.worker.held = False
        site.start()
        site.run(10)
        assert site.record.state is State.SHADOW

    def test_calibration_and_alarm_survive(self, site: Site) -> None:
        live(site)
        site.feed(8, faulty)
        raised = site.events()[-1]
        assert raised.kind == "raised"
        site.kill()
        site.start()
        assert site.agent.state().points[0].warmup_left == 0
        site.feed(10)
        cleared = [event for event in site.events() if event.kind == "cleared"]
        assert [event.alarm for event in cleared] == [raised.alarm]

    def test_an_alarm_that_goes_on_over_a_restart_is_not_raised_twice(self, site: Site) -> None:
        live(site)
        site.feed(8, faulty)
        site.kill()
        site.start()
        site.feed(8, faulty)
        assert len({event.alarm for event in site.events()}) == 1


def _stop_at(site: Site, state: State) -> None:
    """Let a want for TWO come exactly as far as `state`."""
    delivery = site.agent.deliveries[SLOT]
    if state is State.SEEN:
        site.publish_want(wanted(TWO), not_before_s=int(site.time.clock().utc()) + 100)
        site.run(3)
    else:
        if state is not State.FETCHING:
            site.publish_bundle(TWO)
        site.publish_want(wanted(TWO))
        before = State.VERIFIED if state is State.REPLAYED else state
        for _ in range(200):
            if delivery.record.state is before:
                break
            site.time.now_s += 0.11
            site.agent.step(0.0)
        if state is State.REPLAYED:  # the loop goes on from here within the same turn
            site.worker.poll()
    site.worker.held = True
    assert delivery.record.state is state

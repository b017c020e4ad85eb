"""Frames to samples: order, gaps, restarts of the node, and a counter for everything that is dropped."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.intake import Intake
from models.contract.frames import FrameFlag, encode_values
from tests.edge_agent.kit import GATEWAY, Node, healthy, point

RNG = np.random.default_rng(1)
SAMPLES = healthy(32, RNG)


def make() -> tuple[Intake, Node]:
    return Intake(GATEWAY, [point(), point("nde", node="node-2")]), Node()


def give(intake: Intake, node: Node, flags: FrameFlag = FrameFlag.NONE) -> bool | None:
    """None: dropped, else whether there was a gap."""
    arrival = intake.accept(node.topic, node.frame(SAMPLES, flags), 1.0)
    return arrival.gap if arrival is not None else None


def test_frames_in_order_are_contiguous() -> None:
    intake, node = make()
    assert [give(intake, node) for _ in range(4)] == [True, False, False, False]
    assert intake.counters == {"accepted": 4}
    assert intake.last_frame_s == [1.0, None]


def test_samples_come_out_as_they_went_in() -> None:
    intake, node = make()
    arrival = intake.accept(node.topic, node.frame(SAMPLES), 1.0)
    assert arrival is not None
    assert arrival.point == 0
    np.testing.assert_allclose(arrival.samples, SAMPLES, atol=0.0006)


def test_a_lost_frame_is_a_gap_of_known_size() -> None:
    intake, node = make()
    give(intake, node)
    node.lose(100)
    assert give(intake, node) is True
    assert give(intake, node) is False
    assert intake.point_counters[0]["gap"] == 1
    assert intake.lost_samples == [100, 0]


def test_duplicates_and_late_frames_are_dropped_and_leave_no_gap() -> None:
    intake, node = make()
    frames = [node.frame(SAMPLES) for _ in range(3)]
    for at in (0, 1, 1, 0, 2):
        intake.accept(node.topic, frames[at], 1.0)
    assert intake.counters == {"accepted": 3, "duplicate": 1, "out_of_order": 1}


def test_a_restart_of_the_node_begins_a_new_stream_and_the_old_one_is_over() -> None:
    intake, node = make()
    give(intake, node)
    late = node.frame(SAMPLES)
    node.reboot()
    assert give(intake, node) is True
    assert give(intake, node) is False
    assert intake.accept(node.topic, late, 1.0) is None
    assert give(intake, node) is False
    assert intake.counters == {"accepted": 4, "reboot": 1, "old_boot": 1}


def test_sequence_numbers_wrap() -> None:
    intake, node = make()
    node.seq = 2**32 - 2
    results = [give(intake, node) for _ in range(2)]
    node.seq %= 2**32
    results += [give(intake, node) for _ in range(2)]
    assert results == [True, False, False, False]


def test_an_overrun_and_a_clock_set_back_are_gaps() -> None:
    intake, node = make()
    give(intake, node)
    assert give(intake, node, FrameFlag.OVERRUN) is True
    node.clock = 0
    assert give(intake, node) is True
    assert give(intake, node) is False
    assert intake.counters["overrun"] == intake.counters["clock_back"] == 1


def test_saturation_is_counted_and_a_sensor_fault_drops() -> None:
    intake, node = make()
    give(intake, node)
    assert give(intake, node, FrameFlag.SATURATED) is False
    assert give(intake, node, FrameFlag.SENSOR_FAULT) is None
    assert give(intake, node) is True, "what came before the fault must not be in one window with what comes after"
    assert intake.counters["saturated"] == intake.counters["sensor_fault"] == 1


@pytest.mark.parametrize(("rate_hz", "taken"), [(12_000 * 1.0049, True), (12_000 * 1.0051, False), (6000.0, False)])
def test_the_rate_must_be_the_points(rate_hz: float, taken: bool) -> None:
    intake, node = make()
    node.rate_hz = rate_hz
    assert (give(intake, node) is not None) is taken
    assert intake.counters == ({"accepted": 1} if taken else {"rate": 1})


def test_the_axes_must_be_the_points() -> None:
    intake, node = make()
    assert intake.accept(node.topic, node.frame(healthy(8, RNG, axes=2)), 1.0) is None
    assert intake.point_counters[0] == {"axes": 1}


def test_a_frame_of_the_wrong_kind_breaks_the_stream() -> None:
    intake, node = make()
    give(intake, node)
    node.rate_hz = 6000.0
    give(intake, node)
    node.rate_hz = 12_000.0
    assert give(intake, node) is True


def test_unknown_nodes_and_ports() -> None:
    intake, node = make()
    assert intake.accept(Node("stranger").topic, node.frame(SAMPLES), 1.0) is None
    node.port = 3
    assert give(intake, node) is None
    assert intake.counters == {"unknown_node": 1, "unknown_port": 1}


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[:20], "short"),
        (lambda data: data[:-1], "short"),
        (lambda data: data + b"x", "long"),
        (lambda data: b"XX" + data[2:], "magic"),
        (lambda data: data[:60] + bytes([data[60] ^ 1]) + data[61:], "crc"),
    ],
)
def test_what_cannot_be_decoded_is_counted_for_the_point(damage, reason: str) -> None:
    intake, node = make()
    assert intake.accept(node.topic, damage(node.frame(SAMPLES)), 1.0) is None
    assert intake.point_counters[0] == {reason: 1}


def test_nan_is_counted() -> None:
    intake, node = make()
    values = np.full((8, 1), np.nan, np.float32)
    data = encode_values(values, boot_id=1, seq=0, clock=0, rate_hz=12_000.0)
    assert intake.accept(node.topic, data, 1.0) is None
    assert intake.counters == {"nan": 1}


@pytest.mark.parametrize("value", [3e38, -1e30, 1.01e8])
def test_what_no_sensor_measures_is_counted(value: float) -> None:
    """Squares and fourth powers of it are no numbers any more."""
    intake, node = make()
    data = encode_values(np.full((8, 1), value, np.float32), boot_id=1, seq=0, clock=0, rate_hz=12_000.0)
    assert intake.accept(node.topic, data, 1.0) is None
    assert intake.counters == {"range": 1}


@pytest.mark.parametrize("restarts", [1, 2])
def test_a_board_that_draws_the_same_boot_id_again_is_believed_after_a_while(restarts: int) -> None:
    """Without a source of randomness every start draws the same one: its machine must not go unwatched for weeks."""
    intake, node = make()
    for _ in range(40):
        give(intake, node)
    for _ in range(restarts):
        node.seq = node.clock = 0
        taken = [give(intake, node) for _ in range(30)]
        first = next(at for at, gap in enumerate(taken) if gap is not None)
        assert 4 <= first <= 20, "not at the first late frame"
        assert taken[first:] == [True] + [False] * (29 - first)
    assert intake.counters["reboot"] == restarts


def test_a_board_that_takes_turns_between_two_boot_ids_is_believed_after_a_while() -> None:
    intake, node = make()
    for boot_id in (7, 9, 7):
        node.boot_id, node.seq, node.clock = boot_id, 0, 0
        taken = [give(intake, node) for _ in range(30)]
        assert taken[-1] is False
    assert intake.counters["reboot"] == 2


def test_two_boards_of_one_name_do_not_take_turns() -> None:
    """Each frame of one between two of the other: no window could ever be filled."""
    intake, node = make()
    other = Node(boot_id=99)
    give(intake, other)
    give(intake, node)
    assert [(give(intake, other), give(intake, node)) for _ in range(60)] == [(None, False)] * 60
    assert intake.counters["old_boot"] == 60


@given(st.binary(max_size=300), st.integers(0, 3))
def test_no_bytes_raise(data: bytes, keep: int) -> None:
    intake, node = make()
    good = node.frame(SAMPLES)
    intake.accept(node.topic, good[: keep * 20] + data, 1.0)
    assert sum(intake.counters.values()) == 1


@given(st.lists(st.sampled_from(["frame", "lose", "again", "late", "reboot"]), max_size=40))
def test_samples_between_gaps_are_always_contiguous(steps: list[str]) -> None:
    """Whatever is lost, repeated or reordered: without `gap`, the first sample follows the last one."""
    intake, node = make()
    sent: list[bytes] = []
    end: tuple[int, int] | None = None
    for step in steps:
        if step == "frame" or not sent:
            sent.append(node.frame(SAMPLES))
            data = sent[-1]
        elif step == "lose":
            node.lose(32)
            continue
        elif step == "reboot":
            node.reboot()
            continue
        else:
            data = sent[-1] if step == "again" else sent[0]
        arrival = intake.accept(node.topic, data, 1.0)
        if arrival is not None:
            boot, _, clock = struct.unpack_from("<IIQ", data, 12)
            assert arrival.gap or end == (boot, clock)
            end = (boot, clock + len(arrival.samples))

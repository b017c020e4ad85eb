from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest

from firmware_sim.board import BoardSpec, Clocked, Converter, Framer, Stuck
from firmware_sim.node import Node, NodeSpec, PortSpec
from models.contract.frames import Frame, FrameFlag, decode_frame
from tests.firmware_sim.builders import everything, frames_of


def converter(
    axes: tuple[str, ...] = ("radial",), rate_hz: float = 1000.0, *, digital: bool = True, **spec: Any
) -> Converter:
    board = BoardSpec(**{"noise_density": 0.0, **spec})
    return Converter(board, 0, axes, rate_hz, np.random.default_rng(1), digital=digital)


T = np.arange(1000) / 1000.0


@dataclasses.dataclass
class Ramp:
    """A source whose sample k is k."""

    position: int = 0

    def block(self, n: int) -> np.ndarray:
        out = np.arange(self.position, self.position + n, dtype=float)[:, None]
        self.position += n
        return out


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_counts_are_whole_and_within_half_a_step(bits):
    convert = converter(bits=bits, full_scale=10.0)
    x = 9.9 * np.sin(T * 20)[:, None]
    counts, flags = convert.convert(x, T)
    assert np.array_equal(counts, np.rint(counts))
    assert np.abs(counts).max() < 2 ** (bits - 1)
    assert np.abs(counts * convert.scale - x).max() <= convert.scale / 2 * 1.000001
    assert flags == FrameFlag.NONE


def test_beyond_full_scale_is_clipped_and_flagged():
    convert = converter(bits=12, full_scale=1.0)
    counts, flags = convert.convert(np.array([[0.5], [3.0], [-3.0]]), T[:3])
    assert flags == FrameFlag.SATURATED
    assert counts[1, 0] == 2047
    assert counts[2, 0] == -2048


def test_noise_has_the_density_asked_for():
    convert = converter(rate_hz=1000.0, noise_density=0.01, full_scale=10.0)
    counts, _ = convert.convert(np.zeros((100_000, 1)), np.arange(100_000) / 1000.0)
    assert (counts * convert.scale).std() == pytest.approx(0.01 * np.sqrt(500.0), rel=0.02)


def test_a_stuck_axis_repeats_its_last_value_for_its_time_and_the_other_goes_on():
    convert = converter(("radial", "axial"), stuck=(Stuck(axis="axial", at_s=0.3, for_s=0.4),), noise_density=0.01)
    x = np.stack([np.sin(T * 50), np.cos(T * 50)], axis=1)
    parts = [convert.convert(x[k : k + 100].copy(), T[k : k + 100]) for k in range(0, 1000, 100)]
    counts = np.concatenate([c for c, _ in parts])
    assert len(set(counts[300:700, 1])) == 1
    assert len(set(counts[:300, 1])) > 100
    assert len(set(counts[700:, 1])) > 100
    assert len(set(counts[300:700, 0])) > 100
    assert all(flags == FrameFlag.NONE for _, flags in parts), "a board that does not notice does not say"


def test_a_noticed_stuck_axis_is_flagged():
    convert = converter(stuck=(Stuck(axis="radial", at_s=0.5, noticed=True),))
    assert convert.convert(np.zeros((10, 1)), T[:10])[1] == FrameFlag.NONE
    assert convert.convert(np.zeros((10, 1)), T[500:510])[1] == FrameFlag.SENSOR_FAULT


def test_portions_do_not_change_what_is_read():
    clocked = Clocked(Ramp(), 1000.0, 32)
    got = [clocked.read(5), clocked.read(300), clocked.read(1)]
    clocked.skip(694)
    got.append(clocked.read(2))
    assert np.array_equal(np.concatenate(got)[:, 0], [*range(306), 1000, 1001])
    assert clocked.position == 1002
    assert clocked.ahead_s >= 1.002


def test_frames_number_themselves_and_begin_anew_after_a_boot():
    framer = Framer(3, 1000.0, 0.5, digital=True)
    framer.boot(77, 1000)
    first, second = (decode_frame(framer.pack(np.full((4, 1), 2.0), at, 5, FrameFlag.NONE)) for at in (1000, 1004))
    assert (first.boot_id, first.seq, first.clock, first.port, first.time_us) == (77, 0, 0, 3, 5)
    assert (second.seq, second.clock) == (1, 4)
    assert first.flags == FrameFlag.FIRST_AFTER_BOOT
    assert second.flags == FrameFlag.NONE
    assert np.all(first.samples == 1.0)
    framer.boot(78, 2000)
    third = decode_frame(framer.pack(np.zeros((4, 1)), 2000, 5, FrameFlag.NONE))
    assert (third.boot_id, third.seq, third.clock) == (78, 0, 0)
    assert FrameFlag.FIRST_AFTER_BOOT in third.flags


def node(ports: tuple[PortSpec, ...] | None = None, **board: Any) -> Node:
    port = PortSpec(machine="M-1", point="drive-end", rate_hz=2048.0 * 4, frame=512)
    spec = NodeSpec(id="n", gateway="g", port=ports or (port,), board=BoardSpec(**board))
    return Node(spec, {"M-1": everything()}, 1, 1_000_000_000)


def run(of: Node, seconds: float) -> list[tuple[float, int, Frame]]:
    """(due, port, frame) in order of simulated time."""
    got = []
    while True:
        at, port = min(enumerate(of.ports), key=lambda p: p[1].due_s)
        due_s = port.due_s
        if due_s > seconds:
            return got
        got.extend((due_s, at, frame) for frame in frames_of(port.frames()))


def test_a_healthy_stream_has_no_gaps():
    frames = [frame for _, _, frame in run(node(), 2.0)]
    assert len(frames) == 32
    assert [f.seq for f in frames] == list(range(32))
    assert [f.clock for f in frames] == [512 * k for k in range(32)]
    assert [f.time_us for f in frames] == [1_000_000_000 + 62_500 * k for k in range(32)]
    assert len({f.boot_id for f in frames}) == 1
    assert frames[0].samples.shape == (512, 2)
    assert FrameFlag.FIRST_AFTER_BOOT in frames[0].flags
    assert all(f.flags == FrameFlag.NONE for f in frames[1:])


def test_frames_carry_the_machine_s_signal():
    frames = [frame for _, _, frame in run(node(noise_density=0.0, full_scale=50.0), 1.0)]
    direct = everything().acceleration("drive-end", ("radial", "axial"), 8192.0, "m/s2").block(8192)
    assert np.abs(np.concatenate([f.samples for f in frames]) - direct).max() <= 50.0 / 32767


def test_a_node_without_a_clock_sends_no_time():
    assert {frame.time_us for _, _, frame in run(node(utc=False), 0.5)} == {0}


@pytest.mark.parametrize("ppm", [-200.0, 200.0])
def test_a_fast_crystal_makes_the_sample_clock_run_away_from_utc(ppm):
    frames = [frame for _, _, frame in run(node(clock_ppm=ppm), 50.0)]
    first, last = frames[0], frames[-1]
    true_s = (last.time_us - first.time_us) * 1e-6
    claimed_s = (last.clock - first.clock) / last.rate_hz
    assert first.rate_hz == 8192.0, "the board believes in its nominal rate"
    assert (claimed_s / true_s - 1) * 1e6 == pytest.approx(ppm, abs=1.0)


def test_an_overrun_is_a_gap_in_the_clock_and_a_flag_but_not_in_the_numbers():
    of = node(overrun=0.2)
    frames = [frame for _, _, frame in run(of, 10.0)]
    assert [f.seq for f in frames] == list(range(len(frames)))
    gaps = [b.clock - a.end_clock for a, b in itertools.pairwise(frames)]
    flagged = [FrameFlag.OVERRUN in f.flags for f in frames[1:]]
    assert [gap > 0 for gap in gaps] == flagged
    assert sum(flagged) in (of.counts["overruns"], of.counts["overruns"] - 1)
    assert sum(flagged) > 10


def test_a_reboot_restarts_every_port_at_once():
    ports = (
        PortSpec(port=0, machine="M-1", point="a", rate_hz=8192.0, frame=512),
        PortSpec(port=1, machine="M-1", point="b", rate_hz=8192.0, frame=1024),
    )
    of = node(ports, reboot_at_s=(1.03,), off_s=0.5)
    got = run(of, 3.0)
    assert of.counts["reboots"] == 1
    for at in (0, 1):
        mine = [(due_s, frame) for due_s, port, frame in got if port == at]
        before = [f for due_s, f in mine if due_s < 1.1]
        after = [f for due_s, f in mine if due_s > 1.1]
        assert len({f.boot_id for f in before}) == len({f.boot_id for f in after}) == 1
        assert before[0].boot_id != after[0].boot_id
        assert (after[0].seq, after[0].clock) == (0, 0)
        assert FrameFlag.FIRST_AFTER_BOOT in after[0].flags
        assert [f.clock for f in after] == [len(f.samples) * k for k, f in enumerate(after)]
        off_s = (after[0].time_us - before[-1].time_us) * 1e-6 - len(before[-1].samples) / 8192
        assert 0.5 <= off_s < 0.7
    assert len({f.boot_id for due_s, _, f in got if due_s > 1.1}) == 1, "one boot id for the node"


def test_a_reboot_by_chance_draws_a_new_boot_id_each_time():
    of = node(reboot=0.05, off_s=0.0)
    frames = [frame for _, _, frame in run(of, 20.0)]
    assert of.counts["reboots"] > 5
    assert len({f.boot_id for f in frames}) > 5


def test_process_values_travel_as_floats_unless_counts_are_asked_for():
    def port(send: str | None) -> Node:
        spec = PortSpec(
            machine="M-1",
            point="p",
            quantity="process",
            axes=("flow_m3_h",),
            units="mixed",
            rate_hz=1.0,
            frame=4,
            send=send,
        )
        return node((spec,), full_scale=100.0)

    floats = run(port(None), 20.0)[0][2].samples
    counts = run(port("counts"), 20.0)[0][2].samples
    scale = np.float32(100.0 / 32767)
    assert not np.allclose(floats / scale, np.rint(floats / scale), atol=1e-3)
    assert np.allclose(counts / scale, np.rint(counts / scale), atol=1e-3)
    assert np.allclose(floats, counts, atol=0.1)

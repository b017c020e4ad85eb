import numpy as np
import pytest

from firmware_sim.board import Board, Converter, Flaws
from models.contract.frames import FrameFlag, decode_frame
from models.errors import FrameError


def board(*, slow: bool = False, rate_hz: float = 1000.0, full_scale: float = 10.0, **flaws: float) -> Board:
    converter = Converter(full_scale=full_scale, bits=12, noise=0.0)
    return Board(rate_hz, np.random.default_rng(4), converter, Flaws(**flaws), 1_000_000, slow=slow)


def run(b: Board, frames: int, value: float = 1.0) -> list[bytes]:
    out = []
    for i in range(frames):
        out.extend(o.payload for o in b.frames(np.full((50, 2), value), i * 50))
    return out


def test_a_good_board_counts_samples_and_time() -> None:
    frames = [decode_frame(p) for p in run(board(), 5)]
    assert [f.seq for f in frames] == [0, 1, 2, 3, 4]
    assert [f.clock for f in frames] == [0, 50, 100, 150, 200]
    assert [f.time_us for f in frames] == [1_000_000 + i * 50_000 for i in range(5)]
    assert frames[0].flags == FrameFlag.FIRST_AFTER_BOOT
    assert frames[1].flags == FrameFlag.NONE
    assert len({f.boot_id for f in frames}) == 1


def test_the_converter_rounds_to_its_steps() -> None:
    step = 10.0 / 2047
    frame = decode_frame(run(board(), 1, value=1.2345)[0])
    assert frame.samples[0, 0] == pytest.approx(round(1.2345 / step) * step, rel=1e-6)


def test_saturation_is_flagged_and_does_not_wrap() -> None:
    frame = decode_frame(run(board(), 1, value=25.0)[0])
    assert frame.flags & FrameFlag.SATURATED
    assert frame.samples.max() == pytest.approx(10.0, rel=1e-3)
    assert frame.samples.min() > 0


def test_clock_drift_moves_the_nodes_utc_and_not_its_sample_clock() -> None:
    frames = [decode_frame(p) for p in run(board(clock_ppm=1000.0), 1001)]
    assert frames[-1].clock == 50_000
    assert frames[-1].time_us - frames[0].time_us == pytest.approx(50e6 * 1.001, abs=2)


def test_a_reboot_starts_over() -> None:
    b = board()
    before = decode_frame(run(b, 3)[-1])
    b.reboot(150)
    after = decode_frame(next(iter(b.frames(np.zeros((50, 2)), 150))).payload)
    assert after.boot_id != before.boot_id
    assert (after.seq, after.clock) == (0, 0)
    assert after.flags & FrameFlag.FIRST_AFTER_BOOT


def test_dropped_frames_leave_a_gap_in_both_counts() -> None:
    b = board(drop=0.3)
    frames = [decode_frame(p) for p in run(b, 100)]
    assert len(frames) == 100 - b.counts.dropped < 100
    assert all(f.clock == f.seq * 50 for f in frames)


def test_an_overrun_loses_samples_and_says_so() -> None:
    frames = [decode_frame(p) for p in run(board(overrun=0.5), 40)]
    overrun = [f for f in frames if f.flags & FrameFlag.OVERRUN]
    assert overrun
    assert all(len(f.samples) < 50 and f.end_clock % 50 == 0 for f in overrun)


def test_duplicates_and_reordering_change_order_and_number_only() -> None:
    b = board(duplicate=0.2, reorder=0.2)
    frames = [decode_frame(p) for p in run(b, 200)]
    sequence = [f.seq for f in frames]
    assert b.counts.duplicated > 0
    assert b.counts.reordered > 0
    assert sequence != sorted(sequence)
    assert set(range(199)) <= set(sequence)


def test_damaged_frames_are_refused_by_the_decoder() -> None:
    b = board(corrupt=1.0)
    refused = 0
    for payload in run(b, 60):
        with pytest.raises(FrameError):
            decode_frame(payload)
        refused += 1
    assert refused == b.counts.damaged == 60
    for payload in run(board(cut_short=1.0), 20):
        with pytest.raises(FrameError):
            decode_frame(payload)


def test_slow_boards_send_floats_and_their_nan_is_refused() -> None:
    good = decode_frame(run(board(slow=True), 1, value=41.2345)[0])
    assert good.samples[0, 0] == np.float32(41.2345)
    with pytest.raises(FrameError, match="NaN") as caught:
        decode_frame(run(board(slow=True, nan=1.0), 1)[0])
    assert caught.value.reason == "nan"


def test_a_stuck_axis_is_stuck() -> None:
    frame = decode_frame(run(board(stuck_axis=1), 1)[0])
    assert (frame.samples[:, 1] == 0).all()
    assert (frame.samples[:, 0] != 0).all()


def test_some_frames_come_from_nodes_that_nobody_knows() -> None:
    b = board(unknown_node=0.5)
    strays = [o.stray for i in range(50) for o in b.frames(np.ones((50, 2)), i * 50)]
    assert any(strays)
    assert not all(strays)

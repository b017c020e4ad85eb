from __future__ import annotations

import itertools
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firmware_sim.errors import DataError
from firmware_sim.events import EventLog
from firmware_sim.pace import Pace
from firmware_sim.replay import Playback, Replay, conversion
from firmware_sim.tapes import Tape, read_tape
from models.contract.frames import FrameFlag
from models.contract.ids import GatewayId, NodeId
from tests.firmware_sim.sinks import Sink, events_in

RATE_HZ = 1000.0


def tape(name: str = "a", n: int = 1000, channels: tuple[str, ...] = ("DE", "FE"), level: float = 1.0) -> Tape:
    rng = np.random.default_rng(n)
    return Tape(name, f"/data/{name}", channels, level * rng.standard_normal((n, len(channels))), RATE_HZ, 2.0)


def play(tapes: list[Tape], tmp_path, **more: Any):
    playback = Playback(**{"gateway": GatewayId("gw"), "node": NodeId("n"), **more})
    sink, path, stop = Sink(), tmp_path / "events.jsonl", threading.Event()
    replay = Replay(tapes, playback, np.random.default_rng(1), 1_000.0)
    with EventLog(path, lambda: 7.0) as log:
        replay.run(sink, log, Pace(0, stop), stop, lambda _: None)
    return sink, events_in(path), replay


def test_each_channel_has_a_port_of_its_own(tmp_path):
    one = tape()
    sink, _, replay = play([one], tmp_path)
    for port in (0, 1):
        frames = [f for f in sink.frames("mw/1/n/gw/n/f") if f.port == port]
        got = np.concatenate([f.samples for f in frames])
        assert got.shape == (1000, 1)
        step = np.abs(one.samples[:, port]).max() / 32767
        assert np.abs(got[:, 0] - one.samples[:, port]).max() <= step
        assert [f.seq for f in frames] == list(range(len(frames)))
        assert all(b.clock == a.end_clock for a, b in itertools.pairwise(frames))
        assert not any(f.flags & FrameFlag.SATURATED for f in frames)
    assert replay.sent == len(sink.sent)


def test_channels_as_axes_share_a_port_and_a_scale(tmp_path):
    one = tape()
    frames = play([one], tmp_path, as_axes=True)[0].frames()
    got = np.concatenate([f.samples for f in frames])
    assert {f.port for f in frames} == {0}
    assert np.abs(got - one.samples).max() <= np.abs(one.samples).max() / 32767


def test_values_travel_as_float32(tmp_path):
    one = tape()
    frames = play([one], tmp_path, as_axes=True, as_values=True)[0].frames()
    assert np.array_equal(np.concatenate([f.samples for f in frames]), one.samples.astype(np.float32))


def test_frames_have_the_size_asked_for_and_the_last_is_what_is_left(tmp_path):
    sizes = [len(f.samples) for f in play([tape(n=1000)], tmp_path, as_axes=True, frame=300)[0].frames()]
    assert sizes == [300, 300, 300, 100]
    default = [len(f.samples) for f in play([tape(n=1000)], tmp_path, as_axes=True)[0].frames()]
    assert default[0] == 31


def test_slow_recordings_have_one_sample_a_frame(tmp_path):
    slow = Tape("s", "s", ("x",), np.arange(5.0)[:, None], 1.0, 0.0)
    assert [len(f.samples) for f in play([slow], tmp_path)[0].frames()] == [1] * 5


def test_each_recording_is_a_new_boot(tmp_path):
    sink, _, _ = play([tape("a"), tape("b"), tape("a")], tmp_path)
    frames = sink.frames()
    boots = list(dict.fromkeys(f.boot_id for f in frames))
    assert len(boots) == 3
    for boot in boots:
        for port in (0, 1):
            first = next(f for f in frames if f.boot_id == boot and f.port == port)
            assert (first.seq, first.clock) == (0, 0)
            assert FrameFlag.FIRST_AFTER_BOOT in first.flags


def test_events_tell_what_is_played_when(tmp_path):
    sink, events, _ = play([tape("a", 1000), tape("b", 500)], tmp_path)
    assert [e["event"] for e in events] == [
        "started", "recording_started", "recording_ended", "recording_started", "recording_ended", "stopped",
    ]  # fmt: skip
    assert events[0]["recordings"] == ["a", "b"]
    first, ended = events[1], events[2]
    assert first["name"] == "a"
    assert first["file"] == "/data/a"
    assert (first["sim_s"], first["start_s"], first["end_s"], first["rate_hz"]) == (0.0, 2.0, 3.0, 1000.0)
    assert (first["channels"], first["units"]) == (["DE", "FE"], "g")
    assert (ended["sim_s"], ended["whole"]) == (1.0, True)
    assert events[3]["sim_s"] == 1.0
    assert events[4]["sim_s"] == 1.5
    assert ended["frames"] + events[4]["frames"] == len(sink.sent) == events[5]["frames"] == events[5]["sent"]
    assert {e["time_s"] for e in events} == {7.0}


def test_time_stamps_go_on_from_recording_to_recording(tmp_path):
    frames = play([tape("a", 1000), tape("b", 500)], tmp_path, as_axes=True, frame=500)[0].frames()
    assert [f.time_us for f in frames] == [1_000_000_000, 1_000_500_000, 1_001_000_000]


def test_a_stop_ends_within_a_recording_and_says_so(tmp_path):
    path, stop = tmp_path / "events.jsonl", threading.Event()
    replay = Replay([tape("a"), tape("b")], Playback(GatewayId("g"), NodeId("n")), np.random.default_rng(1), 0.0)
    with EventLog(path, lambda: 0.0) as log:
        replay.run(Sink(), log, Pace(0, stop), stop, lambda r: stop.set() if r.sent >= 10 else None)
    events = events_in(path)
    assert [e["event"] for e in events] == ["started", "recording_started", "recording_ended", "stopped"]
    assert events[2]["whole"] is False
    assert events[2]["frames"] == 10


def test_silence_can_be_replayed(tmp_path):
    silent = Tape("s", "s", ("x",), np.zeros((10, 1)), RATE_HZ, 0.0)
    assert not np.concatenate([f.samples for f in play([silent], tmp_path)[0].frames()]).any()


@pytest.mark.parametrize("level", [1e-30, 1e-6, 1e7])
def test_the_largest_sample_fits_whatever_the_range(tmp_path, level):
    one = tape(level=level)
    got = np.concatenate([f.samples for f in play([one], tmp_path, as_axes=True)[0].frames()])
    assert np.abs(got / level - one.samples / level).max() < 1e-3


def test_units_are_converted_between_accelerations_only(tmp_path):
    one = tape()
    got = play([one], tmp_path, as_axes=True, as_values=True, units="g", send_units="m/s2")
    assert np.allclose(np.concatenate([f.samples for f in got[0].frames()]), one.samples * 9.80665)
    assert got[1][1]["units"] == "m/s2"
    assert conversion("bar", "bar") == 1.0
    with pytest.raises(DataError, match=r"^units: expected the same or two of m/s2, g, got 'bar' to 'g'$"):
        conversion("bar", "g")


def test_too_many_channels_for_one_port(tmp_path):
    wide = tape(channels=tuple(f"c{i}" for i in range(33)))
    with pytest.raises(DataError, match=r"^/data/a: 33 channels do not fit on 32 axes; choose some$"):
        play([wide], tmp_path, as_axes=True)


@pytest.mark.data
@pytest.mark.skipif(not os.environ.get("MILLWRIGHT_DATA"), reason="MILLWRIGHT_DATA names no folder of recordings")
def test_a_real_recording_arrives_within_half_a_count(tmp_path):
    path = Path(os.environ["MILLWRIGHT_DATA"]) / "cwru" / "load0_normal_48k_part1.npz"
    one = read_tape(f"{path}@0.6-1.0", ("DE", "FE"), None)
    assert one.rate_hz == 48_000.0
    frames = play([one], tmp_path)[0].frames()
    for port in (0, 1):
        got = np.concatenate([f.samples for f in frames if f.port == port])[:, 0]
        assert len(got) == len(one.samples)
        step = np.abs(one.samples[:, port]).max() / 32767
        assert np.abs(got - one.samples[:, port]).max() < 0.51 * step

from __future__ import annotations

import itertools
import threading
from typing import Any

import msgspec
import numpy as np
import pytest

from firmware_sim.events import EventLog
from firmware_sim.pace import Pace
from firmware_sim.runner import Names, Runner
from firmware_sim.scenario import Scenario, load_scenario
from models.contract.frames import FrameFlag, decode_frame
from models.contract.ids import GatewayId, NodeId
from models.contract.topics import Frames, topic_of
from models.errors import FrameError
from tests.firmware_sim.sinks import Sink, at_once, events_in

PUMP = topic_of(Frames(GatewayId("gw-north"), NodeId("node-pump")))
FAN = topic_of(Frames(GatewayId("gw-north"), NodeId("node-fan")))
GEARBOX = topic_of(Frames(GatewayId("gw-south"), NodeId("node-gearbox")))


def run(scenario: str | Scenario, tmp_path, seconds: float, *, names: Names | None = None, **more: Any):
    loaded = load_scenario(scenario) if isinstance(scenario, str) else scenario
    sink, path = Sink(), tmp_path / "events.jsonl"
    runner = Runner(loaded, names or Names(), 1_000.0)
    with EventLog(path, lambda: 5.0) as log:
        counts = runner.run(sink, log, at_once(), seconds=seconds, **more)
    return sink, events_in(path), counts


def test_plant_sends_each_machine_s_frames_to_its_gateway(tmp_path):
    sink, events, counts = run("plant", tmp_path, 2.0)
    assert {topic for topic, _ in sink.sent} == {PUMP, FAN, GEARBOX}
    for topic in (PUMP, FAN, GEARBOX):
        frames = sink.frames(topic)
        assert [f.seq for f in frames] == list(range(32))
        assert all(f.samples.shape == (512, 2) and f.rate_hz == 8192.0 for f in frames)
        assert frames[16].time_us == 1_001_000_000
    assert [e["event"] for e in events] == ["started", "stopped"]
    assert events[0]["machines"] == ["P-101", "F-201", "G-301"]
    assert events[1]["frames"] == events[1]["sent"] == counts["sent"] == len(sink.sent) == 96
    assert events[1]["dropped"] == 0
    assert events[1]["time_s"] == 5.0


def test_frames_leave_in_order_of_simulated_time(tmp_path):
    sink, _, _ = run("bench", tmp_path, 5.0)
    ends = [f.time_us + len(f.samples) / f.rate_hz * 1e6 for f in sink.frames()]
    assert all(b >= a - 500 for a, b in itertools.pairwise(ends)), "but for the drift of the clock"


def test_the_same_seed_sends_the_same_bytes(tmp_path):
    first, _, _ = run("rough", tmp_path, 20.0)
    again, _, _ = run("rough", tmp_path, 20.0)
    assert first.sent == again.sent
    other = msgspec.structs.replace(load_scenario("rough"), seed=99)
    assert run(other, tmp_path, 20.0)[0].sent != first.sent


def test_names_change_topics_and_nothing_else(tmp_path):
    names = Names({"gw-north": "gw-7"}, {"node-fan": "fan-board"})
    sink, _, _ = run("plant", tmp_path, 1.0, names=names)
    assert {topic for topic, _ in sink.sent} == {
        topic_of(Frames(GatewayId("gw-7"), NodeId("node-pump"))),
        topic_of(Frames(GatewayId("gw-7"), NodeId("fan-board"))),
        GEARBOX,
    }
    assert [p for _, p in sink.sent] == [p for _, p in run("plant", tmp_path, 1.0)[0].sent]


def rms(frames) -> np.ndarray:
    return np.array([f.samples[:, 0].std() for f in frames])


def test_a_fault_begins_when_asked_for_and_only_on_its_machine(tmp_path):
    healthy, _, _ = run("plant", tmp_path, 50.0)
    sink, events, _ = run("plant", tmp_path, 50.0, fault_after_s=5.0)
    (fault,) = [e for e in events if e["event"] == "fault_started"]
    assert (fault["machine"], fault["point"], fault["fault"]) == ("P-101", "drive-end", "outer_race")
    assert 5.0 <= fault["sim_s"] < 5.5
    for topic in (FAN, GEARBOX):
        assert [p for t, p in sink.sent if t == topic] == [p for t, p in healthy.sent if t == topic]
    pump, well = sink.frames(PUMP), healthy.frames(PUMP)
    start = int(fault["sim_s"] * 16)
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(pump[:start], well[:start], strict=True))
    assert rms(pump)[-16:].mean() > 2.0 * rms(well)[-16:].mean()


def test_a_trigger_is_taken_once(tmp_path):
    runner = Runner(load_scenario("plant"), Names(), 0.0)
    path = tmp_path / "events.jsonl"
    seen = []

    def report(running: Runner) -> None:
        seen.append(running.sim_s)
        if len(seen) in (60, 120):
            running.trigger()

    with EventLog(path, lambda: 0.0) as log:
        runner.run(Sink(), log, at_once(), seconds=6.0, report=report)
    assert [e["event"] for e in events_in(path)] == ["started", "fault_started", "stopped"]


def test_faults_with_a_time_of_their_own_need_no_trigger(tmp_path):
    scenario = load_scenario("bench")
    soon = msgspec.structs.replace(scenario, fault=tuple(msgspec.structs.replace(f, start=2.5) for f in scenario.fault))
    _, events, _ = run(soon, tmp_path, 5.0)
    faults = [e for e in events if e["event"] == "fault_started"]
    assert [f["fault"] for f in faults] == ["imbalance", "misalignment", "inner_race", "ball"]
    assert {f["sim_s"] for f in faults} == {2.5}
    assert faults[0]["points"] == ["drive-end", "fan-end", "temperatures"]


def test_rough_does_everything_that_it_promises(tmp_path):
    sink, events, counts = run("rough", tmp_path, 300.0)
    reasons, flags, stray, boots = set(), FrameFlag.NONE, 0, set()
    own = {topic_of(Frames(GatewayId("gw-north"), NodeId(n))) for n in ("node-1", "node-2")}
    for topic, payload in sink.sent:
        stray += topic not in own
        try:
            frame = decode_frame(payload)
        except FrameError as error:
            reasons.add(error.reason)
            continue
        flags |= frame.flags
        boots.add(frame.boot_id)
    assert reasons >= {"short", "crc", "nan"}
    assert flags == FrameFlag.OVERRUN | FrameFlag.SATURATED | FrameFlag.FIRST_AFTER_BOOT | FrameFlag.SENSOR_FAULT
    assert stray == counts["flaw_stray"] > 0
    reboots = [e for e in events if e["event"] == "reboot"]
    assert len(reboots) == counts["reboots"] >= 1
    assert 45.0 <= reboots[0]["sim_s"] < 45.2
    assert {e["boot_id"] for e in reboots if e["up_s"] < 299.0} <= boots
    for flaw in ("drop", "duplicate", "reorder", "corrupt", "cut_short", "nan"):
        assert counts[f"flaw_{flaw}"] > 0, flaw


class Wall:
    """A clock that only moves when somebody waits on its event."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.waited: list[float] = []
        self.stopped = False

    def __call__(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> bool:
        self.waited.append(seconds)
        self.now_s += seconds
        return self.stopped

    def is_set(self) -> bool:
        return self.stopped


@pytest.mark.parametrize("speed", [0.5, 1.0, 20.0])
def test_pace_keeps_simulated_and_wall_time_in_step(speed):
    wall = Wall()
    pace = Pace(speed, wall, wall)
    for k in range(1, 11):
        assert pace.wait_until(k * 0.5)
        assert wall.now_s - 100.0 == pytest.approx(k * 0.5 / speed)
    assert pace.behind_s == 0.0


def test_pace_that_has_fallen_behind_catches_up_without_waiting():
    wall = Wall()
    pace = Pace(1.0, wall, wall)
    pace.wait_until(1.0)
    wall.now_s += 3.0
    waits = len(wall.waited)
    assert pace.wait_until(2.0)
    assert len(wall.waited) == waits
    assert pace.behind_s == pytest.approx(2.0)
    pace.wait_until(6.0)
    assert wall.now_s == pytest.approx(106.0)


def test_speed_0_never_waits():
    wall = Wall()
    pace = Pace(0.0, wall, wall)
    assert all(pace.wait_until(k) for k in range(5))
    assert wall.waited == []


def test_a_stop_ends_the_run_and_is_told(tmp_path):
    stop = threading.Event()
    runner = Runner(load_scenario("plant"), Names(), 0.0)
    path = tmp_path / "events.jsonl"
    with EventLog(path, lambda: 0.0) as log:
        counts = runner.run(Sink(), log, Pace(0, stop), report=lambda r: stop.set() if r.sent == 50 else None)
    assert counts["frames"] == 50
    assert events_in(path)[-1]["event"] == "stopped"

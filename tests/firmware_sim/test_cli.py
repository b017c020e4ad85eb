from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from models.contract.frames import decode_frame
from models.contract.recording import read_records
from tests.firmware_sim.sinks import events_in
from tests.simulators.brokers import KINDS, running_broker

pytestmark = pytest.mark.slow  # starts a process for every question

WAIT_S = 60.0
ENVIRONMENT = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}


def simulate(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "firmware_sim", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, env=ENVIRONMENT, check=False)


@contextmanager
def simulating(*arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "firmware_sim", *map(str, arguments)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=WAIT_S)


def await_event(path: Path, name: str, process: subprocess.Popen[bytes]) -> dict:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        found = [e for e in (events_in(path) if path.exists() else []) if e["event"] == name]
        if found:
            return found[0]
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.02)
    raise AssertionError(f"no {name} in {path}")


def records(path: Path) -> list[tuple[str, bytes]]:
    with path.open("rb") as file:
        return list(read_records(file, path.name))


def test_run_writes_a_recording_and_events(tmp_path):
    out, events = tmp_path / "plant.mwrec", tmp_path / "events.jsonl"
    done = simulate(
        "run", "plant", "--speed", 0, "--seconds", 5, "--fault-after", 2, "--out", out, "--events", events,
        "--gateway", "gw-north=gw-1", "--node", "node-pump=pump", "--seed", 4,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "", "progress goes to standard error"
    assert "stopped after 5.0 simulated seconds: frames 240, sent 240" in done.stderr
    got = records(out)
    assert len(got) == 240
    assert {topic for topic, _ in got} == {
        "mw/1/n/gw-1/pump/f", "mw/1/n/gw-1/node-fan/f", "mw/1/n/gw-south/node-gearbox/f",
    }  # fmt: skip
    assert all(decode_frame(payload).samples.shape == (512, 2) for _, payload in got)
    told = events_in(events)
    assert [e["event"] for e in told] == ["started", "fault_started", "stopped"]
    assert told[0]["seed"] == 4
    assert told[1]["machine"] == "P-101"


def test_runs_repeat_but_for_the_time_of_day(tmp_path):
    paths = [tmp_path / name for name in "ab"]
    for path in paths:
        assert simulate("run", "process", "--speed", 0, "--seconds", 100, "--out", path).returncode == 0
    a, b = ([decode_frame(payload) for _, payload in records(path)] for path in paths)
    assert len(a) == 25
    assert all(np.array_equal(x.samples, y.samples) and x.boot_id == y.boot_id for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_sigusr1_starts_the_fault_and_the_other_two_end_the_run(tmp_path, how):
    out, events = tmp_path / "plant.mwrec", tmp_path / "events.jsonl"
    with simulating("run", "plant", "--speed", 10, "--out", out, "--events", events) as process:
        await_event(events, "started", process)
        process.send_signal(signal.SIGUSR1)
        fault = await_event(events, "fault_started", process)
        assert fault["fault"] == "outer_race"
        process.send_signal(how)
        assert process.wait(WAIT_S) == 0
    told = events_in(events)
    assert [e["event"] for e in told] == ["started", "fault_started", "stopped"]
    assert told[-1]["frames"] == len(records(out))


def test_a_run_in_real_time_takes_its_time(tmp_path):
    events = tmp_path / "events.jsonl"
    done = simulate("run", "plant", "--speed", 4, "--seconds", 4, "--out", tmp_path / "o", "--events", events)
    assert done.returncode == 0
    told = events_in(events)
    assert told[-1]["time_s"] - told[0]["time_s"] >= 0.9


def test_scenario_errors_are_lines_with_file_and_key_and_exit_code_3(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text('titel = "x"\n[[machine]]\nid = "a b"\nkind = "pump"\nshaft_hz = 20.0\n')
    done = simulate("run", path, "--out", tmp_path / "o")
    assert done.returncode == 3
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[0] == f"firmware-sim: {path}, titel: unknown key; did you mean 'title'?"
    assert len(lines) == 4
    assert not (tmp_path / "o").exists()
    assert simulate("run", "plnat").returncode == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ("run",),
        ("run", "plant", "--speed", "-1"),
        ("run", "plant", "--gateway", "gw-east=gw-1", "--out", "o"),
        ("run", "plant", "--gateway", "gw-north=a/b", "--out", "o"),
        ("run", "plant", "--broker", "nohost"),
        ("run", "plant", "--broker", "h:99999"),
        ("run", "plant", "--cert-file", __file__, "--broker", "h:1"),
        ("run", "plant", "--password-file", __file__, "--broker", "h:1"),
        ("replay", "x.npz"),
        ("replay", "x.npz", "--gateway", "a/b", "--node", "n"),
        ("walk",),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments, tmp_path):
    done = simulate(*arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert not Path("o").exists()


def test_a_broker_that_is_not_there_is_one_line_and_exit_code_1():
    done = simulate("run", "plant", "--broker", "127.0.0.1:1")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("firmware-sim: broker 127.0.0.1:1: ")


def test_help_lists_exit_codes():
    for arguments in (("--help",), ("run", "--help"), ("replay", "--help"), ("list", "--help")):
        done = simulate(*arguments)
        assert done.returncode == 0
        assert "Exit codes: 0 done" in done.stdout
        assert "3 wrong scenario" in done.stdout


def test_list_names_the_built_in_scenarios():
    done = simulate("list")
    assert done.returncode == 0
    for name in ("bench", "motor", "plant", "process", "rough"):
        assert name in done.stdout
    shown = simulate("list", "plant").stdout
    assert "P-101 drive-end: radial, axial (m/s2) at 8192 Hz, port 0 of node-pump at gw-north" in shown
    assert "BPFO 3.585 x" in shown
    assert "outer_race of P-101 on the trigger" in shown


def test_list_json_is_what_a_gateway_has_to_be_told():
    described = json.loads(simulate("list", "plant", "--json").stdout)["plant"]
    pump = described["points"][0]
    facts = pump.pop("facts")
    assert pump == {
        "gateway": "gw-north", "node": "node-pump", "port": 0, "machine": "P-101", "point": "drive-end",
        "quantity": "acceleration", "axes": ["radial", "axial"], "units": "m/s2", "rate_hz": 8192.0,
    }  # fmt: skip
    assert facts["shaft_hz"] == 24.6
    assert facts["orders"]["BPFO"] == pytest.approx(3.585, abs=1e-3)
    assert described["faults"][0]["kind"] == "outer_race"


def test_replay_writes_a_recording_and_events(tmp_path):
    rng = np.random.default_rng(1)
    for name in ("one", "two"):
        np.savez(tmp_path / f"{name}.npz", DE=rng.standard_normal(4800), FE=rng.standard_normal(4800), fs_hz=48000)
    out, events = tmp_path / "o.mwrec", tmp_path / "events.jsonl"
    done = simulate(
        "replay", f"{tmp_path / 'one.npz'}@0.5-1.0", tmp_path / "two.npz", "--gateway", "gw-1", "--node", "rig",
        "--channels", "DE,FE", "--units", "g", "--speed", 0, "--pause", 0, "--loop", 2, "--out", out, "--events", events,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    frames = [decode_frame(payload) for topic, payload in records(out) if topic == "mw/1/n/gw-1/rig/f"]
    assert len({f.boot_id for f in frames}) == 4
    assert {f.port for f in frames} == {0, 1}
    assert sum(len(f.samples) for f in frames) == 2 * 2 * (2400 + 4800)
    told = events_in(events)
    assert [e["name"] for e in told if e["event"] == "recording_started"] == ["one.npz@0.5-1.0", "two.npz"] * 2
    assert told[-1]["sent"] == len(frames)


def test_a_recording_that_cannot_be_replayed_is_one_line_and_exit_code_1(tmp_path):
    np.savez(tmp_path / "a.npz", DE=np.ones(100), fs_hz=100)
    where = ("--gateway", "g", "--node", "n", "--out", tmp_path / "o")
    done = simulate("replay", tmp_path / "a.npz", "--channels", "DEE", *where)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"firmware-sim: {tmp_path / 'a.npz'}: no channel 'DEE'; did you mean 'DE'?\n"
    assert not (tmp_path / "o").exists()


def test_the_program_loads_nothing_heavy_and_nobody_else_s_package():
    code = "import sys, firmware_sim.cli; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert {"numpy", "msgspec", "paho", "typer"} <= loaded
    assert not loaded & {"edge_agent", "cloud_hub", "scipy", "pandas", "tensorflow", "matplotlib", "pyarrow", "tuf"}


@pytest.mark.parametrize("kind", KINDS)
def test_run_publishes_to_a_real_broker(kind: str, tmp_path: Path):
    got: queue.Queue[tuple[str, bytes]] = queue.Queue()
    subscribed = threading.Event()
    events = tmp_path / "events.jsonl"
    with running_broker(kind, tmp_path) as port:
        listener = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="listener", protocol=mqtt.MQTTv311)
        listener.on_message = lambda _c, _u, message: got.put((message.topic, bytes(message.payload)))
        listener.on_subscribe = lambda *_: subscribed.set()
        listener.connect("127.0.0.1", port)
        listener.loop_start()
        listener.subscribe("mw/1/n/gw-north/+/f")
        assert subscribed.wait(WAIT_S)
        out = tmp_path / "o.mwrec"
        done = simulate(
            "run",
            "plant",
            "--speed",
            0,
            "--seconds",
            3,
            "--broker",
            f"127.0.0.1:{port}",
            "--out",
            out,
            "--events",
            events,
        )
        assert done.returncode == 0, done.stderr
        expected = [(topic, payload) for topic, payload in records(out) if topic.startswith("mw/1/n/gw-north/")]
        arrived = [got.get(timeout=WAIT_S) for _ in expected]
        listener.disconnect()
        listener.loop_stop()
    assert len(expected) == 96
    assert arrived == expected
    assert events_in(events)[-1]["dropped"] == 0

"""The simulator as its users run it: as a process."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from models.contract.frames import Frame, decode_frame
from models.contract.recording import MAGIC, read_records
from models.contract.topics import Frames, address_of
from models.errors import ContractError, FrameError


def sim(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "firmware_sim", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def frames_of(path: Path) -> dict[str, list[Frame]]:
    found: dict[str, list[Frame]] = {}
    with path.open("rb") as file:
        for topic, payload in read_records(file, str(path)):
            address = address_of(topic)
            assert isinstance(address, Frames)
            found.setdefault(f"{address.gateway}/{address.node}", []).append(decode_frame(payload))
    return found


def test_runs_a_scenario_into_a_file(tmp_path: Path) -> None:
    out, events = tmp_path / "f.mwrec", tmp_path / "e.jsonl"
    done = sim(
        "run", "plant", "--speed", "0", "--seconds", "4", "--fault-after", "2", "--out", str(out), "--events",
        str(events), "--gateway", "gw-south=elsewhere",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = frames_of(out)
    assert set(found) == {"gw-north/node-pump", "gw-north/node-fan", "elsewhere/node-gearbox"}
    for frames in found.values():
        assert [f.clock for f in frames] == list(range(0, 4 * 8192, 512))
    told = [json.loads(line) for line in events.read_text().splitlines()]
    assert [e["event"] for e in told] == ["started", "fault_started", "stopped"]
    assert told[1]["machine"] == "P-101"
    assert told[1]["sim_s"] == pytest.approx(2.0, abs=0.1)
    assert told[2]["frames"] == sum(map(len, found.values()))


def test_rough_days_provoke_every_flaw(tmp_path: Path) -> None:
    out = tmp_path / "f.mwrec"
    assert sim("run", "rough", "--speed", "0", "--seconds", "120", "--out", str(out)).returncode == 0
    reasons, strays = set(), 0
    with out.open("rb") as file:
        for topic, payload in read_records(file, "f"):
            strays += topic.endswith("/stray/f")
            try:
                decode_frame(payload)
            except FrameError as error:
                reasons.add(error.reason)
    assert {"crc", "short", "nan"} <= reasons
    assert strays


def test_the_signal_starts_the_fault_and_another_stops_cleanly(tmp_path: Path) -> None:
    events, out = tmp_path / "e.jsonl", tmp_path / "f.mwrec"
    command = [sys.executable, "-m", "firmware_sim", "run", "plant", "--speed", "5", "--events", str(events)]
    process = subprocess.Popen([*command, "--out", str(out)], stderr=subprocess.PIPE)
    try:
        wait_for_event(events, "started")
        process.send_signal(signal.SIGUSR1)
        wait_for_event(events, "fault_started")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()
    wait_for_event(events, "stopped")
    assert frames_of(out)


def wait_for_event(path: Path, event: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if path.exists() and any(json.loads(x)["event"] == event for x in path.read_text().splitlines()):
            return
        time.sleep(0.05)
    raise AssertionError(f"no {event} within 30 s")


def recording(path: Path, n: int = 4000) -> tuple[Path, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 2)).astype(np.float32) * 0.1
    np.savez(path, DE=x[:, 0], FE=x[:, 1], fs_hz=4000)
    return path, x


@pytest.mark.parametrize("one_port", [False, True])
def test_replays_recordings_as_they_are(tmp_path: Path, one_port: bool) -> None:
    path, x = recording(tmp_path / "r.npz")
    out, events = tmp_path / "f.mwrec", tmp_path / "e.jsonl"
    done = sim(
        "replay", str(path), f"{path}@0.5-1.0", "--gateway", "g", "--node", "n", "--channels", "DE,FE", "--speed", "0",
        "--pause", "0", "--out", str(out), "--events", str(events), *(["--axes"] if one_port else []),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (frames,) = frames_of(out).values()
    ports = {f.port for f in frames}
    assert ports == ({0} if one_port else {0, 1})
    boots = list(dict.fromkeys(f.boot_id for f in frames if f.port == 0))
    assert len(boots) == 2
    first = np.concatenate([f.samples for f in frames if f.port == 0 and f.boot_id == boots[0]])
    np.testing.assert_allclose(first, x if one_port else x[:, :1], atol=np.abs(x).max() * 1.01 / 32767)
    second = np.concatenate([f.samples for f in frames if f.port == 0 and f.boot_id == boots[1]])
    np.testing.assert_allclose(second[:, 0], x[2000:, 0], atol=1e-4)
    told = [json.loads(line) for line in events.read_text().splitlines()]
    assert [e["event"] for e in told] == ["recording_started", "recording_ended"] * 2
    assert [e["name"] for e in told][::2] == ["r.npz", "r.npz@0.5-1.0"]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["run", "nowhere.toml"], 3, "neither a file nor one of"),
        (["run", "bench", "--broker", "127.0.0.1:1"], 1, "broker 127.0.0.1:1"),
        (["run", "bench", "--broker", "nonsense"], 2, "expected HOST:PORT"),
        (["replay", "none.npz", "--gateway", "g", "--node", "n"], 1, "none.npz: no such file"),
        (["run", "bench", "--speed", "-1"], 2, "speed"),
    ],
)
def test_mistakes_end_with_one_line_and_a_code(arguments: list[str], code: int, text: str) -> None:
    done = sim(*arguments)
    assert done.returncode == code, done.stderr
    assert text in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_recordings_that_will_not_do_say_why(tmp_path: Path) -> None:
    path, x = recording(tmp_path / "r.npz")
    to = ["--gateway", "g", "--node", "n", "--out", str(tmp_path / "o")]
    assert "no channel XX; it has DE, FE" in sim("replay", str(path), "--channels", "XX", *to).stderr
    x[7, 0] = np.nan
    np.savez(tmp_path / "bad.npz", DE=x[:, 0])
    assert "sampling rate is not in the file" in sim("replay", str(tmp_path / "bad.npz"), *to).stderr
    assert "not a number in row 8" in sim("replay", str(tmp_path / "bad.npz"), "--rate", "10", *to).stderr
    (tmp_path / "junk.npz").write_bytes(b"junk")
    assert "not an npz file" in sim("replay", str(tmp_path / "junk.npz"), *to).stderr


def test_damaged_recordings_of_frames_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "f"
    for content, text in [
        (b"no", "not a recording of frames"),
        (MAGIC + b"\x01", "cut short within a record's head"),
        (MAGIC + b"\x05\x00\x05\x00\x00\x00abc", "cut short within a record"),
        (MAGIC + b"\xff\xff\xff\xff\xff\xff", "is too long"),
        (MAGIC + b"\x01\x00\x00\x00\x00\x00\xff", "not UTF-8"),
    ]:
        path.write_bytes(content)
        with path.open("rb") as file, pytest.raises(ContractError, match=text):
            list(read_records(file, "f"))

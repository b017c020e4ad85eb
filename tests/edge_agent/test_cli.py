"""The command line as a person meets it: help, exit codes, one line per problem; replay without a broker."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge_agent.cli import main
from edge_agent.status import STATUS_FILE, Status
from models.contract.identity import Token
from models.contract.messages import AgentState
from models.contract.recording import write_header, write_record
from tests.edge_agent.kit import WINDOW, Node, Site, bundle_bytes, config_toml, faulty, healthy

COMMANDS = ["run", "check-config", "selftest", "status", "install", "replay"]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "agent.toml"
    path.write_text(config_toml(tmp_path / "state", 1))
    return path


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code or 0  # type: ignore[return-value]


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_lists_the_exit_codes(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*command, "--help") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "0 done, 1 could not be done, 2 wrong usage, 3 wrong settings, 4 bundle refused" in shown
    assert "--config FILE" in shown


@pytest.mark.parametrize("arguments", [[], ["walk"], ["replay"], ["run", "--speed", "9"]])
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    assert run(*arguments) == 2


def test_check_config_says_what_it_understood(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--config", config, "check-config") == run("check-config", "--config", config) == 0
    assert "slot pump-vibration  P-101/de" in capsys.readouterr().out
    assert not (config.parent / "state").exists(), "checking changes nothing"


def test_wrong_settings_end_with_3_and_one_line_each(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(config.read_text().replace("fleet", "flet").replace("port = 1", "port = 0"))
    assert run("check-config", "--config", config) == 3
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("edge-agent: ") for line in lines)
    assert any("gateway, flet: unknown key; did you mean 'fleet'?" in line for line in lines)


def test_status_before_the_first_run_ends_with_1(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("status", "--config", config) == 1
    assert "status.json: no status" in capsys.readouterr().err


def test_status_for_programs(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = AgentState(gateway="gw-1", boot_id="00112233445566ff", online=True, time_s=1.8e9, agent_version="1.2.3")
    said = Status(state=state, connected=True, frames={"P-101/de": {"accepted": 7}}, outbox_in_flight=0)
    (config.parent / "state").mkdir()
    (config.parent / "state" / STATUS_FILE).write_bytes(said.to_bytes())
    assert run("status", "--json", "--config", config) == 0
    shown = msgspec.json.decode(capsys.readouterr().out, type=Status)
    assert shown == msgspec.structs.replace(said, running=False, connected=False), "as nobody holds the folder"


@pytest.mark.parametrize("address", ["host", "host:", ":1883", "host:0", "host:65536", "host:\u00b2", "host:-1"])
def test_an_address_for_enrolment_that_is_none(config: Path, capsys: pytest.CaptureFixture[str], address: str) -> None:
    identity = f'identity_dir = "{config.parent}/identity"\n[trend]'
    config.write_text(config.read_text().replace("[trend]", identity))
    token = Token(b"s" * 32, b"r" * 32).to_text()
    assert run("enrol", "--config", config, "--token", token, "--mqtt", address) == 3
    assert f"--mqtt: expected HOST:PORT, got {address!r}" in capsys.readouterr().err


def test_run_without_its_root_of_trust_ends_with_1(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(config.read_text() + '[trust]\nroot = "gone.json"\n')
    assert run("run", "--config", config) == 1
    assert "gone.json: the root of trust cannot be read: No such file" in capsys.readouterr().err


class TestReplay:
    def bundle(self, config: Path, data: bytes | None = None) -> Path:
        path = config.parent / "one.mwb"
        path.write_bytes(data if data is not None else bundle_bytes())
        return path

    def test_frames(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        rng, node = np.random.default_rng(3), Node()
        path = config.parent / "frames.mwrec"
        with path.open("wb") as file:
            write_header(file)
            for at in range(40):
                write_record(file, node.topic, node.frame((healthy if at < 30 else faulty)(WINDOW, rng)))
            write_record(file, node.topic, b"junk")
        assert run("replay", path, "--config", config, "--bundle", self.bundle(config)) == 0
        shown = capsys.readouterr().out
        assert "P-101/de  raised: score" in shown
        assert "P-101/de: 40 windows, 33.3% over the limit" in shown
        assert "first alarm at 0.7 s" in shown
        assert "frames accepted: 40" in shown
        assert "frames short: 1" in shown

    def test_csv_and_the_active_bundle(self, tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        site = Site(tmp_path / "state")
        site.folder.mkdir()
        site.start()
        site.deliver(bundle_bytes())
        site.calibrate()
        site.agent.close()
        samples = healthy(WINDOW * 5, np.random.default_rng(6))
        path = tmp_path / "samples.csv"
        np.savetxt(path, np.c_[np.arange(len(samples)), samples], "%.5f", ",", header="t,x", comments="")
        assert run("replay", path, "--config", config) == 0
        assert "P-101/de: 5 windows, 0.0% over the limit" in capsys.readouterr().out, "with its stored calibration"

    def test_what_cannot_be_replayed(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        folder, bundle = config.parent, self.bundle(config)
        (folder / "a.csv").write_text("t,y\n0,1\n")
        np.savez(folder / "b.npz", x=np.array([1.0, np.nan, 2.0]))
        (folder / "c.npz").write_bytes(b"no zip")
        (folder / "d.mwrec").write_bytes(b"no recording")
        for name, text in [
            ("a.csv", "a.csv: expected columns x; x is missing from ['t', 'y']"),
            ("b.npz", "b.npz: sample 1 is not finite"),
            ("c.npz", "c.npz: cannot be read as .npz"),
            ("d.mwrec", "d.mwrec: not a recording of frames"),
            ("none.mwrec", "none.mwrec: cannot be read: No such file"),
        ]:
            assert run("replay", folder / name, "--config", config, "--bundle", bundle) == 1
            assert text in capsys.readouterr().err

    def test_no_bundle_and_a_refused_bundle(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("replay", "x.csv", "--config", config) == 1
        assert "no slot has an active bundle; name one with --bundle FILE" in capsys.readouterr().err
        bad = self.bundle(config, bundle_bytes(wrong_scores=True))
        assert run("replay", "x.csv", "--config", config, "--bundle", bad) == 4
        assert "a golden score differs by 50.00%" in capsys.readouterr().err
        assert run("replay", "x.csv", "--config", config, "--bundle", self.bundle(config, b"junk")) == 4

"""Settings: what is right gives a Config, what is wrong is told all at once, with file and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.config import Config, load_config
from edge_agent.errors import ConfigError

GOOD = """
[gateway]
id = "gw-1"
fleet = "plant"
state_dir = "state"
[broker]
host = "broker.local"
port = 8883
ca_file = "/etc/ca.pem"
cert_file = "gw.pem"
key_file = "gw.key"
[outbox]
max_bytes = 1000000
[[point]]
machine = "P-101"
point = "de"
slot = "pump-vibration"
node = "node-1"
port = 2
axes = ["x", "y"]
units = "m/s2"
quantity = "acceleration"
rate_hz = 12000
[point.facts]
shaft_hz = 29.5
orders = { BPFO = 3.585, BPFI = 5.415 }
zone_limits_mm_s = [1.4, 2.8, 4.5]
zone_source = "ISO 20816-3"
[[point]]
machine = "P-101"
point = "temperature"
slot = "pump-process"
node = "node-2"
axes = ["t"]
units = "degC"
quantity = "temperature"
rate_hz = 1.0
"""


def load(folder: Path, text: str, **environment: str) -> Config:
    path = folder / "agent.toml"
    path.write_text(text)
    return load_config(path, environment)


def problems(folder: Path, text: str, **environment: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text, **environment)
    assert caught.value.exit_code == 3
    return [problem.replace(f"{folder}/", "") for problem in caught.value.problems]


def test_everything_is_read(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD)
    assert config.gateway.state_dir == tmp_path / "state"
    assert config.broker.port == 8883
    assert config.broker.ca_file == Path("/etc/ca.pem")
    assert config.broker.cert_file == tmp_path / "gw.pem"
    assert config.slots == ("pump-vibration", "pump-process")
    first, second = config.points
    assert (first.name, first.port, first.axes, first.rate_hz) == ("P-101/de", 2, ("x", "y"), 12_000.0)
    assert first.facts.orders == {"BPFO": 3.585, "BPFI": 5.415}
    assert first.facts.zone_limits_mm_s == (1.4, 2.8, 4.5)
    assert second.port == 0
    assert second.facts.shaft_hz is None
    assert config.runtime.kind == "auto"
    assert config.outbox_max_bytes == 1_000_000


def test_the_environment_wins(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD, MILLWRIGHT_AGENT_BROKER_PORT="1999", MILLWRIGHT_AGENT_GATEWAY_ID="gw-2", HOME="/root")
    assert config.broker.port == 1999
    assert config.gateway.id == "gw-2"


def test_all_problems_come_at_once_each_with_file_and_key(tmp_path: Path) -> None:
    text = GOOD.replace("[broker]", "[brokr]").replace('id = "gw-1"', 'id = "gw/1"')
    text = text.replace("rate_hz = 12000", "rat_hz = 12000").replace("max_bytes = 1000000", 'max_bytes = "much"')
    found = problems(tmp_path, text, MILLWRIGHT_AGENT_BROKER_PROT="1", MILLWRIGHT_AGENT_TREND_SPAN_S="-1")
    assert found == [
        "agent.toml, brokr: unknown key; did you mean 'broker'?",
        "environment, MILLWRIGHT_AGENT_BROKER_PROT: unknown key; did you mean 'MILLWRIGHT_AGENT_BROKER_PORT'?",
        "agent.toml, gateway.id: expected 1 to 64 of A-Z a-z 0-9 _ -, got 'gw/1'",
        "agent.toml, outbox.max_bytes: expected a whole number from 65536 to 6.87195e+10, got 'much'",
        "environment, MILLWRIGHT_AGENT_TREND_SPAN_S: expected a number from 0.1 to 86400, got '-1'",
        "agent.toml, point[0], rat_hz: unknown key; did you mean 'rate_hz'?",
        "agent.toml, point[0].rate_hz: missing",
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            'point = "temperature"',
            'point = "de"',
            "point[1]: machine and point 'P-101/de' are those of point[0] already",
        ),
        ('node = "node-2"', 'node = "node-1"\nport = 2', "point[1]: node 'node-1', port 2 feeds point[0] already"),
        ('axes = ["x", "y"]', 'axes = ["x", "x"]', "point[0].axes: expected 1 to 32 different names, got ['x', 'x']"),
        ("shaft_hz = 29.5", "", "point[0].facts.shaft_hz: fault orders are multiples of the shaft's rate"),
        ("[1.4, 2.8, 4.5]", "[4.5, 2.8, 1.4]", "zone_limits_mm_s: expected three rising limits"),
        ('key_file = "gw.key"', "", "broker.cert_file: cert_file and key_file belong together"),
        ("port = 8883", "port = true", "broker.port: expected a whole number from 1 to 65535, got True"),
        ('state_dir = "state"', "", "gateway.state_dir: missing"),
        ("rate_hz = 1.0", "rate_hz = nan", "point[1].rate_hz: expected a number from 1e-06 to 1e+06, got nan"),
        ("BPFI = 5.415", 'BPFI = "5"', None),
        (
            "[outbox]",
            '[runtime]\nkind = "litert2"\n[outbox]',
            "runtime.kind: expected one of auto, litert, tflite-runtime",
        ),
    ],
)
def test_each_mistake_is_named(tmp_path: Path, old: str, new: str, expected: str | None) -> None:
    text = GOOD.replace(old, new)
    assert text != GOOD
    if expected is None:
        assert load(tmp_path, text).points[0].facts.orders["BPFI"] == 5.0
        return
    found = problems(tmp_path, text)
    assert len(found) == 1
    assert expected in found[0]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("GATEWAY_STATE_DIR", "~nobody-here/state", "expected a path, got '~nobody-here/state': there is no such user"),
        ("TRUST_ROOT", "a\0b", r"expected a path, got 'a\x00b'"),
        ("UPDATE_STALL_S", "nan", "expected a number from 0.1 to 86400, got 'nan'"),
    ],
)
def test_values_that_python_itself_stumbles_over(tmp_path: Path, name: str, value: str, expected: str) -> None:
    (tmp_path / "agent.toml").write_text(GOOD)
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "agent.toml", {f"MILLWRIGHT_AGENT_{name}": value})
    assert caught.value.problems == [f"environment, MILLWRIGHT_AGENT_{name}: {expected}"]


def test_a_number_that_no_float_can_hold(tmp_path: Path) -> None:
    text = GOOD.replace("rate_hz = ", f"rate_hz = 1{'0' * 400} # ", 1)
    assert text != GOOD
    assert "rate_hz: expected a number from 1e-06 to 1e+06, got 10000" in problems(tmp_path, text)[0]


def test_no_points_is_a_mistake(tmp_path: Path) -> None:
    assert problems(tmp_path, GOOD.partition("[[point]]")[0]) == ["agent.toml, point: expected at least one [[point]]"]


def test_a_file_that_is_not_there_or_not_toml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file"):
        load_config(tmp_path / "none.toml", {})
    assert "agent.toml: not valid TOML: " in problems(tmp_path, "[gateway")[0]
    assert "agent.toml, gateway: expected a table, got 3" in problems(tmp_path, "gateway = 3")[0]

"""What runs on the fleet: settings of its inventory, simulated sensors, and a small bundle for them."""

from __future__ import annotations

import json
import subprocess
import tomllib
from pathlib import Path
from typing import Any

from models.contract.ids import SlotId
from tests.edge_agent.kit import RATE_HZ, bundle_bytes
from tests.fleet.ansible import PROGRAMS
from tests.fleet.floor import HOME, ROOT, Floor, FloorError

WHEELHOUSE = ROOT / "var/wheelhouse"
SLOT = SlotId("pump-vibration")
HUB_KIND = "hub-light"
CALIBRATION = 400  # windows, some ten seconds: two versions of one model then have the same limits, but for chance
PASSPHRASE = "correct horse battery staple"  # of a root key that lives for one test
VERSION: str = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
# One machine, one axis: little work for the simulator, so that a fleet of them fits on two cores.
_SCENARIO = """
title = "A motor that stays healthy"

[[machine]]
id = "P-101"
kind = "motor"
shaft_hz = 24.6
velocity_mm_s = [0.4, 0.1]
noise_ms2 = 1.0

[[node]]
id = "node-1"
gateway = "gw-bench"
board = { full_scale = 50.0, bits = 16 }

[[node.port]]
machine = "P-101"
point = "drive-end"
axes = ["radial"]
units = "m/s2"
rate_hz = 12000.0
frame = 3000
"""


def furnish(floor: Floor, **hub_settings: Any) -> None:
    """Settings beside the floor's inventory, as one would write them for a plant."""
    scenario = floor.folder / "scenario.toml"
    scenario.write_text(_SCENARIO)
    groups = floor.folder / "inventory/group_vars"
    groups.mkdir()
    point = {
        "machine": "P-101", "point": "drive-end", "slot": SLOT, "node": "node-1", "axes": ["x"], "units": "m/s2",
        "quantity": "acceleration", "rate_hz": RATE_HZ,
    }  # fmt: skip
    everywhere = {
        "millwright_version": VERSION,
        "millwright_wheelhouse_dir": str(WHEELHOUSE),
        "millwright_wheelhouse_signers": str(WHEELHOUSE / "allowed_signers"),
    }
    hub = {
        "hub_archive": HUB_KIND, "hub_names": ["hub"],
        "hub_root_passphrase": PASSPHRASE, "hub_settings": {"training_jobs": 0, **hub_settings},
        "broker_hosts": ["hub", floor.machines["hub"].address],
    }  # fmt: skip
    gateways = {
        "edge_agent_broker_host": "hub", "edge_agent_points": [point],
        "edge_agent_settings": {"trend": {"span_s": 2.0}, "update": {"confirm_ticks": 3}},
        "sensors_sim_scenario": str(scenario), "sensors_sim_gateways": {"gw-bench": "{{ inventory_hostname }}"},
    }  # fmt: skip
    for name, settings in (("all", everywhere), ("millwright_hub", hub), ("millwright_gateways", gateways)):
        (groups / f"{name}.yml").write_text(json.dumps(settings, indent=2))  # JSON is YAML
    (floor.folder / "inventory/bench.yml").write_text(
        json.dumps({"millwright_bench": {"children": {"millwright_gateways": {}}}})
    )


def bundle_file(version: str) -> Path:
    """A bundle for the sensors of this plant."""
    path = HOME / f"{SLOT}-{version}.mwb"
    path.write_bytes(bundle_bytes(version, SLOT, calibration=CALIBRATION))
    return path


def ensure_archives(*versions: str, kinds: str = f"gateway,{HUB_KIND}", platform: str = "") -> None:
    """Signed archives to install from, of these versions, for machines like this one or for another platform; those
    that are there and still right are kept.
    """
    for version in versions:
        chosen = [] if version == VERSION else ["--version", version]
        chosen += ["--platforms", platform] if platform else []
        done = subprocess.run(
            [str(PROGRAMS / "python"), "-m", "cloud_hub.fleet", "build", "--if-changed", "--kinds", kinds,
             "--out", str(WHEELHOUSE), *chosen],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise FloorError(f"archives of {version} cannot be built: {done.stderr[-2000:]}")

"""The story on simulated machines: a pump, a fan and a gearbox; the pump's outer race begins to fail."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

from demo.plant import Plant, Point
from demo.processes import Processes, StepFailedError
from demo.screen import Screen
from demo.steps import come_up, deliver, forge, go_live, spectrum, train

STEPS = 8
_SPEED = 10.0
_CAPTURE_S = 60
_SOAK_S = 60.0
_GROWTH_S = 60.0
_RATE_HZ = 8192.0
_AXES = ("radial", "axial")

# What a plant's engineer would write down: shaft rate and bearing orders of each machine.
POINTS = [
    Point("gw-north", "P-101", "drive-end", "node-pump", 0, _AXES, "m/s2", _RATE_HZ, 24.6,
          {"BPFO": 3.585, "BPFI": 5.415, "BSF": 4.714, "FTF": 0.398}),
    Point("gw-north", "F-201", "drive-end", "node-fan", 0, _AXES, "m/s2", _RATE_HZ, 16.2,
          {"BPFO": 3.071, "BPFI": 4.929, "BSF": 4.072, "FTF": 0.384}),
    Point("gw-south", "G-301", "output-shaft", "node-gearbox", 0, _AXES, "m/s2", _RATE_HZ, 12.0,
          {"BPFO": 4.008, "BPFI": 5.992, "BSF": 4.844, "FTF": 0.401}),
]  # fmt: skip


def tell(screen: Screen, started: Processes, folder: Path) -> tuple[Plant, dict[str, Any]]:
    """Tell the story; the plant, still running, and the summary.

    Raises: StepFailedError: a step did not happen.
    """
    plant = Plant(folder, started, POINTS)
    come_up(screen, plant)
    events = folder / "sim-events.jsonl"
    with screen.step("Sensor nodes on a pump, a fan and a gearbox send frames") as step:
        started.start("sim", "firmware-sim", "run", "plant", "--speed", str(_SPEED), "--events", str(events))
        step.note(f"{_RATE_HZ:.0f} samples a second on two axes each, {_SPEED:g} times faster than real time")
        capture_ids = _start_captures(plant)
        step.show(f"capturing {_CAPTURE_S} s of each machine through the agents")
        plant.wait("the captures", lambda: _captured(plant, capture_ids), 120.0)
        step.note(f"{_CAPTURE_S} s of healthy vibration of each machine captured through the agents")
    data = [f"--data={plant.home / 'captures' / f'{capture}.npz'}" for capture in capture_ids]
    trained = train(screen, plant, data)
    bundle = Path(trained["bundle"])
    delivery_s = deliver(screen, plant, bundle, trained["sha256"])
    go_live(screen, plant, 60.0)
    reason = forge(screen, plant, bundle, trained["sha256"])
    false_before = _soak(screen, plant)
    alarm, delay_s, others = _fail(screen, plant, events)
    summary = {
        "auc": trained["auc"],
        "bundle_bytes": trained["bundle_bytes"],
        "network_bytes": trained["network_bytes"],
        "train_s": trained["train_s"],
        "delivery_s": round(delivery_s, 2),
        "hub_bytes_sent": plant.hub_bytes,
        "forged_refused": True,
        "forged_reason": reason,
        "false_alarms": false_before + others,
        "detection_delay_s": round(delay_s, 1),
        "alarm": {
            "id": alarm["id"],
            "machine": alarm["machine"],
            "point": alarm["point"],
            "score": alarm["score"],
            "diagnosis": alarm["summary"],
            "fault": alarm["diagnosis"]["fault"] if alarm["diagnosis"] else None,
        },
        "spectrum": spectrum(plant, alarm["id"]),
        "agent_rss_mb": plant.rss_mb(),
    }
    return plant, summary


def _start_captures(plant: Plant) -> list[str]:
    ids = []
    for point in plant.points:
        out = plant.started.run(
            "capture", "cloud-hub", "capture", point.gateway, point.machine, point.point, "--seconds", str(_CAPTURE_S)
        )
        ids.append(out.strip().splitlines()[-1])
    return ids


def _captured(plant: Plant, ids: list[str]) -> bool | None:
    return True if all((plant.home / "captures" / f"{capture}.npz").exists() for capture in ids) else None


def _soak(screen: Screen, plant: Plant) -> int:
    """Watch healthy machines for a while; how many alarms there were."""
    with screen.step("Healthy machines stay silent") as step:
        until = time.monotonic() + _SOAK_S / _SPEED
        while time.monotonic() < until:
            plant.started.check()
            step.show(", ".join(f"{p['machine']} {p['score']:.2f}" for p in plant.all("points") if p["score"]))
            time.sleep(0.5)
        alarms = plant.all("alarms")
        for alarm in alarms:
            step.note(f"[red]false alarm[/red] {alarm['machine']}/{alarm['point']}: {alarm['summary']}")
        step.note(f"{_SOAK_S:g} s of machine time, {len(alarms)} alarms")
        return len(alarms)


def _fail(screen: Screen, plant: Plant, events: Path) -> tuple[dict[str, Any], float, int]:
    """Let the fault begin; the alarm, its delay in machine time, and alarms of other machines."""
    with screen.step("A bearing's outer race begins to fail on the pump") as step:
        before = {a["id"] for a in plant.all("alarms")}
        plant.started.signal("sim", signal.SIGUSR1)
        started = plant.wait("the fault", lambda: _fault_event(events), 20.0)

        def raised() -> dict[str, Any] | None:
            machine = str(started["machine"])
            step.show(f"score of {machine}: {_score(plant, machine)}")
            new = [a for a in plant.all("alarms", machine=machine) if a["id"] not in before]
            return min(new, key=lambda a: float(a["raised_s"])) if new else None

        alarm = plant.wait("the alarm", raised, 2 * _GROWTH_S / _SPEED + 20.0)
        delay_s = (alarm["raised_s"] - started["time_s"]) * _SPEED
        step.note(
            f"[bold red]ALARM[/bold red] {alarm['machine']}/{alarm['point']}: score {alarm['score']:.2f} "
            f"(limit 1), {delay_s:.0f} s of machine time after the first damage"
        )
        step.note(alarm["summary"])
        check = alarm["diagnosis"]["check_first"] if alarm["diagnosis"] else None
        if check:
            step.note(f"check first: {check}")
        step.show("the fault grows on; do the others stay silent?")
        time.sleep(max(0.0, _GROWTH_S / _SPEED - (time.time() - started["time_s"])))
        others = [a for a in plant.all("alarms") if a["id"] not in before and a["machine"] != started["machine"]]
        step.note(f"alarms of the healthy machines meanwhile: {len(others)}")
        found = plant.get(f"alarms/{alarm['id']}")
        if found is None:
            raise StepFailedError(f"the hub's API does not know alarm {alarm['id']}")
        step.note(f"the hub's API shows it: {plant.url}/api/v1/alarms/{alarm['id']}")
    return found["alarm"], delay_s, len(others)


def _score(plant: Plant, machine: str) -> str:
    scores = [p["score"] for p in plant.all("points", machine=machine)]
    return f"{scores[0]:.2f}" if scores and scores[0] is not None else "not known"


def _fault_event(events: Path) -> dict[str, Any] | None:
    for line in events.read_text().splitlines():
        event: dict[str, Any] = json.loads(line)
        if event["event"] == "fault_started":
            return event
    return None

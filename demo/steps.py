"""The steps that both stories share: coming up, delivery, the forgery, the closing figures."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import time
from pathlib import Path
from typing import Any

from demo.plant import SLOT, Plant
from demo.processes import StepFailedError
from demo.screen import Screen


def come_up(screen: Screen, plant: Plant) -> None:
    """Broker, hub, agents."""
    with screen.step("Broker, hub and agents come up") as step:
        step.show("broker")
        plant.start_broker()
        step.show("hub: keys, database, API")
        plant.start_hub()
        step.show(f"agents on {', '.join(plant.gateways)}")
        plant.start_agents()
        step.note(f"broker {plant.broker_kind} on 127.0.0.1:{plant.broker_port}, hub {plant.url}")
        for gateway in plant.gateways:
            watched = ", ".join(f"{p.machine}/{p.point}" for p in plant.points if p.gateway == gateway)
            step.note(f"{gateway} watches {watched}")


def train(screen: Screen, plant: Plant, arguments: list[str]) -> dict[str, Any]:
    """`cloud-hub train`; what it reports."""
    with screen.step("The hub trains a network, quantises it to int8 and checks it") as step:
        step.show("TensorFlow, then int8, float and baseline side by side")
        out, summary = plant.folder / "vibration.mwb", plant.folder / "train.json"
        plant.started.run(
            "train", "cloud-hub", "train", *arguments, "--slot", SLOT, "--version", "1.0.0", "--out", str(out),
            "--json", str(summary),
        )  # fmt: skip
        result: dict[str, Any] = json.loads(summary.read_text())
        auc = result["auc"]
        step.note(
            f"{result['bundle_bytes'] / 1024:.0f} KB bundle, network {result['network_bytes'] / 1024:.0f} KB; "
            f"AUC float {auc['float']:.4f}, int8 {auc['int8']:.4f}, {result['baseline']} {auc['baseline']:.4f} "
            f"(faults: {result['faults'] if result['faults'] == 'synthetic' else 'recorded'})"
        )
        step.note(f"report: {result['report']}")
    return result


def deliver(screen: Screen, plant: Plant, bundle: Path, sha256: str) -> float:
    """Publish and want; seconds from the want until every gateway runs the bundle."""
    with screen.step("Signed, published, fetched over MQTT, verified, replayed") as step:
        report = plant.publish(bundle)
        step.show("gateways fetch, verify, replay golden vectors")
        began = time.monotonic()
        plant.want(plant.gateways, sha256)
        plant.wait("the bundle on every gateway", lambda: plant.running(sha256), 60.0)
        delivery_s = time.monotonic() - began
        step.note(f"{report['chunks']} chunks, {report['bytes_sent']:,} bytes sent once for all gateways")
        for gateway in plant.gateways:
            phases = [a["phase"] for a in reversed(plant.all("acks", gateway=gateway))]
            step.note(f"{gateway}: {' > '.join(dict.fromkeys(phases))}")
    return delivery_s


def forge(screen: Screen, plant: Plant, bundle: Path, sha256: str) -> str:
    """Somebody who has broken into the broker offers a bundle that would never alarm; the reason it is refused."""
    victim = plant.gateways[0]
    with screen.step("A forged bundle is offered") as step:
        evil = plant.folder / "forger"
        forged = evil / "vibration.mwb"
        evil.mkdir(exist_ok=True)
        forged.write_bytes(never_alarms(bundle.read_bytes()))
        plant.started.run(
            "forger", "cloud-hub", "keys", "init", "--home", str(evil), "--root-dir", str(evil / "root-keys")
        )
        before = {a["received_s"] for a in plant.all("acks", gateway=victim)}
        report = plant.publish(forged, home=evil)
        plant.want([victim], report["sha256"], home=evil)
        step.show(f"waiting for {victim} to judge it")

        def refusal() -> dict[str, Any] | None:
            acks = plant.all("acks", gateway=victim)
            return next((a for a in acks if a["phase"] == "refused" and a["received_s"] not in before), None)

        ack = plant.wait("the refusal", refusal, 60.0)
        slot = plant.slot_of(victim)
        if slot is None or slot["active_sha256"] != sha256:
            raise StepFailedError(f"{victim} does not run its bundle any more after the forgery: {slot}")
        reason = f"{ack['reason']}: {ack['detail']}"
        step.note("its manifest raises every limit a million times; it is signed, but by a stranger")
        step.note(f"{victim} refused it: [yellow]{reason}[/yellow]")
        step.note("the running model stays; the hub puts its own metadata and want back")
        plant.publish(bundle)
        plant.want(plant.gateways, sha256)
        shutil.rmtree(evil)
    return reason


def never_alarms(data: bytes) -> bytes:
    """A well-formed bundle whose limits are out of reach: the calibration's `z` becomes 9e8."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(data)) as source:
        members = [(m, source.extractfile(m)) for m in source.getmembers()]
        with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as target:
            for member, file in members:
                content = file.read() if file is not None else b""
                if member.name == "manifest.json":
                    manifest = json.loads(content)
                    old = f'"z": {json.dumps(manifest["calibration"]["z"])}'.encode()
                    if content.count(old) != 1:
                        raise StepFailedError(f"the manifest does not hold {old!r} once")
                    content = content.replace(old, b'"z": 9e8')
                target.addfile(member, io.BytesIO(content))
    return out.getvalue()[: len(data)]


def spectrum(plant: Plant, alarm: str) -> dict[str, Any] | None:
    """What the alarm's page shows of its spectrum: shaft rate, the fault that is named and its lines, Hz. None: no raw
    window came with the alarm.
    """
    found = plant.get(f"alarms/{alarm}/spectrum")
    if found is None:
        return None
    named = next((mark for mark in found["marks"] if mark["named"]), None)
    return {
        "axis": found["axis"],
        "samples": found["samples"],
        "shaft_hz": found["shaft_hz"],
        "fault": named["fault"] if named else None,
        "order": named["order"] if named else None,
        "lines_hz": named["lines_hz"] if named else [],
        "found_hz": named["found_hz"] if named else [],
    }


def go_live(screen: Screen, plant: Plant, timeout_s: float) -> None:
    """Wait until every point has learnt its own limit."""
    with screen.step("Each point learns its own healthy level and goes live") as step:

        def calibrated() -> bool | None:
            verdicts = plant.verdicts()
            left = sum(p["warmup_left"] for p in plant.all("points"))
            step.show(f"{left} windows to go")
            expected = {f"{p.machine}/{p.point}" for p in plant.points}
            ready = expected <= verdicts.keys() and all(v != "warming_up" for v in verdicts.values())
            return True if ready else None

        plant.wait("calibration of every point", calibrated, timeout_s)
        for point in plant.all("points"):
            score = f", score {point['score']:.2f} of 1" if point["score"] is not None else ""
            step.note(f"{point['machine']}/{point['point']}: {point['verdict']}{score}")

"""What is done to a fleet and how it shows from outside: systemd's state, ports, the hub's API. Both tests use these."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.fleet.ansible import Played, play
from tests.fleet.floor import Floor, FloorError
from tests.fleet.hub_api import HubApi
from tests.fleet.plant import SLOT, bundle_file
from tests.fleet.processes import wait_until
from tests.fleet.story import Step

HUB_UNITS = ("millwright-hub", "millwright-broker", "nginx")
GATEWAY_UNITS = ("millwright-agent", "millwright-frames-broker", "millwright-sensors-sim")
HUB_PORTS = {22: True, 443: True, 8883: True, 8885: True, 8884: False, 8080: False, 5432: False, 1883: False}
GATEWAY_PORTS = {22: True, 1883: False, 8883: False}
SEEN_S = 120.0


def is_open(floor: Floor, host: str, port: int) -> bool:
    """Whether somebody else on the network reaches a port."""
    try:
        floor.network.connect(floor.machines[host].address, port, timeout_s=3.0).close()
    except (TimeoutError, ConnectionRefusedError):
        return False
    return True


def units(floor: Floor, host: str, *names: str) -> dict[str, str]:
    """What systemd says of services: their states. As root on the host, past the network."""
    said = floor.machines[host].inside("systemctl", "show", "--property=Id,ActiveState,SubState,NRestarts", *names)
    states = {}
    for block in said.strip().split("\n\n"):
        facts = dict(line.split("=", 1) for line in block.splitlines())
        states[facts["Id"].removesuffix(".service")] = f"{facts['ActiveState']} {facts['SubState']}"
    return states


def property_of(floor: Floor, host: str, unit: str, name: str) -> str:
    """One property of a service."""
    return floor.machines[host].inside("systemctl", "show", f"--property={name}", "--value", unit).strip()


def everything_runs(floor: Floor, step: Step, *hosts: str) -> None:
    """Services are up, stay up, and only those ports are open that must be."""
    for host in hosts:
        is_hub = host.startswith("hub")
        wanted = HUB_UNITS if is_hub else GATEWAY_UNITS
        states = units(floor, host, *wanted)
        assert states == dict.fromkeys(wanted, "active running"), f"{host}: {states}"
        ports = HUB_PORTS if is_hub else GATEWAY_PORTS
        found = {port: is_open(floor, host, port) for port in ports}
        assert found == ports, f"{host}: ports reached from the network: {found}"
    step.seen.append("services and ports as they must be")


def seen_online(floor: Floor, hub: HubApi, *gateways: str) -> None:
    """The hub hears them."""
    for name in gateways:
        wait_until(f"the hub to hear {name}", lambda n=name: _quietly(hub, n), SEEN_S)  # type: ignore[misc]


def _quietly(hub: HubApi, name: str) -> bool:
    """Whether it is online; a hub that does not answer or does not know it yet is waited for."""
    try:
        return hub.online(name)
    except (OSError, FloorError):
        return False


def publish(floor: Floor, version: str) -> None:
    """Bring a bundle to the hub's host and publish it there."""
    bundle = bundle_file(version)
    hand_over(floor, bundle, bundle.name)
    floor.ssh("hub", f"sudo cloud-hub publish /var/lib/millwright/hub/{bundle.name}")
    floor.ssh("hub", f"sudo rm /var/lib/millwright/hub/{bundle.name}")


def runs_bundle(hub: HubApi, name: str, version: str) -> dict[str, Any] | None:
    """The gateway's answer, once it has confirmed that version in the slot."""
    answer = hub.gateway(name)
    for slot in answer["slots"]:
        if slot["slot"] == SLOT and (slot["active_version"], slot["phase"]) == (version, "confirmed"):
            return answer
    return None


def windows_scored(hub: HubApi, name: str) -> int:
    """How many windows the gateway's point has scored, as the hub heard."""
    return sum(int(point["windows"]) for point in hub.gateway(name)["points"])


def second_run(floor: Floor, step: Step, playbook: str = "site", extra: Mapping[str, Any] | None = None) -> Played:
    """The same again changes nothing."""
    played = play(floor, playbook, extra=extra)
    step.played.append(played)
    assert played.changes == 0, f"a second run of {playbook} changed {played.changed}"
    step.seen.append("nothing changed")
    return played


def exposure(floor: Floor, host: str, unit: str) -> float:
    """The score of `systemd-analyze security`, 0 (safe) to 10."""
    last = floor.machines[host].inside("systemd-analyze", "security", "--no-pager", unit).strip().splitlines()[-1]
    return float(last.split(":")[1].split()[0])


def hand_over(floor: Floor, source: Path, name: str) -> None:
    """A file into the hub's folder, as its own."""
    floor.copy("hub", source, f"/tmp/{name}")  # noqa: S108 - on a machine that lives for one test
    floor.ssh("hub", f"sudo install -o millwright-hub -m 0600 /tmp/{name} /var/lib/millwright/hub/{name}")
    floor.ssh("hub", f"rm /tmp/{name}")


def runs_process(floor: Floor, host: str, words: str) -> bool:
    """Whether a process with these words in its command line runs there."""
    return any(words in line for line in floor.machines[host].command_lines())


def certificate_of(floor: Floor, host: str, port: int) -> bytes:
    """What a listener shows to whoever comes: its certificate, in DER."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    plain = floor.network.connect(floor.machines[host].address, port)
    with context.wrap_socket(plain, server_hostname=host) as secure:
        shown = secure.getpeercert(binary_form=True)
    assert shown is not None
    return shown


def watchdog_bites(floor: Floor, host: str) -> None:
    """An agent whose loop no longer turns is started anew by systemd, with another process."""
    unit = "millwright-agent.service"
    pid = property_of(floor, host, unit, "MainPID")
    watched_s = float(property_of(floor, host, unit, "WatchdogUSec").removesuffix("s").replace("1min", "60"))
    floor.machines[host].inside("kill", "-STOP", pid)
    wait_until(
        f"{host}: another agent than {pid}",
        lambda: (
            property_of(floor, host, unit, "MainPID") not in {pid, "0"}
            and property_of(floor, host, unit, "SubState") == "running"
        ),
        watched_s + 120.0,
    )
    assert int(property_of(floor, host, unit, "NRestarts")) >= 1


def nothing_left(floor: Floor, host: str) -> None:
    """No unit, file, process or user of ours is on the machine."""
    machine = floor.machines[host]
    units = machine.inside("systemctl", "list-unit-files", "--no-legend", "millwright-*", check=False)
    assert units.strip() == "", units
    for path in ("/etc/millwright", "/var/lib/millwright", "/opt/millwright", "/usr/local/sbin/millwright-pull"):
        assert machine.inside("sh", "-c", f"test ! -e {path} && echo none", check=False) == "none\n", path
    assert machine.inside("getent", "passwd", "millwright-agent", check=False) == ""
    nothing_runs(floor, host)


def nothing_runs(floor: Floor, host: str) -> None:
    """No process of ours is on the machine."""
    ours = [line for line in floor.machines[host].command_lines() if "/millwright" in line or "mosquitto" in line]
    assert ours == []


def carry_bundle(floor: Floor, host: str, folder: Path) -> None:
    """What the playbook `pull` wrote for a gateway, by hand to `/media/stick` on it."""
    floor.machines[host].inside("mkdir", "-p", "/media/stick")
    for name in (f"{host}.tar", f"{host}.tar.sig", "apply.sh", "allowed_signers"):
        floor.machines[host].carry(folder / name, f"/media/stick/{name}")


def apply_refuses(floor: Floor, host: str, *command: str) -> None:
    """The script that applies a bundle finds it not good, by its exit code."""
    shown = floor.machines[host].inside("sh", "-c", '"$@"; echo "code $?"', "sh", *command, check=False)
    assert shown.strip().splitlines()[-1] == "code 4", shown

"""A floor: machines, their network, and the keys to them. All gone at the end, however that comes."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.fleet.image import SUITE, USER, ensure_image
from tests.fleet.machine import Machine
from tests.fleet.network import Network, address_of
from tests.fleet.processes import wait_until

ROOT = Path(__file__).parents[2]
HOME = Path(os.environ.get("MILLWRIGHT_FLEET", ROOT / "var/fleet"))
PROGRAMS = {"debootstrap": "debootstrap", "systemd-nspawn": "systemd-container", "ssh": "openssh-client",
            "ip": "iproute2"}  # fmt: skip
_SSH = """Host *
  User {user}
  IdentityFile {folder}/key
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile none
  StrictHostKeyChecking yes
  HostKeyAlgorithms ssh-ed25519
  ControlMaster auto
  ControlPath {sockets}/%n
  ControlPersist 120
  ServerAliveInterval 5
  ServerAliveCountMax 4
  LogLevel ERROR
"""


class FloorError(Exception):
    """There cannot be a floor here, or not this one."""


def check_surroundings() -> None:
    """Raises: FloorError: not root, or programs are missing."""
    if os.geteuid() != 0:
        raise FloorError("expected root, which booting machines needs")
    missing = {package for program, package in PROGRAMS.items() if shutil.which(program) is None}
    if missing:
        raise FloorError(f"expected {', '.join(sorted(missing))} to be installed (apt-get install does it)")


class Floor:
    """Machines by name. `images` fixes all that may ever be there, and so their addresses, and each one's disk."""

    def __init__(self, folder: Path, network: Network, images: Mapping[str, Path]) -> None:
        self.folder, self.network, self.names = folder, network, tuple(images)
        self._sockets = Path("/run") / network.name  # ssh's: their paths must be short
        self.machines = {
            name: Machine(name, address_of(at), folder / name, image, network)
            for at, (name, image) in enumerate(images.items())
        }

    @property
    def logs(self) -> Path:
        """Beside the floor, since they are read when it is gone."""
        return self.folder.with_name(f"logs-{self.folder.name}")

    @classmethod
    def create(cls, folder: Path, names: Sequence[str], suites: Mapping[str, str] | None = None) -> Floor:
        """A floor with no machine on it yet. `suites`: which have another Debian than the others, `trixie`, say.

        Raises: FloorError: not here, or not so.
        """
        check_surroundings()
        chosen = dict.fromkeys(names, SUITE) | dict(suites or {})
        if strangers := chosen.keys() - set(names):
            raise FloorError(f"suites: expected machines of this floor, {', '.join(names)}, got {', '.join(strangers)}")
        if (folder / "floor.json").exists():
            raise FloorError(f"{folder}: there is a floor already")
        images = {name: ensure_image(HOME, suite) for name, suite in chosen.items()}
        folder.mkdir(parents=True, exist_ok=True)
        network = Network(f"mw-{secrets.token_hex(3)}")
        facts = {"network": network.name, "images": {name: str(image) for name, image in images.items()}}
        (folder / "floor.json").write_text(json.dumps(facts))
        network.create()
        floor = cls(folder, network, images)
        _keygen(folder / "key")
        floor._sockets.mkdir(mode=0o700)
        hosts = [f"Host {one.name}\n  HostName {one.address}\n" for one in floor.machines.values()]
        shared = _SSH.format(user=USER, folder=folder, sockets=floor._sockets)
        (folder / "ssh_config").write_text("".join(hosts) + shared)
        floor._write_inventory()
        return floor

    @classmethod
    def open(cls, folder: Path) -> Floor:
        """The floor that another process has left.

        Raises: FloorError: there is none.
        """
        try:
            facts = json.loads((folder / "floor.json").read_text("utf-8"))
        except FileNotFoundError:
            raise FloorError(f"{folder}: no machines run from here") from None
        images = {name: Path(image) for name, image in facts["images"].items()}
        return cls(folder, Network(facts["network"]), images)

    def boot(self, *names: str) -> None:
        """Fresh machines, all at once; returns when one can come in over ssh."""
        hosts = "127.0.0.1 localhost\n" + "".join(f"{one.address} {one.name}\n" for one in self.machines.values())
        for name in names:
            key = self.folder / f"host-{name}"
            key.unlink(missing_ok=True)
            _keygen(key)
            self.machines[name].make(hosts, key, (self.folder / "key.pub").read_text("ascii"))
            self.machines[name].start()
        self._write_known_hosts()
        self.wait(*names)

    def wait(self, *names: str) -> None:
        """Until they have booted and let us in."""
        for name in names:
            machine = self.machines[name]
            machine.wait()
            wait_until(f"{name} to answer over ssh", lambda n=name: self.ssh(n, "true", check=False) == "", 60)  # type: ignore[misc]

    def power_cycle(self, name: str) -> None:
        """Off without a word, then on with the same disk."""
        self.hang_up(name)
        self.machines[name].kill()
        self.machines[name].start()
        self.wait(name)

    def replace(self, name: str) -> None:
        """The old machine is scrap; a fresh one has its name and address."""
        self.hang_up(name)
        self.machines[name].erase()
        self.boot(name)

    def ssh(self, name: str, *command: str, check: bool = True) -> str | None:
        """What a command printed, run as the one who comes in over ssh; None when it failed and that is allowed."""
        done = subprocess.run(
            [*self.network.enter(), "ssh", "-F", str(self.folder / "ssh_config"), "-o", "ConnectTimeout=10", name,
             *command],
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode == 0:
            return done.stdout
        if check:
            raise FloorError(f"ssh {name} {' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
        return None

    def copy(self, name: str, source: Path, target: str) -> None:
        """A file to a machine."""
        command = ["ssh", "-F", str(self.folder / "ssh_config"), name, f"cat > {target}"]
        with source.open("rb") as content:
            subprocess.run([*self.network.enter(), *command], stdin=content, check=True, capture_output=True)

    def down(self) -> None:
        """Everything away: machines, network, disks. What goes wrong with one does not spare the others."""
        problems = []
        for machine in self.machines.values():
            self.hang_up(machine.name)
        for machine in self.machines.values():
            try:
                machine.kill()
            except Exception as error:  # noqa: BLE001 - collected, told below
                problems.append(f"{machine.name}: {error}")
        if not problems:
            self.network.remove()
            shutil.rmtree(self._sockets, ignore_errors=True)
            shutil.rmtree(self.folder)
        else:
            raise FloorError(f"{self.folder}: not everything could be ended: {'; '.join(problems)}")

    def hang_up(self, name: str) -> None:
        """End the connection that is kept for the next command; there may be none."""
        if (self._sockets / name).exists():
            command = ["ssh", "-F", str(self.folder / "ssh_config"), "-O", "exit", name]
            subprocess.run(command, capture_output=True, check=False)

    def _write_known_hosts(self) -> None:
        known = []
        for machine in self.machines.values():
            public = self.folder / f"host-{machine.name}.pub"
            if public.exists():
                known.append(f"{machine.name},{machine.address} {public.read_text('ascii')}")
        (self.folder / "known_hosts").write_text("".join(known))

    def _write_inventory(self) -> None:
        """How Ansible reaches them, and the groups that the playbooks know. Settings come from beside it."""
        lines = ["all:", "  vars:", f"    ansible_user: {USER}", "    ansible_python_interpreter: /usr/bin/python3",
                 f"    ansible_ssh_args: -F {self.folder / 'ssh_config'}", "  children:"]  # fmt: skip
        for group, begin in (("millwright_hub", "hub"), ("millwright_gateways", "gw")):
            lines += [f"    {group}:", "      hosts:"]
            for machine in self.machines.values():
                if machine.name.startswith(begin):
                    lines += [f"        {machine.name}:"]
        (self.folder / "inventory").mkdir()
        (self.folder / "inventory/hosts.yml").write_text("\n".join(lines) + "\n")


@contextmanager
def floor_for_test(names: Sequence[str], suites: Mapping[str, str] | None = None) -> Iterator[Floor]:
    """A floor for as long as the block lasts. A guard beside us takes it away when we end without a word."""
    folder = HOME / f"run-{secrets.token_hex(4)}"
    guard = subprocess.Popen(
        [sys.executable, "-m", "tests.fleet", "guard", str(folder)],
        stdin=subprocess.PIPE, start_new_session=True, cwd=ROOT,
    )  # fmt: skip
    floor = None
    try:
        floor = Floor.create(folder, names, suites)
        yield floor
    finally:
        guard.communicate()  # its input ends
        for machine in floor.machines.values() if floor is not None else []:
            machine.reap()
    if guard.returncode != 0:
        raise FloorError(f"{folder}: the guard ended with {guard.returncode}")


def guard(folder: Path) -> None:
    """Wait for whoever holds our input to let go of it or to end; then take the floor away."""
    sys.stdin.buffer.read()
    if (folder / "floor.json").exists():
        Floor.open(folder).down()
    elif folder.exists():
        shutil.rmtree(folder)


def _keygen(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], check=True)

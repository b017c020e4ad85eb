"""Machines for a developer: booted by one command, left running, removed by another.

python -m tests.fleet boot hub gw-1            # about ten seconds once the image is there
python -m tests.fleet boot hub gw-1=trixie     # one of them with Debian 13
python -m tests.fleet ssh gw-1 systemctl status
python -m tests.fleet run ansible-playbook -i ... millwright.fleet.site
python -m tests.fleet down
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from tests.fleet.ansible import environment
from tests.fleet.floor import HOME, Floor, FloorError, guard
from tests.fleet.image import ImageError, ensure_image
from tests.fleet.machine import MachineError
from tests.fleet.processes import TimeIsUpError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fleet", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--floor", default="dev", metavar="NAME", help="which set of machines (default: dev)")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text)

    add("image", "make the disk that all machines begin with, unless it is there")
    boot = add("boot", "boot fresh machines (hub..., gw...) and leave them running")
    boot.add_argument("names", nargs="+", metavar="NAME[=SUITE]")
    add("down", "remove all machines of the floor, their disks too")
    add("status", "tell what runs, and where the inventory is")
    for name, text in (("ssh", "log in, or run a command, over the network"), ("inside", "run a command as root, past network and sshd")):  # fmt: skip
        one = add(name, text)
        one.add_argument("machine")
        one.add_argument("rest", nargs=argparse.REMAINDER, metavar="ARGUMENT")
    add("run", "run a program in the machines' network, with Ansible's surroundings set").add_argument(
        "rest", nargs=argparse.REMAINDER, metavar="ARGUMENT"
    )
    for name, text in (("kill", "power off without a word"), ("start", "power on again"), ("replace", "a fresh machine in its place"), ("cut", "pull the cable"), ("plug", "put the cable back")):  # fmt: skip
        add(name, text).add_argument("machine")
    add("guard", argparse.SUPPRESS).add_argument("folder", type=Path)
    return parser


def _say(text: str) -> None:
    print(text)  # noqa: T201


def _boot(folder: Path, words: list[str]) -> None:
    pairs = [word.partition("=") for word in words]
    names = [name for name, _, _ in pairs]
    floor = Floor.create(folder, names, {name: suite for name, _, suite in pairs if suite})
    try:
        floor.boot(*names)
    except BaseException:
        floor.down()
        raise
    _status(floor)


def _status(floor: Floor) -> None:
    for machine in floor.machines.values():
        _say(f"{machine.name:12} {machine.address:14} {'runs' if machine.is_running else 'is off'}")
    _say(f"inventory    {floor.folder / 'inventory/hosts.yml'}")


def main() -> None:
    """One command."""
    options = _parser().parse_args()
    folder = HOME / f"floor-{options.floor}"
    match options.command:
        case "image":
            _say(str(ensure_image(HOME)))
        case "boot":
            _boot(folder, options.names)
        case "guard":
            guard(options.folder)
        case "down":
            Floor.open(folder).down()
        case command:
            _on(Floor.open(folder), command, options)


def _on(floor: Floor, command: str, options: argparse.Namespace) -> None:
    match command:
        case "status":
            _status(floor)
        case "run":
            if not options.rest:
                raise FloorError("run: expected a program and its arguments")
            os.execvpe("nsenter", [*floor.network.enter(), *options.rest], environment(floor))  # noqa: S606
        case "ssh":
            enter = [*floor.network.enter(), "ssh", "-F", str(floor.folder / "ssh_config")]
            os.execvp("nsenter", [*enter, options.machine, *options.rest])  # noqa: S606
        case _:
            machine = floor.machines.get(options.machine)
            if machine is None:
                raise FloorError(f"expected one of {', '.join(floor.machines)}, got {options.machine!r}")
            match command:
                case "inside":
                    sys.stdout.write(machine.inside(*options.rest))
                case "kill":
                    machine.kill()
                case "start":
                    machine.start()
                    floor.wait(machine.name)
                case "replace":
                    floor.replace(machine.name)
                case "cut" | "plug":
                    machine.plug(into=command == "plug")


if __name__ == "__main__":
    try:
        main()
    except (FloorError, ImageError, MachineError, TimeIsUpError) as error:
        print(f"tests.fleet: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(1)

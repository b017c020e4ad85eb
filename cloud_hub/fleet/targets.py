"""The platforms that archives are made for, and the kinds of host."""

from __future__ import annotations

import platform as machine
import tomllib
from dataclasses import dataclass
from pathlib import Path

from cloud_hub.fleet.errors import WheelhouseError

# The oldest manylinux that a wheel may name; older ones are its aliases.
_OLDEST_GLIBC = 5


@dataclass(frozen=True)
class Platform:
    """A Debian release on a processor, with the Python that comes with it: 3.11.2, say."""

    release: int
    codename: str
    machine: str
    architecture: str
    python_full: str
    glibc: int

    @property
    def name(self) -> str:
        """As in an archive's name: `debian12-x86_64`."""
        return f"debian{self.release}-{self.machine}"

    @property
    def python(self) -> str:
        """Its major and minor version: `3.11`."""
        return self.python_full.rsplit(".", 1)[0]

    @property
    def abis(self) -> tuple[str, ...]:
        """The ABIs whose wheels this Python can load."""
        return f"cp{self.python.replace('.', '')}", "abi3", "none"

    @property
    def tags(self) -> tuple[str, ...]:
        """The platforms that a wheel may be for, newest first."""
        new = [f"manylinux_2_{minor}_{self.machine}" for minor in range(self.glibc, _OLDEST_GLIBC - 1, -1)]
        return (*new, f"manylinux2014_{self.machine}", f"linux_{self.machine}")

    @property
    def environment(self) -> dict[str, str]:
        """What markers such as `python_version < '3.12'` are about."""
        return {
            "implementation_name": "cpython",
            "implementation_version": self.python_full,
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": self.python_full,
            "python_version": self.python,
            "sys_platform": "linux",
        }


@dataclass(frozen=True)
class Kind:
    """A kind of host: extras of our own package, and Debian packages.

    `beside`: extras that go into environments of their own, each with a list of its own, `requirements-EXTRA.txt`, and
    from the lock of the fleet's tools.
    """

    name: str
    extras: tuple[str, ...]
    debs: tuple[str, ...]
    beside: tuple[str, ...] = ()


_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_RELEASES = ((12, "bookworm", "3.11.2", 36), (13, "trixie", "3.13.5", 41))
PLATFORMS = {
    one.name: one
    for one in (
        Platform(release, codename, machine_, architecture, python, glibc)
        for release, codename, python, glibc in _RELEASES
        for machine_, architecture in _ARCHITECTURES.items()
    )
}


def read_kinds() -> dict[str, Kind]:
    """The kinds of host, by name."""
    tables = tomllib.loads(Path(__file__).with_name("kinds.toml").read_text("utf-8"))
    return {
        name: Kind(name, tuple(table["extras"]), tuple(table["debs"]), tuple(table.get("beside", ())))
        for name, table in tables.items()
    }


def read_os_release(text: str) -> dict[str, str]:
    """What /etc/os-release says."""
    lines = (line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {key: value.strip("\"'") for key, value in lines}


def own_platform(os_release: str) -> Platform:
    """The platform of the machine that this runs on. `os_release`: the text of /etc/os-release."""
    facts = read_os_release(os_release)
    name = f"{facts.get('ID', 'unknown')}{facts.get('VERSION_ID', '')}-{machine.machine()}"
    if name not in PLATFORMS:
        raise WheelhouseError(f"this machine is {name}; name the platform of the hosts: one of {', '.join(PLATFORMS)}")
    return PLATFORMS[name]


def choose_platforms(words: str, os_release: str) -> list[Platform]:
    """What `--platforms` asks for: nothing (this machine's own), `all`, or names with commas between them."""
    if not words:
        return [own_platform(os_release)]
    if words == "all":
        return list(PLATFORMS.values())
    names = words.replace(",", " ").split()
    if unknown := [name for name in names if name not in PLATFORMS]:
        raise WheelhouseError(f"no such platform: {', '.join(unknown)}; expected 'all' or {', '.join(PLATFORMS)}")
    return [PLATFORMS[name] for name in names]


def choose_kinds(words: str, kinds: dict[str, Kind]) -> list[Kind]:
    """What `--kinds` asks for: `all`, or names with commas between them."""
    names = list(kinds) if words == "all" else words.replace(",", " ").split()
    if unknown := [name for name in names if name not in kinds]:
        raise WheelhouseError(f"no such kind of host: {', '.join(unknown)}; expected 'all' or {', '.join(kinds)}")
    return [kinds[name] for name in names]

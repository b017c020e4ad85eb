"""Lock files: exact versions with the hashes of every file that may stand for them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from cloud_hub.fleet.errors import WheelhouseError

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def normalised(name: str) -> str:
    """A package's name as everybody compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@dataclass(frozen=True)
class Pin:
    """One package in one version."""

    name: str
    version: str
    hashes: frozenset[str]


def read_lock(text: str) -> dict[tuple[str, str], Pin]:
    """Every pin of a lock, by name and version; markers stay behind."""
    found: dict[tuple[str, str], Pin] = {}
    for block in re.split(r"\n(?=[A-Za-z0-9])", text):
        pin = _PIN.match(block)
        if pin is None:
            continue
        name, version = normalised(pin[1]), pin[2]
        found[name, version] = Pin(name, version, frozenset(_HASH.findall(block)))
    return found


def pins_for(resolved: str, lock: dict[tuple[str, str], Pin], *, where: Path, platform: str) -> list[Pin]:
    """The pins of what was resolved for one platform, each as the lock has it: no hash comes from anywhere else."""
    wanted = read_lock(resolved)
    if missing := [f"{name} {version}" for name, version in wanted if (name, version) not in lock]:
        raise WheelhouseError(f"{platform} needs {', '.join(missing)}, which {where} does not lock; run `make lock`")
    return [lock[key] for key in sorted(wanted)]

"""Ansible as the controller runs it: the packaged collection, from an environment of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fleet.floor import HOME, ROOT, Floor

PROGRAMS = ROOT / ".venv-fleet/bin"
_RECAP = re.compile(r"^(\S+)\s*: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)
_TASK = re.compile(r"^(?:TASK|RUNNING HANDLER) \[(.*)\]")
_CHANGED = re.compile(r"^changed: \[([^\]]+)\]")


class PlaybookError(Exception):
    """A playbook did not end as it should."""


@dataclass(frozen=True)
class Played:
    """How a playbook ended. `changes`: tasks that changed something, over all hosts; `changed`: which, by host."""

    ok: bool
    seconds: float
    hosts: tuple[str, ...]
    changes: int
    changed: Mapping[str, tuple[str, ...]]
    failed: tuple[str, ...]
    log: Path
    output: str = field(repr=False)


def environment(floor: Floor) -> dict[str, str]:
    """What Ansible finds around it: our programs, the packaged collection, and nothing of the one who runs it."""
    settings = floor.folder / "ansible.cfg"
    settings.touch()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    return kept | {
        "PATH": f"{PROGRAMS}:{kept.get('PATH', os.defpath)}",
        "ANSIBLE_CONFIG": str(settings),
        "ANSIBLE_HOME": str(floor.folder / "ansible"),
        "ANSIBLE_COLLECTIONS_PATH": str(HOME / "collections"),
        "ANSIBLE_INVENTORY": str(floor.folder / "inventory"),
        "ANSIBLE_PIPELINING": "true",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_FORKS": "4",
        "ANSIBLE_LOCALHOST_WARNING": "false",
    }


def command(
    floor: Floor, playbook: str, *, limit: Sequence[str] = (), tags: Sequence[str] = (),
    extra: Mapping[str, Any] | None = None,
) -> list[str]:  # fmt: skip
    """The command line of a playbook of the collection, in the machines' network."""
    chosen = ["--limit", ",".join(limit)] if limit else []
    chosen += ["--tags", ",".join(tags)] if tags else []
    said = ["--extra-vars", json.dumps(extra)] if extra else []
    return [*floor.network.enter(), str(PROGRAMS / "ansible-playbook"), f"millwright.fleet.{playbook}", *chosen, *said]


def play(
    floor: Floor, playbook: str, *, limit: Sequence[str] = (), tags: Sequence[str] = (),
    extra: Mapping[str, Any] | None = None, check: bool = True,
) -> Played:  # fmt: skip
    """Run a playbook. `check`: it must end well.

    Raises: PlaybookError: it did not; the text has the end of what it said.
    """
    begun = time.monotonic()
    done = subprocess.run(
        command(floor, playbook, limit=limit, tags=tags, extra=extra), env=environment(floor), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    played = _read(done, time.monotonic() - begun, _keep(floor, playbook, done.stdout + done.stderr))
    if check and not played.ok:
        told = "\n".join(line for line in played.output.splitlines()[-60:] if line.strip())
        raise PlaybookError(f"{playbook} ended with {done.returncode}; all of it is in {played.log}\n{told}")
    return played


def _keep(floor: Floor, playbook: str, output: str) -> Path:
    """Logs outlive the floor: somebody will want to read why."""
    folder = floor.logs
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{len(list(folder.iterdir())) + 1:02}-{playbook}.log"
    path.write_text(output)
    return path


def _read(done: subprocess.CompletedProcess[str], seconds: float, log: Path) -> Played:
    recap = _RECAP.findall(done.stdout)
    changed: dict[str, list[str]] = {}
    task = ""
    for line in done.stdout.splitlines():
        if found := _TASK.match(line):
            task = found[1]
        elif found := _CHANGED.match(line):
            tasks = changed.setdefault(found[1].split(" ")[0], [])
            if tasks[-1:] != [task]:  # once for a loop, as the recap counts
                tasks.append(task)
    return Played(
        ok=done.returncode == 0,
        seconds=seconds,
        hosts=tuple(host for host, *_ in recap if host != "localhost"),
        changes=sum(int(count) for _, _, count, _, _ in recap),
        changed={host: tuple(tasks) for host, tasks in changed.items()},
        failed=tuple(host for host, _, _, unreachable, failed in recap if int(unreachable) + int(failed)),
        log=log,
        output=done.stdout + done.stderr,
    )

"""Ansible as the controller runs it: the packaged collection, from an environment of its own."""

from __future__ import annotations

import os

from tests.fleet.floor import HOME, ROOT, Floor

PROGRAMS = ROOT / ".venv-fleet/bin"


def environment(floor: Floor) -> dict[str, str]:
    """What Ansible finds around it: our programs, the packaged collection, and nothing of the one who runs it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    return kept | {
        "PATH": f"{PROGRAMS}:{kept.get('PATH', os.defpath)}",
        "ANSIBLE_CONFIG": os.devnull,
        "ANSIBLE_HOME": str(floor.folder / "ansible"),
        "ANSIBLE_COLLECTIONS_PATH": str(HOME / "collections"),
        "ANSIBLE_INVENTORY": str(floor.folder / "inventory"),
        "ANSIBLE_PIPELINING": "true",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_FORKS": "4",
    }

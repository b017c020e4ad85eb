"""Ansible as its users run it: the programs of the fleet's environment, the collection from its tarball."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
FLEET = ROOT / ".venv-fleet" / "bin"
COLLECTIONS = ROOT / "var" / "fleet" / "collections"
COLLECTION = COLLECTIONS / "ansible_collections" / "millwright" / "fleet"
SOURCES = ROOT / "ansible"


def ansible(program: str, *words: str | Path, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `ansible-...`. `home`: where it may keep what it likes; nothing of this machine's own settings counts."""
    assert COLLECTION.is_dir(), "run `make test`: it builds and installs the collection"
    config = home / "ansible.cfg"
    config.touch()
    own = {
        "PATH": f"{FLEET}:{os.environ['PATH']}",
        "HOME": str(home),
        "ANSIBLE_HOME": str(home / ".ansible"),
        "ANSIBLE_CONFIG": str(config),
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_NOCOLOR": "1",
        "LC_ALL": "C.UTF-8",
    }
    return subprocess.run(
        [str(FLEET / program), *map(str, words)],
        env=own | environment, cwd=home, capture_output=True, text=True, check=False,
    )  # fmt: skip

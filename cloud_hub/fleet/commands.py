"""Programs that are started here, and what is said when one fails."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from cloud_hub.fleet.errors import WheelhouseError

_LAST_LINES = 12


def run(
    command: Sequence[str | Path],
    *,
    why: str,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    hint: str = "",
) -> str:
    """What a program printed. `why`: what could not be done when it fails, for the error's text."""
    try:
        done = subprocess.run(
            [str(word) for word in command],
            cwd=folder,
            env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise WheelhouseError(f"{why}: there is no program {command[0]} here{hint}") from error
    if done.returncode:
        said = "\n".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-_LAST_LINES:])
        raise WheelhouseError(f"{why}: {Path(str(command[0])).name} ended with {done.returncode}{hint}\n{said}")
    return done.stdout

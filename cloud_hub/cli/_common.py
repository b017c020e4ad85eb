"""Options that several commands share."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer

from cloud_hub.accounts.permissions import Principal, command_line

HomeOption = Annotated[
    Path, typer.Option("--home", envvar="MILLWRIGHT_HOME", help="The hub's folder.", file_okay=False)
]
DEFAULT_HOME = Path("var/hub")
JsonOption = Annotated[Path | None, typer.Option("--json", help="Also write the result to this file.")]


def write_json(path: Path, result: object) -> None:
    """Write a command's result, indented. Raises: OSError."""
    import msgspec

    path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")


def caller(by: str | None = None) -> Principal:
    """Who stands in the audit log for what this command does. `by`: a name given; else who is logged in."""
    return command_line(by or getpass.getuser())

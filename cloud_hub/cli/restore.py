"""`cloud-hub restore`: a backup into an empty home and an empty database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cloud_hub.cli._common import DEFAULT_HOME, HomeOption


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("restore")(restore)


def restore(
    file: Annotated[Path, typer.Argument(help="A backup.", exists=True, dir_okay=False)],
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Check a backup and put it into an empty home folder and the (empty) database that the settings name.

    hub.toml may be there already. SQLite and PostgreSQL restore each other's backups. What is signed for gateways is
    signed anew when the hub next runs, ahead of all that they may have seen since.
    """
    import time

    from cloud_hub.services.backup import restore_backup
    from cloud_hub.settings import load_settings

    settings = load_settings(home)
    manifest = restore_backup(file.resolve(), settings, time.time())
    typer.echo(f"{settings.home}: {manifest.rows} rows of {len(manifest.tables)} tables and "
               f"{len(manifest.members) - len(manifest.tables)} files, all read back and found equal")  # fmt: skip
    for name in manifest.left_out:
        typer.echo(f"not in the backup, put it back by hand: {name}")

"""`cloud-hub backup`: the whole hub in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cloud_hub.cli._common import DEFAULT_HOME, HomeOption


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("backup")(backup)


def backup(
    file: Annotated[Path, typer.Argument(help="Where to write it; must not exist.")],
    home: HomeOption = DEFAULT_HOME,
    plain_keys: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--plain-keys", help="Also take private keys that are not encrypted.")
    ] = False,
) -> None:
    """Write database, bundles, captures, signed metadata, identity and encrypted keys to one file. The hub may run.

    Not in it: hub.toml and the files that it names, unencrypted private keys, the root key.
    """
    import time

    from cloud_hub.errors import SettingsError
    from cloud_hub.services.backup import write_backup
    from cloud_hub.settings import load_settings
    from cloud_hub.store.database import Database

    settings = load_settings(home)
    if not settings.database_url and not (settings.home / "hub.sqlite3").exists():
        raise SettingsError(f"{settings.home}: no hub here yet (hub.sqlite3 is missing)")
    with Database(settings.sqlalchemy_url) as database:
        manifest = write_backup(database, settings, file.resolve(), time.time(), plain_keys=plain_keys)
    typer.echo(f"{file}: {manifest.rows} rows of {len(manifest.tables)} tables, "
               f"{len(manifest.members) - len(manifest.tables)} files, {file.stat().st_size} bytes")  # fmt: skip
    for name in manifest.left_out:
        typer.echo(f"left out, not encrypted: {name} (keep a copy of it elsewhere, or use --plain-keys)")

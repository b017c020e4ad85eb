"""`cloud-hub keys`: the keys that everything rests on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from cloud_hub.cli._common import DEFAULT_HOME, HomeOption, JsonOption
from cloud_hub.cli._parts import write_result


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Make the keys of a fleet.")
    group.command("init")(init)
    app.add_typer(group, name="keys")


def init(
    root_dir: Annotated[
        Path, typer.Option("--root-dir", help="For the root keys: best a removable medium.", file_okay=False)
    ],
    home: HomeOption = DEFAULT_HOME,
    root_keys: Annotated[int, typer.Option("--root-keys", min=1, max=16, help="How many root keys.")] = 1,
    root_threshold: Annotated[
        int, typer.Option("--root-threshold", min=1, max=16, help="How many of them must sign.")
    ] = 1,
    root_days: Annotated[float, typer.Option("--root-days", min=1, help="How long the root is valid.")] = 3650,
    json: JsonOption = None,
) -> None:
    """Make all keys and an empty repository. Nothing is ever overwritten."""
    from cloud_hub.settings import load_settings
    from cloud_hub.trust.documents import Expiry
    from cloud_hub.trust.keys import create_repository

    settings = load_settings(home)
    expiry = Expiry(settings.timestamp_days, settings.snapshot_days, settings.targets_days, root_days)
    made = create_repository(
        settings.repository_dir,
        settings.keys_dir,
        root_dir,
        time.time(),
        root_keys=root_keys,
        root_threshold=root_threshold,
        expiry=expiry,
    )
    typer.echo(f"root of trust, for every gateway: {made.root}")
    typer.echo(f"root keys, {root_threshold} of {root_keys} sign; keep them away from this machine:")
    for path in made.root_keys:
        typer.echo(f"  {path}")
    typer.echo(f"online keys: {settings.keys_dir}")
    write_result(
        json,
        {
            "root": str(made.root),
            "root_keys": [str(p) for p in made.root_keys],
            "online_keys": [str(p) for p in made.online_keys],
        },
    )

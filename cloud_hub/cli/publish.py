"""`cloud-hub publish`: check a bundle, sign for it, send it."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cloud_hub.cli._common import DEFAULT_HOME, HomeOption, JsonOption
from cloud_hub.cli._parts import open_hub, open_registry, write_result


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("publish")(publish)


def publish(
    bundle: Annotated[Path, typer.Argument(help="A bundle (.mwb).", exists=True, dir_okay=False)],
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = None,
) -> None:
    """Publish a bundle: any gateway can fetch it then, none does before a `want` says so. Again is harmless."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from cloud_hub.delivery.publish import register_bundle, send_bundle
    from models.bundle.archive import read_bundle
    from models.contract.messages import MAX_BUNDLE_BYTES

    with bundle.open("rb") as file:
        data = file.read(MAX_BUNDLE_BYTES + 1)
    checked = read_bundle(data, bundle.name)
    with open_hub(home) as hub:
        settings = hub.settings
        with open_registry(settings) as registry:
            record = register_bundle(checked, data, hub.repository, registry, settings.bundles_dir, time.time())
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task(f"sending {record.slot}/{record.version}", total=len(data))
            report = send_bundle(
                record, data, hub.repository, hub.link, settings.fleet, lambda n: progress.advance(task, n)
            )
    typer.echo(
        f"published {report.target}: {report.length:,} bytes in {report.chunks} chunks, "
        f"{report.bytes_sent:,} bytes sent in {report.seconds:.2f} s"
    )
    write_result(json, asdict(report))

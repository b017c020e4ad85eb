"""`cloud-hub export`: a bundle for gateways without a link, as a file for a USB stick."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from cloud_hub.cli._common import DEFAULT_HOME, HomeOption, JsonOption
from cloud_hub.cli._parts import open_registry, seconds_of, write_result


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export)


def export(
    bundle: Annotated[str, typer.Argument(help="Digest, start of one, or slot/version.")],
    gateway: Annotated[list[str], typer.Option("--gateway", help="Who shall run it. May be repeated.")],
    out: Annotated[Path, typer.Option("--out", help="The package (.mwx) to write.")],
    expires: Annotated[str, typer.Option(help="How long it may be installed: 12h, 30d.")] = "30d",
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = None,
) -> None:
    """Write metadata, signed wants and the bundle into one file; `edge-agent install FILE` takes it on the gateway.

    The wants are remembered as if they had been sent: a gateway that comes back to the broker later keeps what it got.
    """
    from cloud_hub.delivery.package import make_package
    from cloud_hub.delivery.want import When
    from cloud_hub.settings import load_settings
    from cloud_hub.trust.files import write_atomic
    from cloud_hub.trust.keys import hub_repository

    settings = load_settings(home)
    repository = hub_repository(settings)
    now_s = time.time()
    when = When(int(now_s) + seconds_of(expires, "--expires"))
    with open_registry(settings) as registry:
        record = registry.find_bundle(bundle)
        data, bodies = make_package(record, gateway, repository, registry, settings.bundles_dir, now_s, when)
    write_atomic(out, data)
    typer.echo(f"{out}: {record.slot}/{record.version} for {', '.join(gateway)}, {len(data):,} bytes")
    wants = [{"gateway": body.gateway, "seq": body.seq, "expires_s": body.expires_s} for body in bodies]
    write_result(json, {"file": str(out), "sha256": record.sha256, "bytes": len(data), "wants": wants})

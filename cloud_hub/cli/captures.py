"""`cloud-hub captures`: raw samples that gateways have sent up on request."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from cloud_hub.cli._common import DEFAULT_HOME, HomeOption, JsonOption
from cloud_hub.cli.list import GatewayOption, LimitOption, MachineOption, gather, reading, show, when
from cloud_hub.errors import NotFoundError
from cloud_hub.settings import load_settings


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="List and export captured samples.")
    group.command("list")(list_captures)
    group.command("export")(export_capture)
    app.add_typer(group, name="captures")


def list_captures(
    home: HomeOption = DEFAULT_HOME,
    limit: LimitOption = 100,
    gateway: GatewayOption = None,
    machine: MachineOption = None,
    json: JsonOption = None,
) -> None:
    """Captures, those that began last first."""
    from cloud_hub.store import history_queries as q

    rows = gather(home, limit, lambda s, paging: q.list_captures(s, paging, gateway=gateway, machine=machine))
    cells = (
        (
            c.id,
            c.gateway,
            f"{c.machine}/{c.point}",
            c.status,
            f"{c.chunks_received}/{c.chunks_total}",
            f"{c.samples / c.rate_hz:.1f}",
            f"{c.rate_hz:g}",
            when(c.first_s),
        )
        for c in rows
    )
    show("captures", ("capture", "gateway", "point", "status", "chunks", "s", "Hz", "began"), cells, rows, json)


def export_capture(
    capture: Annotated[str, typer.Argument(help="The capture's id.")],
    out: Annotated[Path, typer.Option(help="The .npz file to write.")],
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Copy a capture's file: data (n, axes) float32, rate_hz, axes, units, machine, point, gateway, time_s, gaps."""
    from cloud_hub.store import history_queries as q

    with reading(home) as session:
        view = q.get_capture(session, capture)
    if view.status != "stored":
        raise NotFoundError(
            f"capture {capture}: no file yet, {view.chunks_received} of {view.chunks_total} chunks have come"
        )
    source = load_settings(home).captures_dir / f"{view.id}.npz"
    if not source.is_file():
        raise NotFoundError(f"capture {capture}: {source} is gone")
    shutil.copyfile(source, out)
    typer.echo(f"{out}: {view.samples:,} samples of {', '.join(view.axes)} at {view.rate_hz:g} Hz")

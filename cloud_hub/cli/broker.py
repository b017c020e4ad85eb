"""`cloud-hub broker`: a broker on loopback, for trying things out; and `broker probe`: what any broker can do."""

from __future__ import annotations

import json
import os
import signal
import threading
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cloud_hub.cli._common import JsonOption

if TYPE_CHECKING:
    from cloud_hub.broker.loopback import Address


class Kind(StrEnum):
    """Which broker."""

    AUTO = "auto"
    MOSQUITTO = "mosquitto"
    AMQTT = "amqtt"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="A broker on loopback (without a command), and what any broker can do.")
    group.callback(invoke_without_command=True)(broker)
    group.command("probe")(probe)
    app.add_typer(group, name="broker")


def broker(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="A loopback address.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    kind: Annotated[
        Kind, typer.Option(envvar="MILLWRIGHT_BROKER_KIND", help="auto: Mosquitto when it is installed, else amqtt.")
    ] = Kind.AUTO,
    persistence: Annotated[
        Path | None, typer.Option(help="Keep retained messages here between runs (Mosquitto).", file_okay=False)
    ] = None,
    ready_file: Annotated[
        Path | None, typer.Option(help="Written (JSON: kind, host, port, pid) once it listens, removed when it stops.")
    ] = None,
) -> None:
    """Run a broker on loopback until Ctrl-C. Anybody on this machine may use it; plants bring their own broker."""
    if context.invoked_subcommand is not None:
        return
    from cloud_hub.broker.loopback import run_broker

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())

    def announce(address: Address) -> None:
        text = json.dumps({"kind": address.kind, "host": address.host, "port": address.port, "pid": os.getpid()})
        if ready_file is not None:
            partial = ready_file.with_name(f".{ready_file.name}.part")
            partial.write_text(text + "\n")
            partial.replace(ready_file)
        typer.echo(text)

    if ready_file is not None:
        ready_file.unlink(missing_ok=True)
    try:
        run_broker(stop, announce, kind=kind.value, host=host, port=port, persistence=persistence)
    finally:
        if ready_file is not None:
            ready_file.unlink(missing_ok=True)


def probe(
    host: Annotated[str, typer.Option(help="The broker's address.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 1883,
    username: Annotated[str | None, typer.Option(help="With --password-file.")] = None,
    password_file: Annotated[Path | None, typer.Option(exists=True, dir_okay=False)] = None,
    ca_file: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Then over TLS.")] = None,
    cert_file: Annotated[Path | None, typer.Option(exists=True, dir_okay=False)] = None,
    key_file: Annotated[Path | None, typer.Option(exists=True, dir_okay=False)] = None,
    prefix: Annotated[str, typer.Option(help="Topics under which we may read, write and clear.")] = "mw/probe",
    patience: Annotated[float, typer.Option(min=0.1, max=60, help="Seconds to wait for what may never come.")] = 3.0,
    mark: Annotated[
        Path | None, typer.Option(help="Leave a retained message and note it here; probe again after a restart.")
    ] = None,
    json: JsonOption = None,
) -> None:
    """Find out what a broker does and does not do. Ends with 1 when delivery cannot work over it."""
    from rich.console import Console
    from rich.table import Table

    from cloud_hub.broker.dialogue import BrokerAddress
    from cloud_hub.broker.probe import Prober, as_json

    address = BrokerAddress(
        host=host, port=port, username=username, password_file=password_file, ca_file=ca_file, cert_file=cert_file,
        key_file=key_file,
    )  # fmt: skip
    with Console(stderr=True).status(f"asking {host}:{port}") as status:
        found = Prober(address, patience_s=patience, prefix=prefix).run(
            lambda finding: status.update(f"asking {host}:{port}: {finding.title}"), mark
        )
    table = Table("", "", "needed by", "", title=f"broker {found.broker}", title_justify="left", box=None)
    for one in found.findings:
        works = {True: "[green]yes[/]", False: "[red]no[/]", None: "?"}[one.works]
        table.add_row(one.title, works, "nothing" if one.need == "extra" else one.need, one.detail)
    Console().print(table)
    if json is not None:
        json.write_text(as_json(found), encoding="utf-8")
    if not found.delivers:
        typer.echo("cloud-hub: delivery cannot work over this broker", err=True)
        raise typer.Exit(1)

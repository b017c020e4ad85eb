"""`cloud-hub broker`: a broker on loopback, for trying things out."""

from __future__ import annotations

import json
import os
import signal
import threading
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cloud_hub.broker.loopback import Address


class Kind(StrEnum):
    """Which broker."""

    AUTO = "auto"
    MOSQUITTO = "mosquitto"
    AMQTT = "amqtt"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("broker")(broker)


def broker(
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

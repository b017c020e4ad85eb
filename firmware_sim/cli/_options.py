"""Options that several commands share, and what becomes of them."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from firmware_sim.link import BothLinks, BrokerAddress, FileLink, Link, MqttLink
from models.contract.ids import check_id
from models.errors import TopicError

EXIT_CODES = "Exit codes: 0 done or stopped, 1 could not be done, 2 wrong usage, 3 wrong scenario."
STDERR = Console(stderr=True)
DEFAULT_BROKER = "127.0.0.1:1883"

BrokerOption = Annotated[
    str | None,
    typer.Option(
        "--broker",
        metavar="HOST:PORT",
        envvar="MILLWRIGHT_BROKER",
        help=f"Publish there; {DEFAULT_BROKER} unless frames go to a file.",
    ),
]
UserOption = Annotated[str | None, typer.Option("--username", help="For the broker.")]
PasswordOption = Annotated[
    Path | None, typer.Option("--password-file", help="Holds the password.", exists=True, dir_okay=False)
]
CaOption = Annotated[
    Path | None, typer.Option("--ca-file", help="Check the broker's certificate: TLS.", exists=True, dir_okay=False)
]
CertOption = Annotated[
    Path | None, typer.Option("--cert-file", help="Our own certificate.", exists=True, dir_okay=False)
]
KeyOption = Annotated[Path | None, typer.Option("--key-file", help="Its key.", exists=True, dir_okay=False)]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", help="Write frames to this file, which `edge-agent replay` reads.", dir_okay=False),
]
EventsOption = Annotated[
    Path | None, typer.Option("--events", help="Write what happens to this file, as JSON lines.", dir_okay=False)
]
SpeedOption = Annotated[
    float, typer.Option("--speed", min=0.0, help="Simulated seconds in one second; 0: as fast as possible.")
]


def open_link(
    broker: str | None,
    out: Path | None,
    username: str | None,
    password_file: Path | None,
    tls: tuple[Path | None, Path | None, Path | None],
    client_id: str,
    *,
    patient: bool,
) -> Link:
    """Where the options say that frames go. Raises: LinkError; typer.BadParameter."""
    if password_file is not None and username is None:
        raise typer.BadParameter("needs --username", param_hint="--password-file")
    ca_file, cert_file, key_file = tls
    if ca_file is None and (cert_file is not None or key_file is not None):
        raise typer.BadParameter("needs --ca-file", param_hint="--cert-file, --key-file")
    address = None
    if broker is not None or out is None:
        host, port = _host_port(broker or DEFAULT_BROKER)
        address = BrokerAddress(host, port, username, password_file, ca_file, cert_file, key_file)
    links: list[Link] = []
    if out is not None:
        links.append(FileLink(out))
    if address is not None:
        links.append(MqttLink(address, client_id, patient=patient))
    return links[0] if len(links) == 1 else BothLinks(links)


def renames(pairs: list[str], known: set[str], option: str) -> dict[str, str]:
    """OLD=NEW pairs. Raises: typer.BadParameter: no such OLD, or NEW is not an id."""
    found = {}
    for pair in pairs:
        old, separator, new = pair.partition("=")
        if not separator or old not in known:
            raise typer.BadParameter(
                f"expected OLD=NEW, OLD one of {', '.join(sorted(known))}; got {pair!r}", param_hint=option
            )
        found[old] = an_id(new, option)
    return found


def an_id(text: str, option: str) -> str:
    """A well-formed id. Raises: typer.BadParameter."""
    try:
        return check_id(text, "id")
    except TopicError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def _host_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or not 1 <= int(port) <= 65535:
        raise typer.BadParameter(f"expected HOST:PORT, got {text!r}", param_hint="--broker")
    return host.removeprefix("[").removesuffix("]"), int(port)


def client_id() -> str:
    """A client id that no other simulator has."""
    return f"firmware-sim-{os.getpid()}-{time.time_ns() & 0xFFFFFF:x}"


def stop_on_signals() -> threading.Event:
    """An event that SIGINT and SIGTERM set."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop

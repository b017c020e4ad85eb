"""`firmware-sim run | replay | list`."""

from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from firmware_sim.errors import SimError
from firmware_sim.events import EventLog
from firmware_sim.link import BrokerAddress, FileLink, Link, MqttLink
from firmware_sim.replay import read_tape
from firmware_sim.replay import replay as play
from firmware_sim.runner import Pace, Runner
from firmware_sim.scenario import Scenario, builtin_names, load_scenario
from models.contract.ids import GatewayId, NodeId, check_id
from models.errors import MillwrightError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Stand in for the sensor nodes of a plant. Exit codes: 0 done, 1 could not be done, 2 wrong usage, "
    "3 wrong scenario.",
)
_say = Console(stderr=True)

BrokerOption = Annotated[str, typer.Option("--broker", help="HOST:PORT.", envvar="MILLWRIGHT_BROKER")]
UserOption = Annotated[str | None, typer.Option("--username", help="Of the broker.")]
PasswordOption = Annotated[Path | None, typer.Option("--password-file", exists=True)]
CaOption = Annotated[Path | None, typer.Option("--ca-file", help="Turns on TLS.", exists=True)]
CertOption = Annotated[Path | None, typer.Option("--cert-file", exists=True)]
KeyOption = Annotated[Path | None, typer.Option("--key-file", exists=True)]
OutOption = Annotated[Path | None, typer.Option("--out", help="Write frames to this file instead of a broker.")]
EventsOption = Annotated[Path | None, typer.Option("--events", help="Write what happens as JSON lines.")]
SpeedOption = Annotated[float, typer.Option("--speed", min=0.0, help="Simulated seconds a second; 0: at once.")]


@app.command(name="list")
def list_scenarios() -> None:
    """Show the built-in scenarios."""
    table = Table("scenario", "what it is", box=None)
    for name, title in builtin_names().items():
        table.add_row(name, title)
    Console().print(table)


@app.command()
def run(
    scenario: Annotated[str, typer.Argument(help="A built-in name (see `list`) or a TOML file.")],
    broker: BrokerOption = "127.0.0.1:1883",
    username: UserOption = None,
    password_file: PasswordOption = None,
    ca_file: CaOption = None,
    cert_file: CertOption = None,
    key_file: KeyOption = None,
    out: OutOption = None,
    events: EventsOption = None,
    speed: SpeedOption = 1.0,
    seconds: Annotated[float | None, typer.Option(min=0.0, help="Stop after this much simulated time.")] = None,
    fault_after: Annotated[
        float | None, typer.Option(min=0.0, help="Start waiting faults then, without signal.")
    ] = None,
    gateway: Annotated[list[str] | None, typer.Option(help="OLD=NEW: send to another gateway id.")] = None,
) -> None:
    """Run a scenario. Faults that wait for a trigger start on SIGUSR1."""
    loaded = load_scenario(scenario)
    if fault_after is not None:
        loaded = _with_start(loaded, fault_after)
    runner = Runner(loaded, _renames(gateway or []), time.time())
    stop = _stop_on_signals()
    signal.signal(signal.SIGUSR1, lambda *_: runner.trigger())
    log = EventLog(events)
    link = _link(out, BrokerAddress(*_host_port(broker), username, password_file, ca_file, cert_file, key_file))
    _say.print(f"{loaded.title}: {len(loaded.machine)} machines, seed {loaded.seed}, {speed:g} x real time")
    try:
        counts = runner.run(link, log, Pace(speed), seconds, stop)
    finally:
        link.close()
        log.close()
    _say.print("stopped: " + ", ".join(f"{name} {value}" for name, value in counts.items() if value))


@app.command()
def replay(
    files: Annotated[list[str], typer.Argument(help="npz, CSV or WAV; FILE@0.6-1.0 is a part, in fractions.")],
    gateway: Annotated[str, typer.Option(help="Gateway id.")],
    node: Annotated[str, typer.Option(help="Node id.")],
    channels: Annotated[str, typer.Option(help="Names with commas; default: all of the first file.")] = "",
    axes: Annotated[bool, typer.Option("--axes", help="Channels are axes of one port; else a port each.")] = False,  # noqa: FBT002
    rate: Annotated[float | None, typer.Option(help="Hz, when the file does not say.")] = None,
    pause: Annotated[float, typer.Option(min=0.0, help="Seconds between files.")] = 1.0,
    loop: Annotated[int, typer.Option(min=1, help="How many times over.")] = 1,
    broker: BrokerOption = "127.0.0.1:1883",
    username: UserOption = None,
    password_file: PasswordOption = None,
    ca_file: CaOption = None,
    cert_file: CertOption = None,
    key_file: KeyOption = None,
    out: OutOption = None,
    events: EventsOption = None,
    speed: SpeedOption = 1.0,
) -> None:
    """Replay recordings as frames of one node."""
    names = [name.strip() for name in channels.split(",") if name.strip()]
    tapes = [read_tape(file, names, rate) for file in files] * loop
    check_id(gateway, "--gateway")
    check_id(node, "--node")
    stop = _stop_on_signals()
    log = EventLog(events)
    link = _link(out, BrokerAddress(*_host_port(broker), username, password_file, ca_file, cert_file, key_file))
    try:
        sent = play(
            tapes,
            gateway=GatewayId(gateway),
            node=NodeId(node),
            one_port=axes,
            link=link,
            events=log,
            speed=speed,
            pause_s=pause,
            stop=stop,
            seed=int(time.time_ns()) & 0xFFFFFFFF,
        )
    finally:
        link.close()
        log.close()
    _say.print(f"stopped: {sent} frames of {len(tapes)} recordings")


def main() -> None:
    """Run the command line; errors about the outside world become one line and an exit code."""
    try:
        app()
    except MillwrightError as error:
        typer.echo(f"firmware-sim: {error}", err=True)
        sys.exit(error.exit_code if isinstance(error, SimError) else 1)


def _link(out: Path | None, address: BrokerAddress) -> Link:
    return FileLink(out) if out is not None else MqttLink(address, f"sim-{time.time_ns():x}")


def _host_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise typer.BadParameter(f"expected HOST:PORT, got {text!r}", param_hint="--broker")
    return host, int(port)


def _renames(pairs: list[str]) -> dict[str, str]:
    renames = {}
    for pair in pairs:
        old, _, new = pair.partition("=")
        renames[check_id(old, "--gateway, before =")] = check_id(new, "--gateway, after =")
    return renames


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _with_start(scenario: Scenario, start_s: float) -> Scenario:
    faults = [msgspec.structs.replace(f, start=start_s) if f.start == "trigger" else f for f in scenario.fault]
    return msgspec.structs.replace(scenario, fault=faults)

"""`firmware-sim run | replay | list`."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import Annotated, Any

import msgspec
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from firmware_sim import options
from firmware_sim.display import Display
from firmware_sim.errors import SimError
from firmware_sim.events import EventLog
from firmware_sim.pace import Pace
from firmware_sim.replay import Playback, Replay
from firmware_sim.runner import Names, Runner
from firmware_sim.scenario import Scenario, builtin_names, load_scenario
from firmware_sim.tapes import read_tape
from models.contract.ids import GatewayId, NodeId
from models.errors import MillwrightError

_EXIT_CODES = "Exit codes: 0 done or stopped, 1 could not be done, 2 wrong usage, 3 wrong scenario."

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help=f"Stand in for the sensor nodes of a plant: simulated machines, or recordings of real ones. {_EXIT_CODES}",
)
_stderr = Console(stderr=True)


@app.command(epilog=_EXIT_CODES)
def run(
    scenario: Annotated[str, typer.Argument(metavar="SCENARIO", help="A built-in name (see `list`) or a TOML file.")],
    broker: options.BrokerOption = None,
    username: options.UserOption = None,
    password_file: options.PasswordOption = None,
    ca_file: options.CaOption = None,
    cert_file: options.CertOption = None,
    key_file: options.KeyOption = None,
    out: options.OutOption = None,
    events: options.EventsOption = None,
    speed: options.SpeedOption = 1.0,
    seconds: Annotated[float | None, typer.Option(min=0.0, help="Stop after this much simulated time.")] = None,
    fault_after: Annotated[
        float | None, typer.Option(min=0.0, help="Trigger the waiting faults at this simulated second.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**32 - 1, help="Instead of the scenario's.")] = None,
    gateway: Annotated[list[str] | None, typer.Option(metavar="OLD=NEW", help="Another gateway id.")] = None,
    node: Annotated[list[str] | None, typer.Option(metavar="OLD=NEW", help="Another node id.")] = None,
) -> None:
    """Run a scenario until --seconds, SIGINT or SIGTERM. SIGUSR1 starts the faults that wait for a trigger."""
    stop = _stop_on_signals()
    loaded = load_scenario(scenario)
    if seed is not None:
        loaded = msgspec.structs.replace(loaded, seed=seed)
    names = Names(
        options.renames(gateway or [], {n.gateway for n in loaded.node}, "--gateway"),
        options.renames(node or [], {n.id for n in loaded.node}, "--node"),
    )
    runner = Runner(loaded, names, time.time())
    signal.signal(signal.SIGUSR1, lambda *_: runner.trigger())
    link = options.open_link(
        broker, out, username, password_file, (ca_file, cert_file, key_file), _client_id(), patient=speed == 0
    )
    try:
        with EventLog(events, time.time) as log, Display(_stderr, loaded.title, seconds) as display:
            counts = runner.run(
                link, log, Pace(speed, stop), seconds=seconds, fault_after_s=fault_after,
                report=lambda r: display.show(r.sim_s, r.sent, link.dropped, _faults_note(r)),
            )  # fmt: skip
    finally:
        link.close()
    said = ", ".join(f"{name} {value}" for name, value in counts.items() if value)
    _stderr.print(f"stopped after {runner.sim_s:.1f} simulated seconds: {said or 'nothing sent'}", highlight=False)


@app.command(epilog=_EXIT_CODES)
def replay(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            help="npz, CSV or WAV. FILE@0.6-1.0 is a part in fractions, FILE@2s-10s in seconds; ends may be missing.",
        ),
    ],
    gateway: Annotated[str, typer.Option(help="The gateway to send to.")],
    node: Annotated[str, typer.Option(help="The node to send as.")],
    channels: Annotated[str, typer.Option(help="Names, with commas between them; all when not given.")] = "",
    axes: Annotated[bool, typer.Option("--axes", help="Channels are axes of port 0; else a port each.")] = False,  # noqa: FBT002
    rate: Annotated[float | None, typer.Option(help="Sampling rate in Hz, where the file does not state it.")] = None,
    units: Annotated[str, typer.Option(help="Units of the recordings.")] = "g",
    send_units: Annotated[str | None, typer.Option(help="Units of the frames, g or m/s2, when they differ.")] = None,
    values: Annotated[bool, typer.Option("--values", help="Send float32 values instead of int16 counts.")] = False,  # noqa: FBT002
    frame: Annotated[int, typer.Option(min=0, max=8192, help="Samples per frame; 0: about 31 ms.")] = 0,
    pause: Annotated[float, typer.Option(min=0.0, help="Wall-clock seconds between recordings.")] = 1.0,
    loop: Annotated[int, typer.Option(min=1, help="How many times over.")] = 1,
    seed: Annotated[int | None, typer.Option(min=0, max=2**32 - 1, help="For boot ids; random when not given.")] = None,
    broker: options.BrokerOption = None,
    username: options.UserOption = None,
    password_file: options.PasswordOption = None,
    ca_file: options.CaOption = None,
    cert_file: options.CertOption = None,
    key_file: options.KeyOption = None,
    out: options.OutOption = None,
    events: options.EventsOption = None,
    speed: options.SpeedOption = 1.0,
) -> None:
    """Replay recordings as frames of one node. Each file is a new boot of the node: recordings do not join."""
    stop = _stop_on_signals()
    names = [name.strip() for name in channels.split(",") if name.strip()]
    playback = Playback(
        gateway=GatewayId(options.an_id(gateway, "--gateway")),
        node=NodeId(options.an_id(node, "--node")),
        as_axes=axes,
        units=units,
        send_units=send_units or units,
        frame=frame,
        as_values=values,
        pause_s=pause,
    )
    tapes = [read_tape(file, names, rate) for file in files] * loop
    rng = np.random.default_rng(seed)
    played = Replay(tapes, playback, rng, time.time())
    link = options.open_link(
        broker, out, username, password_file, (ca_file, cert_file, key_file), _client_id(), patient=speed == 0
    )
    total_s = sum(tape.end_s - tape.start_s for tape in tapes)
    try:
        with EventLog(events, time.time) as log, Display(_stderr, "replay", total_s) as display:
            played.run(
                link, log, Pace(speed, stop), stop,
                report=lambda r: display.show(r.sim_s, r.sent, link.dropped, r.playing.name if r.playing else ""),
            )  # fmt: skip
    finally:
        link.close()
    _stderr.print(
        f"stopped after {played.sim_s:.1f} of {total_s:.1f} recorded seconds: {played.sent} frames", highlight=False
    )


@app.command(name="list", epilog=_EXIT_CODES)
def list_scenarios(
    scenario: Annotated[
        str | None, typer.Argument(metavar="[SCENARIO]", help="Show the sensors of this one: a name or a TOML file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All that there is to know, for programs.")] = False,  # noqa: FBT002
) -> None:
    """Show the built-in scenarios, or the machines, sensors, fault orders and faults of one."""
    wanted = [scenario] if scenario is not None else builtin_names()
    described = {name: _describe(load_scenario(name)) for name in wanted}
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(described)).decode())
        return
    console = Console()
    if scenario is None:
        table = Table("scenario", "what it is", "sensors", box=None)
        for name, one in described.items():
            table.add_row(name, one["title"], str(len(one["points"])))
        console.print(table)
        return
    for point in described[scenario]["points"]:
        console.print(
            f"[bold]{point['machine']} {point['point']}[/]: {', '.join(point['axes'])} ({point['units']}) at "
            f"{point['rate_hz']:g} Hz, port {point['port']} of {point['node']} at {point['gateway']}"
        )
        orders = "".join(f", {name} {order:.4g} x" for name, order in point["facts"]["orders"].items())
        console.print(f"    shaft {point['facts']['shaft_hz']:g} Hz{orders}", highlight=False)
    for fault in described[scenario]["faults"]:
        start = "on the trigger" if fault["start"] == "trigger" else f"at {fault['start']:g} s"
        console.print(f"{fault['kind']} of {fault['machine']} {start}, {fault['growth']} over {fault['growth_s']:g} s")


def main() -> None:
    """Run the command line; errors about the outside world become one line each and an exit code."""
    try:
        app()
    except MillwrightError as error:
        for line in str(error).splitlines():
            typer.echo(f"firmware-sim: {line}", err=True)
        sys.exit(error.exit_code if isinstance(error, SimError) else 1)


def _describe(scenario: Scenario) -> dict[str, Any]:
    """What a gateway has to be told about the sensors: the keys are those of the agent's settings."""
    machines = {machine.id: machine for machine in scenario.machine}
    return {
        "title": scenario.title,
        "seed": scenario.seed,
        "points": [
            {
                "gateway": node.gateway, "node": node.id, "port": port.port, "machine": port.machine,
                "point": port.point, "quantity": port.quantity, "axes": port.axes, "units": port.units,
                "rate_hz": port.rate_hz,
                "facts": {"shaft_hz": machines[port.machine].shaft_hz, "orders": machines[port.machine].orders()},
            }
            for node, port in scenario.ports()
        ],
        "faults": [msgspec.to_builtins(fault) for fault in scenario.fault],
    }  # fmt: skip


def _faults_note(runner: Runner) -> str:
    growing = [f"{p.spec.machine} {p.spec.kind}" for p in runner.faults if p.announced]
    return "[red]" + ", ".join(growing) + "[/]" if growing else ""


def _client_id() -> str:
    return f"firmware-sim-{os.getpid()}-{time.time_ns() & 0xFFFFFF:x}"


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop

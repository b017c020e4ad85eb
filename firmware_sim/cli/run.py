"""`firmware-sim run`: simulated machines."""

from __future__ import annotations

import signal
import time
from typing import Annotated

import msgspec
import typer

from firmware_sim.cli import _options
from firmware_sim.cli._display import Display
from firmware_sim.events import EventLog
from firmware_sim.pace import Pace
from firmware_sim.runner import Names, Runner
from firmware_sim.scenario import load_scenario


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=_options.EXIT_CODES)(run)


def run(
    scenario: Annotated[str, typer.Argument(metavar="SCENARIO", help="A built-in name (see `list`) or a TOML file.")],
    broker: _options.BrokerOption = None,
    username: _options.UserOption = None,
    password_file: _options.PasswordOption = None,
    ca_file: _options.CaOption = None,
    cert_file: _options.CertOption = None,
    key_file: _options.KeyOption = None,
    out: _options.OutOption = None,
    events: _options.EventsOption = None,
    speed: _options.SpeedOption = 1.0,
    seconds: Annotated[float | None, typer.Option(min=0.0, help="Stop after this much simulated time.")] = None,
    fault_after: Annotated[
        float | None, typer.Option(min=0.0, help="Trigger the waiting faults at this simulated second.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**32 - 1, help="Instead of the scenario's.")] = None,
    gateway: Annotated[list[str] | None, typer.Option(metavar="OLD=NEW", help="Another gateway id.")] = None,
    node: Annotated[list[str] | None, typer.Option(metavar="OLD=NEW", help="Another node id.")] = None,
) -> None:
    """Run a scenario until --seconds, SIGINT or SIGTERM. SIGUSR1 starts the faults that wait for a trigger."""
    stop = _options.stop_on_signals()
    loaded = load_scenario(scenario)
    if seed is not None:
        loaded = msgspec.structs.replace(loaded, seed=seed)
    names = Names(
        _options.renames(gateway or [], {n.gateway for n in loaded.node}, "--gateway"),
        _options.renames(node or [], {n.id for n in loaded.node}, "--node"),
    )
    runner = Runner(loaded, names, time.time())
    signal.signal(signal.SIGUSR1, lambda *_: runner.trigger())
    link = _options.open_link(
        broker, out, username, password_file, (ca_file, cert_file, key_file), _options.client_id(), patient=speed == 0
    )
    try:
        with EventLog(events, time.time) as log, Display(_options.STDERR, loaded.title, seconds) as display:
            counts = runner.run(
                link, log, Pace(speed, stop), seconds=seconds, fault_after_s=fault_after,
                report=lambda r: display.show(r.sim_s, r.sent, link.dropped, _faults_note(r)),
            )  # fmt: skip
    finally:
        link.close()
    said = ", ".join(f"{name} {value}" for name, value in counts.items() if value)
    _options.STDERR.print(
        f"stopped after {runner.sim_s:.1f} simulated seconds: {said or 'nothing sent'}", highlight=False
    )


def _faults_note(runner: Runner) -> str:
    growing = [f"{p.spec.machine} {p.spec.kind}" for p in runner.faults if p.announced]
    return "[red]" + ", ".join(growing) + "[/]" if growing else ""

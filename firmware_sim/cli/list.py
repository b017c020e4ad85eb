"""`firmware-sim list`: what there is to run, and what a gateway has to be told about it."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from firmware_sim.cli import _options
from firmware_sim.scenario import Scenario, builtin_names, load_scenario


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="list", epilog=_options.EXIT_CODES)(list_scenarios)


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

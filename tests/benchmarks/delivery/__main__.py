"""`make bench-delivery`: bytes, time and memory of delivery to many gateways, and of installing one file, beside peers."""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from tests.benchmarks.delivery import installers, measure

MIB = 2**20
MOST = 1.1
SOON_S = 5.0


def main() -> None:
    """Run everything; each peer in the same run."""
    parser = argparse.ArgumentParser(prog="make bench-delivery", description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--gateways", type=int, default=1000)
    parser.add_argument("--only", choices=("fleet", "speed", "install"), help="one of the three parts")
    given = parser.parse_args()
    console = Console(width=150)
    figures: dict[str, object] = {"gateways": given.gateways, "cpus": os.cpu_count()}
    if given.only in {None, "fleet"}:
        costs = []
        for way, cut in (
            (measure.ours, 0), (measure.ours, 5), (measure.retained, 0), (measure.retained, 5), (measure.pull, 0),
        ):  # fmt: skip
            costs.append(way(given.gateways, MIB, cut))
            console.print(f"[dim]{costs[-1].way}, {costs[-1].cut} links cut: {costs[-1].first_to_last_s:.1f} s[/]")
        show_fleet(console, costs)
        figures["fleet"] = msgspec.to_builtins(costs)
    if given.only in {None, "speed"}:
        speed = measure.ours(given.gateways, MIB // 4)
        show_speed(console, speed)
        figures["speed"] = msgspec.to_builtins(speed)
    if given.only in {None, "install"}:
        if absent := installers.missing():
            console.print(f"[yellow]not installed: {', '.join(absent)}[/]")
        outcomes = [installers.measure(tool) for tool in installers.TOOLS]
        show_install(console, outcomes)
        figures["install"] = msgspec.to_builtins(outcomes)
    console.print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, everything on them")
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def show_fleet(console: Console, costs: list[measure.Cost]) -> None:
    """Bytes and memory."""
    table = Table(
        "", "links cut", "bytes from the hub", "x file", "wants", "received, mean", "of cut ones", "most", "broker's peak",
        "until the last has it",
        title=f"{costs[0].length:,} bytes to {costs[0].gateways:,} gateways; at most {MOST} x from the hub and per gateway",
        title_justify="left", box=None,
    )  # fmt: skip
    for column in table.columns[1:]:
        column.justify = "right"
    for cost in costs:
        cut = f"{cost.cut_mean_received / cost.length:.3f} x" if cost.cut_mean_received else ""
        table.add_row(
            cost.way, str(cost.cut), f"{cost.hub_bytes:,}", f"{cost.hub_bytes / cost.length:,.3f}",
            f"{cost.wants_bytes:,}", f"{cost.mean_received / cost.length:.3f} x", cut,
            f"{cost.max_received / cost.length:.3f} x", f"{cost.broker_peak_mb:.0f} MB", f"{cost.first_to_last_s:.1f} s",
        )  # fmt: skip
    console.print(table)


def show_speed(console: Console, cost: measure.Cost) -> None:
    """How the time goes."""
    quantiles = cost.quantiles_s
    table = Table(
        "", "seconds", title=f"{cost.gateways:,} light clients fetch and verify {cost.length:,} bytes; within {SOON_S:g} s "
        "of the first want", title_justify="left", box=None,
    )  # fmt: skip
    table.columns[1].justify = "right"
    for name, title in (("0", "first"), ("50", "half of them"), ("90", "90 %"), ("99", "99 %"), ("100", "last")):
        table.add_row(title, f"{quantiles[name]:.2f}")
    table.add_row("hub: signing and sending all wants", f"{cost.wants_s:.2f}")
    table.add_row("CPU time of all clients", f"{cost.clients_cpu_s:.2f}")
    table.add_row("CPU time of the hub, for the wants", f"{cost.hub_cpu_s:.2f}")
    table.add_row("CPU time of the broker", f"{cost.broker_cpu_s:.2f}")
    table.add_row("trust, per client, ms", f"{cost.trust_ms:.1f}")
    console.print(table)
    verdict = "[green]met[/]" if quantiles["100"] <= SOON_S else "[red]missed[/]"
    console.print(f"{SOON_S:g} s: {verdict} ({sum_within(cost)})")


def sum_within(cost: measure.Cost) -> str:
    """What the limit of this machine is, for comparison."""
    busy = cost.clients_cpu_s + cost.broker_cpu_s + cost.hub_cpu_s
    return f"{busy:.1f} s of work in all, at least {busy / (os.cpu_count() or 1):.1f} s on {os.cpu_count()} cores"


def show_install(console: Console, outcomes: list[installers.Outcome]) -> None:
    """The same file, three ways."""
    table = Table(
        "", "ships", "x file", "installs in", "after kill -9: old / new / neither", "next run mends", "a flipped bit",
        title=f"A file of {outcomes[0].payload_bytes:,} bytes, signed, verified and installed", title_justify="left", box=None,
    )  # fmt: skip
    for one in outcomes:
        if one.why is not None:
            table.add_row(one.tool, "could not run", "", "", "", "", one.why)
            continue
        kills = " / ".join(str(one.after_kill.get(state, 0)) for state in ("old", "new", "neither"))
        table.add_row(
            one.tool, f"{one.shipped_bytes:,}", f"{one.shipped_bytes / one.payload_bytes:.4f}", f"{one.install_s:.2f} s",
            kills, f"{one.recovered} of {one.kills}" + (f"; {one.note}" if one.note else ""), one.tampered,
        )  # fmt: skip
    console.print(table)


if __name__ == "__main__":
    main()

"""`make bench-naming`: which fault is named, on simulated machines whose fault is known.

    python -m tests.benchmarks.naming [--machines N] [--seed N] [--json FILE]

Kind of fault x severity x wandering of the speed x noise, on motors, pumps, gearboxes and motors that have an old mark
on a race: bearings, resonances and speeds are drawn anew for each. Each stretch of 6 s is diagnosed twice, without and
with what two healthy stretches of the same machine have shown. `unknown`: nothing was named; `wrong`: something else
was. Below, how often the first guess is right against the confidence that was stated.
"""

from __future__ import annotations

import argparse
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from firmware_sim.machines.bearing import Bearing
from firmware_sim.machines.fault import Fault, Kind
from firmware_sim.machines.gear import Gear
from firmware_sim.machines.impeller import Impeller
from firmware_sim.machines.machine import Load, Machine, MachineSpec
from models.bundle.manifest import InputSpec
from models.signal.arrays import F32
from models.signal.diagnose import PointFacts, learn_stretch, match_orders, plain_match
from models.signal.healthy_orders import HealthyOrder, joined

RATE_HZ = 10_000.0
STRETCH = 60_000
SEVERITIES = (0.02, 0.05, 0.15, 0.5)
WANDERS = (0.001, 0.01)
NOISES_MS2 = (0.8, 2.5)
KINDS: tuple[Kind | None, ...] = ("outer_race", "inner_race", "ball", "cage", "imbalance", None)
NAMES: dict[Kind | None, str | None] = {"outer_race": "BPFO", "inner_race": "BPFI", "ball": "BSF", "cage": "FTF"}
MACHINES = ("motor", "pump", "gearbox", "old mark")
EDGES = (0.0, 0.25, 0.5, 0.65, 0.75, 0.85, 0.95, 1.0001)
SOURCE = InputSpec(quantity="acceleration", units="m/s2", axes=["radial"], rate_hz=RATE_HZ, window=1024, hop=256)
_MARK = 0.05  # severity of an old mark
Way = Literal["without", "with"]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One stretch diagnosed once. `truth`: the order that should be named; None where nothing should be. `named`: what
    was, None for unknown. `best`, `confidence`: the first guess, and what was stated.
    """

    machine: str
    kind: str
    severity: float
    wander: float
    noise_ms2: float
    healthy_known: bool
    truth: str | None
    named: str | None
    best: str | None
    confidence: float

    @property
    def outcome(self) -> Literal["right", "unknown", "wrong"]:
        """Of a stretch without a nameable fault, saying nothing is right."""
        if self.named == self.truth:
            return "right"
        return "unknown" if self.named is None else "wrong"


def stretches(machines: int, seed: int) -> Iterator[Row]:
    """All rows. Each combination gets `machines` machines of each sort, no two alike."""
    for sort in MACHINES:
        for index in range(machines):
            for wander in WANDERS:
                for noise in NOISES_MS2:
                    yield from _of_machine(sort, wander, noise, np.random.default_rng([seed, index, *map(ord, sort)]))


def _of_machine(sort: str, wander: float, noise: float, rng: np.random.Generator) -> Iterator[Row]:
    spec = _spec(sort, wander, noise, rng)
    mark = ("outer_race", "inner_race")[int(rng.integers(2))] if sort == "old mark" else None
    seed = int(rng.integers(2**31))
    healthy: dict[str, HealthyOrder] = {}
    facts = PointFacts(spec.shaft_hz, spec.orders())
    for part in range(2):
        healthy = joined(healthy, learn_stretch(_stretch(spec, None, 0.0, mark, seed + part), SOURCE, facts))
    for kind in KINDS:
        if kind == mark and kind is not None:
            continue
        for severity in SEVERITIES if kind is not None else SEVERITIES[:1]:
            seed += 10
            samples = _stretch(spec, kind, severity, mark, seed)
            for known in (False, True):
                matches = match_orders(samples, SOURCE, facts, healthy if known else None)
                plain = plain_match(matches)
                yield Row(
                    machine=sort,
                    kind=kind or "healthy",
                    severity=severity if kind is not None else 0.0,
                    wander=wander,
                    noise_ms2=noise,
                    healthy_known=known,
                    truth=NAMES.get(kind),
                    named=plain.fault if plain else None,
                    best=matches[0].fault if matches else None,
                    confidence=matches[0].confidence if matches else 0.0,
                )


def _spec(sort: str, wander: float, noise: float, rng: np.random.Generator) -> MachineSpec:
    bearing = Bearing(
        elements=int(rng.integers(7, 14)),
        ball_mm=float(rng.uniform(6.5, 9.5)),
        pitch_mm=float(rng.uniform(36, 48)),
        resonance_hz=float(rng.uniform(1200, 4200)),
        damping=float(rng.uniform(0.02, 0.08)),
        slip=float(rng.uniform(0.005, 0.015)),
    )
    return MachineSpec(
        id="m",
        kind="motor",
        shaft_hz=float(rng.uniform(24, 50)),
        load=Load(wander=wander, droop=wander),
        noise_ms2=noise,
        resonances_hz=(float(rng.uniform(500, 1500)), float(rng.uniform(1800, 4500))),
        bearing=bearing,
        gear=Gear(teeth=int(rng.integers(30, 60)), pinion_teeth=19, mesh_ms2=2.0) if sort == "gearbox" else None,
        impeller=Impeller(vanes=int(rng.integers(5, 10)), pulse_ms2=0.8) if sort == "pump" else None,
    )


def _stretch(spec: MachineSpec, kind: Kind | None, severity: float, mark: Kind | None, seed: int) -> F32:
    """Samples (STRETCH, 1) with the fault at full size."""
    faults = [
        Fault(kind=k, severity=s, growth_s=1.0, start_s=-10.0)
        for k, s in ((kind, severity), (mark, _MARK))
        if k is not None
    ]
    return Machine(spec, faults, seed).acceleration("p", ["radial"], RATE_HZ, "m/s2").block(STRETCH).astype(np.float32)


def reliability(rows: list[Row]) -> list[tuple[float, float, int, float, float]]:
    """Per bin of stated confidence: from, to, guesses, mean stated, share right. Where no order is the truth, every guess
    is wrong.
    """
    found = []
    for low, high in itertools.pairwise(EDGES):
        inside = [row for row in rows if low <= row.confidence < high and row.best is not None]
        if inside:
            right = float(np.mean([row.best == row.truth for row in inside]))
            found.append((low, high, len(inside), float(np.mean([row.confidence for row in inside])), right))
    return found


def show(console: Console, rows: list[Row]) -> None:
    """All tables."""
    for title, key in (
        ("kind of fault", lambda r: (r.kind,)),
        ("machine", lambda r: (r.machine,)),
        ("severity", lambda r: (f"{r.severity:g}",)),
        ("wandering of the speed, noise m/s2", lambda r: (f"{r.wander:g}", f"{r.noise_ms2:g}")),
        ("kind and severity", lambda r: (r.kind, f"{r.severity:g}")),
    ):
        table = Table(title=f"By {title}: named right / unknown / wrong", title_justify="left")
        for column in (title, "stretches", "healthy unknown", "healthy known"):
            table.add_column(column, justify="left" if column == title else "right")
        groups: dict[tuple[str, ...], dict[bool, Counter[str]]] = defaultdict(
            lambda: {False: Counter(), True: Counter()}
        )
        for row in rows:
            groups[key(row)][row.healthy_known][row.outcome] += 1
        for name, counts in groups.items():
            told = [" / ".join(str(counts[known][o]) for o in ("right", "unknown", "wrong")) for known in (False, True)]
            table.add_row(", ".join(name), str(counts[True].total()), *told)
        console.print(table)
    table = Table("stated", "healthy known", "guesses", "mean stated", "right", title="Confidence against truth")
    for known in (False, True):
        for low, high, count, stated, right in reliability([row for row in rows if row.healthy_known == known]):
            table.add_row(f"{low:.2f}-{min(high, 1):.2f}", str(known), str(count), f"{stated:.2f}", f"{right:.2f}")
    console.print(table)


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(prog="make bench-naming", description=__doc__)
    parser.add_argument("--machines", type=int, default=6, help="of each sort, for each combination")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write every row to this file")
    given = parser.parse_args()
    rows = list(stretches(given.machines, given.seed))
    show(Console(width=130), rows)
    if given.json:
        given.json.write_bytes(msgspec.json.encode(rows) + b"\n")


if __name__ == "__main__":
    main()

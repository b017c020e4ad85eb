"""Scenarios: which machines there are, which nodes listen to them, which faults come. TOML, checked as a whole.

    title = "..."
    seed = 1
    [[machine]]     `machines.machine.MachineSpec`, with .load .bearing .gear .impeller
    [[node]]        `node.NodeSpec`, with .board .flaws and [[node.port]]
    [[fault]]       `FaultSpec`

Built-in ones lie in `scenarios/` and are examples of everything.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from firmware_sim.errors import ScenarioError
from firmware_sim.machines.bearing import BEARING_FAULTS
from firmware_sim.machines.fault import Growth, Kind
from firmware_sim.machines.machine import UNITS, MachineSpec
from firmware_sim.machines.process import CHANNELS
from firmware_sim.machines.shaft import AXES
from firmware_sim.machines.spec import NotNegative, Positive, Spec
from firmware_sim.node import NodeSpec, PortSpec
from firmware_sim.schema import check, near_match
from models.contract.ids import Id

_MAX_FRAME_S = 600.0
_MAX_SCENARIO_BYTES = 4 * 2**20


class FaultSpec(Spec, frozen=True, kw_only=True):
    """One fault. `start`: simulated seconds, or `trigger`: when the program is told to (SIGUSR1, --fault-after)."""

    machine: Id
    kind: Kind
    start: Literal["trigger"] | NotNegative = "trigger"
    growth_s: Positive = 60.0
    growth: Growth = "exponential"
    severity: Annotated[float, msgspec.Meta(gt=0, le=10)] = 1.0


class Scenario(Spec, frozen=True, kw_only=True):
    """The whole scenario."""

    title: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)] = 1
    machine: Annotated[tuple[MachineSpec, ...], msgspec.Meta(min_length=1, max_length=1000)]
    node: Annotated[tuple[NodeSpec, ...], msgspec.Meta(min_length=1, max_length=1000)]
    fault: Annotated[tuple[FaultSpec, ...], msgspec.Meta(max_length=1000)] = ()

    def ports(self) -> Iterator[tuple[NodeSpec, PortSpec]]:
        """All sensor positions."""
        return ((node, port) for node in self.node for port in node.port)


def builtin_names() -> list[str]:
    """Names of the built-in scenarios."""
    return sorted(f.name.removesuffix(".toml") for f in _folder().iterdir() if f.name.endswith(".toml"))


def load_scenario(name: str) -> Scenario:
    """A built-in scenario, or one from a TOML file.

    Raises: ScenarioError: every problem, with file and key; a misspelt key or name with what it may have meant.
    """
    known = builtin_names()
    path = Path(name)
    try:
        if name in known:
            data = (_folder() / f"{name}.toml").read_bytes()
        elif path.is_file():
            if path.stat().st_size > _MAX_SCENARIO_BYTES:
                raise ScenarioError([f"{name}: expected at most {_MAX_SCENARIO_BYTES} bytes of TOML"])
            data = path.read_bytes()
        else:
            raise ScenarioError(
                [f"scenario {name!r}: no such file, and no such built-in one; {near_match(name, known)}"]
            )
    except OSError as error:
        raise ScenarioError([f"{name}: cannot be read: {error.strerror}"]) from error
    return parse_scenario(data, name)


def parse_scenario(data: bytes, where: str) -> Scenario:
    """The scenario in a TOML document. Raises: ScenarioError."""
    try:
        document = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ScenarioError([f"{where}: not TOML: {error}"]) from error
    scenario, problems = check(document, Scenario)
    if scenario is not None:
        problems = list(_contradictions(scenario))
    if scenario is None or problems:
        raise ScenarioError([f"{where}, {problem}" for problem in problems])
    return scenario


def _folder() -> Traversable:
    return resources.files("firmware_sim.scenarios")


def _contradictions(scenario: Scenario) -> Iterator[str]:
    """What is wrong with a scenario of which each table alone is right."""
    machines = {machine.id: machine for machine in scenario.machine}
    yield from _twice("machine", [m.id for m in scenario.machine])
    yield from _twice("node", [n.id for n in scenario.node])
    for i, machine in enumerate(scenario.machine):
        if machine.load.swing >= machine.load.mean:
            yield f"machine[{i}].load.swing: expected below load.mean {machine.load.mean:g}, got {machine.load.swing:g}"
    points: set[tuple[str, str]] = set()
    for i, node in enumerate(scenario.node):
        yield from _twice(f"node[{i}].port", [port.port for port in node.port])
        for j, port in enumerate(node.port):
            at = f"node[{i}].port[{j}]"
            if port.machine not in machines:
                yield f"{at}.machine: no machine {port.machine!r}; {near_match(port.machine, machines)}"
                continue
            if (port.machine, port.point) in points:
                yield f"{at}.point: machine {port.machine} has a point {port.point!r} already"
            points.add((port.machine, port.point))
            yield from _port_problems(port, machines[port.machine], at)
        for j, stuck in enumerate(node.board.stuck):
            axes = next((port.axes for port in node.port if port.port == stuck.port), None)
            if axes is None:
                yield f"node[{i}].board.stuck[{j}].port: node {node.id} has no port {stuck.port}"
            elif stuck.axis not in axes:
                yield f"node[{i}].board.stuck[{j}].axis: no axis {stuck.axis!r}; {near_match(stuck.axis, axes)}"
    for i, fault in enumerate(scenario.fault):
        yield from _fault_problems(fault, machines, f"fault[{i}]")


def _port_problems(port: PortSpec, machine: MachineSpec, at: str) -> Iterator[str]:
    axes = AXES if port.quantity == "acceleration" else CHANNELS[machine.kind]
    for axis in port.axes:
        if axis not in axes:
            yield f"{at}.axes: {port.quantity} of a {machine.kind} has no {axis!r}; {near_match(axis, axes)}"
    if len(set(port.axes)) != len(port.axes):
        yield f"{at}.axes: each only once, got {', '.join(port.axes)}"
    if port.frame / port.rate_hz > _MAX_FRAME_S:
        yield f"{at}.frame: {port.frame} samples at {port.rate_hz:g} Hz take longer than {_MAX_FRAME_S:g} s"
    if port.quantity != "acceleration":
        return
    if port.units not in UNITS:
        yield f"{at}.units: expected one of {', '.join(UNITS)} for acceleration, got {port.units!r}"
    for what, hz in _highest_lines(machine):
        if hz >= port.rate_hz / 2:
            yield f"{at}.rate_hz: {what} of {machine.id} reaches {hz:g} Hz, expected under {port.rate_hz / 2:g} Hz"


def _highest_lines(machine: MachineSpec) -> Iterator[tuple[str, float]]:
    """What would alias: a real sensor has a filter against that, this one has none."""
    yield "shaft_hz with its harmonics", len(machine.velocity_mm_s) * machine.shaft_hz
    if machine.bearing is not None:
        yield "bearing.resonance_hz", machine.bearing.resonance_hz
    if machine.gear is not None:
        yield "the third harmonic of the gear mesh", 3 * machine.gear.teeth * machine.shaft_hz
    if machine.impeller is not None:
        yield "the second harmonic of vane pass", 2 * machine.impeller.vanes * machine.shaft_hz


def _fault_problems(fault: FaultSpec, machines: dict[str, MachineSpec], at: str) -> Iterator[str]:
    machine = machines.get(fault.machine)
    if machine is None:
        yield f"{at}.machine: no machine {fault.machine!r}; {near_match(fault.machine, machines)}"
    elif fault.kind in BEARING_FAULTS and machine.bearing is None:
        yield f"{at}.kind: {fault.kind} needs a bearing, machine {machine.id} has none"
    elif fault.kind in {"gear_wear", "gear_crack"} and machine.gear is None:
        yield f"{at}.kind: {fault.kind} needs a gear, machine {machine.id} has none"
    elif fault.kind == "cavitation" and (machine.impeller is None or machine.kind != "pump"):
        yield f"{at}.kind: cavitation needs a pump with an impeller, machine {machine.id} is none"
    elif fault.kind == "valve_closing" and machine.kind != "pump":
        yield f"{at}.kind: valve_closing needs a pump, machine {machine.id} is a {machine.kind}"


def _twice(what: str, ids: Iterable[object]) -> Iterator[str]:
    seen: set[object] = set()
    for i, one in enumerate(ids):
        if one in seen:
            yield f"{what}[{i}]: {one!r} is taken already"
        seen.add(one)

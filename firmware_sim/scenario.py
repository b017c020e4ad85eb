"""Scenarios: which machines there are, on which nodes, with which flaws and faults. TOML, checked as a whole.

title = "..."
seed = 1
[[machine]]   id, kind ("rotor" or "process"), gateway, node, port, point, rate_hz, frame, ...
[[fault]]     machine, kind, start ("trigger" or simulated seconds), growth_s, severity
"""

from __future__ import annotations

import difflib
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from firmware_sim.board import Converter, Flaws
from firmware_sim.errors import ScenarioError
from firmware_sim.machines.bearing import BEARING_FAULTS
from models.contract.ids import Id

Positive = Annotated[float, msgspec.Meta(gt=0)]
FaultKind = Literal[
    "outer_race", "inner_race", "ball", "cage", "imbalance", "misalignment", "tooth", "cavitation", "valve_closing"
]


class LoadSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """See `machines.running.Running`."""

    mean: float = 0.7
    swing: float = 0.1
    period_s: Positive = 60.0
    droop: float = 0.01
    wander: float = 0.001


class BearingSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Geometry and the resonance that blows excite."""

    elements: Annotated[int, msgspec.Meta(ge=3, le=100)]
    ball_mm: Positive
    pitch_mm: Positive
    angle_deg: float = 0.0
    resonance_hz: Positive
    blow_ms2: Positive = 60.0


class MachineSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One machine with one sensor position."""

    id: Id
    kind: Literal["rotor", "process"] = "rotor"
    gateway: Id
    node: Id
    point: Id
    port: Annotated[int, msgspec.Meta(ge=0, le=255)] = 0
    rate_hz: Positive = 8192.0
    frame: Annotated[int, msgspec.Meta(ge=1, le=8192)] = 512
    shaft_hz: Positive = 25.0
    load: LoadSpec = LoadSpec()
    harmonics_ms2: tuple[float, ...] = (0.6, 0.25, 0.12)
    teeth: int = 0
    mesh_ms2: float = 0.0
    vanes: int = 0
    vane_ms2: float = 0.0
    noise_ms2: float = 0.8
    resonances_hz: Annotated[tuple[float, ...], msgspec.Meta(min_length=1)] = (900.0, 2600.0)
    bearing: BearingSpec | None = None
    converter: Converter = Converter()
    flaws: Flaws = Flaws()


class FaultSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One fault of one machine."""

    machine: Id
    kind: FaultKind
    start: Literal["trigger"] | Annotated[float, msgspec.Meta(ge=0)] = "trigger"
    growth_s: Positive = 60.0
    growth: Literal["exponential", "linear"] = "exponential"
    severity: Positive = 1.0


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole scenario."""

    title: str
    seed: Annotated[int, msgspec.Meta(ge=0)] = 1
    machine: Annotated[list[MachineSpec], msgspec.Meta(min_length=1, max_length=1000)]
    fault: list[FaultSpec] = []


def builtin_names() -> dict[str, str]:
    """Built-in scenarios: name to title."""
    folder = resources.files("firmware_sim") / "scenarios"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    return {f.name.removesuffix(".toml"): tomllib.loads(f.read_text("utf-8"))["title"] for f in files}


def load_scenario(name: str) -> Scenario:
    """A built-in scenario, or one from a file.

    Raises: ScenarioError: every problem, with file and key; a misspelt key or name with what it may have meant.
    """
    known = builtin_names()
    path = Path(name)
    if name in known:
        text = (resources.files("firmware_sim") / "scenarios" / f"{name}.toml").read_text("utf-8")
    elif path.is_file():
        text = path.read_text("utf-8")
    else:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ScenarioError(f"scenario {name!r}: neither a file nor one of {', '.join(known)}{hint}")
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{name}: {error}") from error
    problems = [f"{name}, {problem}" for problem in _unknown_keys(document, Scenario, "")]
    if problems:
        raise ScenarioError("\n".join(problems))
    try:
        scenario = msgspec.convert(document, Scenario)
    except msgspec.ValidationError as error:
        raise ScenarioError(f"{name}: {error}") from error
    problems = [f"{name}, {problem}" for problem in _contradictions(scenario)]
    if problems:
        raise ScenarioError("\n".join(problems))
    return scenario


def _unknown_keys(value: Any, kind: Any, at: str) -> list[str]:  # noqa: ANN401 - a TOML document
    """Misspelt keys, all of them; msgspec stops at the first."""
    if isinstance(value, list):
        return [p for i, item in enumerate(value) for p in _unknown_keys(item, kind, f"{at}[{i}]")]
    if not isinstance(value, dict):
        return []
    fields = {f.name: f.type for f in msgspec.structs.fields(kind)}
    problems = []
    for key, item in value.items():
        where = f"{at}.{key}" if at else key
        if key not in fields:
            near = difflib.get_close_matches(key, fields, 1)
            problems.append(f"{where}: unknown key" + (f"; did you mean {near[0]!r}?" if near else ""))
            continue
        inner = _NESTED.get((kind, key))
        if inner is not None:
            problems.extend(_unknown_keys(item, inner, where))
    return problems


_NESTED: dict[tuple[Any, str], Any] = {
    (Scenario, "machine"): MachineSpec,
    (Scenario, "fault"): FaultSpec,
    (MachineSpec, "load"): LoadSpec,
    (MachineSpec, "bearing"): BearingSpec,
    (MachineSpec, "converter"): Converter,
    (MachineSpec, "flaws"): Flaws,
}


def _contradictions(scenario: Scenario) -> list[str]:
    problems = []
    machines = {m.id: m for m in scenario.machine}
    places = [(m.gateway, m.node, m.port) for m in scenario.machine]
    for i, machine in enumerate(scenario.machine):
        if places.index(places[i]) != i:
            problems.append(f"machine[{i}].port: node {machine.node} port {machine.port} is taken already")
        if machine.bearing is not None and machine.bearing.resonance_hz >= machine.rate_hz / 2:
            problems.append(f"machine[{i}].bearing.resonance_hz: expected under half of rate_hz {machine.rate_hz:g}")
    for i, fault in enumerate(scenario.fault):
        on = machines.get(fault.machine)
        if on is None:
            near = difflib.get_close_matches(fault.machine, machines, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            problems.append(f"fault[{i}].machine: no machine {fault.machine!r}{hint}")
        elif fault.kind in BEARING_FAULTS and on.bearing is None:
            problems.append(f"fault[{i}].kind: {fault.kind} needs a bearing, machine {on.id} has none")
        elif (fault.kind == "valve_closing") != (on.kind == "process"):
            problems.append(f"fault[{i}].kind: {fault.kind} does not happen to a machine of kind {on.kind}")
    return problems

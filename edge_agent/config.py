"""The agent's settings: one TOML file, then environment variables `MILLWRIGHT_AGENT_<SECTION>_<KEY>`, which win.

    [gateway]  id fleet state_dir
    [broker]   host port username password_file ca_file cert_file key_file keepalive_s
               identity_dir        TLS with the certificate from `edge-agent enrol`, in place of the three files
    [frames]   host port           the gateway's own broker, when sensor frames do not come over [broker]
    [runtime]  kind = "auto" | "litert" | "tflite-runtime", threads
    [outbox]   max_bytes
    [trust]    root                 root.json from enrolment, copied to the state folder on first start
    [trend]    span_s
    [update]   confirm_ticks max_starts stall_s max_bytes_s
    [[point]]  machine point slot node port axes units quantity rate_hz
      [point.facts]  shaft_hz orders = { BPFO = 3.585 } zone_limits_mm_s = [1.4, 2.8, 4.5] zone_source
                    bearing = { balls = 9, ball_mm = 7.94, pitch_mm = 39.04, angle_deg = 0 } in place of its orders

All problems are reported at once, each with file and key; unknown keys are refused with the nearest known one.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args

from edge_agent.errors import ConfigError
from edge_agent.settings_reader import REQUIRED, Problems, Table, boolean_free_number, whole
from models.contract.frames import MAX_AXES, MAX_RATE_HZ
from models.contract.ids import FleetId, GatewayId, MachineId, NodeId, PointId, SlotId
from models.contract.messages import MAX_POINTS, MAX_SLOTS
from models.errors import SignalError
from models.signal.bearing import bearing_orders
from models.signal.diagnose import PointFacts

ENV_PREFIX = "MILLWRIGHT_AGENT_"
RuntimeKind = Literal["auto", "litert", "tflite-runtime"]
_MAX_CONFIG_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """Who we are and where our state lives."""

    id: GatewayId
    fleet: FleetId
    state_dir: Path


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """How to reach the broker. TLS as soon as `ca_file` is set."""

    host: str = "127.0.0.1"
    port: int = 1883
    username: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    identity_dir: Path | None = None
    keepalive_s: int = 30


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """Which TFLite runtime, and on how many threads."""

    kind: RuntimeKind = "auto"
    threads: int = 1


@dataclass(frozen=True, slots=True)
class UpdateSettings:
    """`confirm_ticks`: ticks with scored windows until a new bundle is confirmed. `max_starts`: starts of the agent
    that a bundle on trial may see before it is taken for the cause. `stall_s`: silence after which a fetch is reported
    and the hub is asked for blocks. `max_bytes_s`: cap on what all fetches together ask for, None for none.
    """

    confirm_ticks: int = 20
    max_starts: int = 5
    stall_s: float = 20.0
    max_bytes_s: float | None = None


@dataclass(frozen=True, slots=True)
class PointSettings:
    """One sensor position: where its frames come from, what they hold, which slot watches it."""

    machine: MachineId
    point: PointId
    slot: SlotId
    node: NodeId
    axes: tuple[str, ...]
    units: str
    quantity: str
    rate_hz: float
    port: int = 0
    facts: PointFacts = field(default_factory=PointFacts)

    @property
    def name(self) -> str:
        """`machine/point`: unique on a gateway, since neither id can hold a slash."""
        return f"{self.machine}/{self.point}"


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of one agent."""

    gateway: GatewaySettings
    points: tuple[PointSettings, ...]
    trust_root: Path | None = None
    broker: BrokerSettings = BrokerSettings()
    frames: BrokerSettings | None = None
    runtime: RuntimeSettings = RuntimeSettings()
    update: UpdateSettings = UpdateSettings()
    outbox_max_bytes: int = 32 * 2**20
    trend_span_s: float = 10.0

    @property
    def slots(self) -> tuple[SlotId, ...]:
        """The slots that the points name, in order of appearance."""
        return tuple(dict.fromkeys(point.slot for point in self.points))

    def points_of(self, slot: str) -> tuple[PointSettings, ...]:
        """The points that one slot watches."""
        return tuple(point for point in self.points if point.slot == slot)


_SECTIONS: dict[str, tuple[str, ...]] = {
    "gateway": ("id", "fleet", "state_dir"),
    "broker": (
        "host",
        "port",
        "username",
        "password_file",
        "ca_file",
        "cert_file",
        "key_file",
        "identity_dir",
        "keepalive_s",
    ),
    "frames": ("host", "port"),
    "runtime": ("kind", "threads"),
    "outbox": ("max_bytes",),
    "trust": ("root",),
    "trend": ("span_s",),
    "update": ("confirm_ticks", "max_starts", "stall_s", "max_bytes_s"),
}
_POINT_KEYS = ("machine", "point", "slot", "node", "port", "axes", "units", "quantity", "rate_hz", "facts")
_FACT_KEYS = ("shaft_hz", "orders", "bearing", "zone_limits_mm_s", "zone_source")


def load_config(path: Path, environment: Mapping[str, str]) -> Config:
    """Read and check the settings. Relative paths in them are relative to the file's folder.

    Raises: ConfigError: with every problem, each naming file and key.
    """
    problems = Problems()
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror or error}"]) from error
    if len(raw) > _MAX_CONFIG_BYTES:
        raise ConfigError([f"{path}: expected at most {_MAX_CONFIG_BYTES} bytes, got {len(raw)}"])
    try:
        document = tomllib.loads(raw.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: not valid TOML: {error}"]) from error
    root = Table(document, str(path), "", problems)
    root.allow((*_SECTIONS, "point"))
    sections = {name: root.section(name, keys) for name, keys in _SECTIONS.items()}
    _overlay(sections, environment, problems)
    config = _build(sections, root, path.resolve().parent)
    problems.raise_if_any()
    return config


def _overlay(sections: Mapping[str, Table], environment: Mapping[str, str], problems: Problems) -> None:
    """Put environment variables over what the file says."""
    known = {f"{ENV_PREFIX}{s}_{k}".upper(): (s, k) for s, keys in _SECTIONS.items() for k in keys}
    for name, value in environment.items():
        if not name.startswith(ENV_PREFIX) or name == f"{ENV_PREFIX}CONFIG":
            continue
        if name in known:
            section, key = known[name]
            sections[section].override(key, value, f"environment, {name}")
        else:
            problems.unknown("environment", name, list(known))


def _build(sections: Mapping[str, Table], root: Table, base: Path) -> Config:
    gateway, broker, runtime = sections["gateway"], sections["broker"], sections["runtime"]
    update = sections["update"]
    built = Config(
        gateway=GatewaySettings(
            GatewayId(gateway.id("id")), FleetId(gateway.id("fleet")), gateway.path("state_dir", base) or base
        ),
        broker=BrokerSettings(
            host=broker.text("host", "127.0.0.1"),
            port=broker.number("port", whole, 1, 65_535, 1883),
            username=broker.text("username", "") or None,
            password_file=broker.path("password_file", base, None),
            ca_file=broker.path("ca_file", base, None),
            cert_file=broker.path("cert_file", base, None),
            key_file=broker.path("key_file", base, None),
            identity_dir=broker.path("identity_dir", base, None),
            keepalive_s=broker.number("keepalive_s", whole, 1, 3600, 30),
        ),
        frames=_frames(sections["frames"]),
        runtime=RuntimeSettings(
            kind=cast("RuntimeKind", runtime.choice("kind", get_args(RuntimeKind), "auto")),
            threads=runtime.number("threads", whole, 1, 64, 1),
        ),
        update=UpdateSettings(
            confirm_ticks=update.number("confirm_ticks", whole, 1, 1_000_000, 20),
            max_starts=update.number("max_starts", whole, 1, 1_000_000, 5),
            stall_s=update.number("stall_s", boolean_free_number, 0.1, 86_400.0, 20.0),
            max_bytes_s=update.number("max_bytes_s", boolean_free_number, 0.0, 1e9, 0.0) or None,
        ),
        outbox_max_bytes=sections["outbox"].number("max_bytes", whole, 2**16, 2**36, 32 * 2**20),
        trust_root=sections["trust"].path("root", base, None),
        trend_span_s=sections["trend"].number("span_s", boolean_free_number, 0.1, 86_400.0, 10.0),
        points=tuple(_point(table) for table in root.tables("point", _POINT_KEYS)),
    )
    if (built.broker.cert_file is None) != (built.broker.key_file is None):
        broker.problem("cert_file", "cert_file and key_file belong together: give both or neither")
    if built.broker.cert_file is not None and built.broker.ca_file is None:
        broker.problem("ca_file", "a client certificate needs ca_file too")
    if built.broker.identity_dir is not None and built.broker.ca_file is not None:
        broker.problem("identity_dir", "the certificate from enrolment takes the place of ca_file, cert_file, key_file")
    _check_points(built.points, root)
    return built


def _frames(table: Table) -> BrokerSettings | None:
    host = table.text("host", "")
    port = table.number("port", whole, 1, 65_535, 1883)
    return BrokerSettings(host=host, port=port) if host else None


def _point(table: Table) -> PointSettings:
    facts = table.section("facts", _FACT_KEYS)
    limits = facts.numbers("zone_limits_mm_s", 0.0, 1e6)
    if limits and (len(limits) != 3 or sorted(limits) != limits):
        facts.problem("zone_limits_mm_s", f"expected three rising limits (A/B, B/C, C/D), got {limits}")
    orders = _bearing(facts) | facts.number_table("orders", 1e-6, 1e4)
    shaft_hz = facts.number("shaft_hz", boolean_free_number, 1e-3, 1e5, 0.0)
    if orders and not shaft_hz:
        facts.problem("shaft_hz", "fault orders are multiples of the shaft's rate: shaft_hz is needed")
    axes = table.texts("axes")
    if not 1 <= len(axes) <= MAX_AXES or len(set(axes)) != len(axes):
        table.problem("axes", f"expected 1 to {MAX_AXES} different names, got {axes}")
    return PointSettings(
        machine=MachineId(table.id("machine")),
        point=PointId(table.id("point")),
        slot=SlotId(table.id("slot")),
        node=NodeId(table.id("node")),
        port=table.number("port", whole, 0, 255, 0),
        axes=tuple(axes),
        units=table.text("units", REQUIRED),
        quantity=table.text("quantity", REQUIRED),
        rate_hz=table.number("rate_hz", boolean_free_number, 1e-6, MAX_RATE_HZ, REQUIRED),
        facts=PointFacts(
            shaft_hz=shaft_hz or None,
            orders=orders,
            zone_limits_mm_s=cast("tuple[float, float, float]", tuple(limits)) if len(limits) == 3 else None,
            zone_source=facts.text("zone_source", "") or None,
        ),
    )


def _bearing(facts: Table) -> dict[str, float]:
    """Orders from a bearing's geometry, where it is given; an order given by itself wins."""
    geometry = facts.number_table("bearing", 0.0, 1e5)
    if not geometry:
        return {}
    wanted = {"balls", "ball_mm", "pitch_mm"}
    if not wanted <= geometry.keys() <= wanted | {"angle_deg"} or geometry["balls"] % 1:
        facts.problem(
            "bearing", f"expected balls (a whole number), ball_mm, pitch_mm and perhaps angle_deg, got {geometry}"
        )
        return {}
    try:
        return bearing_orders(
            int(geometry["balls"]), geometry["ball_mm"], geometry["pitch_mm"], geometry.get("angle_deg", 0.0)
        )
    except SignalError as error:
        facts.problem("bearing", str(error))
        return {}


def _check_points(points: tuple[PointSettings, ...], root: Table) -> None:
    """What no single point can know: names and sources are unique, and there are not too many of anything."""
    if not points:
        root.problem("point", "expected at least one [[point]]")
    if len(points) > MAX_POINTS:
        root.problem("point", f"expected at most {MAX_POINTS} points, got {len(points)}")
    if len({point.slot for point in points}) > MAX_SLOTS:
        root.problem("point", f"expected at most {MAX_SLOTS} slots, got {len({point.slot for point in points})}")
    names: dict[str, int] = {}
    sources: dict[tuple[str, int], int] = {}
    for at, point in enumerate(points):
        first = names.setdefault(point.name, at)
        if first != at and point.machine and point.point:
            root.problem(f"point[{at}]", f"machine and point {point.name!r} are those of point[{first}] already")
        source = sources.setdefault((point.node, point.port), at)
        if source != at and point.node:
            root.problem(f"point[{at}]", f"node {point.node!r}, port {point.port} feeds point[{source}] already")


def describe_config(config: Config) -> list[tuple[str, str]]:
    """Settings as (what, value) rows for people. Holds no secrets: passwords stay in their files."""
    broker = config.broker
    rows = [
        ("gateway", f"{config.gateway.id} of fleet {config.gateway.fleet}"),
        ("state folder", str(config.gateway.state_dir)),
        ("broker", f"{broker.host}:{broker.port}" + (" with TLS" if broker.ca_file or broker.identity_dir else "")),
        ("runtime", f"{config.runtime.kind}, {config.runtime.threads} thread(s)"),
        ("outbox", f"{config.outbox_max_bytes} bytes at most"),
    ]
    rows.extend((f"slot {slot}", ", ".join(point.name for point in config.points_of(slot))) for slot in config.slots)
    return rows

"""Running a scenario against the clock, or as fast as it goes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from firmware_sim.events import EventLog
from firmware_sim.link import Link
from firmware_sim.machines.faults import Fault
from firmware_sim.node import Node
from firmware_sim.scenario import FaultSpec, Scenario
from models.contract.ids import GatewayId, NodeId
from models.contract.topics import Frames, topic_of

_STRAY_NODE = NodeId("stray")
_TICK_S = 0.01


@dataclass(slots=True)
class Pace:
    """Simulated against wall time. `speed` 0 is as fast as possible. `clock` is monotonic seconds."""

    speed: float
    clock: Callable[[], float] = time.monotonic
    _began: float = field(default=-1.0)

    def wait_until(self, sim_s: float, stop: threading.Event) -> None:
        """Sleep until simulated time `sim_s`, or until told to stop."""
        if self._began < 0:
            self._began = self.clock()
        if self.speed > 0:
            stop.wait(max(0.0, self._began + sim_s / self.speed - self.clock()))


class Runner:
    """One scenario, its nodes and faults. `trigger` starts the faults that wait for it."""

    def __init__(self, scenario: Scenario, gateways: dict[str, str], now_s: float) -> None:
        self._faults: list[tuple[FaultSpec, Fault]] = []
        self._nodes = []
        self._gateways = gateways
        for spec in scenario.machine:
            faults = []
            for wanted in scenario.fault:
                if wanted.machine == spec.id:
                    start_s = None if wanted.start == "trigger" else float(wanted.start)
                    exponential = wanted.growth == "exponential"
                    fault = Fault(wanted.kind, wanted.severity, wanted.growth_s, exponential, start_s)
                    faults.append(fault)
                    self._faults.append((wanted, fault))
            self._nodes.append(Node(spec, faults, scenario.seed, int(now_s * 1e6)))
        self._trigger = threading.Event()

    def trigger(self) -> None:
        """Start the waiting faults with the next frame. Safe to call from a signal handler."""
        self._trigger.set()

    def run(
        self, link: Link, events: EventLog, pace: Pace, seconds: float | None, stop: threading.Event
    ) -> dict[str, int]:
        """Send frames in order of simulated time until `seconds` have been simulated or `stop` is set.

        Returns: counts over all boards.
        """
        events.write("started", time.time(), 0.0, machines=[node.spec.id for node in self._nodes])
        announced: set[int] = set()
        sim_s = 0.0
        while not stop.is_set():
            node = min(self._nodes, key=lambda n: n.sim_s + n.spec.frame / n.spec.rate_hz)
            sim_s = node.sim_s + node.spec.frame / node.spec.rate_hz  # a frame leaves when its last sample is there
            if seconds is not None and sim_s > seconds:
                break
            pace.wait_until(sim_s, stop)
            if self._trigger.is_set():
                self._trigger.clear()
                for _, fault in self._faults:
                    fault.start_s = sim_s if fault.start_s is None else fault.start_s
            for i, (wanted, fault) in enumerate(self._faults):
                if i not in announced and fault.start_s is not None and fault.start_s <= sim_s:
                    announced.add(i)
                    events.write("fault_started", time.time(), sim_s, **_describe(wanted, self._nodes))
            self._send(node, link)
        counts = self.counts()
        events.write("stopped", time.time(), sim_s, **counts)
        return counts

    def _send(self, node: Node, link: Link) -> None:
        gateway = GatewayId(self._gateways.get(node.spec.gateway, node.spec.gateway))
        for outgoing in node.frames():
            sender = _STRAY_NODE if outgoing.stray else NodeId(node.spec.node)
            link.send(topic_of(Frames(gateway, sender)), outgoing.payload)

    def counts(self) -> dict[str, int]:
        """Frames sent and flaws provoked, over all boards."""
        total: dict[str, int] = {}
        for node in self._nodes:
            for name, value in asdict(node.board.counts).items():
                total[name] = total.get(name, 0) + value
        return total


def _describe(fault: FaultSpec, nodes: list[Node]) -> dict[str, object]:
    point = next(node.spec.point for node in nodes if node.spec.id == fault.machine)
    return {"machine": fault.machine, "point": point, "fault": fault.kind, "growth_s": fault.growth_s}

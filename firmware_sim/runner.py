"""Running a scenario: all nodes in order of simulated time, against the clock or as fast as it goes."""

from __future__ import annotations

import heapq
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from firmware_sim.events import EventLog
from firmware_sim.link import Link
from firmware_sim.machines.fault import Fault
from firmware_sim.machines.machine import Machine
from firmware_sim.node import Node, Port
from firmware_sim.pace import Pace
from firmware_sim.scenario import FaultSpec, Scenario
from models.contract.ids import GatewayId, NodeId
from models.contract.topics import Frames, topic_of

STRAY_NODE = "stray"


@dataclass(slots=True)
class Planned:
    """A fault of the scenario as it happens. `announced`: an event has told of its start."""

    spec: FaultSpec
    fault: Fault
    announced: bool = False


@dataclass(frozen=True, slots=True)
class Names:
    """Other ids than the scenario's, by the scenario's."""

    gateways: Mapping[str, str] = field(default_factory=dict)
    nodes: Mapping[str, str] = field(default_factory=dict)


class Runner:
    """One scenario under way. `trigger` starts the faults that wait for it; `sim_s` is how far it has come."""

    def __init__(self, scenario: Scenario, names: Names, start_s: float) -> None:
        self.sim_s = 0.0
        self.sent = 0
        self._scenario = scenario
        self._trigger = threading.Event()
        self.faults = [Planned(spec, _fault(spec)) for spec in scenario.fault]
        machines = {
            spec.id: Machine(spec, [p.fault for p in self.faults if p.spec.machine == spec.id], scenario.seed)
            for spec in scenario.machine
        }
        self._nodes = [Node(spec, machines, scenario.seed, round(start_s * 1e6)) for spec in scenario.node]
        self._topics = {node.spec.id: _topics(node, names) for node in self._nodes}

    def trigger(self) -> None:
        """Start the waiting faults. May be called from a signal handler: only sets a flag."""
        self._trigger.set()

    def run(
        self,
        link: Link,
        events: EventLog,
        pace: Pace,
        *,
        seconds: float | None = None,
        fault_after_s: float | None = None,
        report: Callable[[Runner], None] = lambda _: None,
    ) -> dict[str, int]:
        """Send frames until `seconds` have been simulated or `pace` is told to stop.

        Returns: counts over all nodes, as in the closing event.
        Raises:  LinkError: a file cannot be written any more.
        """
        scenario = self._scenario
        events.write(
            "started", 0.0, title=scenario.title, seed=scenario.seed, machines=[m.id for m in scenario.machine]
        )
        order = [(port.due_s, at, port) for at, port in enumerate(p for node in self._nodes for p in node.ports)]
        heapq.heapify(order)
        while seconds is None or order[0][0] <= seconds:
            due_s, at, port = order[0]
            if not pace.wait_until(due_s):
                break
            self.sim_s = due_s
            if self._trigger.is_set() or (fault_after_s is not None and due_s >= fault_after_s):
                self._trigger.clear()
                fault_after_s = None
                self._start_waiting()
            self._announce(events)
            self._send(port, link, events)
            heapq.heapreplace(order, (port.due_s, at, port))
            report(self)
        link.flush()
        counts = self.counts(link)
        events.write("stopped", self.sim_s, **counts, behind_s=round(pace.behind_s, 3))
        return counts

    def counts(self, link: Link) -> dict[str, int]:
        """Frames made and sent, frames that the link dropped, and how many of each flaw."""
        total: Counter[str] = Counter()
        for node in self._nodes:
            total.update(node.counts)
            for port in node.ports:
                total.update({f"flaw_{name}": count for name, count in port.path.counts.items()})
        frames = total.pop("frames", 0)
        return {"frames": frames, "sent": self.sent - link.dropped, "dropped": link.dropped, **total}

    def _start_waiting(self) -> None:
        """Signals are made a little ahead: a fault begins where its machine has not been heard yet."""
        for planned in self.faults:
            if planned.fault.start_s is None:
                heads = [
                    p.ahead_s for node in self._nodes for p in node.ports if p.spec.machine == planned.spec.machine
                ]
                planned.fault.start_s = max([self.sim_s, *heads])

    def _announce(self, events: EventLog) -> None:
        for planned in self.faults:
            start_s = planned.fault.start_s
            if not planned.announced and start_s is not None and start_s <= self.sim_s:
                planned.announced = True
                spec = planned.spec
                points = [port.point for _, port in self._scenario.ports() if port.machine == spec.machine]
                events.write(
                    "fault_started", start_s, machine=spec.machine, point=points[0] if points else None,
                    points=points, fault=spec.kind, growth_s=spec.growth_s,
                )  # fmt: skip

    def _send(self, port: Port, link: Link, events: EventLog) -> None:
        node = port.node
        boots = node.boots
        topic, stray = self._topics[node.spec.id]
        for outgoing in port.frames():
            link.send(stray if outgoing.stray else topic, outgoing.payload)
            self.sent += 1
        if node.boots != boots:
            events.write("reboot", self.sim_s, node=node.spec.id, boot_id=node.boot_id, up_s=node.booted_s)


def _fault(spec: FaultSpec) -> Fault:
    start_s = None if spec.start == "trigger" else float(spec.start)
    return Fault(spec.kind, spec.severity, spec.growth_s, spec.growth, start_s)


def _topics(node: Node, names: Names) -> tuple[str, str]:
    """Where the node's frames go, and where those go that bear a stranger's name."""
    gateway = GatewayId(names.gateways.get(node.spec.gateway, node.spec.gateway))
    own = NodeId(names.nodes.get(node.spec.id, node.spec.id))
    return topic_of(Frames(gateway, own)), topic_of(Frames(gateway, NodeId(STRAY_NODE)))

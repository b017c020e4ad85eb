"""A hub and a fleet for tests of rollouts: real database, real ingest writer, real service; gateways without a body."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from cloud_hub.delivery.registry import BundleRecord
from cloud_hub.rollout.cohorts import assign
from cloud_hub.rollout.machine import begin
from cloud_hub.rollout.plan import Cohort, Plan, decode_plan
from cloud_hub.rollout.state import Member, Rollout
from cloud_hub.services.rollouts import RolloutService, Signer
from cloud_hub.store.database import Database
from cloud_hub.store.registry import SqlRegistry
from cloud_hub.store.rollout_queries import get_rollout
from cloud_hub.store.rollouts import RolloutStore
from cloud_hub.store.writer import Writer
from tests.simulators.fleet import NEW, OLD, OTHER, SLOT, PlainSigner, SimFleet, SimGateway

NOW = 1_800_000_000.0
TICK_S = 60.0


def plan(**changes: Any) -> Plan:
    fields: dict[str, Any] = {
        "slot": SLOT,
        "sha256": NEW,
        "cohorts": [
            Cohort(name="canary", share="20 %", errors="0", success="100 %", shadow_windows=400, soak_windows=60),
            Cohort(name="all", share="100 %", errors="10 %", success="80 %", shadow_windows=400, soak_windows=60),
        ],
    }
    return Plan(**fields | changes)


def add_bundles(database: Database) -> None:
    registry = SqlRegistry(database)
    for sha256, version in ((OLD, "1"), (NEW, "2"), (OTHER, "3")):
        registry.add_bundle(BundleRecord(sha256, SLOT, version, "spectral", f"{SLOT}/{version}.mwb", 1000, NOW, "{}"))


class World:
    """Everything together, on one clock."""

    def __init__(self, database: Database, gateways: list[SimGateway]) -> None:
        self.database = database
        self.fleet = SimFleet(gateways)
        self.now_s = NOW
        self.store = RolloutStore(database)
        self.writer = Writer(database, lambda: self.now_s)
        self.signer: Signer = PlainSigner()
        self.restart()
        add_bundles(database)
        self.hear()

    def restart(self) -> None:
        """A new hub process: nothing is left but the database."""
        self.service = RolloutService(self.database, self.signer, lambda: self.now_s)

    def hear(self) -> None:
        self.fleet.tick(self.now_s)
        up = self.fleet.take_up()
        for start in range(0, len(up), 500):
            self.writer.store(up[start : start + 500])

    def create(self, chosen: Plan, name: str = "r1") -> None:
        text = msgspec.json.encode(chosen).decode()
        read = decode_plan(text, "test")
        state = begin(name, read, assign(name, chosen, self.store.sites(chosen.slot)), self.now_s)
        self.store.create(state, text, chosen.slot, chosen.sha256, self.now_s, "test")

    def run(self, ticks: int = 1, *, until: str | None = None) -> Rollout:
        for _ in range(ticks):
            self.now_s += TICK_S
            self.service(self.fleet)
            self.hear()
            if until is not None and self.rollout().status.value == until:
                break
        return self.rollout()

    def rollout(self, name: str = "r1") -> Rollout:
        return self.store.load(name).state.rollout

    def rollout_status(self, name: str = "r1") -> str:
        """Its status alone, cheaply."""
        with self.database.read() as session:
            return get_rollout(session, name).rollout.status

    def members(self, name: str = "r1") -> dict[str, Member]:
        return dict(self.store.load(name).state.members)

    def stages(self, name: str = "r1") -> Counter[str]:
        return self.stages_of(self.members(name))

    @staticmethod
    def stages_of(members: dict[str, Member]) -> Counter[str]:
        return Counter(m.stage.value for m in members.values())


def fleet_of(count: int, **kinds: str) -> list[SimGateway]:
    """gw-0, gw-1, ...; `gw3="flood"` makes gw-3 flood."""
    return [SimGateway(f"gw-{i}", kinds.get(f"gw{i}", "good")) for i in range(count)]  # type: ignore[arg-type]

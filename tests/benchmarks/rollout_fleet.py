"""A rollout to 10,000 gateways, to its end: hub logic, ingest writer and SQLite are real, gateways say what real ones
say through the contract's codec. Of them 3 % are faulty, each in its way; time passes as fast as the hub can follow.

    python -m tests.benchmarks.rollout_fleet [--gateways N] [--json FILE]

Two runs: with `errors` at 5 % the rollout finishes around the faulty ones; at 1 % it pauses where that rule says. The
faulty ones are the last in hash order that the canary does not hold, so both runs get past it.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from cloud_hub.rollout.cohorts import hash_order
from cloud_hub.rollout.plan import Cohort
from cloud_hub.store.database import Database
from cloud_hub.trust.keys import create_repository, open_repository
from tests.cloud_hub.rollout_kit import World, plan
from tests.simulators.fleet import NEW, Kind, SimGateway

KINDS: tuple[Kind, ...] = ("refuse", "roll_back", "flood", "slow", "silent")
MAX_TICKS = 400


def run(gateways: int, errors: str, folder: Path) -> dict[str, Any]:
    """One rollout until it finishes or pauses."""
    names = [f"gw-{i:05d}" for i in range(gateways)]
    order = hash_order("r1", names)
    first = gateways // 10  # the 1 % and 10 % cohorts are sound, so that it is the last one that tells
    faulty = order[first :: max(1, (gateways - first) // (gateways * 3 // 100))][: gateways * 3 // 100]
    kinds = {name: KINDS[i % len(KINDS)] for i, name in enumerate(faulty)}
    create_repository(folder / "repository", folder / "keys", folder / "safe", time.time())
    fleet = [SimGateway(name, kinds.get(name, "good")) for name in names]
    rss_before = _peak_mb()
    with Database(f"sqlite:///{folder / 'hub.sqlite3'}") as database:
        database.migrate()
        world = World(database, fleet)
        signer = open_repository(folder / "repository", folder / "keys")
        world.signer = signer
        world.restart()
        cohorts = [
            Cohort(name="canary", share="1 %", errors="0", success="100 %", shadow_windows=400, soak_windows=60),
            Cohort(name="early", share="10 %", errors=errors, shadow_windows=400, soak_windows=60),
            Cohort(name="all", share="100 %", errors=errors, shadow_windows=400, soak_windows=60),
        ]
        began = time.perf_counter()
        world.create(plan(cohorts=cohorts, in_flight=2000, silence_s=900))
        spent = Counter(create=time.perf_counter() - began)
        slowest, ticks = 0.0, 0
        while world.rollout_status() not in {"finished", "paused"} and ticks < MAX_TICKS:
            ticks += 1
            world.now_s += 60.0
            began = time.perf_counter()
            world.service(world.fleet)
            took = time.perf_counter() - began
            spent["rollouts"] += took
            slowest = max(slowest, took)
            began = time.perf_counter()
            world.fleet.tick(world.now_s)
            up = world.fleet.take_up()
            spent["gateways"] += time.perf_counter() - began
            began = time.perf_counter()
            for start in range(0, len(up), 500):
                world.writer.store(up[start : start + 500])
            spent["ingest"] += time.perf_counter() - began
            spent["messages"] += len(up)
        rollout = world.rollout()
        members = world.members()
    failed = {g: m.kind for g, m in members.items() if m.kind is not None}
    return {
        "errors": errors,
        "status": rollout.status.value,
        "cause": rollout.cause,
        "detail": rollout.detail,
        "gateways": gateways,
        "faulty": len(faulty),
        "failed": len(failed),
        "failed_but_sound": len(set(failed) - set(faulty)),
        "faulty_not_found": len(set(faulty) - set(failed)),
        "kinds": dict(Counter(failed.values())),
        "stages": dict(world.stages_of(members)),
        "deciding_now": sum(g.active == NEW for g in fleet),
        "ticks": ticks,
        "wants_published": world.fleet.published,
        "messages_stored": int(spent["messages"]),
        "create_s": round(spent["create"], 2),
        "rollouts_s": round(spent["rollouts"], 1),
        "rollouts_slowest_step_s": round(slowest, 2),
        "ingest_s": round(spent["ingest"], 1),
        "gateways_s": round(spent["gateways"], 1),
        "peak_mb_before": round(rss_before),
        "peak_mb": round(_peak_mb()),
    }


def _peak_mb() -> float:
    """Peak resident memory of this process, hub and gateways together."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gateways", type=int, default=10_000)
    parser.add_argument("--errors", nargs="*", default=["5 %", "1 %"])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    results = []
    for errors in arguments.errors:
        with tempfile.TemporaryDirectory() as folder:
            results.append(run(arguments.gateways, errors, Path(folder)))
        print(json.dumps(results[-1], indent=1), flush=True)  # noqa: T201 - a program
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()

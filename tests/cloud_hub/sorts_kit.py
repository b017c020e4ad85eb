"""Rows of every list that can be asked for in more than one order; no order is that in which they are written."""

from __future__ import annotations

from cloud_hub.store import tables as t
from cloud_hub.store.database import Database

NAMES = ("m2", "m5", "m1", "m4", "m3")
SCORES = (0.5, None, 0.9, 0.5, 0.1)
SLOTS = ("fan", "pump", "fan", "belt", "pump")
STATES = ("failed", "queued", "failed", "running", "queued")
TARGETS = ("account:b", "account:a", "hook:c", "account:a", "account:b")


def add_lists(database: Database) -> None:
    """Five of each, the i-th of them i seconds after the first."""
    with database.write() as session:
        for i, name in enumerate(NAMES):
            at_s = 100.0 + i
            sha256 = name[1] * 64
            session.add_all([
                t.Gateway(id=f"g-{name}", first_seen_s=1.0, last_seen_s=500.0 - (i * 7) % 5, outbox_bytes=(i * 3) % 5),
                t.Machine(id=name, first_seen_s=at_s),
                t.Bundle(sha256=sha256, slot=SLOTS[i], version=f"v{name}", family="spectral", target="x", created_s=at_s,
                         length=(i * 2) % 5, manifest_json="{}"),
                t.Dataset(name=name, title="", version=1, created_s=at_s, changed_s=at_s),
                t.DatasetVersion(dataset=name, version=1, sha256=sha256, test_share=0.3, made_s=at_s, made_by="x"),
                t.AuditEntry(time_s=at_s, who="x", kind="user", action="x.y", target=TARGETS[i]),
            ])  # fmt: skip
            session.flush()
            session.add_all([
                t.Point(gateway_id=f"g-{name}", machine_id=name, point="de", slot="s", verdict="ok", score=SCORES[i],
                        windows=1, warmup_left=0, last_window_s=1.0, current=True),
                t.Point(gateway_id=f"g-{name}", machine_id=name, point="gone", slot="s", verdict="ok", score=5.0,
                        windows=1, warmup_left=0, last_window_s=1.0, current=False),
                t.Rollout(id=name, slot=SLOTS[i], sha256=sha256, plan_json="{}", created_s=at_s, created_by="x",
                          revision=1, status="done", cohort=0, cohort_ends_s=0.0, ends_s=0.0, waits="", accepted=[],
                          checks=[]),
                t.TrainingJob(id=name, dataset=name, version=1, asked={}, state=STATES[i], revision=1, created_s=at_s,
                              created_by="x", stage="", share=0.0),
            ])  # fmt: skip

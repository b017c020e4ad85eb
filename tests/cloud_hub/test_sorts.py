"""Lists in other orders than the usual: whole and in order, page by page, on both databases."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from cloud_hub.accounts.permissions import ROLE_PERMISSIONS, Principal, Role
from cloud_hub.store import sorts
from cloud_hub.store import tables as t
from cloud_hub.store.database import Database
from tests.cloud_hub.mlops_kit import MlopsHub
from tests.cloud_hub.sorts_kit import add_lists

EXPECTED: dict[str, tuple[str, dict[str, list[str]]]] = {
    "/gateways": ("id", {
        "id": ["g-m1", "g-m2", "g-m3", "g-m4", "g-m5"],
        "silent": ["g-m1", "g-m3", "g-m5", "g-m4", "g-m2"],
        "outbox": ["g-m4", "g-m5", "g-m3", "g-m1", "g-m2"],
    }),
    "/machines": ("id", {
        "id": ["m1", "m2", "m3", "m4", "m5"],
        "score": ["m1", "m4", "m2", "m3", "m5"],  # equal ones by name; what has no score comes last
        "new": ["m3", "m4", "m1", "m5", "m2"],
    }),
    "/bundles": ("version", {
        "created": ["vm3", "vm4", "vm1", "vm5", "vm2"],
        "slot": ["vm4", "vm1", "vm2", "vm3", "vm5"],
    }),
    "/models": ("version", {
        "created": ["vm3", "vm4", "vm1", "vm5", "vm2"],
        "slot": ["vm4", "vm1", "vm2", "vm3", "vm5"],
        "length": ["vm1", "vm3", "vm5", "vm4", "vm2"],
    }),
    "/rollouts": ("id", {"created": ["m3", "m4", "m1", "m5", "m2"], "name": ["m1", "m2", "m3", "m4", "m5"]}),
    "/training-jobs": ("id", {
        "created": ["m3", "m4", "m1", "m5", "m2"],
        "oldest": ["m2", "m5", "m1", "m4", "m3"],
        "state": ["m4", "m3", "m5", "m1", "m2"],
    }),
    "/data-sets": ("name", {"changed": ["m3", "m4", "m1", "m5", "m2"], "name": ["m1", "m2", "m3", "m4", "m5"]}),
    "/audit": ("time_s", {
        "newest": ["104.0", "103.0", "102.0", "101.0", "100.0"],
        "oldest": ["100.0", "101.0", "102.0", "103.0", "104.0"],
        "target": ["101.0", "103.0", "100.0", "104.0", "102.0"],
    }),
}  # fmt: skip
OFFERED = {
    "/gateways": sorts.GatewaySort, "/machines": sorts.MachineSort, "/bundles": sorts.BundleSort,
    "/models": sorts.ModelSort, "/rollouts": sorts.RolloutSort, "/training-jobs": sorts.JobSort,
    "/data-sets": sorts.DatasetSort, "/audit": sorts.AuditSort,
}  # fmt: skip


@pytest.fixture
def hub(database: Database, tmp_path: Path) -> MlopsHub:
    add_lists(database)
    made = MlopsHub(database, tmp_path)
    made.as_ = Principal("anna", "user", ROLE_PERMISSIONS[Role.ADMIN])
    return made


def walk(hub: MlopsHub, path: str, name: str, limit: int, **query: Any) -> list[str]:
    """The whole list, page by page."""
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = hub.ask("GET", path, params={"limit": limit, **query, **cursor})
        found += [str(item[name]) for item in page["items"]]
        if page["next"] is None:
            return found
        cursor = {"cursor": page["next"]}


def test_every_order_is_whole_however_long_a_page_is(hub: MlopsHub) -> None:
    for path, (name, orders) in EXPECTED.items():
        assert list(get_args(OFFERED[path])) == list(orders)
        assert walk(hub, path, name, 500) == next(iter(orders.values())), path  # the usual one is the first
        for sort, expected in orders.items():
            assert walk(hub, path, name, 500, sort=sort) == expected, (path, sort)
            assert walk(hub, path, name, 1, sort=sort) == expected, (path, sort)
            assert walk(hub, path, name, 2, sort=sort) == expected, (path, sort)


def test_a_cursor_is_good_for_its_own_order_alone(hub: MlopsHub) -> None:
    for path, (_, orders) in EXPECTED.items():
        cursors = {sort: hub.ask("GET", path, params={"limit": 1, "sort": sort})["next"] for sort in orders}
        for sort in orders:
            for other in orders.keys() - {sort}:
                refused = hub.ask("GET", path, 400, params={"sort": other, "cursor": cursors[sort]})
                assert refused["type"] == "urn:millwright:problem:cursor", (path, sort, other)
        assert "sort" in hub.ask("GET", path, 422, params={"sort": "sideways"})["detail"]


def test_what_comes_between_two_pages_moves_nothing(hub: MlopsHub) -> None:
    first = hub.ask("GET", "/machines", params={"limit": 2, "sort": "score"})
    with hub.database.write() as session:
        session.add_all([t.Machine(id="m0", first_seen_s=1.0), t.Gateway(id="g-m0", first_seen_s=1.0, last_seen_s=1.0)])
        session.flush()
        session.add(
            t.Point(gateway_id="g-m0", machine_id="m0", point="de", slot="s", verdict="ok", score=0.95, windows=1,
                    warmup_left=0, last_window_s=1.0, current=True)
        )  # fmt: skip
    rest = hub.ask("GET", "/machines", params={"limit": 9, "sort": "score", "cursor": first["next"]})
    assert [item["id"] for item in first["items"] + rest["items"]] == ["m1", "m4", "m2", "m3", "m5"]


def test_filters_hold_in_every_order(hub: MlopsHub) -> None:
    assert walk(hub, "/training-jobs", "id", 1, sort="oldest", state="failed") == ["m2", "m1"]
    assert walk(hub, "/models", "version", 1, sort="slot", slot="pump") == ["vm3", "vm5"]
    assert walk(hub, "/audit", "target", 1, sort="target", since=101.0, until=103.0) == ["account:a", "hook:c"]
    assert walk(hub, "/machines", "id", 1, sort="score", gateway="g-m3") == ["m3"]

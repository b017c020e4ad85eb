"""What the hub tells those who bring hosts up: every gateway once, with one word for how it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cloud_hub.accounts.permissions import command_line
from cloud_hub.services import ask
from cloud_hub.store import tables as t
from cloud_hub.store.database import Database
from tests.cloud_hub.test_api import NOW_S, Hub
from tests.simulators.hub import SHA, point, state

ROOT = command_line("root")


@pytest.fixture
def hub(database: Database, tmp_path: Path) -> Hub:
    return Hub(database, tmp_path)


def certificate(hub: Hub, gateway: str, number: int, *, until_s: float, revoked_s: float | None = None) -> None:
    digits = f"{number:064d}"
    with hub.database.write() as session:
        session.add(
            t.Certificate(
                sha256=digits, serial=str(number), key_sha256=digits, csr_sha256=digits, gateway=gateway,
                issuer_sha256=SHA, issued_s=1.0, not_before_s=1.0, not_after_s=until_s, chain="", revoked_s=revoked_s,
                revoked_why="lost" if revoked_s else None,
            )
        )  # fmt: skip


def label(hub: Hub, gateway: str, **labels: str) -> None:
    ask.set_site(hub.database, ROOT, gateway, "Europe/Berlin", labels, NOW_S)


def shown(hub: Hub) -> dict[str, Any]:
    return {item["id"]: item for item in hub.get("/api/v1/inventory")["items"]}


def test_a_gateway_with_its_place_and_what_it_runs(hub: Hub) -> None:
    hub.store(state("gw-1", points=[point(machine="P-2"), point(machine="P-1")]))
    label(hub, "gw-1", site="north", line="3")
    certificate(hub, "gw-1", 1, until_s=NOW_S + 50)
    certificate(hub, "gw-1", 2, until_s=NOW_S + 90)
    one = shown(hub)["gw-1"]
    assert (one["online"], one["time_zone"], one["labels"]) == (True, "Europe/Berlin", {"site": "north", "line": "3"})
    assert one["machines"] == ["P-1", "P-2"]
    assert one["slots"] == [{"slot": "pump-vibration", "phase": "active", "version": "1", "sha256": SHA}]
    assert one["certificate_s"] == NOW_S + 90
    assert one["runtime"] == "litert"
    assert one["last_seen_s"] == NOW_S


def test_one_word_for_how_each_stands(hub: Hub) -> None:
    hub.store(
        state("ok", points=[point(verdict="ok")]),
        state("warn", points=[point("a", machine="A", verdict="ok"), point("a", machine="B", verdict="warn")]),
        state("alarm", points=[point(verdict="alarm")]),
        state("empty", points=[]),
        state("gone", points=[point(verdict="alarm")]),
        state("gone", online=False),
        state("out", points=[point(verdict="ok")]),
        state("back", points=[point(verdict="ok")]),
    )
    label(hub, "never")
    for number, (gateway, until_s, revoked_s) in enumerate(
        [("out", NOW_S + 9, 5.0), ("back", NOW_S + 9, 5.0), ("back", NOW_S + 9, None), ("ok", NOW_S - 9, None)]
    ):
        certificate(hub, gateway, number, until_s=until_s, revoked_s=revoked_s)
    assert {name: one["standing"] for name, one in shown(hub).items()} == {
        "ok": "ok",
        "warn": "warn",
        "alarm": "alarm",
        "empty": "warming_up",
        "gone": "offline",
        "out": "revoked",
        "back": "ok",
        "never": "unseen",
    }
    assert shown(hub)["never"]["last_seen_s"] is None


def test_it_pages_over_the_seen_and_the_labelled_alike(hub: Hub) -> None:
    hub.store(*(state(f"gw-{i}") for i in (1, 3, 5)))
    for gateway in ("gw-2", "gw-3", "gw-4"):
        label(hub, gateway)
    for limit in (1, 2, 5, 500):
        assert hub.ids("/api/v1/inventory", limit=limit) == [f"gw-{i}" for i in range(1, 6)]
    problem = hub.problem("/api/v1/inventory", 400, cursor="AAAA")
    assert "expected the `next` of a page of inventory" in problem.detail

"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.simulators.postgres import Postgres


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of recordings; its README says what they are and where they come from."""
    folder = os.environ.get("MILLWRIGHT_DATA", "")
    if not folder or not (Path(folder) / "cwru").is_dir():
        pytest.skip(
            "MILLWRIGHT_DATA names no folder with recordings: put the CWRU recordings (Case Western Reserve University "
            "Bearing Data Center, as .npz) into its cwru/"
        )
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of this process's own: with pytest-xdist there is one for each worker."""
    from tests.simulators.postgres import MISSING, find_programs, running_postgres

    programs = find_programs()
    if programs is None:
        pytest.skip(MISSING)
    with running_postgres(programs) as server:
        yield server


# Begun first by the workers of a parallel run: whatever is long and begun last is waited for alone.
LONG = (
    "tests/fleet/test_single.py",
    "tests/integration/test_demo.py",
    "tests/edge_agent/test_kill.py",
    "tests/edge_agent/test_power.py",
    "tests/cloud_hub/test_training.py",
    "tests/integration/test_attacks.py",
    "tests/integration/test_topic_spoofing.py",
    "tests/cloud_hub/test_ladder.py",
    "tests/cloud_hub/test_inspect.py",
    "tests/cloud_hub/test_evaluate_cwru.py",
    "tests/integration/test_identity_live.py",
    "tests/edge_agent/test_live.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For `pytest -n N --dist loadgroup --no-loadscope-reorder`: a module stays on one worker, which keeps its costly
    fixtures in one place; but a slow test that shares none is given out by itself, and so is whatever names a group.
    Without workers nothing but the order changes.
    """
    items.sort(key=lambda item: LONG.index(item.location[0]) if item.location[0] in LONG else len(LONG))
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            alone = item.get_closest_marker("slow") is not None and not _shares(item)
            item.add_marker(pytest.mark.xdist_group(item.nodeid if alone else item.location[0]))


def _shares(item: pytest.Item) -> bool:
    """Whether a fixture of its own module is made once for several of its tests."""
    found = getattr(item, "_fixtureinfo", None)  # of functions only
    used = found.name2fixturedefs.values() if found is not None else ()
    return any(one.scope != "function" and one.baseid.endswith(".py") for defs in used for one in defs)

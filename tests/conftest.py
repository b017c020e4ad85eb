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

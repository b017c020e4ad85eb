"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


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

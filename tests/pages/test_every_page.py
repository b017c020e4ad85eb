"""Every page, at desk and phone width, in light and dark: nothing breaks, nothing overflows, axe finds nothing."""

from __future__ import annotations

import pytest

from tests.pages.conftest import Open
from tests.pages.harness import DESKTOP, PHONE
from tests.simulators.plant_data import sha

# Every page that needs no more than the plant. Add yours.
PATHS = [
    "/", "/api", "/gallery", "/models", "/models/training", "/models/training/new", "/data", "/data/captures",
    "/data/labels", "/data/uploads", "/data/sets/new", "/rollouts", "/rollouts/new", "/rollouts/pumps-3", "/gateways", "/gateways/gw-pumps",
    f"/models/{sha('pump-vibration', 3)}",
]  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("path", PATHS)
def test_page(visit: Open, path: str, size: tuple[int, int], scheme: str) -> None:
    visit(path, size, scheme=scheme)

"""Every page, at desk and phone width, in light and dark: nothing breaks, nothing overflows, axe finds nothing."""

from __future__ import annotations

import pytest

from tests.pages.conftest import Open
from tests.pages.harness import DESKTOP, PHONE
from tests.simulators.plant_data import sha

# Every page that needs no more than the plant. Add yours.
PATHS = [
    "/",
    "/api",
    "/gallery",
    "/alarms",
    "/alarms?state=any&sort=peak",
    "/alarms/floods",
    "/alarms/gw-pumps.a-103",
    "/alarms/gw-mill.a-gb2",
    "/machines",
    "/machines/P-103",
    "/machines/P-103?outlook=true",
    "/machines/FAN-05",
    "/models",
    "/models/training",
    "/models/training/new",
    "/data",
    "/data/captures",
    "/data/labels",
    "/data/uploads",
    "/data/sets/new",
    "/rollouts",
    "/rollouts/new",
    "/gateways",
    "/gateways/gw-pumps",
    "/admin/hooks",
    "/rollouts/pumps-3",
    f"/models/{sha('pump-vibration', 3)}",
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("path", PATHS)
def test_page(visit: Open, path: str, size: tuple[int, int], scheme: str) -> None:
    visit(path, size, scheme=scheme)

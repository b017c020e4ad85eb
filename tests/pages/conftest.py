"""One browser and one hub with a plant in it for all tests of the pages. What a test changes, it changes in a hub of its
own (`own_hub`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from cloud_hub.store.database import Database
from tests.pages.gallery import add_gallery
from tests.pages.harness import ARGUMENTS, CHROMIUM, DESKTOP, PageHub, Window, window
from tests.simulators import plant_data

Open = Callable[..., Window]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


# Of the package, not of the session: while Playwright runs, no other test could run an event loop in this thread.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not there: apt-get install chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield opened
        opened.close()


def make_hub(folder: Path, *, plant: bool = True) -> PageHub:
    database = Database(f"sqlite:///{folder / 'hub.sqlite3'}")
    database.migrate()
    if plant:
        plant_data.fill(database)
    hub = PageHub(database, folder)
    add_gallery(hub.app)
    return hub


@pytest.fixture(scope="package")
def plant_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PageHub, str]]:
    hub = make_hub(tmp_path_factory.mktemp("hub"))
    with hub.database, hub.served() as url:
        yield hub, url


@pytest.fixture
def own_hub(tmp_path: Path) -> Iterator[Callable[..., tuple[PageHub, str]]]:
    """Makes a hub for one test: `own_hub(plant=False)` is empty."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def make(*, plant: bool = True) -> tuple[PageHub, str]:
            hub = make_hub(tmp_path, plant=plant)
            stack.enter_context(hub.database)
            return hub, stack.enter_context(hub.served())

        yield make


@pytest.fixture
def visit(browser: Browser, plant_hub: tuple[PageHub, str]) -> Iterator[Open]:
    """Opens a window on the shared hub: `visit("/alarms", size=PHONE, scheme="dark", role="viewer")`. At the end of the
    test every window is checked: console, requests, content policy, width, axe.
    """
    opened: list[Window] = []

    def open_window(
        path: str, size: tuple[int, int] = DESKTOP, *, url: str | None = None, status: int = 200, **more: object
    ) -> Window:
        made = window(browser, url or plant_hub[1], size, **more)  # type: ignore[arg-type]
        opened.append(made)
        made.open(path, status=status)
        return made

    yield open_window
    try:
        for one in opened:
            one.check()
    finally:
        for one in opened:
            one.page.context.close()

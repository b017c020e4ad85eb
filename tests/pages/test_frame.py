"""What people do with the frame of every page: keyboard, menus, themes, times, live parts, no script at all."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator

import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from playwright.sync_api import Page, expect
from starlette.routing import Route

from cloud_hub.api.pages import rendering
from cloud_hub.store.writer import Received, Writer
from tests.pages.conftest import Open
from tests.pages.harness import DESKTOP, PHONE, PageHub
from tests.simulators.hub import event


def focused(page: Page) -> str:
    """The text or name of what has the focus."""
    return str(
        page.evaluate(
            "(() => { const e = document.activeElement; return (e.innerText || e.getAttribute('aria-label') || e.name || e.tagName).trim().replace(/\\s+/g, ' ') })()"
        )
    )


# ------------------------------------------------------------------------------------------------ keyboard


def test_the_keyboard_reaches_everything_in_order(visit: Open) -> None:
    page = visit("/").page
    order = []
    for _ in range(13):
        page.keyboard.press("Tab")
        order.append(focused(page))
    assert order[0] == "Skip to the content"
    assert order[1].startswith("Millwright")
    assert order[2:10] == ["Overview", "Alarms", "Machines", "Models", "Rollouts", "Data", "Gateways", "Administration"]
    assert order[10] == "Signed in as admin@plant"
    assert order[11].startswith("C-1")  # the first tile of the health map


def test_the_skip_link_leads_past_the_navigation(visit: Open) -> None:
    page = visit("/").page
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_in_viewport()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert focused(page).startswith("C-1")


def test_the_focus_can_be_seen(visit: Open) -> None:
    page = visit("/").page
    for _ in range(12):
        page.keyboard.press("Tab")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", focused(page)


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_the_menu_of_a_phone_opens_without_a_script(visit: Open, scripts: bool) -> None:
    page = visit("/", PHONE).page if scripts else visit_plain(visit, "/", PHONE)
    link = page.get_by_role("link", name="Gateways", exact=True)
    expect(link).to_be_hidden()
    page.get_by_text("Menu", exact=True).click()
    expect(link).to_be_visible()
    if scripts:
        page.keyboard.press("Escape")
        expect(link).to_be_hidden()


def visit_plain(visit: Open, path: str, size: tuple[int, int] = DESKTOP) -> Page:
    return visit(path, size, scripts=False).page


# ------------------------------------------------------------------------------------------------ theme


def background(page: Page) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def test_a_theme_is_chosen_at_once_and_remembered(visit: Open) -> None:
    window = visit("/")
    page = window.page
    light = background(page)
    page.get_by_text("admin@plant").click()
    page.get_by_role("button", name="Dark").click()
    dark = background(page)
    assert dark != light
    expect(page.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "true")
    page.goto(page.url)
    assert background(page) == dark
    assert page.locator("html").get_attribute("data-theme") == "dark"


def test_the_theme_works_without_a_script(visit: Open) -> None:
    page = visit_plain(visit, "/gallery")
    page.get_by_text("admin@plant").click()
    page.get_by_role("button", name="Dark").click()
    assert page.url.endswith("/gallery")
    assert page.locator("html").get_attribute("data-theme") == "dark"


def test_the_device_says_what_nobody_has_chosen(visit: Open) -> None:
    assert background(visit("/", scheme="dark").page) != background(visit("/").page)


# ------------------------------------------------------------------------------------------------ times


def test_times_are_in_the_viewers_zone_and_utc_without_a_script(visit: Open) -> None:
    foot = ".foot time"
    assert visit("/", time_zone="Europe/Berlin").page.locator(foot).inner_text() == "15 Jun 2025, 17:06:40"
    assert visit("/", time_zone="America/New_York").page.locator(foot).inner_text() == "15 Jun 2025, 11:06:40"
    assert visit_plain(visit, "/").locator(foot).inner_text() == "2025-06-15 15:06:40 UTC"


def test_dates_of_a_chart_stand_at_the_viewers_midnight(visit: Open) -> None:
    places = {}
    for zone in ("UTC", "America/New_York"):
        page = visit("/gallery", time_zone=zone).page
        ticks = page.locator("#trend .tick-x:visible")
        places[zone] = {
            ticks.nth(i).text_content(): float((ticks.nth(i).get_attribute("x") or "").rstrip("%"))
            for i in range(ticks.count())
        }
        assert page.locator("#trend [data-zone]").inner_text() == {"UTC": "UTC", "America/New_York": "GMT-4"}[zone]
    both = set(places["UTC"]) & set(places["America/New_York"])
    assert len(both) >= 5
    week_s = 1007 * 600
    for day in both:
        assert places["America/New_York"][day] - places["UTC"][day] == pytest.approx(100 * 4 * 3600 / week_s, abs=0.02)


# ------------------------------------------------------------------------------------------------ forms


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_a_form_is_sent_and_its_outcome_is_said_once(visit: Open, scripts: bool) -> None:
    page = visit("/gallery", scripts=scripts).page
    page.get_by_label("Name").fill("P-200")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status").filter(has_text="saved")).to_have_text("admin@plant saved P-200.")
    page.goto(page.url)
    expect(page.get_by_text("saved P-200")).to_have_count(0)


def test_what_cannot_be_undone_asks_first(visit: Open) -> None:
    page = visit("/gallery").page
    expect(page.get_by_role("button", name="Revoke it")).to_be_hidden()
    page.get_by_text("Revoke", exact=True).click()
    page.get_by_role("button", name="Revoke it").click()
    expect(page.get_by_text("saved it.")).to_be_visible()


# ------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_an_error_is_a_page_like_the_others(visit: Open, size: tuple[int, int]) -> None:
    page = visit("/machines-of-old/7", size, status=404).page
    expect(page.get_by_role("heading", level=1)).to_have_text("There is nothing here")
    page.get_by_role("link", name="To the overview").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")


# ------------------------------------------------------------------------------------------------ live parts


class Stream:
    """What a hub would stream: events as the test sends them."""

    def __init__(self, app: FastAPI) -> None:
        self._queues: list[queue.Queue[str | None]] = []
        self.opened = threading.Event()
        app.router.routes.insert(0, Route(rendering.STREAM, self._serve))

    def _serve(self, _request: object) -> StreamingResponse:
        mine: queue.Queue[str | None] = queue.Queue()
        self._queues.append(mine)

        def events() -> Iterator[str]:
            yield ": hello\n\n"
            self.opened.set()
            while (one := mine.get()) is not None:
                yield one

        return StreamingResponse(events(), media_type="text/event-stream")

    def send(self, kind: str, data: str) -> None:
        for one in self._queues:
            one.put(f"event: {kind}\ndata: {data}\n\n")

    def end(self) -> None:
        for one in self._queues:
            one.put(None)


@pytest.fixture
def live(own_hub: Callable[..., tuple[PageHub, str]]) -> Iterator[tuple[PageHub, str, Stream]]:
    hub, url = own_hub(plant=False)
    stream = Stream(hub.app)
    yield hub, url, stream
    stream.end()


def test_a_new_alarm_appears_by_itself(visit: Open, live: tuple[PageHub, str, Stream]) -> None:
    hub, url, stream = live
    page = visit("/", url=url).page
    expect(page.get_by_text("No alarm is open.")).to_be_visible()
    assert stream.opened.wait(10)
    Writer(hub.database, lambda: hub.now_s).store([Received(event(1, time_s=hub.now_s - 60))])
    stream.send("alarm", '{"machine": "P-101"}')
    card = page.locator("#open-alarms article")
    expect(card).to_have_count(1)
    expect(card.locator("h3")).to_contain_text("P-101 / de")
    expect(card.locator("time")).to_have_attribute("title", "15 Jun 2025, 17:05:40 CEST")


def test_an_event_of_another_kind_changes_nothing(visit: Open, live: tuple[PageHub, str, Stream]) -> None:
    _hub, url, stream = live
    page = visit("/", url=url).page
    assert stream.opened.wait(10)
    fetched: list[str] = []
    page.on("request", lambda request: fetched.append(request.resource_type))
    stream.send("job", "{}")
    stream.send("alarm", "not json")
    expect(page.locator("#open-alarms")).to_be_visible()
    for _ in range(100):  # wait_for_function would evaluate a text, which the content policy forbids
        if fetched.count("fetch") >= 3:
            break
        page.wait_for_timeout(100)
    page.wait_for_timeout(600)
    # The alarm concerns three parts of the page; the job none.
    assert fetched.count("fetch") == 3


def test_a_part_in_which_somebody_types_is_left_alone(visit: Open, live: tuple[PageHub, str, Stream]) -> None:
    _hub, url, stream = live
    page = visit("/gallery", url=url).page
    page.evaluate("document.getElementById('form').dataset.live = 'alarm'")
    page.reload()  # the page had nothing to follow when it came; now it has by its markup
    page.evaluate("document.getElementById('form').dataset.live = 'alarm'")
    page.get_by_label("Name").fill("half a na")
    page.evaluate(
        "import(document.querySelector('script[type=module]').src.replace('hub.js', 'live.js')).then(m => m.followStream('/api/v1/stream'))"
    )
    assert stream.opened.wait(10)
    stream.send("alarm", "{}")
    page.wait_for_timeout(1000)
    expect(page.get_by_label("Name")).to_have_value("half a na")

"""An operator has raw samples of a point recorded, and a point learn its healthy state anew after a repair."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from cloud_hub.errors import LinkError
from cloud_hub.jobs.places import Places
from cloud_hub.services.workshop import Workshop
from cloud_hub.settings import load_settings
from cloud_hub.store.accounts_queries import list_audit
from cloud_hub.store.paging import Paging
from models.contract.messages import CaptureCommand, CommandBody, RecalibrateCommand
from tests.pages.conftest import Open
from tests.pages.harness import DESKTOP, PHONE, PageHub

MakeHub = Callable[..., tuple[PageHub, str]]
PAGE = "/machines/P-103?point=de"


class Line:
    """What sends; may be cut."""

    def __init__(self) -> None:
        self.sent: list[CommandBody] = []
        self.cut = False

    def __call__(self, body: CommandBody) -> None:
        if self.cut:
            raise LinkError("broker: no answer")
        self.sent.append(body)


def listen(hub: PageHub) -> Line:
    line = Line()
    workshop = Workshop(Places.of(load_settings(hub.folder)), command=line)
    object.__setattr__(hub.app.state.context, "workshop", workshop)
    return line


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_point_is_recorded_and_learns_anew(own_hub: MakeHub, visit: Open, size: tuple[int, int]) -> None:
    hub, url = own_hub()
    line = listen(hub)
    window = visit(PAGE, size, url=url, role="operator")
    page, ask = window.page, window.page.locator("#ask")
    ask.locator("summary", has_text="Record raw samples").click()
    window.check()
    expect(ask.get_by_label("Point").first).to_have_value("gw-pumps/de")
    ask.get_by_label("For").fill("30")
    ask.get_by_role("button", name="Record").click()
    expect(page.get_by_role("status").filter(has_text="is asked for 30 s of de: capture")).to_be_visible()
    (capture,) = line.sent
    assert isinstance(capture, CaptureCommand)
    assert (capture.machine, capture.point, capture.seconds) == ("P-103", "de", 30)
    expect(page.get_by_role("status").filter(has_text=capture.id)).to_be_visible()

    ask.locator("summary", has_text="Learn anew").click()
    window.check()
    ask.get_by_role("button", name="Forget and learn anew").click()
    expect(page.get_by_role("status").filter(has_text="to learn the healthy state of de anew")).to_be_visible()
    assert isinstance(line.sent[1], RecalibrateCommand)
    assert (line.sent[1].gateway, line.sent[1].point) == (capture.gateway, "de")
    with hub.database.read() as session:
        entries = list_audit(session, Paging(10), action="gateway.command").items
    assert [(entry.who, (entry.after or {})["kind"]) for entry in entries] == [
        ("operator@plant", "recalibrate"), ("operator@plant", "capture"),
    ]  # fmt: skip

    line.cut = True
    ask.locator("summary", has_text="Learn anew").click()
    ask.get_by_role("button", name="Forget and learn anew").click()
    expect(page.get_by_text("Not done. broker: no answer")).to_be_visible()


def test_who_may_not_ask_is_not_asked(own_hub: MakeHub, visit: Open) -> None:
    hub, url = own_hub()
    expect(visit(PAGE, url=url, role="operator").page.locator("#ask")).to_have_count(0)  # nothing here can sign
    listen(hub)
    expect(visit(PAGE, url=url, role="operator").page.locator("#ask")).to_have_count(1)
    expect(visit(PAGE, url=url, role="viewer").page.locator("#ask")).to_have_count(0)

"""An administrator has a maintenance system told, as a person would."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.pages.conftest import Open
from tests.pages.harness import DESKTOP, PHONE, PageHub

OwnHub = Callable[..., tuple[PageHub, str]]


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_webhook_is_made_tested_changed_and_removed(visit: Open, own_hub: OwnHub, size: tuple[int, int]) -> None:
    _hub, url = own_hub(plant=False)
    page = visit("/admin/hooks", size, url=url).page
    expect(page.get_by_text("Nobody is told yet.")).to_be_visible()
    page.get_by_label("Name").fill("Maintenance")
    page.get_by_label("Address of a webhook").fill("https://cmms.example/hooks")
    page.get_by_label("alarm raised").check()
    page.get_by_label("Only these machines").fill("P-101\nP-103")
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_role("heading", name="Shown this once")).to_be_visible()
    secret = page.locator("pre").inner_text()
    assert len(secret) >= 32
    page.get_by_role("link", name="I have it").click()
    assert secret not in page.content()
    expect(page.get_by_text("Nothing has been sent yet.")).to_be_visible()
    page.get_by_role("button", name="Send a test").click()
    expect(page.get_by_role("status").filter(has_text="A test is on its way")).to_be_visible()
    expect(page.locator("#deliveries tbody tr")).to_contain_text("waiting")
    page.get_by_label("On", exact=True).uncheck()
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".page-head .badge")).to_have_text("off")
    page.get_by_text("Remove", exact=True).click()
    page.get_by_role("button", name="Remove Maintenance").click()
    expect(page.get_by_text("Nobody is told yet.")).to_be_visible()


def test_what_cannot_be_is_said_and_what_was_typed_stays(visit: Open, own_hub: OwnHub) -> None:
    _hub, url = own_hub(plant=False)
    window = visit("/admin/hooks", url=url)
    window.allowed.append("/admin/hooks")  # answered with 422, which is what is meant
    page = window.page
    page.get_by_label("Name").fill("Maintenance")
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_role("alert")).to_contain_text("expected either url or addresses")
    expect(page.get_by_label("Name")).to_have_value("Maintenance")


def test_an_operator_may_not(visit: Open, own_hub: OwnHub) -> None:
    _hub, url = own_hub(plant=False)
    page = visit("/admin/hooks", url=url, role="operator", status=403).page
    expect(page.get_by_role("heading", level=1)).to_have_text("This is not yours to do")

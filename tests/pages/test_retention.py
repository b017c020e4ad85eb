"""An engineer says how long the trends of a point are kept."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.pages.conftest import Open
from tests.pages.harness import DESKTOP, PHONE, PageHub

MakeHub = Callable[..., tuple[PageHub, str]]


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_for_how_long_a_points_trends_are_kept(own_hub: MakeHub, visit: Open, size: tuple[int, int]) -> None:
    _, url = own_hub()
    window = visit("/machines/P-103?point=de", size, url=url, role="engineer")
    page = window.page
    kept = page.locator("#kept")
    expect(kept).to_contain_text(
        "as they came for 14 days, by 5 minutes for 90 days, by the hour for 1825 days, as for all"
    )
    kept.locator("summary", has_text="Change how long").click()
    window.check()
    kept.get_by_label("As they came").fill("30")
    kept.get_by_role("button", name="Keep so").click()
    expect(page.get_by_role("status").filter(has_text="Trends of de are kept so from now on.")).to_be_visible()
    expect(kept).to_contain_text("as they came for 30 days, by 5 minutes for 90 days")
    kept.locator("summary", has_text="Change how long").click()
    kept.get_by_label("By the hour").fill("20")
    kept.get_by_role("button", name="Keep so").click()
    expect(page.get_by_text("expected days that do not fall")).to_be_visible()
    expect(kept).to_contain_text("by the hour for 1825 days")


def test_who_only_looks_is_told_but_not_asked(own_hub: MakeHub, visit: Open) -> None:
    _, url = own_hub()
    page = visit("/machines/P-103?point=de", url=url, role="viewer").page
    expect(page.locator("#kept")).to_contain_text("14 days")
    expect(page.locator("#kept summary")).to_have_count(0)

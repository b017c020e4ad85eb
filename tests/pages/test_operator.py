"""A shift: see a new alarm, open it, read why, acknowledge, comment, judge, shelve."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect
from sqlalchemy import select

from cloud_hub.store import tables as t
from cloud_hub.store.writer import Received, Writer
from tests.pages.conftest import Open
from tests.pages.harness import DESKTOP, PHONE, PageHub
from tests.simulators.hub import event
from tests.simulators.plant_data import NOW_S

MakeHub = Callable[..., tuple[PageHub, str]]
ALARM = "/alarms/gw-pumps.a-103"


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_an_alarm_from_the_list_to_the_shelf(own_hub: MakeHub, visit: Open, size: tuple[int, int]) -> None:
    hub, url = own_hub()
    page = visit("/alarms", size, url=url, role="operator").page
    expect(page.locator("#alarm-list")).to_contain_text("P-103")
    page.get_by_role("link", name="P-103 / de").click()
    # Why: the reason, the fault's order, and where it stands in the spectrum.
    expect(page.locator("#alarm-now")).to_contain_text("outer race: BPFO")
    evidence = page.locator("#evidence")
    expect(evidence).to_contain_text("order 3.585")
    expect(evidence).to_contain_text("105.9 Hz")
    expect(evidence.locator("figure")).to_have_count(3)
    expect(evidence.get_by_text("BPFO", exact=True).first).to_be_visible()
    page.get_by_role("button", name="Acknowledge").click()
    expect(page.get_by_role("status").filter(has_text="Acknowledged.")).to_be_visible()
    expect(page.locator("#alarm-now")).to_contain_text("acknowledged")
    page.get_by_role("textbox", name="Comment").fill("<b>Grease is dark</b>")
    page.get_by_role("button", name="Add the comment").click()
    expect(page.locator("#alarm-history")).to_contain_text("<b>Grease is dark</b>")
    page.locator("summary", has_text="Verdict").click()
    page.get_by_label("It was", exact=True).select_option("true")
    page.get_by_role("button", name="Give the verdict").click()
    expect(page.locator("#alarm-now")).to_contain_text("true alarm: BPFO, operator@plant")
    page.locator("summary", has_text="Shelve").click()
    page.get_by_label("For", exact=True).select_option("14400")
    page.get_by_label("Reason", exact=True).fill("bearing is ordered")
    page.get_by_role("button", name="Shelve it").click()
    expect(page.locator("#alarm-now")).to_contain_text("shelved")
    expect(page.locator("#alarm-history")).to_contain_text("bearing is ordered")
    with hub.database.read() as session:
        row = session.scalars(select(t.Alarm).where(t.Alarm.alarm == "a-103")).one()
        assert (row.state, row.shelved_until_s, row.review) == ("shelved", NOW_S + 14_400, "true")
        assert len(session.scalars(select(t.AuditEntry).where(t.AuditEntry.who == "operator@plant")).all()) == 4


def test_a_new_alarm_appears_by_itself(own_hub: MakeHub, visit: Open) -> None:
    hub, url = own_hub(plant=False)
    page = visit("/alarms", url=url).page
    expect(page.locator("#alarm-list")).to_contain_text("No alarm is open.")
    page.wait_for_function("performance.getEntriesByType('resource').length > 0")
    feed = hub.app.state.live
    for _ in range(100):
        if feed.looks:
            break
        page.wait_for_timeout(100)
    Writer(hub.database, lambda: hub.now_s).store([Received(event(1))])
    expect(page.locator("#alarm-list")).to_contain_text("P-101")
    expect(page.locator("#alarm-counts")).to_contain_text("1")


def test_several_at_once_and_somebody_who_was_faster(own_hub: MakeHub, visit: Open) -> None:
    _, url = own_hub()
    page = visit("/alarms", url=url, role="operator").page
    boxes = page.locator("#alarm-list input[type=checkbox]")
    count = boxes.count()
    for i in range(count):
        boxes.nth(i).check()
    other = visit(ALARM, url=url, role="operator").page
    other.get_by_role("button", name="Acknowledge").click()
    expect(other.locator("#alarm-now")).to_contain_text("acknowledged")
    page.get_by_role("button", name="Acknowledge the ones picked").click()
    said = page.get_by_role("alert")
    expect(said).to_contain_text(f"{count - 1} acknowledged. 1 not")
    expect(said).to_contain_text("revision 1 was expected, it has 2 by now")


def test_without_scripts_and_without_the_right_to_act(own_hub: MakeHub, visit: Open) -> None:
    _, url = own_hub()
    page = visit(ALARM, url=url, role="operator", scripts=False).page
    page.get_by_role("button", name="Acknowledge").click()
    assert page.get_by_text("Acknowledged.").count() == 1
    watching = visit(ALARM, url=url, role="viewer").page
    expect(watching.get_by_role("button", name="Acknowledge")).to_have_count(0)
    expect(watching.locator("#evidence")).to_contain_text("Raw windows are shown to operators and engineers.")


def test_a_machine_out_of_service_and_back(own_hub: MakeHub, visit: Open) -> None:
    _, url = own_hub()
    page = visit("/machines/P-103", url=url, role="operator").page
    expect(page.locator("#trend figure")).to_have_count(1)
    expect(page.locator("#trend")).to_contain_text("Score (1 = the limit)")
    page.locator("summary", has_text="Take out of service").click()
    page.get_by_label("Reason", exact=True).fill("overhaul")
    page.get_by_role("button", name="Take out of service").click()
    expect(page.get_by_text("P-103 is out of service: overhaul (operator@plant)")).to_be_visible()
    expect(page.locator("#machine-alarms")).to_contain_text("out of service")
    page.get_by_role("button", name="P-103 back into service").click()
    expect(page.locator("#machine-alarms")).to_contain_text("unacknowledged")


def test_the_load_on_an_operator(visit: Open) -> None:
    page = visit("/alarms/floods").page
    expect(page.locator("#load")).to_contain_text("time in flood")
    expect(page.locator("#bad-actors")).to_contain_text("P-10")

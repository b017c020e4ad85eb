"""Rolling a model out, and steering it; letting gateways in and shutting them out: as a person would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from cloud_hub.identity.folder import IdentityFolder
from cloud_hub.identity.revocation import refresh_crl
from cloud_hub.jobs.places import Places
from cloud_hub.services.gateways import GatewayDesk
from cloud_hub.services.workshop import Workshop
from cloud_hub.settings import load_settings
from cloud_hub.store import tables as t
from cloud_hub.store.identities import SqlIdentities
from tests.pages.conftest import Open
from tests.pages.harness import DESKTOP, PHONE, PageHub
from tests.simulators.plant_data import NOW_S, sha

SIZES = pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
OwnHub = Callable[..., tuple[PageHub, str]]


@SIZES
def test_a_rollout_is_begun_approved_paused_and_aborted(own_hub: OwnHub, visit: Open, size: tuple[int, int]) -> None:
    hub, url = own_hub()
    page = visit(f"/models/{sha('fan-vibration', 1)}", size, url=url, role="engineer").page
    page.get_by_role("link", name="Roll out").click()
    expect(page.get_by_label("Model", exact=True)).to_have_value(sha("fan-vibration", 1))
    page.get_by_label("Name").first.fill("fans-back")
    first = page.get_by_role("group", name="Cohort 1")
    first.get_by_label("Chosen by").select_option("gateways")
    first.get_by_label("Which").fill("gw-roof")
    first.get_by_label("Wait for approval before cohort 1").check()
    for other in ("Cohort 2", "Cohort 3"):  # there is one gateway with fans
        page.get_by_role("group", name=other).get_by_label("Name").fill("")
    page.get_by_role("button", name="Begin the rollout").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Rollout fans-back")
    expect(page.get_by_text("awaiting approval").first).to_be_visible()
    expect(page.get_by_role("table", name="Gateways of this rollout")).to_contain_text("gw-roof")

    page.locator("summary", has_text="Approve").click()
    page.get_by_role("button", name="Approve cohort canary").click()
    expect(page.get_by_text("Approved.")).to_be_visible()
    page.locator("summary", has_text="Pause").click()
    page.get_by_label("Why").fill("the night shift is alone")
    page.get_by_role("button", name="Pause the rollout").click()
    expect(page.get_by_role("region", name="How it stands")).to_contain_text("the night shift is alone")
    page.locator("summary", has_text="Resume").click()
    page.get_by_role("button", name="Resume the rollout").click()
    expect(page.get_by_text("It goes on.")).to_be_visible()
    page.locator("summary", has_text="Abort").click()
    page.get_by_role("button", name="Abort the rollout").click()
    expect(page.get_by_text("It is being aborted.")).to_be_visible()
    expect(page.get_by_role("region", name="Log")).to_contain_text("engineer@plant")
    with hub.database.read() as session:
        actions = [e.action for e in session.query(t.AuditEntry).order_by(t.AuditEntry.id)]
    assert actions == [f"rollout.{verb}" for verb in ("create", "approve", "pause", "resume", "abort")]
    page.goto(f"{url}/rollouts?status=aborting")
    page.get_by_role("link", name="fans-back").click()
    expect(page.locator("summary", has_text="Retry failed")).to_have_count(0)  # none has
    page.locator("summary", has_text="End it now").click()
    page.get_by_role("button", name="End it, give nothing back").click()
    expect(page.get_by_text("It has ended.")).to_be_visible()
    expect(page.get_by_role("region", name="Log")).to_contain_text("forced")
    expect(page.locator("summary", has_text="End it now")).to_have_count(0)


def test_a_plan_that_cannot_be_carried_out_says_everything_at_the_form(own_hub: OwnHub, visit: Open) -> None:
    _, url = own_hub()
    window = visit(f"/rollouts/new?sha256={sha('pump-vibration', 3)}", url=url, role="engineer")
    window.allowed.append("/rollouts/new")
    page = window.page
    first = page.get_by_role("group", name="Cohort 1")
    first.get_by_label("Which").fill("many")
    first.get_by_label("May fail").fill("some")
    page.get_by_role("button", name="Begin the rollout").click()
    said = page.get_by_role("alert")
    expect(said).to_contain_text("cohort 'canary', share: expected a share such as")
    expect(said).to_contain_text("cohort 'canary', errors")
    expect(page.get_by_role("group", name="Cohort 1").get_by_label("May fail")).to_have_value("some")


@SIZES
def test_a_gateway_is_let_in_and_shut_out(own_hub: OwnHub, visit: Open, size: tuple[int, int], tmp_path: Path) -> None:
    hub, url = own_hub()
    settings = load_settings(tmp_path)
    folder = IdentityFolder(settings.identity_dir, "plant")
    folder.create(tmp_path / "root", b"a long enough passphrase", NOW_S)
    refresh_crl(folder, SqlIdentities(hub.database), 30)
    desk = GatewayDesk(settings, folder, hub.database)
    object.__setattr__(hub.app.state.context, "workshop", Workshop(Places.of(settings), desk=desk))
    page = visit("/gateways", size, url=url).page
    page.locator("summary", has_text="Let a gateway in").click()
    page.get_by_label("Its id").fill("gw-new")
    page.get_by_role("button", name="Make a token").click()
    secret = page.locator("#secret").inner_text()
    assert len(secret) > 60
    page.goto(f"{url}/gateways/gw-new")
    expect(page.get_by_text("token, not used yet")).to_be_visible()
    assert secret not in page.content()
    page.get_by_label("Labels").fill("site=north\nline=3")
    page.get_by_label("Time zone").fill("Europe/Berlin")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_label("Labels")).to_have_value("site=north\nline=3")
    page.locator("summary", has_text="Revoke").click()
    page.get_by_label("Why").fill("stolen")
    page.get_by_label("Type gw-new").fill("gw-old")
    page.get_by_role("button", name="Revoke gw-new").click()
    expect(page.get_by_role("alert")).to_contain_text("type gw-new to say that you mean it")
    page.locator("summary", has_text="Revoke").click()
    page.get_by_label("Why").fill("stolen")
    page.get_by_label("Type gw-new").fill("gw-new")
    page.get_by_role("button", name="Revoke gw-new").click()
    expect(page.get_by_role("status").first).to_contain_text("Revoked: 0 certificates")
    expect(page.get_by_text("token, not used yet")).to_have_count(0)


@SIZES
def test_a_gateway_is_retired(own_hub: OwnHub, visit: Open, size: tuple[int, int]) -> None:
    _, url = own_hub()
    page = visit("/gateways/gw-pumps", size, url=url).page
    expect(page.locator("#retire")).to_contain_text("Not now: it is online, stop it first.")
    page.goto(f"{url}/gateways/gw-offline")
    page.locator("summary", has_text="Retire").click()
    page.get_by_label("Why").fill("scrapped")
    page.get_by_label("Type gw-offline").fill("gw-pumps")
    page.get_by_role("button", name="Retire gw-offline").click()
    expect(page.get_by_role("alert")).to_contain_text("type gw-offline to say that you mean it")
    page.locator("summary", has_text="Retire").click()
    page.get_by_label("Why").fill("scrapped")
    page.get_by_label("Type gw-offline").fill("gw-offline")
    page.get_by_role("button", name="Retire gw-offline").click()
    expect(page.get_by_role("status").first).to_contain_text("Gateway gw-offline is retired")
    expect(page.get_by_text("Taken out of the fleet")).to_be_visible()
    expect(page.locator("#retire")).to_have_count(0)
    page.goto(f"{url}/gateways")
    expect(page.get_by_role("table", name="Gateways")).not_to_contain_text("gw-offline")
    page.goto(f"{url}/gateways?online=retired")
    expect(page.get_by_role("table", name="Gateways")).to_contain_text("gw-offline")


@SIZES
def test_how_a_gateway_stands(visit: Open, size: tuple[int, int]) -> None:
    page = visit("/gateways?online=yes", size, role="viewer").page
    expect(page.get_by_role("row", name="gw-offline")).to_have_count(0)
    row = page.get_by_role("row", name="gw-pumps")
    expect(row).to_contain_text("68 MB")
    expect(row).to_contain_text("pump-vibration 2")
    expect(page.locator("summary", has_text="Let a gateway in")).to_have_count(0)
    page.get_by_role("link", name="gw-pumps").click()
    expect(page.get_by_role("table", name="Slots")).to_contain_text("confirmed")
    expect(page.get_by_role("table", name="Points")).to_contain_text("P-103")
    expect(page.get_by_role("button", name="Save")).to_have_count(0)

"""In, and what an administrator does first, as a person does it: the link, a password, somebody else invited."""

from __future__ import annotations

from collections.abc import Callable

from cloud_hub.services import accounts
from cloud_hub.services.sign_in import Door
from tests.cloud_hub.people import GOOD, ROOT
from tests.pages.conftest import Open
from tests.pages.harness import DESKTOP, PHONE, PageHub


def test_from_the_first_link_to_a_colleague(visit: Open, own_hub: Callable[..., tuple[PageHub, str]]) -> None:
    hub, url = own_hub(plant=False)
    link = accounts.administrator_link(hub.database, Door(), ROOT, hub.now_s)
    window = visit(f"/link/{link}", PHONE, url=url, role="nobody")
    page = window.page
    page.get_by_label("Name").fill("boss")
    page.get_by_label("Password", exact=True).fill(GOOD)
    page.get_by_label("The same again").fill(GOOD)
    page.get_by_role("button", name="Set it and sign in").click()
    page.wait_for_url(f"{url}/")
    window.open("/admin/users")
    page.get_by_label("Name", exact=True).fill("ann")
    page.get_by_label("Role").select_option("operator")
    page.get_by_role("button", name="Add and make a link").click()
    assert page.get_by_label("Link").input_value().startswith(f"{url}/link/")
    for path in ("/admin/users", "/admin/users/ann", "/admin/tokens", "/admin/audit", "/account"):
        window.open(path)
        window.check()
    page.get_by_text("Menu").click()
    page.get_by_text("boss", exact=False).first.click()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{url}/login")
    login = visit("/login", DESKTOP, url=url, role="nobody")
    login.page.get_by_label("Name").fill("boss")
    login.page.get_by_label("Password").fill(GOOD)
    login.page.get_by_role("button", name="Sign in").click()
    login.page.wait_for_url(f"{url}/")

"""What all pages share, without a browser: static files, the policy, errors, what is said after a form, words, themes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from cloud_hub.accounts.permissions import ROLE_PERMISSIONS, Permission, Principal, Role
from cloud_hub.api.pages import static, words
from cloud_hub.api.pages.navigation import PLACES, places_for
from cloud_hub.store.database import Database
from cloud_hub.store.writer import Message, Received, Writer
from tests.pages.gallery import add_gallery
from tests.pages.harness import ROLE_HEADER, PageHub
from tests.simulators import plant_data
from tests.simulators.hub import ApiClient, diagnosis, event

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
STATIC = Path(static.__file__).parent.parent / "static"
Ask = Callable[..., httpx.Response]


class Markup(HTMLParser):
    """What the content policy forbids, wherever it stands."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids += [given["id"]] if given.get("id") else []  # type: ignore[list-item]
        inline = tag == "style" or (tag == "script" and not (given.get("src") or "").startswith("/static/"))
        handlers = [name for name in given if name.startswith("on") or name == "style"]
        elsewhere = [
            v for k, v in attrs if k in {"src", "href", "action"} and v and re.match(r"(\w+:)?//|javascript:", v)
        ]
        if inline or handlers or elsewhere:
            self.wrong.append(f"<{tag}> {handlers} {elsewhere}")


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageHub]:
    folder = tmp_path_factory.mktemp("hub")
    with Database(f"sqlite:///{folder / 'hub.sqlite3'}") as database:
        database.migrate()
        plant_data.fill(database, days=0.2)
        yield PageHub(database, folder)


@pytest.fixture
def app(plant: PageHub) -> FastAPI:
    hub = PageHub(plant.database, plant.folder)
    add_gallery(hub.app)
    return hub.app


@pytest.fixture
def ask(app: FastAPI) -> Ask:
    """One request as a browser makes it; `cookies` are sent along."""

    def request(path: str, method: str = "GET", **more: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
            cookies = more.pop("cookies", None)
            async with httpx.AsyncClient(transport=transport, base_url="http://hub", cookies=cookies) as client:
                return await client.request(method, path, **{"headers": BROWSER} | more)

        return asyncio.run(send())

    return request


# ------------------------------------------------------------------------------------------------ the content policy


@pytest.mark.parametrize("path", ["/", "/api", "/gallery", "/nothing/here"])
def test_no_page_has_anything_inline_or_from_elsewhere(ask: Ask, path: str) -> None:
    answer = ask(path)
    assert answer.status_code == (404 if path == "/nothing/here" else 200)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    markup = Markup()
    markup.feed(answer.text)
    assert markup.wrong == []
    assert len(markup.ids) == len(set(markup.ids)), "ids stand for one element each"
    assert answer.headers["cache-control"] == "no-store"


def test_templates_and_scripts_have_no_way_around_the_policy() -> None:
    for path in (STATIC.parent / "templates").rglob("*.j2"):
        text = path.read_text("utf-8")
        assert "| safe" not in text, path
        assert "autoescape false" not in text, path
    for path in STATIC.glob("*.js"):
        text = path.read_text("utf-8")
        for word in ("innerHTML", "eval(", "document.write", "http://", "https://", "new Function"):
            if word == "https://" and "https:" in text:
                text = text.replace('"https:"', "")
            assert word not in text, f"{path.name}: {word}"


# ------------------------------------------------------------------------------------------------ static files


def test_static_files_may_be_kept_for_ever_under_their_own_address(ask: Ask) -> None:
    answer = ask(static.static("hub.css"))
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.content == static.ASSETS["hub.css"].content
    again = ask(static.static("hub.css"), headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    plain = ask(static.static("hub.js"), headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.headers["content-type"].startswith("text/javascript")


def test_under_another_versions_address_a_file_must_be_asked_for_again(ask: Ask) -> None:
    answer = ask("/static/000000000000/hub.css")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("name", ["nothing.css", "..%2fapp.py", "css"])
def test_only_static_files_are_static(ask: Ask, name: str) -> None:
    assert ask(f"/static/{static.VERSION}/{name}").status_code == 404


def test_a_static_file_that_is_not_there_is_a_mistake_of_the_template() -> None:
    with pytest.raises(KeyError, match=r"static file 'hub\.cs': expected one of .*hub\.css, hub\.js"):
        static.static("hub.cs")


def test_every_style_sheet_is_part_of_the_one(tmp_path: Path) -> None:
    whole = static.ASSETS["hub.css"].content
    for path in (STATIC / "css").iterdir():
        assert path.read_bytes() in whole, f"{path.name} is not in the cascade"
    with pytest.raises(FileNotFoundError):
        static.load(tmp_path)


def test_both_ways_into_the_dark_give_the_same_colours() -> None:
    css = (STATIC / "css" / "tokens.css").read_text("utf-8")
    by_device = css.split('not([data-theme="light"]) {')[1].split("}")[0]
    by_choice = css.split(':root[data-theme="dark"] {')[1].split("}")[0].replace("color-scheme: dark;", "")
    assert by_device.split() == by_choice.split()


# ------------------------------------------------------------------------------------------------ who sees what


def test_the_navigation_shows_what_one_may_see(ask: Ask) -> None:
    assert places_for(None) == ()
    viewer = ask("/", headers=BROWSER | {ROLE_HEADER: "viewer"}).text
    assert 'href="/machines"' in viewer
    assert 'href="/admin"' not in viewer
    assert 'href="/data"' not in viewer
    operator = places_for(Principal("o", "user", ROLE_PERMISSIONS[Role.OPERATOR]))
    assert [p.path for p in PLACES if p not in operator] == ["/admin"]
    assert Permission.AUDIT_READ in PLACES[-1].any_of


def test_a_place_holds_its_own_pages_alone() -> None:
    rollouts = next(p for p in PLACES if p.path == "/rollouts")
    assert rollouts.holds("/rollouts")
    assert rollouts.holds("/rollouts/r1")
    assert not rollouts.holds("/rollouts-old")
    assert not PLACES[0].holds("/alarms")


# ------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("path", "headers", "status", "words_"),
    [
        ("/nothing", BROWSER, 404, ["There is nothing here", "404"]),
        ("/static/x/%3Cscript%3E", BROWSER, 404, ["&lt;script&gt;"]),
        ("/preferences/theme", BROWSER, 405, ["This address does something else"]),
        ("/", BROWSER | {ROLE_HEADER: "nobody"}, 401, ["Please sign in"]),
    ],
)
def test_a_browser_gets_a_page_of_what_is_wrong(
    ask: Ask, path: str, headers: dict[str, str], status: int, words_: list[str]
) -> None:
    answer = ask(path, headers=headers, follow_redirects=False)
    if status == 401 and answer.status_code == 303:
        assert answer.headers["location"].startswith("/login")  # where there are accounts
        return
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")
    for word in words_:
        assert word in answer.text


@pytest.mark.parametrize(
    ("path", "accept"), [("/nothing", "*/*"), ("/nothing", "application/json"), ("/api/v1/nothing", BROWSER["accept"])]
)
def test_a_program_gets_a_problem(ask: Ask, path: str, accept: str) -> None:
    answer = ask(path, headers={"accept": accept})
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_fault_is_told_without_its_inside(app: FastAPI, ask: Ask) -> None:
    @app.get("/fault")
    def fault() -> None:
        raise RuntimeError("the password is swordfish")

    answer = ask("/fault")
    assert answer.status_code == 500
    assert "The hub has made a mistake" in answer.text
    assert "swordfish" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_a_form_that_misses_something_is_a_page_too(ask: Ask) -> None:
    answer = ask("/preferences/theme", "POST", data={"theme": "purple"})
    assert answer.status_code == 422
    assert "body.theme" in answer.text


# ------------------------------------------------------------------------------------------------ forms


def test_what_was_done_is_said_once_on_the_next_page(ask: Ask) -> None:
    done = ask("/gallery", "POST", data={"name": '<b>"P-101"</b>'})
    assert (done.status_code, done.headers["location"]) == (303, "/gallery")
    cookie = done.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    page = ask("/gallery", cookies=dict(done.cookies))
    assert "saved &lt;b&gt;&#34;P-101&#34;&lt;/b&gt;." in page.text
    assert 'millwright_said=""' in page.headers["set-cookie"]
    assert 'class="said' not in ask("/gallery").text


@pytest.mark.parametrize("cookie", ["", "%%%", "AAAA", "eyJraW5kIjoieCJ9", "bnVsbA=="])
def test_a_cookie_that_is_not_ours_says_nothing(ask: Ask, cookie: str) -> None:
    answer = ask("/gallery", cookies={"millwright_said": cookie})
    assert answer.status_code == 200
    assert 'class="said' not in answer.text


@pytest.mark.parametrize("back", ["https://elsewhere", "//elsewhere", "/\\elsewhere", "javascript:alert(1)", ""])
def test_a_form_never_leads_elsewhere(ask: Ask, back: str) -> None:
    answer = ask("/preferences/theme", "POST", data={"theme": "dark", "back": back})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_the_theme_is_remembered_and_drawn_on_the_server(ask: Ask) -> None:
    answer = ask("/preferences/theme", "POST", data={"theme": "dark", "back": "/gallery"})
    assert answer.headers["location"] == "/gallery"
    assert 'data-theme="dark"' in ask("/", cookies=dict(answer.cookies)).text
    assert 'data-theme="auto"' in ask("/").text
    assert 'data-theme="auto"' in ask("/", cookies={"millwright_theme": '"><script>'}).text


# ------------------------------------------------------------------------------------------------ the overview


def test_the_overview_says_how_the_fleet_is(ask: Ask) -> None:
    page = re.sub(r"<[^>]+>|\s+", " ", ask("/").text)
    page = re.sub(r"\s+", " ", page)
    for words_ in (
        "alarm 2 warn 1 warming up 1 ok 18 gateways online 5 of 6",
        "GB-2 1.62 , alarm",
        "C-1 offline",
        "Alarms 4 raised",
        "P-101 / nde returned to normal, 10 h ago",
        "gw-offline gone, last heard 4 h ago",
        "gw-water first heard 7 h ago",
        "pump-vibration 2 on 2 gateways, 3 h ago",
        "pump-vibration 3 trying canary, begun 2 h ago by engineer@plant",
        "Check first: the drive-end bearing of P-103",
    ):
        assert words_ in page, words_


def shown(database: Database, folder: Path, *messages: Message, connected: bool = True) -> str:
    """The overview of a hub that has heard just this."""
    Writer(database, lambda: 3000.0).store([Received(m) for m in messages])
    hub = PageHub(database, folder, now_s=3000.0)
    hub.connected = connected
    hub.status.set("received", len(messages))
    answer = ApiClient(hub.app).get("/")
    assert answer.status_code == 200
    return answer.text


def test_the_overview_of_an_empty_hub_says_what_is_missing(database: Database, tmp_path: Path) -> None:
    page = shown(database, tmp_path, connected=False)
    for sentence in ("No alarm is open", "No gateway has named a machine yet", "No rollout yet", "broker away"):
        assert sentence in page


def test_the_overview_escapes_what_gateways_say(database: Database, tmp_path: Path) -> None:
    page = shown(database, tmp_path, event(1, diagnosis=diagnosis("<script>alert(1)</script>")))
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "(1) Overview" in page


def test_there_are_no_pages_of_somebody_else(ask: Ask) -> None:
    assert ask("/docs").status_code == ask("/redoc").status_code == 404


# ------------------------------------------------------------------------------------------------ words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "just now"),
        (4, "just now"),
        (70, "70 s ago"),
        (600, "10 min ago"),
        (90_000, "25 h ago"),
        (9e5, "10 days ago"),
    ],
)
def test_how_long_ago(seconds: float, text: str) -> None:
    assert words.ago(seconds) == text


def test_figures_have_their_unit_and_what_is_not_known_is_a_dash() -> None:
    assert words.figure(1234.567, 1, "mm/s") == "1,234.6\N{NO-BREAK SPACE}mm/s"
    assert words.figure(None, 1, "mm/s") == "\N{EN DASH}"
    assert words.figure(3.0) == "3.00"
    assert words.percent(0.123) == "12\N{NO-BREAK SPACE}%"
    assert words.size(999) == "999 B"
    assert words.size(184_320) == "184.3 KB"
    assert words.size(5e12) == "5000.0 GB"
    assert words.iso(0.0) == "1970-01-01T00:00:00Z"

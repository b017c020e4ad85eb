"""The client's manners: what it believes, what it asks again, what it makes of answers that are none of a hub's."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

import httpx
import msgspec
import pytest

from cloud_hub.client import (
    AnswerError,
    ContradictionError,
    ForbiddenError,
    HubClient,
    HubFaultError,
    MissingError,
    OutdatedError,
    ProblemError,
    TooManyError,
    UnauthorizedError,
    UnreachableError,
    WrongRequestError,
)
from cloud_hub.errors import SettingsError

Answer = tuple[int, dict[str, str], bytes]


class Scripted:
    """A server that gives one answer after the other, and remembers what it was asked."""

    def __init__(self, *answers: Answer | None) -> None:
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        script, asked = list(answers), self.asked

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                asked.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
                now = script.pop(0)
                if now is None:  # the connection breaks
                    self.close_connection = True
                    return
                status, headers, body = now
                self.send_response(status)
                for name, value in {"content-length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = answer  # noqa: N815 - as the library has it

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


def problem(status: int, **headers: str) -> Answer:
    body = {"title": "T", "status": status, "detail": "why", "type": "urn:millwright:problem:word"}
    return status, headers, json.dumps(body).encode()


WELL: Answer = (200, {}, json.dumps({"name": "a", "kind": "token", "permissions": [], "newer": 1}).encode())


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, WrongRequestError), (422, WrongRequestError), (401, UnauthorizedError), (403, ForbiddenError),
        (404, MissingError), (409, ContradictionError), (412, OutdatedError), (500, HubFaultError),
    ],
)  # fmt: skip
def test_each_refusal_has_its_type_and_is_not_asked_again(status: int, kind: type[ProblemError]) -> None:
    with (
        Scripted(problem(status)) as there,
        HubClient(there.url, "t") as hub,
        pytest.raises(kind, match=f"{status} T: why") as refused,
    ):
        hub.account.me()
    assert type(refused.value) is kind
    assert refused.value.problem.word == "word"
    assert len(there.asked) == 1


def test_what_passes_is_waited_for() -> None:
    waited: list[float] = []
    answers = (problem(503), None, problem(429, **{"retry-after": "7"}), WELL)
    with Scripted(*answers) as there, HubClient(there.url, "t", tries=4, sleep=waited.append) as hub:
        assert hub.account.me().name == "a"
    assert waited == [0.5, 1.0, 7.0]
    with (
        Scripted(*[problem(429)] * 2) as there,
        HubClient(there.url, "t", tries=2, sleep=waited.append) as hub,
        pytest.raises(TooManyError),
    ):
        hub.account.me()


def test_only_what_may_be_is_sent_again() -> None:
    view = msgspec.json.encode({"key": "k"})
    with Scripted(None, (202, {}, view), None) as there, HubClient(there.url, "t", sleep=lambda _s: None) as hub:
        assert hub.hooks.test("h").key == "k"
        with pytest.raises(UnreachableError):
            hub.rollouts.pause("r")
    keys = [headers.get("idempotency-key") for _, _, headers in there.asked]
    assert keys[0] == keys[1] is not None
    assert keys[2] is None


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ((200, {}, b"<html>a router's page</html>"), "not an answer of this version"),
        ((404, {}, b"<html>nothing here</html>"), "no problem of the hub's"),
        ((302, {"location": "https://elsewhere.example/"}, b""), "led on to 'https://elsewhere.example/'"),
        ((200, {}, b'{"name": 7}'), "not an answer of this version"),
    ],
)
def test_what_is_no_answer_of_a_hub(answer: Answer, text: str) -> None:
    with Scripted(answer) as there, HubClient(there.url, "t") as hub, pytest.raises(AnswerError, match=text):
        hub.account.me()


def test_an_answer_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud_hub.client.wire.MAX_ANSWER_BYTES", 1000)
    with (
        Scripted((200, {}, b"[" + b" " * 2000 + b"]")) as there,
        HubClient(there.url, "t") as hub,
        pytest.raises(AnswerError, match="at most 1,000 bytes"),
    ):
        hub.concerns()


def test_pages_that_go_round_in_circles_end() -> None:
    page = (200, {}, b'{"items": [], "next": "here"}')
    with Scripted(page, page) as there, HubClient(there.url, "t") as hub, pytest.raises(AnswerError, match="is itself"):
        list(hub.fleet.sites())
    assert [path for _, path, _ in there.asked] == ["/api/v1/sites", "/api/v1/sites?cursor=here"]


def test_a_file_that_breaks_off_is_not_there(tmp_path: Path) -> None:
    with (
        Scripted((200, {"content-length": "100"}, b"half")) as there,
        HubClient(there.url, "t") as hub,
        pytest.raises(UnreachableError),
    ):
        hub.models.save_bundle("a" * 64, tmp_path / "model.mwb")
    assert list(tmp_path.iterdir()) == []


def test_a_stream_is_taken_up_where_it_ended() -> None:
    def stream(*events: str) -> Answer:
        body = ("retry: 2000\n\n: still here\n\n" + "".join(events)).encode()
        return 200, {"content-type": "text/event-stream"}, body

    gateway = 'event: gateway\ndata: {"id": "g", "gateway": "g",\ndata:  "online": false}\nid: 5.5\n\n'
    waited: list[float] = []
    script = (stream(gateway), problem(503), stream("event: news\ndata: 1\n\n", "event: job\ndata: {}\nid: 6\n\n"))
    with Scripted(*script) as there, HubClient(there.url, "t", sleep=waited.append) as hub:
        events = hub.events(["gateway", "job"], ["P-101"])
        first, second = next(events), next(events)
        events.close()
    assert first.change is not None
    assert (first.change.id, second.kind, second.change) == ("g", "job", None)
    assert waited == [2.0, 4.0]
    assert [headers.get("last-event-id") for _, _, headers in there.asked] == [None, "5.5", "5.5"]
    assert there.asked[0][1] == "/api/v1/stream?kind=gateway&kind=job&machine=P-101"
    long = stream("event: job\ndata: " + "x" * 2**20 + "\n\n")
    with Scripted(long) as there, HubClient(there.url, "t") as hub, pytest.raises(AnswerError, match="at most"):
        next(hub.events())


def test_every_error_of_httpx_is_one_of_ours() -> None:
    """What it may raise while it asks; what programmers do wrong stays theirs."""
    programmers = {httpx.StreamError, httpx.InvalidURL, httpx.CookieConflict}
    kinds = {kind for kind in vars(httpx).values() if isinstance(kind, type) and issubclass(kind, Exception)}
    ours = {kind for kind in kinds if not any(issubclass(kind, theirs) for theirs in programmers)}
    assert {kind for kind in ours if not issubclass(kind, httpx.HTTPError)} == set()


def test_a_light_import() -> None:
    """A client runs where no hub is installed."""
    heavy = {"fastapi", "starlette", "pydantic", "sqlalchemy", "tensorflow", "scipy", "pandas", "argon2", "paho"}
    code = "import sys, cloud_hub.client; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & heavy == set()


@pytest.mark.parametrize(
    ("url", "token", "text"),
    [
        ("http://hub.plant:8080", "mw_x", "a token goes over https only"),
        ("hub.plant", "mw_x", "expected an address such as https"),
        ("https://hub.plant/elsewhere", "mw_x", "expected an address such as https"),
        ("https://hub.plant", "two words", "expected one word"),
        ("https://hub.plant", " ", "expected one word"),
    ],
)
def test_what_is_no_hub_or_no_token(url: str, token: str, text: str) -> None:
    with pytest.raises(SettingsError, match=text):
        HubClient(url, token)

"""Requests and answers: one HTTP connection pool, bounds, retries, problems as errors, pages as iterators."""

from __future__ import annotations

import ipaddress
import secrets
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote, urlsplit

import httpx
import msgspec

from cloud_hub.client.errors import AnswerError, ClientError, UnreachableError, error_of
from cloud_hub.errors import SettingsError

T = TypeVar("T")
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Query = Mapping[str, Any]
PREFIX = "/api/v1"
MAX_ANSWER_BYTES = 64 * 2**20
_MAX_PROBLEM_BYTES = 2**20
_MAX_WAIT_S = 30.0
_BACKOFF_S = 0.5
_ERROR_FROM = 400
_Value = str | int | float | bool | None
_TRANSIENT = frozenset({429, 502, 503, 504})


class _Page(msgspec.Struct, Generic[T], frozen=True):
    items: tuple[T, ...]
    next: str | None


class Wire:
    """Speaks HTTP with one hub. Only what may be asked again is asked again, after a broken connection or a 503: reads,
    and writes that carry an idempotency key.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        ca_file: Path | None = None,
        timeout_s: float = 30.0,
        tries: int = 3,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Raises: SettingsError: the address, token or authority cannot be used."""
        self.url = _checked(url, token)
        headers = {"accept": "application/json", "user-agent": "millwright-client"}
        if token is not None:
            headers["authorization"] = f"Bearer {_token(token)}"
        self._tries, self._sleep = max(1, tries), sleep
        self._http = httpx.Client(
            base_url=self.url, headers=headers, timeout=timeout_s, verify=_authority(ca_file), follow_redirects=False
        )

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    # ------------------------------------------------------------------------------------------------ asking

    def get(self, kind: type[T], path: str, query: Query | None = None) -> T:
        """Read something."""
        return self._decoded(kind, "GET", path, query=query)

    def pages(self, kind: type[T], path: str, query: Query | None = None) -> Pages[T]:
        """Read a list."""
        return Pages(self, kind, path, dict(query or {}))

    def send(
        self,
        method: Method,
        kind: type[T],
        path: str,
        body: object = None,
        *,
        query: Query | None = None,
        revision: int | None = None,
        key: str | None = None,
        creates: bool = False,
        content: bytes | Callable[[], Iterator[bytes]] | None = None,
    ) -> T:
        """Change something. Args: revision: what the caller has seen (If-Match). key: its idempotency key; one is made
        for what `creates`. content: a body that is no JSON.
        """
        headers = {}
        if revision is not None:
            headers["if-match"] = f'"{revision}"'
        if creates or key is not None:
            headers["idempotency-key"] = key or secrets.token_urlsafe(16)
        if content is not None:
            headers["content-type"] = "application/octet-stream"
        elif body is not None:
            content, headers["content-type"] = msgspec.json.encode(body), "application/json"
        return self._decoded(kind, method, path, query=query, headers=headers, content=content)

    def fetch(self, path: str, query: Query | None = None, *, most_bytes: int = MAX_ANSWER_BYTES) -> bytes:
        """A file, into memory."""
        return self._asked("GET", path, query, {}, None, most_bytes)

    def post(self, path: str, document: bytes, *, most_bytes: int = MAX_ANSWER_BYTES) -> bytes:
        """A document that stands for itself, and the answer to it as it comes."""
        return self._asked("POST", path, None, {"content-type": "application/json"}, document, most_bytes)

    def save(self, path: str, to: Path, query: Query | None = None) -> int:
        """A file, to disk as it comes: whole, or not there. Returns: its length."""
        partial = to.with_name(f".{to.name}.part")
        length = 0
        try:
            with self._answer("GET", path, query, {}, None) as answer, partial.open("wb") as file:
                for part in answer.iter_bytes():
                    length += file.write(part)
            partial.replace(to)
        finally:
            partial.unlink(missing_ok=True)
        return length

    @contextmanager
    def stream(self, path: str, query: Query, headers: Mapping[str, str], quiet_s: float) -> Iterator[httpx.Response]:
        """An answer that goes on; `quiet_s`: after so long without a byte it is given up."""
        timeout = httpx.Timeout(quiet_s, connect=_MAX_WAIT_S)
        with self._answer("GET", path, query, {**headers, "accept": "text/event-stream"}, None, timeout) as answer:
            yield answer

    # ------------------------------------------------------------------------------------------------ how

    def _decoded(
        self,
        kind: type[T],
        method: Method,
        path: str,
        *,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | Callable[[], Iterator[bytes]] | None = None,
    ) -> T:
        data = self._asked(method, path, query, headers or {}, content, MAX_ANSWER_BYTES)
        try:
            return msgspec.json.decode(data or b"null", type=kind)
        except msgspec.DecodeError as error:
            raise AnswerError(f"{method} {path}: not an answer of this version of the API: {error}") from error

    def _asked(
        self,
        method: Method,
        path: str,
        query: Query | None,
        headers: Mapping[str, str],
        content: bytes | Callable[[], Iterator[bytes]] | None,
        most_bytes: int,
    ) -> bytes:
        again = method == "GET" or "idempotency-key" in headers
        for left in range(self._tries - 1, -1, -1):
            try:
                with self._answer(method, path, query, headers, content) as answer:
                    return _bounded(answer, most_bytes, f"{method} {path}")
            except ClientError as error:
                wait_s = _worth_waiting(error)
                if not (again and left) or wait_s is None:
                    raise
                self._sleep(min(_MAX_WAIT_S, wait_s or _BACKOFF_S * 2 ** (self._tries - 1 - left)))
        raise AssertionError("unreachable")

    @contextmanager
    def _answer(
        self,
        method: Method,
        path: str,
        query: Query | None,
        headers: Mapping[str, str],
        content: bytes | Callable[[], Iterator[bytes]] | None,
        timeout: httpx.Timeout | None = None,
    ) -> Iterator[httpx.Response]:
        where = f"{method} {self.url}{PREFIX}{path}"
        body = content() if callable(content) else content
        more: dict[str, Any] = {} if timeout is None else {"timeout": timeout}
        try:
            with self._http.stream(
                method, PREFIX + path, params=_query(query or {}), headers=dict(headers), content=body, **more
            ) as answer:
                if answer.status_code >= _ERROR_FROM:
                    raise _refusal(answer, where)
                if answer.is_redirect:
                    raise AnswerError(f"{where}: led on to {answer.headers.get('location', '')[:200]!r}; name that hub")
                yield answer
        except httpx.HTTPError as error:
            raise UnreachableError(f"{where}: {error or type(error).__name__}") from error


class Pages(Generic[T]):
    """A list of the hub's, read page by page as one goes on."""

    def __init__(self, wire: Wire, kind: type[T], path: str, query: dict[str, Any]) -> None:
        self._wire, self._kind, self._path, self._query = wire, kind, path, query

    def __iter__(self) -> Iterator[T]:
        for page in self.pages():
            yield from page

    def pages(self) -> Iterator[tuple[T, ...]]:
        """Page by page."""
        cursor: str | None = None
        while True:
            page = self._wire.get(_Page[self._kind], self._path, {**self._query, "cursor": cursor})  # type: ignore[name-defined]  # mypy has no types made at run time
            yield page.items
            if page.next is None:
                return
            if page.next == cursor:
                raise AnswerError(f"{self._path}: the page after {cursor!r} is itself")
            cursor = page.next

    def take(self, most: int) -> list[T]:
        """The first so many."""
        found: list[T] = []
        for page in self.pages():
            found += page[: most - len(found)]
            if len(found) >= most:
                break
        return found


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the client: operations of one subject."""

    wire: Wire


def at(*parts: str | int) -> str:
    """A path; what the caller gave cannot lead elsewhere."""
    return "".join(f"/{quote(str(part), safe='')}" for part in parts)


def _query(values: Query) -> list[tuple[str, _Value]]:
    pairs: list[tuple[str, _Value]] = []
    for name, value in values.items():
        several = value if isinstance(value, (list, tuple, set, frozenset)) else [value]
        pairs += [(name, str(one).lower() if isinstance(one, bool) else str(one)) for one in several if one is not None]
    return pairs


def _bounded(answer: httpx.Response, most_bytes: int, where: str) -> bytes:
    data = bytearray()
    for part in answer.iter_bytes():
        data += part
        if len(data) > most_bytes:
            raise AnswerError(f"{where}: expected at most {most_bytes:,} bytes, more came")
    return bytes(data)


def _refusal(answer: httpx.Response, where: str) -> ClientError:
    told = answer.headers.get("retry-after", "")
    return error_of(
        answer.status_code,
        _bounded(answer, _MAX_PROBLEM_BYTES, where),
        where,
        request_id=answer.headers.get("x-request-id"),
        wait_s=float(told) if told.isascii() and told.isdigit() and len(told) < 6 else None,
    )


def _worth_waiting(error: ClientError) -> float | None:
    """How long the hub asks to wait, 0 when it does not say; None: the same would fail again."""
    if isinstance(error, UnreachableError):
        return 0.0
    problem = getattr(error, "problem", None)
    if problem is None or problem.status not in _TRANSIENT:
        return None
    return getattr(error, "wait_s", None) or 0.0


def _checked(url: str, token: str | None) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.path.strip("/"):
        raise SettingsError(f"hub: expected an address such as https://hub.plant:8443, got {url!r}")
    if parts.scheme == "http" and token is not None and not _is_loopback(parts.hostname):
        raise SettingsError(f"hub: {url}: a token goes over https only, except on this machine itself")
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _token(text: str) -> str:
    token = text.strip()
    if not token or not token.isascii() or any(c.isspace() or not c.isprintable() for c in token):
        raise SettingsError("token: expected one word such as mw_..., got something else")
    return token


def _authority(ca_file: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError, too
        raise SettingsError(f"ca file {ca_file}: expected certificates in PEM: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context

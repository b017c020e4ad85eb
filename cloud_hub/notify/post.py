"""Sends one webhook: to the address that was checked, bounded in time and in what is read back."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from cloud_hub.notify.address import AddressError, IpNetwork, Resolve, Target, check_target, resolve
from cloud_hub.notify.schedule import Result, judge
from cloud_hub.notify.signature import headers_of

TIMEOUT_S = 10.0
_READ_BYTES = 4096
_MAX_RETRY_AFTER_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Sent:
    """How a try went. `status` is None when there was no answer; `text` says why for people."""

    result: Result
    status: int | None
    text: str | None
    retry_after_s: float = 0.0


class WebhookSender:
    """Posts webhooks. May be used from several threads."""

    def __init__(self, allow: Sequence[IpNetwork], lookup: Resolve = resolve, ca_file: str | None = None) -> None:
        """`ca_file`: an authority of the plant's own, trusted beside nothing else, for receivers inside it."""
        self._allow = allow
        self._lookup = lookup
        # No proxy and no settings from the environment: what was checked is what is connected to.
        self._client = httpx.Client(
            verify=ssl.create_default_context(cafile=ca_file),
            timeout=TIMEOUT_S,
            trust_env=False,
            follow_redirects=False,
            limits=httpx.Limits(max_connections=32, max_keepalive_connections=0),
        )

    def close(self) -> None:
        """Let the connections go."""
        self._client.close()

    def send(self, url: str, message_id: str, body: bytes, secrets: Sequence[str], now_s: float) -> Sent:
        """One try. Never raises for what the receiver or the network does."""
        try:
            target = check_target(url, self._allow, self._lookup)
        except AddressError as error:
            return Sent("retry", None, str(error))  # a name may come back; the address may be allowed meanwhile
        headers = headers_of(message_id, now_s, body, secrets)
        headers |= {"host": target.authority, "content-type": "application/json", "user-agent": "millwright-hub"}
        try:
            with self._client.stream(
                "POST", _url(target), content=body, headers=headers, extensions={"sni_hostname": target.host}
            ) as answer:
                text = _start_of(answer)
                status, after = answer.status_code, answer.headers.get("retry-after", "")
        except httpx.HTTPError as error:
            return Sent("retry", None, f"{type(error).__name__}: {error}")
        result = judge(status)
        wait_s = min(float(after), _MAX_RETRY_AFTER_S) if after.isascii() and after.isdigit() else 0.0
        return Sent(result, status, None if result == "delivered" else text, wait_s)


def _url(target: Target) -> str:
    ip = f"[{target.ip}]" if ":" in target.ip else target.ip
    return f"{target.scheme}://{ip}:{target.port}{target.path}"


def _start_of(answer: httpx.Response) -> str:
    """What the receiver says, as much as helps; the rest stays unread, however long it is."""
    for chunk in answer.iter_raw(_READ_BYTES):
        return chunk[:500].decode("utf-8", "replace")
    return ""

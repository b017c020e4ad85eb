"""The thread that tells: looks for happenings, sends what is due, writes down how it went."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from cloud_hub.errors import StoreError
from cloud_hub.notify.mail import MailServer, send_mail
from cloud_hub.notify.post import TIMEOUT_S, Sent, WebhookSender
from cloud_hub.notify.schedule import Next, after

_log = logging.getLogger(__name__)
_AT_ONCE = 8
_PERIOD_S = 1.0
_LEASE_S = 6 * TIMEOUT_S
_CLEAR_S = 3600.0
_NO_MAIL = Sent("retry", None, "no mail server is set: smtp_host in hub.toml")


class DueMessage(Protocol):
    """What is sent; see `cloud_hub.store.hooks.Due`."""

    @property
    def id(self) -> int: ...  # noqa: D102
    @property
    def hook(self) -> str: ...  # noqa: D102
    @property
    def key(self) -> str: ...  # noqa: D102
    @property
    def body(self) -> bytes: ...  # noqa: D102
    @property
    def attempts(self) -> int: ...  # noqa: D102
    @property
    def channel(self) -> str: ...  # noqa: D102
    @property
    def url(self) -> str | None: ...  # noqa: D102
    @property
    def addresses(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def secrets(self) -> tuple[str, ...]: ...  # noqa: D102


class Outbox(Protocol):
    """The database's part."""

    def collect(self, now_s: float) -> int:
        """Look for happenings. Raises: StoreError."""

    def claim(self, now_s: float, lease_s: float, limit: int) -> Sequence[DueMessage]:
        """Take what is due. Raises: StoreError."""

    def settle(self, delivery: int, then: Next, status: int | None, error: str | None, now_s: float) -> None:
        """Write down a try. Raises: StoreError."""

    def clear_old(self, now_s: float) -> None:
        """Forget what was settled long ago. Raises: StoreError."""


class NotifyWorker:
    """Start it once per hub process. A try that is cut off by the end of the process is made again after its lease."""

    def __init__(
        self,
        outbox: Outbox,
        webhooks: WebhookSender,
        mail: MailServer | None,
        now_s: Callable[[], float],
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._outbox = outbox
        self._webhooks = webhooks
        self._mail = mail
        self._now_s = now_s
        self._spread = spread
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notify", daemon=True)
        self._cleared_s = 0.0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; tries that are under way are finished."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(2 * TIMEOUT_S)
        self._webhooks.close()

    def _run(self) -> None:
        with ThreadPoolExecutor(_AT_ONCE, "notify") as pool:
            while not self._stop.is_set():
                try:
                    busy = self.step(pool)
                except StoreError as error:
                    _log.error("notifications: %s; trying again", error)
                    busy = False
                if not busy:
                    self._stop.wait(_PERIOD_S)

    def step(self, pool: ThreadPoolExecutor) -> bool:
        """Look once and send what is due; whether there was any. Raises: StoreError."""
        now_s = self._now_s()
        self._outbox.collect(now_s)
        due = self._outbox.claim(now_s, _LEASE_S, _AT_ONCE)
        for message, sent in zip(due, pool.map(self._send, due), strict=True):
            self._settle(message, sent)
        if now_s - self._cleared_s > _CLEAR_S:
            self._cleared_s = now_s
            self._outbox.clear_old(now_s)
        return bool(due)

    def _send(self, message: DueMessage) -> Sent:
        if message.channel == "email":
            if self._mail is None:
                return _NO_MAIL
            return send_mail(self._mail, message.body, message.key, message.addresses)
        return self._webhooks.send(message.url or "", message.key, message.body, message.secrets, self._now_s())

    def _settle(self, message: DueMessage, sent: Sent) -> None:
        now_s = self._now_s()
        then = after(sent.result, message.attempts, now_s, self._spread(), sent.retry_after_s)
        if then.state == "failed":
            _log.error("hook %s, %s: given up: %s %s", message.hook, message.key, sent.status or "", sent.text)
        elif then.state == "waiting":
            _log.warning("hook %s, %s: try %d: %s", message.hook, message.key, message.attempts, sent.text)
        self._outbox.settle(message.id, then, sent.status, sent.text, now_s)

"""The registration desk of the running hub: requests from the broker and over HTTPS, the revocation list, the hub's own
certificate. A thread of its own, with a link of its own, so that a flood of requests delays nothing else.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cloud_hub.errors import HubError, LinkError
from cloud_hub.identity.api_certificate import renew_api
from cloud_hub.identity.authority import load_certificate
from cloud_hub.identity.expiry import concerns
from cloud_hub.identity.folder import IdentityFolder
from cloud_hub.identity.records import IdentityStore
from cloud_hub.identity.registrar import Allowance, Answer, Registrar
from cloud_hub.identity.revocation import deploy_crl, refresh_crl
from cloud_hub.settings import Settings
from cloud_hub.transport import Incoming, Link
from models.contract import topics
from models.contract.identity import MAX_REQUEST_BYTES
from models.contract.ids import GatewayId
from models.errors import TopicError

_log = logging.getLogger(__name__)
_RETRY_S = 2.0
_POLL_S = 0.2
_UPKEEP_S = 60.0


class IdentityService:
    """`start` it, ask it from HTTP with `enrol`, `stop` it. `counters`: answers by reason, and what got none. `tell` is
    given all that people must renew, about once a minute.
    """

    def __init__(
        self,
        settings: Settings,
        folder: IdentityFolder,
        store: IdentityStore,
        now_s: Callable[[], float] = time.time,
        *,
        tell: Callable[[Sequence[str]], None] = lambda _concerns: None,
    ) -> None:
        self.counters: dict[str, int] = {}
        self._settings = settings
        self._folder = folder
        self._store = store
        self._now_s = now_s
        self._tell = tell
        self._own_ends_s = load_certificate(folder.hub_pem).not_valid_after_utc.timestamp()
        self._lock = threading.Lock()
        self._allowance = Allowance()
        self._registrar = Registrar(
            folder.issuing_authority, store, settings.fleet, now_s, days=settings.certificate_days,
            tuf_root=lambda: _text_of(settings.repository_dir / "root.json"),
            root_crl=lambda: _text_of(folder.root_crl),
        )  # fmt: skip
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="identity", daemon=True)
        self._link = Link(settings, f"hub-{settings.fleet}-identity")
        self._link.subscribe([topics.filter_of(topics.EnrollRequest), topics.filter_of(topics.RenewRequest)])

    @property
    def listening(self) -> bool:
        """Whether requests from the broker are heard."""
        return self._link.listening

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, after what has come in was answered."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(10.0)
        self._link.close()

    def enrol(self, payload: bytes, caller: str) -> Answer | None:
        """Answer a request that came over HTTPS; None when there are too many (of this caller, or in all)."""
        return self._ask(f"http {caller}", lambda: self._registrar.enrol(payload))

    def root_pem(self) -> str:
        """The root certificate, for whoever wants to verify what it vouches for."""
        return self._folder.root.read_text("ascii")

    def _ask(self, key: str, answer: Callable[[], Answer]) -> Answer | None:
        with self._lock:
            if not self._allowance.take(key, self._now_s()):
                self._count("too_many")
                return None
            made = answer()
            self._count(made.reason or "issued")
            return made

    def _count(self, what: str) -> None:
        self.counters[what] = self.counters.get(what, 0) + 1

    # ------------------------------------------------------------------------------------------------ the thread

    def _run(self) -> None:
        connected = False
        upkeep_s = time.monotonic()
        while not self._stop.is_set():
            if not connected:
                connected = self._connect()
            if time.monotonic() >= upkeep_s:
                upkeep_s = time.monotonic() + _UPKEEP_S
                self._upkeep()
            with contextlib.suppress(queue.Empty):
                self._answer(self._link.incoming.get(timeout=_POLL_S))

    def _connect(self) -> bool:
        try:
            self._link.connect(timeout_s=5.0)
        except LinkError as error:
            _log.warning("%s; trying again", error)
            self._stop.wait(_RETRY_S)
            return False
        return True

    def _answer(self, message: Incoming) -> None:
        if message.retained or len(message.payload) > MAX_REQUEST_BYTES:
            self._count("not_looked_at")
            return
        try:
            address = topics.address_of(message.topic)
            match address:
                case topics.EnrollRequest(token_hash):
                    self._reply(
                        topics.EnrollReply(token_hash), token_hash,
                        lambda: self._registrar.enrol(message.payload, token_hash),
                    )  # fmt: skip
                case topics.RenewRequest(gateway):
                    self._reply(
                        topics.RenewReply(GatewayId(gateway)), f"gateway {gateway}",
                        lambda: self._registrar.renew(message.payload, gateway),
                    )  # fmt: skip
                case _:
                    self._count("not_looked_at")
        except TopicError:
            self._count("not_looked_at")
        except HubError:
            self._count("failed")
            _log.exception("%s: the request could not be answered", message.topic)

    def _reply(self, address: topics.Address, key: str, answer: Callable[[], Answer]) -> None:
        made = self._ask(key, answer)
        if made is not None:
            self._link.publish(topics.topic_of(address), made.payload)

    def _upkeep(self) -> None:
        """What has to be done in time, or the broker refuses everybody: the revocation list and our own certificate."""
        try:
            if self._folder.renew_hub(self._now_s()):
                _log.info("the hub's own certificate was renewed; its links use it from their next start")
            if self._settings.api_names and renew_api(self._folder, self._settings.api_names, self._now_s()):
                _log.info("the API's certificate was renewed, for %s", ", ".join(self._settings.api_names))
            if refresh_crl(self._folder, self._store, self._settings.crl_days, self._now_s):
                _log.info("revocation list: %s", deploy_crl(self._folder, self._settings))
            ends_s = self._link.peer_ends_s
            self._tell(concerns(self._folder, self._settings, ends_s, self._own_ends_s, self._now_s()))
        except HubError:
            _log.exception("identity: upkeep failed; trying again in %g s", _UPKEEP_S)


def _text_of(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return None

"""The running hub: database, link, ingest thread, HTTP server, and whatever else has to happen from time to time.

Start: migrate, listen, connect (for as long as it takes), store. Stop, on SIGINT or SIGTERM: finish requests, store and
receipt what has come in, only then leave the broker. The ready file appears when HTTP answers and the broker has
granted the subscriptions; from then on nothing that a gateway sends is missed.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from cloud_hub.accounts.permissions import Principal
from cloud_hub.api.app import create_app
from cloud_hub.api.context import HubContext
from cloud_hub.api.server import ApiServer
from cloud_hub.errors import HubError, LinkError
from cloud_hub.identity.service import IdentityService
from cloud_hub.ingest.rescoring import Rescore, RescoreWorker
from cloud_hub.ingest.status import StatusView
from cloud_hub.ingest.worker import IngestWorker
from cloud_hub.services import alarms
from cloud_hub.services.accounts import administrator_link
from cloud_hub.services.sign_in import Door
from cloud_hub.settings import Settings
from cloud_hub.store.database import Database, open_database
from cloud_hub.transport import Link
from models.contract.topics import up_filters

_log = logging.getLogger(__name__)
_RETRY_S = 2.0
_ROLLOUT_RETRY_S = 10.0
_SHELF_PERIOD_S = 5.0
_POLL_S = 0.05


class Hub:
    """One hub process. `periodic` is called with the link every `period_s` while the broker is there; so is what
    `rollouts` makes of the database, every `rollout_period_s`, in a thread of its own.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        now_s: Callable[[], float] = time.time,
        rescore: Rescore | None = None,
        periodic: Callable[[Link], None] | None = None,
        period_s: float = 60.0,
        identity: Callable[[Database], IdentityService] | None = None,
        rollouts: Callable[[Database], Callable[[Link], None]] | None = None,
        rollout_period_s: float = 2.0,
    ) -> None:
        """Raises: SettingsError: the database cannot be used, or the address is taken."""
        self._stop = threading.Event()
        self._periodic = periodic
        self._period_s = period_s
        self._now_s = now_s
        self._rollout_period_s = rollout_period_s
        self._failure: Exception | None = None
        self._database: Database = open_database(settings)
        self._rollouts = rollouts(self._database) if rollouts is not None else None
        # A session that the broker keeps: what comes while the hub restarts waits there, up to the broker's bound.
        self._link = Link(settings, f"hub-{settings.fleet}-ingest", clean=False)
        self._link.subscribe(up_filters())
        self._rescoring = RescoreWorker(self._database, rescore, now_s) if rescore is not None else None
        self._ingest = IngestWorker(
            self._database,
            self._link,
            settings.captures_dir,
            now_s=now_s,
            on_evidence=self._rescoring.wake if self._rescoring is not None else lambda: None,
            on_failure=self.stop,
        )
        self._identity = identity(self._database) if identity is not None else None
        self._now_s = now_s
        self._door = Door(settings.account_limits)
        context = HubContext(
            database=self._database,
            captures_dir=settings.captures_dir,
            fleet=settings.fleet,
            now_s=now_s,
            ingest=self._ingest_view,
            connected=lambda: self._link.connected,
            enrol=self._identity.enrol if self._identity is not None else None,
            door=self._door,
            public_url=settings.public_url,
        )
        app = create_app(context)
        self._server = ApiServer(app, settings.api_host, settings.api_port, trusted_proxies=settings.trusted_proxies)
        self._public_url = settings.public_url

    @property
    def url(self) -> str:
        """Where the API and the page are."""
        return self._server.url

    def first_link(self, principal: Principal) -> str | None:
        """A one-time link that makes an administrator; None once there is one who can sign in."""
        secret = administrator_link(self._database, self._door, principal, self._now_s(), only_first=True)
        return f"{self._public_url or self.url}/link/{secret}" if secret is not None else None

    def run(self, ready_file: Path | None = None, on_ready: Callable[[], None] = lambda: None) -> None:
        """Serve until SIGINT, SIGTERM or `stop`. Call it in the main thread.

        Raises: HubError: ingest or rollouts failed; the log has the fault.
        """
        if ready_file is not None:
            ready_file.unlink(missing_ok=True)
        for kind in (signal.SIGINT, signal.SIGTERM):
            signal.signal(kind, lambda *_: self.stop())
        threads = [
            threading.Thread(target=self._connect, name="connect", daemon=True),
            threading.Thread(target=self._announce, args=(ready_file, on_ready), name="ready", daemon=True),
            threading.Thread(target=self._roll_out, name="rollouts", daemon=True),
            threading.Thread(target=self._let_shelves_expire, name="shelves", daemon=True),
        ]
        self._ingest.start()
        if self._rescoring is not None:
            self._rescoring.start()
        if self._identity is not None:
            self._identity.start()
        for thread in threads:
            thread.start()
        try:
            if not self._stop.is_set():
                self._server.run()
        finally:
            self._shut_down(threads)
            if ready_file is not None:
                ready_file.unlink(missing_ok=True)
        for what, failure in (("ingest", self._ingest.failure), ("rollouts or shelves", self._failure)):
            if failure is not None:
                raise HubError(f"{what} failed: {failure!r}") from failure

    def stop(self) -> None:
        """End `run`, from any thread or signal handler."""
        self._stop.set()
        self._server.stop()

    def _shut_down(self, threads: list[threading.Thread]) -> None:
        self._stop.set()
        for thread in threads:
            thread.join(10.0)
        self._ingest.stop()
        if self._rescoring is not None:
            self._rescoring.stop()
        if self._identity is not None:
            self._identity.stop()
        self._link.close()
        self._database.close()

    def _ingest_view(self) -> StatusView:
        if self._link.dropped:
            self._ingest.status.set("dropped", self._link.dropped)
        return self._ingest.status.view(self._link.incoming.qsize())

    def _connect(self) -> None:
        """Connect however long it takes (after that the link reconnects by itself), then do what is periodic."""
        while not self._stop.is_set():
            try:
                self._link.connect(timeout_s=5.0)
                break
            except LinkError as error:
                _log.warning("%s; trying again", error)
                self._stop.wait(_RETRY_S)
        while self._periodic is not None and not self._stop.is_set():
            if self._link.connected:
                try:
                    self._periodic(self._link)
                except HubError:
                    _log.exception("periodic work failed; trying again in %g s", self._period_s)
            self._stop.wait(self._period_s)

    def _desk_listens(self) -> bool:
        return self._identity is None or self._identity.listening

    def _roll_out(self) -> None:
        """Step rollouts. What the world does to us is tried again; a fault of ours ends the hub, seen by everybody."""
        while self._rollouts is not None and not self._stop.is_set():
            pause_s = self._rollout_period_s
            try:
                self._rollouts(self._link)
            except HubError as error:
                pause_s = max(pause_s, _ROLLOUT_RETRY_S)
                _log.error("rollouts: %s; trying again in %g s", error, pause_s)
            except Exception as error:  # noqa: BLE001 - told to whoever called `run`
                _log.exception("rollouts failed")
                self._failure = error
                self.stop()
                return
            self._stop.wait(pause_s)

    def _let_shelves_expire(self) -> None:
        """Needs no broker: alarms come back by the hub's clock alone."""
        while not self._stop.wait(_SHELF_PERIOD_S):
            try:
                alarms.tick(self._database, self._now_s())
            except HubError as error:
                _log.error("shelves: %s; trying again in %g s", error, _SHELF_PERIOD_S)
            except Exception as error:  # noqa: BLE001 - told to whoever called `run`
                _log.exception("shelves failed")
                self._failure = error
                self.stop()
                return

    def _announce(self, ready_file: Path | None, on_ready: Callable[[], None]) -> None:
        while not (self._server.started and self._link.listening and self._desk_listens()):
            if self._stop.wait(_POLL_S):
                return
        if ready_file is not None:
            write_ready_file(ready_file, self._server.url, self._server.port)
        on_ready()


def write_ready_file(path: Path, url: str, port: int) -> None:
    """JSON with `url`, `port` and `pid`: whole, or not there."""
    partial = path.with_name(f"{path.name}.part")
    partial.write_text(json.dumps({"url": url, "port": port, "pid": os.getpid()}) + "\n")
    partial.replace(path)

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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from cloud_hub.accounts.permissions import Principal
from cloud_hub.api.app import create_app
from cloud_hub.api.context import HubContext
from cloud_hub.api.server import ApiServer
from cloud_hub.errors import HubError, LinkError
from cloud_hub.identity.service import IdentityService
from cloud_hub.ingest.rescoring import Rescore, RescoreWorker
from cloud_hub.ingest.status import IngestStatus, StatusView
from cloud_hub.ingest.worker import IngestWorker, settle_collector
from cloud_hub.jobs.places import Places
from cloud_hub.jobs.runner import JobRunner
from cloud_hub.live.feed import Feed
from cloud_hub.services import alarms
from cloud_hub.services.accounts import administrator_link
from cloud_hub.services.commands import sender
from cloud_hub.services.concerns import Concerns
from cloud_hub.services.gateways import GatewayDesk
from cloud_hub.services.keeping import Usual
from cloud_hub.services.models import Publisher
from cloud_hub.services.retention import Retention
from cloud_hub.services.sign_in import Door
from cloud_hub.services.single_sign_on import Provider
from cloud_hub.services.wants import issuer
from cloud_hub.services.workshop import Workshop
from cloud_hub.settings import Settings
from cloud_hub.store.database import Database, open_database
from cloud_hub.transport import Link
from cloud_hub.trust.repository import Repository
from models.contract.topics import SHARDS, up_filters

_log = logging.getLogger(__name__)
_RETRY_S = 2.0
_ROLLOUT_RETRY_S = 10.0
_SHELF_PERIOD_S = 5.0
_AGEING_S = 60.0
_POLL_S = 0.05


class Worker(Protocol):
    """What runs in a thread of its own beside the hub."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End; returns once it has."""


class Hub:
    """One hub process. `periodic` is called with the link every `period_s` while the broker is there; so is what
    `rollouts` makes of the database, every `rollout_period_s`, in a thread of its own. `repository`: what bundles are
    signed with; without one this hub publishes none. `desk`: issues enrolment tokens and revokes certificates.
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
        metadata_until_s: Callable[[], Mapping[str, float]] = dict,
        notify: Callable[[Database, str], Worker] | None = None,
        concerns: Concerns | None = None,
        repository: Repository | None = None,
        desk: Callable[[Database], GatewayDesk] | None = None,
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
        # Sessions that the broker keeps: what comes while the hub restarts waits there, up to the broker's bound.
        self._links = [Link(settings, name, clean=False) for name in session_names(settings)]
        for i, link in enumerate(self._links):
            link.subscribe(
                f for shard in range(i, SHARDS, len(self._links)) for f in up_filters(range(shard, shard + 1))
            )
        self._link = self._links[0]
        self._rescoring = RescoreWorker(self._database, rescore, now_s) if rescore is not None else None
        self._status = IngestStatus()
        self._workers = [
            IngestWorker(
                self._database,
                link,
                settings.captures_dir,
                now_s=now_s,
                status=self._status,
                on_evidence=self._rescoring.wake if self._rescoring is not None else lambda: None,
                on_failure=self.stop,
                finishes_captures=link is self._link,
            )
            for link in self._links
        ]
        self._retention = Retention(self._database, settings, now_s, stopped=self._stop.is_set)
        self._identity = identity(self._database) if identity is not None else None
        self._jobs = JobRunner(self._database, settings, now_s, on_failure=self.stop)
        publish = Publisher(settings, self._database, repository, self._link) if repository is not None else None
        self._now_s = now_s
        self._door = Door(settings.account_limits)
        provider = settings.provider
        context = HubContext(
            database=self._database,
            captures_dir=settings.captures_dir,
            fleet=settings.fleet,
            now_s=now_s,
            ingest=self._ingest_view,
            connected=lambda: all(link.connected for link in self._links),
            enrol=self._identity.enrol if self._identity is not None else None,
            workshop=Workshop(
                Places.of(settings),
                self._jobs.wake,
                publish,
                settings.training_jobs,
                desk(self._database) if desk is not None else None,
                sender(repository, self._link) if repository is not None else None,
                issuer(settings, self._database, repository, self._link) if repository is not None else None,
            ),
            door=self._door,
            public_url=settings.public_url,
            metadata_until_s=metadata_until_s,
            concerns=concerns.view if concerns is not None else tuple,
            authority=self._identity.root_pem if self._identity is not None else None,
            provider=Provider(provider) if provider is not None else None,
            keeps=Usual(settings.keep_trends_days, settings.keep_trends_5min_days, settings.keep_trends_hour_days),
        )
        app = create_app(context)
        self._live: Feed = app.state.live
        self._server = ApiServer(
            app, settings.api_host, settings.api_port, trusted_proxies=settings.trusted_proxies, tls=settings.api_tls
        )
        self._public_url = settings.public_url
        self._notify = notify(self._database, settings.public_url or self._server.url) if notify is not None else None

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

        Raises: HubError: ingest, rollouts or ageing failed; the log has the fault.
        """
        if ready_file is not None:
            ready_file.unlink(missing_ok=True)
        for kind in (signal.SIGINT, signal.SIGTERM):
            signal.signal(kind, lambda *_: self.stop())
        threads = [
            threading.Thread(target=self._connect, name="connect", daemon=True),
            threading.Thread(target=self._announce, args=(ready_file, on_ready), name="ready", daemon=True),
            threading.Thread(target=self._roll_out, name="rollouts", daemon=True),
            threading.Thread(target=self._repeat, args=("shelves", _SHELF_PERIOD_S, self._shelves), daemon=True),
            threading.Thread(target=self._repeat, args=("ageing", _AGEING_S, self._retention), daemon=True),
        ]
        settle_collector()
        for worker in self._workers:
            worker.start()
        if self._rescoring is not None:
            self._rescoring.start()
        if self._identity is not None:
            self._identity.start()
        if self._notify is not None:
            self._notify.start()
        self._jobs.start()
        for thread in threads:
            thread.start()
        try:
            if not self._stop.is_set():
                self._server.run()
        finally:
            self._shut_down(threads)
            if ready_file is not None:
                ready_file.unlink(missing_ok=True)
        failures = [("ingest", worker.failure) for worker in self._workers]
        for what, failure in (*failures, ("periodic work", self._failure), ("training jobs", self._jobs.failure)):
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
        for link in self._links:
            link.hold()
        for worker in self._workers:
            worker.stop()
        if self._rescoring is not None:
            self._rescoring.stop()
        if self._identity is not None:
            self._identity.stop()
        if self._notify is not None:
            self._notify.stop()
        self._jobs.stop()
        for link in self._links:
            link.close()
        self._live.stop()
        self._database.close()

    def _ingest_view(self) -> StatusView:
        dropped = sum(link.dropped for link in self._links)
        if dropped:
            self._status.set("dropped", dropped)
        return self._status.view(sum(link.incoming.qsize() for link in self._links))

    def _connect(self) -> None:
        """Connect however long it takes (after that the link reconnects by itself), then do what is periodic."""
        for link in self._links:
            while not self._stop.is_set():
                try:
                    link.connect(timeout_s=5.0)
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

    def _shelves(self) -> None:
        """Alarms come back by the hub's clock alone."""
        alarms.tick(self._database, self._now_s())

    def _repeat(self, name: str, period_s: float, work: Callable[[], object]) -> None:
        """What needs no broker. What the database does to us is tried again; a fault of ours ends the hub."""
        while not self._stop.wait(period_s):
            try:
                work()
            except HubError as error:
                _log.error("%s: %s; trying again in %g s", name, error, period_s)
            except Exception as error:  # noqa: BLE001 - told to whoever called `run`
                _log.exception("%s failed", name)
                self._failure = error
                self.stop()
                return

    def _announce(self, ready_file: Path | None, on_ready: Callable[[], None]) -> None:
        while not (self._server.started and all(link.listening for link in self._links) and self._desk_listens()):
            if self._stop.wait(_POLL_S):
                return
        if ready_file is not None:
            write_ready_file(ready_file, self._server.url, self._server.port)
        on_ready()


def session_names(settings: Settings) -> list[str]:
    """The names of the ingest workers' sessions at the broker. Other numbers of workers have other names: what waits in
    a session of an earlier number is not read any more, and is what gateways send again without a receipt.
    """
    name, workers = f"hub-{settings.fleet}-ingest", settings.ingest_workers
    return [name] if workers == 1 else [f"{name}-{i + 1}of{workers}" for i in range(workers)]


def write_ready_file(path: Path, url: str, port: int) -> None:
    """JSON with `url`, `port` and `pid`: whole, or not there."""
    partial = path.with_name(f"{path.name}.part")
    partial.write_text(json.dumps({"url": url, "port": port, "pid": os.getpid()}) + "\n")
    partial.replace(path)

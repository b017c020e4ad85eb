"""One hub, and the subjects of its API as parts of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from cloud_hub.api.answers import HubHealth
from cloud_hub.client.alarms import Alarms
from cloud_hub.client.data import Data
from cloud_hub.client.events import Event, follow
from cloud_hub.client.fleet import Fleet
from cloud_hub.client.machines import Machines
from cloud_hub.client.models import Jobs, Models
from cloud_hub.client.people import Account, Hooks, People
from cloud_hub.client.rollouts import Rollouts
from cloud_hub.client.wire import Wire
from cloud_hub.ingest.status import StatusView
from cloud_hub.live.changes import Kind
from cloud_hub.services.concerns import Concern


class HubClient:
    """Ask and steer a running hub. Threads may share one; close it, or use it as a context.

    Every call may raise `ClientError`; see `cloud_hub.client.errors` for which. `revision` of a write: the one that the
    caller has seen; when it has changed since, the write is refused with `OutdatedError`. `key` of what makes
    something: an idempotency key of the caller's own; else one is made for each call, so that trying again never makes
    a thing twice.
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
        """Args:   url: such as https://hub.plant:8443. token: mw_...; it goes over https only, except to loopback.
                ca_file: the authority of the hub's certificate, when the system does not know it.
                tries: how often what may be asked again is asked, `sleep`: how it is waited between.
        Raises: SettingsError: the address, token or authority cannot be used.
        """
        self._wire = wire = Wire(url, token, ca_file=ca_file, timeout_s=timeout_s, tries=tries, sleep=sleep)
        self._sleep = sleep
        self.fleet = Fleet(wire)
        self.machines = Machines(wire)
        self.alarms = Alarms(wire)
        self.data = Data(wire)
        self.models = Models(wire)
        self.jobs = Jobs(wire)
        self.rollouts = Rollouts(wire)
        self.account = Account(wire)
        self.people = People(wire)
        self.hooks = Hooks(wire)

    @property
    def url(self) -> str:
        """Where the hub is."""
        return self._wire.url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._wire.close()

    def health(self) -> HubHealth:
        """Whether the hub is well. Needs no token."""
        return self._wire.get(HubHealth, "/health")

    def ingest_status(self) -> StatusView:
        """What came in, and what was not taken."""
        return self._wire.get(StatusView, "/ingest/status")

    def concerns(self) -> list[Concern]:
        """What expires before long and only people can renew."""
        return self._wire.get(list[Concern], "/concerns")

    def events(
        self,
        kinds: Collection[Kind] = (),
        machines: Collection[str] = (),
        *,
        since: str | None = None,
        for_ever: bool = True,
    ) -> Iterator[Event]:
        """What happens, as it happens; see `cloud_hub.client.events.follow`."""
        return follow(self._wire, kinds, machines, since=since, for_ever=for_ever, sleep=self._sleep)

    def openapi(self) -> dict[str, object]:
        """The API's own description."""
        return self._wire.get(dict[str, object], "/openapi.json")

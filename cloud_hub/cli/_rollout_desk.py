"""Where `cloud-hub rollout` asks: the database of the hub that is here, or the API of one that is elsewhere."""

from __future__ import annotations

import builtins
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import typer

from cloud_hub.cli._common import caller
from cloud_hub.cli._remote import connect
from cloud_hub.cli.list import gather, reading

if TYPE_CHECKING:
    from cloud_hub.client import HubClient
    from cloud_hub.rollout.plan import Plan
    from cloud_hub.services.ask import Verb
    from cloud_hub.store.database import Database
    from cloud_hub.store.rollout_views import MemberStage, MemberView, RolloutDetail, RolloutView, SiteView

_ALL = 10**9


class BundleName(Protocol):
    """What names a published bundle."""

    @property
    def sha256(self) -> str:
        """Its digest."""

    @property
    def slot(self) -> str:
        """What it is for."""

    @property
    def version(self) -> str:
        """Which one of these."""


class Desk(Protocol):
    """What can be asked about rollouts. Raises, all of it: HubError."""

    def bundle(self, reference: str) -> BundleName:
        """A published bundle by digest, the beginning of one, or slot/version."""

    def create(self, plan: Plan, name: str | None) -> str:
        """Begin a rollout. Returns: its id."""

    def list(self, most: int) -> builtins.list[RolloutView]:
        """The newest ones."""

    def get(self, rollout: str) -> RolloutDetail:
        """One of them."""

    def members(self, rollout: str, *, stage: MemberStage | None = None, most: int = _ALL) -> builtins.list[MemberView]:
        """Its gateways."""

    def ask(
        self,
        rollout: str,
        verb: Verb,
        *,
        why: str = "",
        undo: bool = False,
        force: bool = False,
        gateways: builtins.list[str] | None = None,
    ) -> str:
        """Steer it. Returns: its status."""

    def site(self, gateway: str) -> SiteView:
        """Where a gateway is."""

    def put_site(self, gateway: str, time_zone: str | None, labels: Mapping[str, str], revision: int) -> SiteView:
        """Say where it is, if nobody else has said something else since."""


@contextmanager
def open_desk(
    home: Path, hub: str | None, token_file: Path | None, ca_file: Path | None, by: str | None = None
) -> Iterator[Desk]:
    """The hub that is meant. `by`: who asks, of a hub that is here. Raises: HubError."""
    if hub is None:
        yield LocalDesk(home, by)
        return
    if by is not None:
        raise typer.BadParameter("expected none with --hub: who asks is the token's owner", param_hint="--by")
    with connect(hub, token_file, ca_file) as client:
        yield RemoteDesk(client)


class LocalDesk:
    """The database of the hub in this folder."""

    def __init__(self, home: Path, by: str | None) -> None:
        self._home, self._by = home, by

    @contextmanager
    def _database(self) -> Iterator[Database]:
        from cloud_hub.settings import load_settings
        from cloud_hub.store.database import open_database

        with open_database(load_settings(self._home)) as database:
            yield database

    def bundle(self, reference: str) -> BundleName:
        """See `Desk`."""
        from cloud_hub.store.registry import find_bundle

        with self._database() as database, database.read() as session:
            return find_bundle(session, reference)

    def create(self, plan: Plan, name: str | None) -> str:
        """See `Desk`."""
        from cloud_hub.services import ask

        with self._database() as database:
            return ask.create(database, caller(self._by), plan, time.time(), name=name)

    def list(self, most: int) -> builtins.list[RolloutView]:
        """See `Desk`."""
        from cloud_hub.store import rollout_queries as q

        return gather(self._home, most, q.list_rollouts)

    def get(self, rollout: str) -> RolloutDetail:
        """See `Desk`."""
        from cloud_hub.store import rollout_queries as q

        with reading(self._home) as session:
            return q.get_rollout(session, rollout)

    def members(self, rollout: str, *, stage: MemberStage | None = None, most: int = _ALL) -> builtins.list[MemberView]:
        """See `Desk`."""
        from cloud_hub.store import rollout_queries as q

        return gather(self._home, most, lambda session, paging: q.list_members(session, paging, rollout, stage=stage))

    def ask(
        self,
        rollout: str,
        verb: Verb,
        *,
        why: str = "",
        undo: bool = False,
        force: bool = False,
        gateways: builtins.list[str] | None = None,
    ) -> str:
        """See `Desk`."""
        from cloud_hub.services import ask

        with self._database() as database:
            who = caller(self._by)
            status = ask.ask(
                database, who, rollout, verb, time.time(), why=why, undo=undo, force=force, gateways=gateways
            )
        return status.value

    def site(self, gateway: str) -> SiteView:
        """See `Desk`."""
        from cloud_hub.store.rollout_queries import get_site

        with self._database() as database, database.read() as session:
            return get_site(session, gateway)

    def put_site(self, gateway: str, time_zone: str | None, labels: Mapping[str, str], revision: int) -> SiteView:
        """See `Desk`."""
        from cloud_hub.services import ask

        with self._database() as database:
            return ask.set_site(
                database, caller(self._by), gateway, time_zone, dict(labels), time.time(), revision=revision
            )


class RemoteDesk:
    """A hub that is asked over its API."""

    def __init__(self, hub: HubClient) -> None:
        self._hub = hub

    def bundle(self, reference: str) -> BundleName:
        """See `Desk`."""
        return self._hub.fleet.bundle(reference).bundle

    def create(self, plan: Plan, name: str | None) -> str:
        """See `Desk`."""
        return self._hub.rollouts.create(plan, name=name).rollout.id

    def list(self, most: int) -> builtins.list[RolloutView]:
        """See `Desk`."""
        return self._hub.rollouts.list().take(most)

    def get(self, rollout: str) -> RolloutDetail:
        """See `Desk`."""
        return self._hub.rollouts.get(rollout)

    def members(self, rollout: str, *, stage: MemberStage | None = None, most: int = _ALL) -> builtins.list[MemberView]:
        """See `Desk`."""
        return self._hub.rollouts.members(rollout, stage=stage).take(most)

    def ask(
        self,
        rollout: str,
        verb: Verb,
        *,
        why: str = "",
        undo: bool = False,
        force: bool = False,
        gateways: builtins.list[str] | None = None,
    ) -> str:
        """See `Desk`."""
        r = self._hub.rollouts
        match verb:
            case "approve":
                return r.approve(rollout, why).rollout.status
            case "pause":
                return r.pause(rollout, why).rollout.status
            case "resume":
                return r.resume(rollout, why).rollout.status
            case "abort":
                return r.abort(rollout, why, undo=undo, force=force).rollout.status
            case "retry":
                return r.retry(rollout, gateways, why).rollout.status

    def site(self, gateway: str) -> SiteView:
        """See `Desk`."""
        return self._hub.fleet.site(gateway)

    def put_site(self, gateway: str, time_zone: str | None, labels: Mapping[str, str], revision: int) -> SiteView:
        """See `Desk`."""
        return self._hub.fleet.put_site(gateway, time_zone, labels, revision=revision)

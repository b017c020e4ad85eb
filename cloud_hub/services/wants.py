"""Wants that people issue for single gateways, on the command line and over the API; rollouts issue their own.

A rollout that is under way does not stop anybody: whoever wants another bundle there takes the gateway out of it, and
the rollout says so (`superseded`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cloud_hub.accounts.permissions import Principal
from cloud_hub.delivery.collect import ChunkCollector
from cloud_hub.delivery.registry import BundleRegistry
from cloud_hub.delivery.want import DEFAULT_EXPIRES_S, When, build_want, send_want
from cloud_hub.errors import ConflictError, GateError, NotFoundError
from cloud_hub.settings import Settings
from cloud_hub.store.database import Database
from cloud_hub.store.registry import SqlRegistry
from cloud_hub.transport import Link
from cloud_hub.trust.repository import Repository
from models.contract.messages import WantBody


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for; other slots stay as they are. `bundles`: digests, starts of them, or slot/version. `slot`:
    refuse bundles for another one. `remove`: slots that shall stop. None of either: issue anew what is wanted.
    `expires_in_s`: from `not_before_s` on, or from now.
    """

    bundles: Sequence[str] = ()
    slot: str | None = None
    remove: Sequence[str] = ()
    not_before_s: int = 0
    jitter_s: int = 0
    expires_in_s: int = DEFAULT_EXPIRES_S


Issue = Callable[[Principal, str, Wanted, float], WantBody]


def issue_wants(
    gateways: Sequence[str],
    wanted: Wanted,
    *,
    registry: BundleRegistry,
    repository: Repository,
    link: Link,
    bundles_dir: Path,
    now_s: float,
) -> Iterator[WantBody]:
    """Issue one want for each gateway; each is out once it is given back.

    Raises: NotFoundError: no such bundle, or nothing was wanted that could be issued anew; GateError: a bundle is for
            another slot, or there are too many; ConflictError: somebody else has just issued one; LinkError: remembered
            but not sent, issue another; KeysError.
    """
    records = [registry.find_bundle(reference) for reference in wanted.bundles]
    for record in records:
        if wanted.slot is not None and record.slot != wanted.slot:
            raise GateError(f"bundle {record.target}: it is for the slot {record.slot}, not {wanted.slot}")
    changes = dict.fromkeys(wanted.remove, None) | {record.slot: record for record in records}
    when = When(
        int(max(now_s, wanted.not_before_s)) + wanted.expires_in_s, wanted.not_before_s, wanted.jitter_s
    )  # fmt: skip
    collector = ChunkCollector(bundles_dir, registry.list_bundles, registry.wanted_digests)
    for record in records:
        collector.ensure(link, record)
    for gateway in gateways:
        if not changes and registry.current_want(gateway) is None:
            raise NotFoundError(f"want for {gateway}: none was issued that could be signed anew")
        body = build_want(gateway, changes, registry, now_s, when)
        send_want(body, repository, registry, link)
        yield body


def issuer(settings: Settings, database: Database, repository: Repository, link: Link) -> Issue:
    """What issues in the running hub; who asked stands in the audit log."""

    def issue(principal: Principal, gateway: str, wanted: Wanted, now_s: float) -> WantBody:
        (body,) = issue_wants(
            [gateway],
            wanted,
            registry=SqlRegistry(database, principal),
            repository=repository,
            link=link,
            bundles_dir=settings.bundles_dir,
            now_s=now_s,
        )
        return body

    return issue


def issue_want(issue: Issue | None, principal: Principal, gateway: str, wanted: Wanted, now_s: float) -> WantBody:
    """Say what one gateway shall run. Raises: as `issue_wants`; ConflictError: this hub cannot sign, too."""
    if issue is None:
        raise ConflictError("this hub has no signing keys (`cloud-hub keys init`): another one issues its wants")
    return issue(principal, gateway, wanted, now_s)

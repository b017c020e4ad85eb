"""Models: reading a bundle for people, comparing two, and publishing a candidate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from cloud_hub.accounts.permissions import Principal
from cloud_hub.delivery.publish import PublishReport, register_bundle, send_bundle
from cloud_hub.delivery.registry import BundleRecord
from cloud_hub.errors import ConflictError, NotFoundError
from cloud_hub.evaluate.compare import Row, compare
from cloud_hub.jobs.places import Places
from cloud_hub.settings import Settings
from cloud_hub.store import audit
from cloud_hub.store.database import Database
from cloud_hub.store.jobs import mark_published
from cloud_hub.store.model_queries import ModelRecord, get_model
from cloud_hub.store.registry import SqlRegistry, insert_bundle
from cloud_hub.transport import Link
from cloud_hub.trust.repository import Repository
from models.bundle.archive import SUFFIX, Bundle, read_bundle
from models.contract.messages import MAX_BUNDLE_BYTES
from models.errors import BundleError

Publish = Callable[[bytes, Bundle, Principal, float, str | None], PublishReport]


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A bundle for people: `card` is Markdown, `evaluation` and `manifest` plain JSON values."""

    sha256: str
    card: str
    manifest: dict[str, Any]
    evaluation: dict[str, Any]
    network_bytes: int


def read_model(database: Database, places: Places, sha256: str) -> tuple[ModelRecord, bytes, Bundle]:
    """A bundle's row, its file and what is in it.

    Raises: NotFoundError: no such bundle, or its file is not on this hub; ConflictError: the file is not what it was.
    """
    with database.read() as session:
        record = get_model(session, sha256)
    for folder in (places.bundles, places.candidates):
        path = folder / f"{sha256}{SUFFIX}"
        if path.is_file():
            with path.open("rb") as file:
                data = file.read(MAX_BUNDLE_BYTES + 1)
            break
    else:
        raise NotFoundError(f"model {record.model.slot}/{record.model.version}: its file is not on this hub")
    try:
        bundle = read_bundle(data, path.name)
    except BundleError as error:
        raise ConflictError(str(error)) from error
    if bundle.sha256 != sha256:
        raise ConflictError(f"{path.name}: expected a file with digest {sha256}, got {bundle.sha256}")
    return record, data, bundle


def card_of(bundle: Bundle) -> ModelCard:
    """A bundle for people."""
    return ModelCard(
        sha256=bundle.sha256,
        card=bundle.card,
        manifest=msgspec.json.decode(bundle.manifest_json, type=dict[str, Any]),
        evaluation=msgspec.json.decode(bundle.evaluation, type=dict[str, Any]),
        network_bytes=len(bundle.model),
    )


def compare_models(database: Database, places: Places, one: str, other: str) -> list[Row]:
    """What two bundles have, name by name. Raises: NotFoundError, ConflictError."""
    cards = [card_of(read_model(database, places, sha256)[2]) for sha256 in (one, other)]
    return compare(cards[0].manifest, cards[1].manifest, (cards[0].evaluation, cards[1].evaluation))


def publish(
    database: Database,
    places: Places,
    publisher: Publish | None,
    principal: Principal,
    sha256: str,
    *,
    now_s: float,
    request_id: str | None = None,
) -> PublishReport:
    """Sign for a bundle and send it, so that gateways can be given it. Again is harmless.

    Raises: NotFoundError; ConflictError: this hub has no keys; GateError: its slot and version are taken;
            LinkError: it is published, but the broker did not take all of it: publish again.
    """
    if publisher is None:
        raise ConflictError("publish: this hub has no signing keys (`cloud-hub keys init`): another one signs for it")
    _, data, bundle = read_model(database, places, sha256)
    return publisher(data, bundle, principal, now_s, request_id)


class Publisher:
    """Publishing in the running hub, through its own link to the broker."""

    def __init__(self, settings: Settings, database: Database, repository: Repository, link: Link) -> None:
        self._settings = settings
        self._database = database
        self._repository = repository
        self._link = link

    def __call__(
        self, data: bytes, bundle: Bundle, principal: Principal, now_s: float, request_id: str | None
    ) -> PublishReport:
        """See `publish`."""
        registry = _Audited(self._database, principal, now_s, request_id)
        record = register_bundle(bundle, data, self._repository, registry, self._settings.bundles_dir, now_s)
        return send_bundle(record, data, self._repository, self._link, self._settings.fleet)


class _Audited(SqlRegistry):
    """A registry whose new bundles stand in the audit log, in the same transaction."""

    def __init__(self, database: Database, principal: Principal, now_s: float, request_id: str | None) -> None:
        super().__init__(database)
        self._principal, self._now_s, self._request_id = principal, now_s, request_id

    def add_bundle(self, record: BundleRecord) -> None:
        with self._database.write() as session:
            if not insert_bundle(session, record):
                return
            mark_published(session, record.sha256, self._principal.name, self._now_s)
            after = {"slot": record.slot, "version": record.version, "length": record.length}
            audit.record(
                session, self._principal, "bundle.publish", f"bundle:{record.sha256}", before=None, after=after,
                now_s=self._now_s, request_id=self._request_id,
            )  # fmt: skip

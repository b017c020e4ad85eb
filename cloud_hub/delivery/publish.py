"""Publishing a bundle, in this order: chunks, metadata, and last (see `want`) the wants that ask for it.

Chunks are retained under their digest and never change, so they go to the broker once, however many gateways fetch
them; publishing again is harmless and mends whatever a broker has lost.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cloud_hub.delivery.registry import BundleRecord, BundleRegistry
from cloud_hub.errors import GateError, NotFoundError
from cloud_hub.settings import Settings
from cloud_hub.transport import Link
from cloud_hub.trust.files import write_atomic
from cloud_hub.trust.repository import Repository
from models.bundle.archive import SUFFIX, Bundle
from models.contract.ids import FleetId
from models.contract.messages import CHUNK_BYTES
from models.contract.topics import Chunk, Metadata, topic_of

logger = logging.getLogger(__name__)

IN_FLIGHT = 16  # chunks that wait for their acknowledgement together: each batch has the link's time limit to itself


@dataclass(frozen=True, slots=True)
class PublishReport:
    """What publishing took. `bytes_sent`: topics and payloads that left the hub, metadata included."""

    target: str
    sha256: str
    length: int
    chunks: int
    bytes_sent: int
    seconds: float


def register_bundle(
    bundle: Bundle, data: bytes, repository: Repository, registry: BundleRegistry, bundles_dir: Path, now_s: float
) -> BundleRecord:
    """Keep a bundle, sign for it and remember it: everything but sending it. Again with the same bundle: no change.

    Args:   data: the file that `bundle` was read from.
    Raises: GateError: its slot and version belong to another bundle, or the repository does not take it.
    """
    manifest = bundle.manifest
    try:
        known = registry.find_bundle(f"{manifest.slot}/{manifest.version}")
    except NotFoundError:
        known = None
    if known is not None and known.sha256 != bundle.sha256:
        raise GateError(
            f"{manifest.slot}/{manifest.version}: already published as {known.sha256}, this is {bundle.sha256}; "
            "a version is for ever, choose another one"
        )
    write_atomic(bundles_dir / f"{bundle.sha256}{SUFFIX}", data)
    target = repository.add_bundle(manifest, bundle.sha256, bundle.length, now_s)
    if known is not None:
        return known
    record = BundleRecord(
        sha256=bundle.sha256,
        slot=manifest.slot,
        version=manifest.version,
        family=manifest.family,
        target=target,
        length=bundle.length,
        created_s=now_s,
        manifest_json=bundle.manifest_json,
    )
    registry.add_bundle(record)
    return record


def send_bundle(
    record: BundleRecord,
    data: bytes,
    repository: Repository,
    link: Link,
    fleet: str,
    on_progress: Callable[[int], None] = lambda _bytes: None,
) -> PublishReport:
    """Send a registered bundle's chunks, then the metadata that vouch for it. Raises: LinkError."""
    began, sent_before = time.monotonic(), link.bytes_sent
    chunks = list(chunk_messages(record.sha256, data))
    for start in range(0, len(chunks), IN_FLIGHT):
        batch = chunks[start : start + IN_FLIGHT]
        link.publish_all(batch, retain=True)
        on_progress(sum(len(payload) for _, payload in batch))
    send_metadata(repository, link, fleet)
    report = PublishReport(
        record.target,
        record.sha256,
        record.length,
        len(chunks),
        link.bytes_sent - sent_before,
        time.monotonic() - began,
    )
    logger.info("published %s: %d chunks, %d bytes sent", report.target, report.chunks, report.bytes_sent)
    return report


def send_metadata(repository: Repository, link: Link, fleet: str) -> None:
    """Send the current metadata to every gateway of the fleet. Raises: LinkError."""
    topic = topic_of(Metadata(FleetId(fleet)))
    repository.hand_out(lambda payload: link.publish(topic, payload, retain=True))


def chunk_messages(sha256: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """(topic, payload) of each chunk of a file, in order."""
    for index, start in enumerate(range(0, len(data), CHUNK_BYTES)):
        yield topic_of(Chunk(sha256, index)), data[start : start + CHUNK_BYTES]


class MetadataKeeper:
    """Keeps what the broker retains signed and current: call it now and then, it sends only what has changed.

    The first call always sends, so that a broker that has lost its retained messages gets them back with the hub.
    """

    def __init__(self, settings: Settings, repository: Repository, now_s: Callable[[], float] = time.time) -> None:
        self._fleet = settings.fleet
        self._repository = repository
        self._now_s = now_s
        self._sent = b""
        self.concerns: tuple[str, ...] = ()

    def __call__(self, link: Link) -> None:
        """Sign anew what is past half of its life, and send it. Raises: HubError."""
        self._repository.refresh(self._now_s())
        self.concerns = tuple(self._repository.concerns(self._now_s()))
        if self._repository.metadata_bundle() != self._sent:
            topic = topic_of(Metadata(FleetId(self._fleet)))
            self._repository.hand_out(lambda payload: self._send(link, topic, payload))

    def _send(self, link: Link, topic: str, payload: bytes) -> None:
        link.publish(topic, payload, retain=True)
        self._sent = payload

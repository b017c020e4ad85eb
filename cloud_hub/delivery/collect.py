"""Chunks that nobody will ask for any more: cleared from the broker, and brought back when they are wanted again.

A bundle is in use while the newest want of a gateway names it, or a rollout does. What has not been in use for the
grace period, and was published at least as long ago, has its retained chunks cleared. The bundle's file stays in the
hub's home: wanting it again sends its chunks anew.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from pathlib import Path

import msgspec

from cloud_hub.delivery.publish import IN_FLIGHT, chunk_messages
from cloud_hub.delivery.registry import BundleRecord
from cloud_hub.transport import Link
from cloud_hub.trust.files import write_atomic
from models.bundle.archive import SUFFIX

_log = logging.getLogger(__name__)

GRACE_S = 14 * 86_400.0
STATE_FILE = "retained.json"


class _Known(msgspec.Struct):
    """`used_s`: when a bundle was last in use. `cleared_s`: when its chunks were cleared, 0 for never."""

    used_s: float
    cleared_s: float = 0.0


class ChunkCollector:
    """Call it now and then with the link. What it knows is in `folder`, whole or not at all.

    Args: bundles: all published bundles. in_use: digests that wants and rollouts name.
    """

    def __init__(
        self,
        folder: Path,
        bundles: Callable[[], Iterable[BundleRecord]],
        in_use: Callable[[], AbstractSet[str]],
        *,
        grace_s: float = GRACE_S,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._bundles = bundles
        self._in_use = in_use
        self._grace_s = grace_s
        self._now_s = now_s

    def __call__(self, link: Link) -> tuple[int, int]:
        """Clear and bring back.

        Returns: how many bundles were cleared, how many brought back.
        Raises:  LinkError: what was not done is done next time.
        """
        now_s, used = self._now_s(), self._in_use()
        known = self._load()
        cleared = restored = 0
        for record in self._bundles():
            file = self._folder / f"{record.sha256}{SUFFIX}"
            published_s = file.stat().st_mtime if file.is_file() else record.created_s
            one = known.setdefault(record.sha256, _Known(published_s))
            if record.sha256 in used:
                one.used_s = now_s
                if one.cleared_s and file.is_file():
                    self._send(link, record, file.read_bytes())
                    one.cleared_s, restored = 0.0, restored + 1
            elif now_s - max(one.used_s, published_s) > self._grace_s and one.cleared_s <= published_s:
                self._clear(link, record)
                one.cleared_s, cleared = now_s, cleared + 1
        self._store(known)
        return cleared, restored

    def ensure(self, link: Link, record: BundleRecord) -> bool:
        """Send a bundle's chunks anew if they were cleared: it is about to be wanted. Raises: LinkError.

        Returns: whether they were.
        """
        known = self._load()
        one = known.get(record.sha256)
        file = self._folder / f"{record.sha256}{SUFFIX}"
        if one is None or not one.cleared_s or not file.is_file():
            return False
        self._send(link, record, file.read_bytes())
        known[record.sha256] = _Known(self._now_s())
        self._store(known)
        return True

    def _clear(self, link: Link, record: BundleRecord) -> None:
        topics = [topic for topic, _ in chunk_messages(record.sha256, bytes(record.length))]
        for start in range(0, len(topics), IN_FLIGHT):
            link.publish_all([(topic, b"") for topic in topics[start : start + IN_FLIGHT]], retain=True)
        _log.info("%s: cleared %d chunks, unused for %.0f days", record.target, len(topics), self._grace_s / 86_400)

    def _send(self, link: Link, record: BundleRecord, data: bytes) -> None:
        chunks = list(chunk_messages(record.sha256, data))
        for start in range(0, len(chunks), IN_FLIGHT):
            link.publish_all(chunks[start : start + IN_FLIGHT], retain=True)
        _log.info("%s: sent %d chunks again, they are wanted", record.target, len(chunks))

    def _load(self) -> dict[str, _Known]:
        """What is known. A damaged file is told and forgotten: then every bundle has its grace period anew."""
        path = self._folder / STATE_FILE
        try:
            return msgspec.json.decode(path.read_bytes(), type=dict[str, _Known])
        except FileNotFoundError:
            return {}
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            _log.error("%s: damaged, starting anew: %s", path, error)
            return {}

    def _store(self, known: dict[str, _Known]) -> None:
        data = msgspec.json.format(msgspec.json.encode(known), indent=1)
        path = self._folder / STATE_FILE
        if not path.exists() or path.read_bytes() != data:
            write_atomic(path, data)

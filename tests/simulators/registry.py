"""The registry of bundles and wants in memory, with the store's rules."""

from __future__ import annotations

from cloud_hub.delivery.registry import BundleRecord, WantRecord
from cloud_hub.errors import ConflictError, NotFoundError


class MemoryRegistry:
    """Implements `cloud_hub.delivery.registry.BundleRegistry`."""

    def __init__(self) -> None:
        self.bundles: dict[str, BundleRecord] = {}
        self.wants: dict[str, list[WantRecord]] = {}

    def add_bundle(self, record: BundleRecord) -> None:
        self.bundles.setdefault(record.sha256, record)

    def find_bundle(self, reference: str) -> BundleRecord:
        found = [
            b
            for b in self.bundles.values()
            if f"{b.slot}/{b.version}" == reference or (len(reference) >= 6 and b.sha256.startswith(reference))
        ]
        if len(found) != 1:
            raise NotFoundError(f"bundle {reference!r}: expected one, found {len(found)}")
        return found[0]

    def list_bundles(self) -> list[BundleRecord]:
        return sorted(self.bundles.values(), key=lambda b: -b.created_s)

    def current_want(self, gateway: str) -> WantRecord | None:
        return self.wants.get(gateway, [None])[-1]

    def wanted_digests(self) -> set[str]:
        return {sha256 for wants in self.wants.values() for _, sha256 in wants[-1].bundles}

    def add_want(self, record: WantRecord) -> None:
        current = self.current_want(record.gateway)
        if current is not None and record.seq <= current.seq:
            raise ConflictError(f"want for {record.gateway}: expected a seq above {current.seq}, got {record.seq}")
        self.wants.setdefault(record.gateway, []).append(record)

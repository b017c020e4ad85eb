"""What delivery needs to remember, whoever keeps it: the store implements this protocol, tests use a fake one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class BundleRecord:
    """One published bundle. `length` in bytes; `manifest_json` exactly as it stands in the bundle."""

    sha256: str
    slot: str
    version: str
    family: str
    target: str
    length: int
    created_s: float
    manifest_json: str


@dataclass(frozen=True, slots=True)
class Shadow:
    """How a want treats a slot's candidate: see the contract's `WantedBundle`."""

    windows: int = 0
    hold: bool = False


@dataclass(frozen=True, slots=True)
class WantRecord:
    """One want as it was issued: all that it takes to say it again, byte for byte. `bundles`: (slot, sha256) pairs;
    `shadow`: of the slots where a candidate is to do more than the agent asks of it anyway.
    """

    gateway: str
    seq: int
    issued_s: float
    expires_s: float
    bundles: tuple[tuple[str, str], ...]
    not_before_s: int = 0
    jitter_s: int = 0
    shadow: tuple[tuple[str, Shadow], ...] = ()


class BundleRegistry(Protocol):
    """Which bundles exist and which wants were issued."""

    def add_bundle(self, record: BundleRecord) -> None:
        """Remember a bundle; the same digest twice is no error."""

    def find_bundle(self, reference: str) -> BundleRecord:
        """A bundle by digest, unique prefix of it (>= 6 digits) or "slot/version". Raises: NotFoundError."""

    def list_bundles(self) -> list[BundleRecord]:
        """All bundles, newest first."""

    def current_want(self, gateway: str) -> WantRecord | None:
        """The want with the highest seq of a gateway, or None."""

    def wanted_digests(self) -> set[str]:
        """The bundles that the newest want of any gateway names."""

    def add_want(self, record: WantRecord) -> None:
        """Remember a want."""

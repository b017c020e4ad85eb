"""What a slot's delivery works with, and who decides what is genuine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from edge_agent.config import UpdateSettings
from edge_agent.errors import RuntimeLoadError, StorageError, TrustError
from edge_agent.fetch import Pace
from edge_agent.runtime import Runtime
from edge_agent.update import SlotRecord
from edge_agent.worker import Worker
from models.contract.messages import CommandBody, WantBody, WantedBundle
from models.errors import BundleError, MessageError, MillwrightError, SchemaError, SignalError

_REASONS: dict[type[MillwrightError], str] = {
    RuntimeLoadError: "runtime",
    SignalError: "signal",
    StorageError: "storage",
    MessageError: "format",
    SchemaError: "schema",
}


class Trust(Protocol):
    """Who decides what is genuine: `edge_agent.trust.TrustStore`. Every method blocks, and raises TrustError."""

    def verify_want(self, metadata: bytes, envelope: bytes, gateway: str, last_seq: int, now_s: float) -> WantBody:
        """A want that is for us, signed and not replayed."""

    def verify_command(self, metadata: bytes, envelope: bytes, gateway: str, now_s: float) -> CommandBody:
        """A command that is for us, signed and not expired."""

    def verify_bundle(self, metadata: bytes, wanted: WantedBundle, part: Path, destination: Path, now_s: float) -> None:
        """Move `part` to `destination` when it is the bundle that was wanted and signed."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a delivery works with. `tell(record)` reports a step to the hub; `reason`, `detail` ride along. `pace`: of
    all fetches together.
    """

    state_dir: Path
    settings: UpdateSettings
    trust: Trust
    runtime: Runtime
    worker: Worker
    tell: Callable[[str, SlotRecord, str | None, str | None], None]
    pace: Pace = field(default_factory=Pace)


def reason_of(error: MillwrightError) -> str:
    """The short stable word that the hub gets for an error."""
    if isinstance(error, TrustError | BundleError):
        return error.reason
    return _REASONS.get(type(error), "error")

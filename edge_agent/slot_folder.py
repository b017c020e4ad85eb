"""A slot's folder: its record, its bundles by digest, what they have learned, open alarms, how far a shadow has come.

What a file is follows from its name, a digest, so a leftover can never be taken for something else; what no record
names is removed.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from edge_agent import storage
from edge_agent.alarms import OpenAlarm
from edge_agent.behaviour import StoredShadow
from edge_agent.storage import Document, load_document, save_document, write_atomically
from edge_agent.update import SlotRecord, State
from models.bundle.archive import SUFFIX

CALIBRATION_SUFFIX = ".cal"
PART_SUFFIX = ".part"
_RECORD = "slot.json"
_ALARMS = "alarms.json"
_SHADOW = "shadow.json"


class StoredAlarms(Document, frozen=True, kw_only=True):
    """Open alarms by point name."""

    open: dict[str, OpenAlarm] = msgspec.field(default_factory=dict)


class SlotFolder:
    """Raises (everywhere): StorageError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        storage.prepare_folder(folder)

    def bundle(self, sha256: str) -> Path:
        """Where a bundle lies once it is verified."""
        return self._folder / f"{sha256}{SUFFIX}"

    def part(self, sha256: str) -> Path:
        """Where its chunks are gathered."""
        return self._folder / f"{sha256}{PART_SUFFIX}"

    def calibration(self, sha256: str) -> Path:
        """Where what it has learned of its points is kept."""
        return self._folder / f"{sha256}{CALIBRATION_SUFFIX}"

    def load_record(self) -> SlotRecord:
        """The slot's record, a new one for a new slot."""
        return load_document(self._folder / _RECORD, SlotRecord) or SlotRecord()

    def save_record(self, record: SlotRecord) -> None:
        """Store the record: the one write that makes a step happen."""
        save_document(self._folder / _RECORD, record)

    def load_alarms(self) -> dict[str, OpenAlarm]:
        """The open alarms by point name."""
        return (load_document(self._folder / _ALARMS, StoredAlarms) or StoredAlarms()).open

    def save_alarms(self, alarms: dict[str, OpenAlarm]) -> None:
        """Store the open alarms."""
        save_document(self._folder / _ALARMS, StoredAlarms(open=alarms))

    def save_calibration(self, sha256: str, data: bytes) -> None:
        """Store what a bundle has learned."""
        write_atomically(self.calibration(sha256), data)

    def load_shadow(self) -> StoredShadow | None:
        """How far the shadow had come, None when there was none."""
        return load_document(self._folder / _SHADOW, StoredShadow)

    def save_shadow(self, shadow: StoredShadow) -> None:
        """Store how far the shadow has come."""
        save_document(self._folder / _SHADOW, shadow)

    def drop_parts(self, but: Path | None = None) -> None:
        """Remove what was gathered of bundles that are not fetched any more."""
        storage.remove([part for part in self._folder.glob(f"*{PART_SUFFIX}") if part != but])

    def prune(self, record: SlotRecord) -> None:
        """Remove every file that the record does not name."""
        named = {one.sha256 for one in (record.active, record.previous) if one is not None}
        candidate = record.candidate.sha256 if record.candidate is not None else None
        if candidate is not None and record.state is not State.REFUSED:
            named.add(candidate)
        gone = [
            path
            for path in self._folder.iterdir()
            if path.suffix in {SUFFIX, CALIBRATION_SUFFIX} and path.stem not in named
        ]
        if record.state not in {State.FETCHING, State.FETCHED}:
            candidate = None
        gone += [path for path in self._folder.glob(f"*{PART_SUFFIX}") if path.stem != candidate]
        if record.state is not State.SHADOW:
            gone += self._folder.glob(_SHADOW)
        self._remove(gone)

    def _remove(self, gone: Iterable[Path]) -> None:
        for path in gone:
            storage.remove_durably(path)

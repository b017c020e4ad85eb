"""What a slot has learned and what it has raised, on the disk: calibrations by bundle, open alarms by point."""

from __future__ import annotations

from collections.abc import Callable

from edge_agent.errors import StorageError
from edge_agent.slot import Outcome, Slot
from edge_agent.slot_folder import SlotFolder
from edge_agent.watch import Loaded
from models.errors import SignalError


class Learned:
    """Of one slot. What cannot be stored now is stored with a later tick. `report`: says what was lost."""

    def __init__(self, slot: Slot, folder: SlotFolder, report: Callable[[str], None]) -> None:
        self._slot = slot
        self._folder = folder
        self._report = report
        self._unsaved: set[str] = set()  # digests of bundles whose calibration is not on the disk yet
        self._alarms_unsaved = False

    def take_over_alarms(self) -> None:
        """After a start: the alarms that were open before it."""
        try:
            self._slot.take_over_alarms(self._folder.load_alarms())
        except StorageError as error:
            self._report(f"open alarms are lost: {error}")

    def begin(self, loaded: Loaded, start: Callable[[Loaded, bytes | None], None]) -> None:
        """Start a bundle with what it has learned before, if that is there and readable; else it learns anew."""
        path = self._folder.calibration(loaded.sha256)
        try:
            start(loaded, path.read_bytes() if path.exists() else None)
        except (SignalError, OSError) as error:
            self._report(f"{path.name}: calibration is lost, points warm up anew: {error}")

    def ran(self, outcome: Outcome) -> None:
        """Store what a tick has changed. Raises: StorageError."""
        self._unsaved |= outcome.learned
        self._alarms_unsaved |= outcome.alarms_changed
        if self._unsaved:
            self.save(self._unsaved)
        if self._alarms_unsaved:
            self._folder.save_alarms(self._slot.open_alarms())
            self._alarms_unsaved = False

    def save(self, digests: set[str]) -> None:
        """Store the calibrations of these bundles, as far as they run. Raises: StorageError."""
        self._unsaved |= digests
        for watch in (self._slot.champion, self._slot.candidate):
            if watch is not None and watch.loaded.sha256 in self._unsaved:
                self._folder.save_calibration(watch.loaded.sha256, watch.monitor.save())
        self._unsaved.clear()

    def recalibrate(self, point: int) -> None:
        """Forget what is normal for a point, on the disk too. Raises: StorageError."""
        self._slot.recalibrate(point)
        self.save({w.loaded.sha256 for w in (self._slot.champion, self._slot.candidate) if w is not None})

"""A candidate's time in shadow: what it waits for, why it is given up, and how far it has come, kept over a restart."""

from __future__ import annotations

from edge_agent.slot import Slot
from edge_agent.slot_folder import SlotFolder
from models.contract.messages import WantedBundle

SAVE_S = 60.0


class Shadowing:
    """Beside one slot. Raises (where it touches the disk): StorageError."""

    def __init__(self, slot: Slot, folder: SlotFolder) -> None:
        self._slot = slot
        self._folder = folder
        self._saved_s = 0.0

    def waits_for(self, wanted: WantedBundle | None) -> list[str]:
        """What keeps the candidate from taking over, for people; empty when nothing does."""
        if self._slot.candidate is None:
            return ["loading"]
        waits = self._slot.waits_for(wanted.shadow_windows if wanted is not None else 0)
        if wanted is not None and wanted.hold:
            waits.append("the hub, which holds it there")
        return waits

    def go_on(self) -> None:
        """Take up the counts from before a restart, if they are of these two bundles."""
        kept = self._folder.load_shadow()
        if kept is not None:
            self._slot.go_on_with_shadow(kept)

    def save_now_and_then(self, now_s: float) -> None:
        """Store the counts once a minute."""
        if now_s - self._saved_s > SAVE_S:
            self.save(now_s)

    def save(self, now_s: float) -> None:
        """Store the counts, if there are any."""
        self._saved_s = now_s
        shadow = self._slot.shadow()
        if shadow is not None:
            self._folder.save_shadow(shadow)

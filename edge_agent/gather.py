"""Getting the file of a slot's candidate: from chunks that the broker holds, from blocks that the hub sends on request,
or from the disk, where the bundle that ran before may still lie.
"""

from __future__ import annotations

import logging

from edge_agent.errors import StorageError
from edge_agent.fetch import ChunkFetcher, Pace
from edge_agent.install import digest_of
from edge_agent.slot_folder import SlotFolder
from edge_agent.storage import write_atomically
from models.contract.messages import BlockBody, GetBody, WantedBundle

log = logging.getLogger(__name__)

REPAIRS = 2
"""How often a file with a wrong digest is mended: first block by block, then by fetching all of it again."""


class Gathering:
    """The fetch of one slot, if one is under way. Raises (everywhere): StorageError."""

    def __init__(self, folder: SlotFolder, stall_s: float, pace: Pace) -> None:
        self._folder = folder
        self._stall_s = stall_s
        self._pace = pace
        self.fetcher: ChunkFetcher | None = None

    def begin(self, wanted: WantedBundle, repairs: int, now_s: float) -> None:
        """Begin, or go on with what is there. `repairs`: how often the file was found to be wrong."""
        part = self._folder.part(wanted.sha256)
        self._folder.drop_parts(but=part)
        self._take_from_disk(wanted)
        self.fetcher = ChunkFetcher(wanted, part, self._stall_s, now_s, pace=self._pace, repair=repairs == 1)
        if repairs >= REPAIRS and self.fetcher.complete:
            self.fetcher.start_over(now_s)

    def _take_from_disk(self, wanted: WantedBundle) -> None:
        """A bundle that is wanted back is still here, as the previous one: it goes through every check again."""
        part, kept = self._folder.part(wanted.sha256), self._folder.bundle(wanted.sha256)
        if part.exists() or digest_of(kept) != wanted.sha256:
            return
        try:
            write_atomically(part, kept.read_bytes())
        except OSError as error:
            raise StorageError(f"{kept}: cannot be read: {error.strerror or error}") from error

    def drop(self) -> None:
        """Give up what was gathered."""
        self.fetcher = None
        self._folder.drop_parts()

    def wants(self, sha256: str) -> bool:
        """Whether pieces of this file are welcome."""
        return self.fetcher is not None and self.fetcher.wanted.sha256 == sha256

    def chunk(self, index: int, payload: bytes, now_s: float) -> bool:
        """Take a chunk. False: it is not one we lack."""
        return self.fetcher is not None and self.fetcher.accept(index, payload, now_s)

    def block(self, block: BlockBody, now_s: float) -> bool:
        """Take an answer of the hub's. False: it was not asked for."""
        return self.fetcher is not None and self.fetcher.accept_block(block, now_s)

    def request(self, now_s: float, gateway: str) -> GetBody | None:
        """What to ask the hub for now, if anything."""
        return self.fetcher.request(now_s, gateway) if self.fetcher is not None else None

    def stalled(self, now_s: float) -> str | None:
        """What to say about a fetch that does not come on; None while it does. Said once per stall."""
        fetcher = self.fetcher
        if fetcher is None or not fetcher.stalled(now_s):
            return None
        missing = fetcher.missing()
        lacking = ", ".join(map(str, sorted(missing))) or "blocks that the hub was asked for"
        return (
            f"no chunk for a while at {fetcher.fetched_bytes} of {fetcher.wanted.length} bytes; "
            f"still waiting for {lacking}"
        )

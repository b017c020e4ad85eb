"""Fetching a bundle in chunks that the broker holds: ask for the few that are missing next, append, ask for more.

Chunks are retained, so the hub need not be online, and a fetch goes on from the length of the `.part` file after any
cut. Nothing here is trusted: sizes are bounded by the signed want, and the digest is checked before the file is used.
"""

from __future__ import annotations

import os
from pathlib import Path

from edge_agent.errors import StorageError
from models.contract.messages import CHUNK_BYTES, WantedBundle

# A cut link loses at most what was asked for: of 1 MB, two chunks stay well under a tenth, four would not.
AHEAD = 2
_LONGEST_STALL_S = 600.0


class ChunkFetcher:
    """One fetch. It names the chunks it wants next (`missing`) and takes those that come (`accept`); the caller
    subscribes and unsubscribes.

    Raises: StorageError: wherever the `.part` file cannot be written.
    """

    def __init__(self, wanted: WantedBundle, part: Path, stall_s: float, now_s: float) -> None:
        self.wanted = wanted
        self.part = part
        self.chunks = -(-wanted.length // CHUNK_BYTES)
        self.stalls = 0
        self.refused_chunks = 0
        self._stall_s = stall_s
        self._quiet_since_s = now_s
        self._early: dict[int, bytes] = {}
        self._next = self._resume()

    def _resume(self) -> int:
        """The first chunk that is not in the `.part` file, whose end is cut back to a chunk's boundary."""
        try:
            self.part.parent.mkdir(parents=True, exist_ok=True)
            with self.part.open("ab") as file:
                size = file.tell()
                if size >= self.wanted.length:
                    file.truncate(self.wanted.length)
                    return self.chunks
                whole = size // CHUNK_BYTES
                file.truncate(whole * CHUNK_BYTES)
                return whole
        except OSError as error:
            raise StorageError(f"{self.part}: {error.strerror or error}") from error

    @property
    def complete(self) -> bool:
        """Whether every chunk is on the disk."""
        return self._next >= self.chunks

    @property
    def fetched_bytes(self) -> int:
        """How much is on the disk."""
        return min(self._next * CHUNK_BYTES, self.wanted.length)

    def missing(self) -> set[int]:
        """The chunks to be subscribed to at this moment."""
        return set(range(self._next, min(self._next + AHEAD, self.chunks))) - self._early.keys()

    def accept(self, index: int, payload: bytes, now_s: float) -> bool:
        """Take a chunk. False: it was not asked for, or has not the length it must have (counted)."""
        if index not in self.missing():
            return False
        if len(payload) != min(CHUNK_BYTES, self.wanted.length - index * CHUNK_BYTES):
            self.refused_chunks += 1
            return False
        self._early[index] = payload
        self._append_ready()
        self._quiet_since_s = now_s
        self.stalls = 0
        return True

    def _append_ready(self) -> None:
        """Write what has become contiguous; flush to the disk when it is the last."""
        if self._next not in self._early:
            return
        try:
            with self.part.open("ab") as file:
                while self._next in self._early:
                    file.write(self._early.pop(self._next))
                    self._next += 1
                if self.complete:
                    file.flush()
                    os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(f"{self.part}: {error.strerror or error}") from error

    def stalled(self, now_s: float) -> bool:
        """Whether nothing has come for too long. True once per stall; the patience doubles each time, so that the hub
        is told without being flooded.
        """
        patience_s = min(self._stall_s * 2**self.stalls, max(_LONGEST_STALL_S, self._stall_s))
        if self.complete or now_s - self._quiet_since_s < patience_s:
            return False
        self._quiet_since_s = now_s
        self.stalls = min(self.stalls + 1, 32)
        return True

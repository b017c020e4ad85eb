"""Fetching a bundle in chunks that the broker holds: ask for the few that are missing next, append, ask for more.

Chunks are retained, so the hub need not be online, and a fetch goes on from the length of the `.part` file after any
cut. Where a chunk does not come, or what came is not the file that was wanted, the hub is asked for single blocks.

Nothing here is trusted: sizes are bounded by the signed want, and the digest is checked before the file is used. The
digests of single blocks, which the hub sends on request, only say where to look: a lie costs another attempt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from edge_agent import storage
from edge_agent.errors import StorageError
from models.contract.messages import CHUNK_BYTES, DIGEST_BYTES, BlockBody, GetBody, WantedBundle

# A cut link loses at most what was asked for: of 1 MB, two chunks stay well under a tenth, four would not.
AHEAD = 2
_LONGEST_STALL_S = 600.0
_ASK_AGAIN_S = 5.0  # then a block that was asked for is taken to be lost
_HOPELESS_STALLS = 2


class Pace:
    """A token bucket over all fetches of a gateway. `bytes_s`: the cap, None for none."""

    def __init__(self, bytes_s: float | None = None) -> None:
        self._bytes_s = bytes_s
        self._left = float(CHUNK_BYTES)
        self._at_s: float | None = None

    def take(self, size: int, now_s: float) -> bool:
        """Whether so much may be asked for now; it is then spent."""
        if self._bytes_s is None:
            return True
        if self._at_s is not None:
            burst = max(float(CHUNK_BYTES), self._bytes_s)
            self._left = min(burst, self._left + (now_s - self._at_s) * self._bytes_s)
        self._at_s = now_s
        if self._left < size:
            return False
        self._left -= size
        return True


class ChunkFetcher:
    """One fetch. It names the chunks it wants next (`missing`) and takes those that come (`accept`); the caller
    subscribes and unsubscribes. `request` says what to ask the hub for, if anything.

    With `repair`, the file is there and its digest is wrong: the bad blocks are found and fetched from the hub.

    Raises: StorageError: wherever the `.part` file cannot be written.
    """

    def __init__(
        self,
        wanted: WantedBundle,
        part: Path,
        stall_s: float,
        now_s: float,
        *,
        pace: Pace | None = None,
        repair: bool = False,
    ) -> None:
        self.wanted = wanted
        self.part = part
        self.chunks = -(-wanted.length // CHUNK_BYTES)
        self.stalls = 0
        self.refused_chunks = 0
        self._pace = pace or Pace()
        self._stall_s = stall_s
        self._quiet_since_s = now_s
        self._early: dict[int, bytes] = {}
        self._next = self._resume()
        self._repairing = repair and self._next >= self.chunks
        self._paid = self._next  # chunks below it may be asked for
        self._direct = False
        self._asked: tuple[GetBody, float] | None = None
        self._bad: dict[int, bytes] | None = None  # block -> its digest, as the hub says
        self.refill(now_s)

    def _resume(self) -> int:
        """The first chunk that is not in the `.part` file, whose end is cut back to a chunk's boundary."""
        try:
            size = self.part.stat().st_size
        except FileNotFoundError:
            storage.make_folder(self.part.parent)
            storage.put(self.part, 0, b"")
            return 0
        except OSError as error:
            raise StorageError(f"{self.part}: {error.strerror or error}") from error
        whole = size // CHUNK_BYTES
        kept = self.wanted.length if size >= self.wanted.length else whole * CHUNK_BYTES
        if kept != size:
            storage.truncate(self.part, kept)
        return self.chunks if kept == self.wanted.length else whole

    @property
    def complete(self) -> bool:
        """Whether every chunk is on the disk, and as good as we can tell."""
        if self._repairing:
            return self._bad is not None and not self._bad
        return self._next >= self.chunks

    @property
    def fetched_bytes(self) -> int:
        """How much is on the disk."""
        return min(self._next * CHUNK_BYTES, self.wanted.length)

    def missing(self) -> set[int]:
        """The chunks to be subscribed to at this moment."""
        if self._repairing:
            return set()
        return set(range(self._next, self._paid)) - self._early.keys()

    def refill(self, now_s: float) -> None:
        """Ask for as much more as the pace allows."""
        if self._repairing:
            return
        if not self.missing():
            self._quiet_since_s = now_s  # waiting for our own pace is no stall
        while self._paid < min(self._next + AHEAD, self.chunks) and self._pace.take(self._size(self._paid), now_s):
            self._paid += 1

    def _size(self, index: int) -> int:
        return min(CHUNK_BYTES, self.wanted.length - index * CHUNK_BYTES)

    def accept(self, index: int, payload: bytes, now_s: float) -> bool:
        """Take a chunk. False: it was not asked for, or has not the length it must have (counted)."""
        if index not in self.missing():
            return False
        if len(payload) != self._size(index):
            self.refused_chunks += 1
            return False
        self._early[index] = payload
        self._append_ready()
        self._progress(now_s)
        self._direct = False
        return True

    def _progress(self, now_s: float) -> None:
        self._quiet_since_s = now_s
        self.stalls = 0
        self.refill(now_s)

    def _append_ready(self) -> None:
        """Write what has become contiguous; flush to the disk when it is the last."""
        while self._next in self._early:
            storage.put(self.part, self._next * CHUNK_BYTES, self._early[self._next])
            del self._early[self._next]
            self._next += 1
            if self._next >= self.chunks:
                storage.flush_file(self.part)

    def stalled(self, now_s: float) -> bool:
        """Whether nothing has come for too long. True once per stall; the patience doubles each time, so that the hub
        is told without being flooded. From then on the hub is asked for blocks, too.
        """
        self.refill(now_s)
        patience_s = min(self._stall_s * 2**self.stalls, max(_LONGEST_STALL_S, self._stall_s))
        if self.complete or now_s - self._quiet_since_s < patience_s:
            return False
        self._quiet_since_s = now_s
        self.stalls = min(self.stalls + 1, 32)
        self._direct = True
        if self._repairing and self.stalls >= _HOPELESS_STALLS:
            self.start_over(now_s)
        return True

    def start_over(self, now_s: float) -> None:
        """Nobody can say what is wrong with the file: fetch all of it again."""
        storage.truncate(self.part, 0)
        self._repairing, self._bad, self._early = False, None, {}
        self._next = self._paid = 0
        self.refill(now_s)

    # ------------------------------------------------------------------------------------------------ blocks

    def request(self, now_s: float, gateway: str) -> GetBody | None:
        """What to ask the hub for now; None: nothing, or what was asked is not answered yet."""
        body = self._needed(gateway)
        if body is None:
            self._asked = None
            return None
        if self._asked is not None and self._asked[0] == body and now_s - self._asked[1] < _ASK_AGAIN_S:
            return None
        self._asked = (body, now_s)
        return body

    def _needed(self, gateway: str) -> GetBody | None:
        sha256 = self.wanted.sha256
        if self._repairing and self._bad is None:
            return GetBody(gateway=gateway, sha256=sha256, digests=True)
        blocks = sorted(self._bad)[:AHEAD] if self._bad else sorted(self.missing()) if self._direct else []
        if not blocks:
            return None
        return GetBody(gateway=gateway, sha256=sha256, first=blocks[0], bitmap=_bitmap(blocks))

    def accept_block(self, block: BlockBody, now_s: float) -> bool:
        """Take an answer of the hub's. False: it was not asked for, or is not what it must be (counted)."""
        if block.index is None:
            return self._accept_digests(block.data, now_s)
        if self._bad is None:
            taken = self.accept(block.index, block.data, now_s)
            self._direct |= taken  # the rest will not come by itself either
            return taken
        digest = self._bad.get(block.index)
        if digest is None:
            return False
        if len(block.data) != self._size(block.index) or _digest(block.data) != digest:
            self.refused_chunks += 1
            return False
        storage.put(self.part, block.index * CHUNK_BYTES, block.data)
        del self._bad[block.index]
        if not self._bad:
            storage.flush_file(self.part)
        self._progress(now_s)
        return True

    def _accept_digests(self, data: bytes, now_s: float) -> bool:
        """Find the bad blocks. There may be none left: the repair was done, and then the power went. When there is none
        and the file is wrong all the same, these are not the digests of the wanted file: all of it again.
        """
        if not self._repairing or self._bad is not None:
            return False
        if len(data) != self.chunks * DIGEST_BYTES:
            self.refused_chunks += 1
            return False
        said = [data[at : at + DIGEST_BYTES] for at in range(0, len(data), DIGEST_BYTES)]
        bad, whole = {}, hashlib.sha256()
        with self.part.open("rb") as file:
            for index, digest in enumerate(said):
                block = file.read(CHUNK_BYTES)
                whole.update(block)
                if _digest(block) != digest:
                    bad[index] = digest
        if bad or whole.hexdigest() == self.wanted.sha256:
            self._bad = bad
            storage.flush_file(self.part)
        else:
            self.start_over(now_s)
        self._progress(now_s)
        return True


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:DIGEST_BYTES]


def _bitmap(blocks: Iterable[int]) -> bytes:
    """Bit k is set for block first + k. Blocks that are too far from the first one wait for the next request."""
    ordered = list(blocks)
    bits = sum(1 << (block - ordered[0]) for block in ordered if block - ordered[0] < 8 * 256)
    return bits.to_bytes(-(-bits.bit_length() // 8), "little")

"""What must reach the hub, kept on the disk until the hub says that it has stored it.

Alarm events become items at once, each with (boot id, seq). Trend rows stay single, and thus mergeable, until they are
due to be sent; then they are gathered into a batch with a (boot id, seq) of its own. An item leaves only by the hub's
receipt, or by the rule in `outbox_rules` when the bound would be broken.

SQLite: WAL with synchronous=FULL, since an event that was handed over must survive a power cut, and events are rare
while trends are committed in batches (measured: 216 us a commit against 14 us with NORMAL); one writer, so the lock is
held for good (EXCLUSIVE), which also spares the shared-memory file; `max_page_count` bounds the file itself.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from edge_agent.errors import StorageError
from edge_agent.outbox_rules import Held, Plan, Rank, plan_drop, plan_merge
from edge_agent.trends import merge_rows
from models.contract.messages import Health, TrendBatch, TrendRow, encode

log = logging.getLogger(__name__)

Kind = Literal["event", "trend"]
ROW_OVERHEAD_BYTES = 64
MAX_IN_FLIGHT = 32
MAX_IN_FLIGHT_BYTES = 2 * 2**20
ROWS_PER_BATCH = 200
RESEND_S = 20.0
_LONGEST_RESEND_S = 320.0
_PAGE_BYTES = 4096
_SLACK = 32

_SCHEMA = """
CREATE TABLE IF NOT EXISTS item (
    key INTEGER PRIMARY KEY AUTOINCREMENT, boot TEXT NOT NULL, seq INTEGER NOT NULL, kind TEXT NOT NULL,
    rank INTEGER NOT NULL, size INTEGER NOT NULL, payload BLOB NOT NULL, UNIQUE (boot, seq));
CREATE TABLE IF NOT EXISTS row (
    key INTEGER PRIMARY KEY AUTOINCREMENT, point TEXT NOT NULL, size INTEGER NOT NULL, payload BLOB NOT NULL);
"""


class _Span(msgspec.Struct):
    """As much of a stored trend row as is needed to decide whether to merge it."""

    span_s: float


@dataclass(frozen=True, slots=True)
class Item:
    """Something to be published now."""

    kind: Kind
    boot_id: str
    seq: int
    payload: bytes


class Outbox:
    """See the module. Not thread-safe: the agent's loop owns it.

    Args:   boot_id: of this run of the agent; sequence numbers begin at 0 with it.
    Raises: StorageError: the file cannot be used, wherever it is read or written.
    """

    def __init__(self, path: Path, max_bytes: int, gateway: str, boot_id: str) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._gateway = gateway
        self._boot_id = boot_id
        self._seq = 0
        self._in_flight: dict[int, tuple[float, int]] = {}  # key: (when sent, size)
        self._resend_s = RESEND_S
        self.counters: dict[str, int] = dict.fromkeys(
            ("outbox.merged", "outbox.dropped_trends", "outbox.dropped_events", "outbox.resent"), 0
        )
        self._db = self._open_or_replace()
        with self._guard():
            self._bytes = self._measure()
        self._make_room(0, Rank.ALARM)

    def _open_or_replace(self) -> sqlite3.Connection:
        """Open the file; a damaged one is put aside for an expert, because an agent that does not start watches
        nothing.
        """
        with self._guard():
            try:
                return _open(self._path, self._max_bytes)
            except sqlite3.OperationalError:  # locked, no space, no permission: not damage
                raise
            except sqlite3.DatabaseError as error:
                log.error("%s is damaged (%s) and was put aside; what it held is lost", self._path, error)  # noqa: TRY400
                self.counters["outbox.damaged"] = 1
                self._path.replace(self._path.with_suffix(".damaged"))
                for suffix in ("-wal", "-shm"):
                    self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
                return _open(self._path, self._max_bytes)

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StorageError(f"{self._path}: {error}") from error

    def _measure(self) -> int:
        query = "SELECT (SELECT COALESCE(SUM(size), 0) FROM item) + (SELECT COALESCE(SUM(size), 0) FROM row)"
        return int(self._db.execute(query).fetchone()[0])

    @property
    def held_bytes(self) -> int:
        """How much is held, never over the bound."""
        return self._bytes

    @property
    def in_flight(self) -> int:
        """Items sent and not receipted."""
        return len(self._in_flight)

    def __len__(self) -> int:
        items, rows = self._db.execute("SELECT (SELECT COUNT(*) FROM item), (SELECT COUNT(*) FROM row)").fetchone()
        return int(items + rows)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # ------------------------------------------------------------------------------------------------- in

    def add_event(self, build: Callable[[int], bytes], *, update: bool = False) -> None:
        """Store an alarm event for good. `build` gives its payload for the sequence number it gets.

        `update`: it only refines an event before it, and may go before that one.
        """
        payload = build(self._seq)
        self._insert_item("event", Rank.UPDATE if update else Rank.ALARM, payload)

    def _insert_item(self, kind: Kind, rank: Rank, payload: bytes) -> None:
        size = len(payload) + ROW_OVERHEAD_BYTES
        if not self._make_room(size, rank):
            self._count_drop(rank)
            return
        with self._guard(), self._db:
            self._db.execute(
                "INSERT INTO item (boot, seq, kind, rank, size, payload) VALUES (?, ?, ?, ?, ?, ?)",
                (self._boot_id, self._seq, kind, int(rank), size, payload),
            )
        self._seq += 1
        self._bytes += size

    def add_rows(self, rows: Iterable[TrendRow]) -> None:
        """Store trend rows, in one commit."""
        stored = [(f"{row.machine}/{row.point}", msgspec.msgpack.encode(row)) for row in rows]
        if not stored:
            return
        values = [(point, len(payload) + ROW_OVERHEAD_BYTES, payload) for point, payload in stored]
        total = sum(size for _, size, _ in values)
        self._make_room(total, Rank.TREND)
        while values and self._bytes + total > self._max_bytes:
            total -= values.pop(0)[1]
            self._count_drop(Rank.TREND)
        with self._guard(), self._db:
            self._db.executemany("INSERT INTO row (point, size, payload) VALUES (?, ?, ?)", values)
        self._bytes += total

    # ------------------------------------------------------------------------------------------------- room

    def _make_room(self, size: int, rank: Rank) -> bool:
        """Let go of as much as the rule says, so that `size` more bytes of an item of this rank fit; nothing dearer
        goes for it. A little more is spared than needed, so that a full outbox does not do this at every item.

        Returns: whether they fit.
        """
        while self._bytes + size > self._max_bytes:
            excess = max(self._bytes + size - self._max_bytes, self._max_bytes // _SLACK)
            with self._guard():
                plan = plan_merge(self._rows(), excess)
            if plan.merge and self._merge(plan):
                continue
            if not self._drop(excess, rank):
                return False
        return True

    def _rows(self) -> Iterator[Held]:
        """Trend rows that were not gathered yet, the oldest first, read as far as they are asked for."""
        found = self._db.execute("SELECT key, point, size, payload FROM row ORDER BY key")
        for key, point, size, payload in found:
            span_s = msgspec.msgpack.decode(payload, type=_Span).span_s
            yield Held(key, Rank.TREND, size, point, span_s)

    def _query(self, sql: str, values: Sequence[object] = ()) -> list[tuple[int, str, int]]:
        with self._guard():
            return self._db.execute(sql, values).fetchall()

    def _merge(self, plan: Plan) -> bool:
        """Carry a merge out. False: it spared nothing."""
        before = self._bytes
        with self._guard(), self._db:
            for keys in plan.merge:
                marks = ",".join("?" * len(keys))
                payloads = self._db.execute(f"SELECT payload FROM row WHERE key IN ({marks}) ORDER BY key", keys)  # noqa: S608
                merged = merge_rows([msgspec.msgpack.decode(p, type=TrendRow) for (p,) in payloads])
                payload = msgspec.msgpack.encode(merged)
                self._db.execute(
                    "UPDATE row SET payload = ?, size = ? WHERE key = ?",
                    (payload, len(payload) + ROW_OVERHEAD_BYTES, keys[0]),
                )
                self._db.executemany("DELETE FROM row WHERE key = ?", [(key,) for key in keys[1:]])
                self.counters["outbox.merged"] += len(keys) - 1
            self._bytes = self._measure()
        return self._bytes < before

    def _drop(self, excess: int, rank: Rank) -> bool:
        """Carry a drop out, trend rows and items together. False: there is nothing left to drop."""
        rows = [
            Held(key, Rank.TREND, size, point)
            for key, point, size in self._query("SELECT key, point, size FROM row ORDER BY key")
        ]
        items = [
            Held(-key, Rank(int(held)), size)
            for key, held, size in self._query(
                "SELECT key, rank, size FROM item WHERE rank <= ? ORDER BY key", (int(rank),)
            )
        ]
        trends = [item for item in items if item.rank is Rank.TREND]
        dearer = [item for item in items if item.rank is not Rank.TREND]
        plan = plan_drop([*trends, *rows, *dearer], excess)
        ranks = {item.key: item.rank for item in items}
        with self._guard(), self._db:
            self._db.executemany("DELETE FROM item WHERE key = ?", [(-key,) for key in plan.drop if key < 0])
            self._db.executemany("DELETE FROM row WHERE key = ?", [(key,) for key in plan.drop if key > 0])
            self._bytes = self._measure()
        for key in plan.drop:
            self._in_flight.pop(-key, None)
            self._count_drop(ranks.get(key, Rank.TREND))
        return bool(plan.drop)

    def _count_drop(self, rank: Rank) -> None:
        self.counters["outbox.dropped_trends" if rank is Rank.TREND else "outbox.dropped_events"] += 1

    # ------------------------------------------------------------------------------------------------- out

    def forget_in_flight(self) -> None:
        """After a reconnection nothing that was sent may be counted on: everything is due again."""
        self._in_flight.clear()
        self._resend_s = RESEND_S

    def due(self, now_s: float, health: Health | None = None, *, gather: bool = True) -> list[tuple[int, Item]]:
        """Items to be published now, the dearest first, as (key, item): those never sent, and those sent so long ago
        that the receipt must be lost. At most `MAX_IN_FLIGHT` are under way at any time.

        `gather`: whether to make a batch of the trend rows so far; `health` goes along with it.
        """
        late = [key for key, (sent_s, _) in self._in_flight.items() if now_s - sent_s >= self._resend_s]
        for key in late:
            del self._in_flight[key]
        if late:
            self.counters["outbox.resent"] += len(late)
            self._resend_s = min(2 * self._resend_s, _LONGEST_RESEND_S)
        if gather and len(self._in_flight) < MAX_IN_FLIGHT:
            self._gather(health)
        return self._pick()

    def _gather(self, health: Health | None) -> None:
        """Make one batch of the oldest trend rows, once those before are under way."""
        with self._guard():
            waiting = self._db.execute("SELECT COUNT(*) FROM item WHERE kind = 'trend'").fetchone()[0]
            found = self._db.execute("SELECT key, size, payload FROM row ORDER BY key LIMIT ?", (ROWS_PER_BATCH,))
            rows = found.fetchall() if waiting < MAX_IN_FLIGHT // 2 else []
        if not rows:
            return
        batch = TrendBatch(
            gateway=self._gateway,
            boot_id=self._boot_id,
            seq=self._seq,
            rows=[msgspec.msgpack.decode(payload, type=TrendRow) for _, _, payload in rows],
            health=health,
        )
        payload = encode(batch)
        size = len(payload) + ROW_OVERHEAD_BYTES
        with self._guard(), self._db:
            self._db.executemany("DELETE FROM row WHERE key = ?", [(key,) for key, _, _ in rows])
            self._db.execute(
                "INSERT INTO item (boot, seq, kind, rank, size, payload) VALUES (?, ?, 'trend', ?, ?, ?)",
                (self._boot_id, self._seq, int(Rank.TREND), size, payload),
            )
        self._seq += 1
        self._bytes += size - sum(n for _, n, _ in rows)
        self._make_room(0, Rank.ALARM)

    def _pick(self) -> list[tuple[int, Item]]:
        room = MAX_IN_FLIGHT - len(self._in_flight)
        if room <= 0:
            return []
        with self._guard():
            rows = self._db.execute(
                "SELECT key, kind, boot, seq, size FROM item ORDER BY rank = 0, key LIMIT ?",
                (MAX_IN_FLIGHT + len(self._in_flight),),
            ).fetchall()
        flying = sum(size for _, size in self._in_flight.values())
        picked: list[tuple[int, Item]] = []
        for key, kind, boot, seq, size in rows:
            if key in self._in_flight or len(picked) >= room:
                continue
            if flying and flying + size > MAX_IN_FLIGHT_BYTES:
                break
            flying += size
            picked.append((key, Item(kind, boot, seq, self._payload(key))))
        return picked

    def _payload(self, key: int) -> bytes:
        with self._guard():
            return bytes(self._db.execute("SELECT payload FROM item WHERE key = ?", (key,)).fetchone()[0])

    def mark_sent(self, key: int, now_s: float, size: int) -> None:
        """Note that an item was handed to the network."""
        self._in_flight[key] = (now_s, size)

    def receipt(self, received: Iterable[tuple[str, int]]) -> int:
        """Let go of what the hub has stored: (boot id, seq). Returns: how many were still held."""
        self._resend_s = RESEND_S
        gone = 0
        with self._guard(), self._db:
            for boot_id, seq in received:
                found = self._db.execute(
                    "DELETE FROM item WHERE boot = ? AND seq = ? RETURNING key, size", (boot_id, seq)
                ).fetchone()
                if found is not None:
                    self._in_flight.pop(found[0], None)
                    self._bytes -= found[1]
                    gone += 1
        return gone


def _open(path: Path, max_bytes: int) -> sqlite3.Connection:
    db = sqlite3.connect(path)
    for pragma in (
        f"page_size = {_PAGE_BYTES}",
        "locking_mode = EXCLUSIVE",
        "journal_mode = WAL",
        "synchronous = FULL",
        f"journal_size_limit = {2**20}",
        "cache_size = -512",
        "temp_store = MEMORY",
        f"max_page_count = {2 * max_bytes // _PAGE_BYTES + 64}",
    ):
        db.execute(f"PRAGMA {pragma}").fetchall()
    db.executescript(_SCHEMA)
    return db

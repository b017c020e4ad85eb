"""Stores batches of messages: all of a batch in one transaction, each message once however often it comes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
from sqlalchemy import bindparam, delete, update
from sqlalchemy.orm import Session

from cloud_hub.errors import StoreError, StoreUnavailableError
from cloud_hub.store import tables as t
from cloud_hub.store.bulk import Columns
from cloud_hub.store.capture_writer import Refused, store_chunks
from cloud_hub.store.database import Database, insert_all, insert_columns, insert_new, upsert
from cloud_hub.store.event_writer import store_events
from cloud_hub.store.once import SeqKey, insert_once
from cloud_hub.store.tables import table_of
from models.contract.messages import Ack, AgentState, AlarmEvent, CaptureChunk, TrendBatch

Message = AgentState | Ack | AlarmEvent | TrendBatch | CaptureChunk
_M = TypeVar("_M")


@dataclass(frozen=True, slots=True)
class Received:
    """One checked message, and how it came. `retained`: the broker had kept it, so it does not show that the gateway
    lives.
    """

    message: Message
    retained: bool = False
    topic: str = ""
    payload_bytes: int = 0


@dataclass(slots=True)
class Receipts:
    """What one gateway may let go of: (boot id, seq) and (capture id, index)."""

    events: list[tuple[str, int]] = field(default_factory=list)
    chunks: list[tuple[str, int]] = field(default_factory=list)


@dataclass(slots=True)
class Outcome:
    """What became of a batch. A duplicate gets its receipt too: it is stored, and its first receipt may be lost."""

    stored: Counter[str] = field(default_factory=Counter)
    duplicates: Counter[str] = field(default_factory=Counter)
    receipts: defaultdict[str, Receipts] = field(default_factory=lambda: defaultdict(Receipts))
    refused: list[Refused] = field(default_factory=list)
    complete_captures: list[str] = field(default_factory=list)
    evidence: int = 0


class Writer:
    """Stores batches. `now_s` gives the hub's UTC time.

    It remembers which gateways, machines and points it has stored, so that most batches need not say them again.
    """

    def __init__(self, database: Database, now_s: Callable[[], float]) -> None:
        self._database = database
        self._now_s = now_s
        self._known = _Places()

    def store(self, batch: Sequence[Received]) -> Outcome:
        """Store a batch, in the order given. When this returns it is committed; when it raises, nothing is stored.

        Raises: StoreUnavailableError: the same batch may be stored later. StoreError: something in it cannot be stored.
        """
        try:
            return self._store(batch, careful=False)
        except StoreUnavailableError:
            raise
        except StoreError:
            # Two reasons may lie here and not in the batch: what is remembered is there no more, or another hub has
            # just stored the same.
            self._known = _Places()
            return self._store(batch, careful=True)

    def _store(self, batch: Sequence[Received], *, careful: bool) -> Outcome:
        outcome = Outcome()
        messages = [received.message for received in batch]
        named = _places_in(messages)
        new = named.without(self._known)
        events = _of(messages, AlarmEvent)
        with self._database.write(shared=True) as session:
            now_s = self._now_s()  # not before it is our turn to write
            _store_gateways(session, new, batch, now_s)
            _store_machines(session, new, now_s)
            _store_states(session, _of(messages, AgentState), outcome)
            _store_points(session, new)
            _store_acks(session, _of(messages, Ack), now_s, outcome)
            stored, outcome.evidence = store_events(session, events, now_s, careful=careful)
            _store_trends(session, _of(messages, TrendBatch), now_s, outcome, careful)
            _store_captures(session, _of(messages, CaptureChunk), now_s, outcome)
        self._known.add(new)
        for event in events:
            outcome.receipts[event.gateway].events.append((event.boot_id, event.seq))
        outcome.stored["event"] += stored
        outcome.duplicates["event"] += len(events) - stored
        return outcome


@dataclass(slots=True)
class _Places:
    """Gateways, machines, and points (gateway, machine, point) with the slot that they were named with."""

    gateways: set[str] = field(default_factory=set)
    machines: set[str] = field(default_factory=set)
    points: dict[tuple[str, str, str], str | None] = field(default_factory=dict)

    def without(self, others: _Places) -> _Places:
        """Those that are not among the others."""
        points = {key: slot for key, slot in self.points.items() if key not in others.points}
        return _Places(self.gateways - others.gateways, self.machines - others.machines, points)

    def add(self, others: _Places) -> None:
        """Remember more; begin anew when that would be too many."""
        if len(self.points) + len(others.points) > _MAX_KNOWN:
            self.gateways, self.machines, self.points = set(), set(), {}
        self.gateways |= others.gateways
        self.machines |= others.machines
        self.points |= others.points


_MAX_KNOWN = 200_000


def _places_in(messages: Sequence[Message]) -> _Places:
    found = _Places({m.gateway for m in messages})
    points = found.points
    for m in messages:
        if isinstance(m, AlarmEvent):
            points[m.gateway, m.machine, m.point] = m.slot
        elif isinstance(m, TrendBatch):
            for row in m.rows:
                points.setdefault((m.gateway, row.machine, row.point), None)
        elif isinstance(m, CaptureChunk):
            points.setdefault((m.gateway, m.machine, m.point), None)
        elif isinstance(m, AgentState):
            found.machines.update(p.machine for p in m.points)
    found.machines.update(machine for _, machine, _ in points)
    return found


def _of(messages: Sequence[Message], kind: type[_M]) -> list[_M]:
    return [m for m in messages if isinstance(m, kind)]


def _store_gateways(session: Session, new: _Places, batch: Sequence[Received], now_s: float) -> None:
    rows = [
        {"id": name, "first_seen_s": now_s, "last_seen_s": now_s, "counters": {}, **_NEW_GATEWAY}
        for name in sorted(new.gateways)
    ]
    upsert(session, table_of(t.Gateway), rows, key=["id"])
    alive = {r.message.gateway for r in batch if not r.retained and not _is_will(r.message)}
    if alive:
        session.execute(update(t.Gateway).where(t.Gateway.id.in_(alive)).values(last_seen_s=now_s))


_NEW_GATEWAY = {"online": False, "agent_version": "", "runtime": "", "want_seq": 0, "rss_mb": 0.0, "outbox_bytes": 0}


def _is_will(message: Message) -> bool:
    """The last will is sent by the broker, long after the gateway had written it."""
    return isinstance(message, AgentState) and not message.online


def _store_machines(session: Session, new: _Places, now_s: float) -> None:
    """All at once and sorted: they are the only rows that several workers insert, and so none waits in a circle."""
    rows = [{"id": name, "first_seen_s": now_s} for name in sorted(new.machines)]
    upsert(session, table_of(t.Machine), rows, key=["id"])


def _store_states(session: Session, states: list[AgentState], outcome: Outcome) -> None:
    """Only the last state of each gateway counts; a last will says no more than that the gateway is away."""
    latest = {s.gateway: s for s in states if s.online}
    online = {s.gateway: s.online for s in states}
    if latest:
        table = table_of(t.Gateway)
        names = list(_gateway_values(next(iter(latest.values()))))
        statement = table.update().where(table.c.id == bindparam("this"))
        session.execute(
            statement.values({name: bindparam(f"new_{name}") for name in names}),
            [
                {"this": gateway, **{f"new_{name}": value for name, value in _gateway_values(state).items()}}
                for gateway, state in latest.items()
            ],
        )
        _replace_slots(session, latest)
    for is_online in (True, False):
        gateways = [g for g, said in online.items() if said is is_online]
        if gateways:
            session.execute(update(t.Gateway).where(t.Gateway.id.in_(gateways)).values(online=is_online))
    _replace_points(session, latest)
    outcome.stored["state"] += len(states)


def _gateway_values(state: AgentState) -> dict[str, object]:
    return {
        "boot_id": state.boot_id,
        "state_s": state.time_s,
        "agent_version": state.agent_version,
        "runtime": state.runtime,
        "want_seq": state.want_seq,
        "rss_mb": state.rss_mb,
        "outbox_bytes": state.outbox_bytes,
        "counters": state.counters,
        "retired_s": None,  # whoever was let in anew belongs to the fleet again
    }


def _replace_slots(session: Session, latest: Mapping[str, AgentState]) -> None:
    session.execute(delete(t.GatewaySlot).where(t.GatewaySlot.gateway_id.in_(latest)))
    rows = {
        (gateway, s.slot): {"gateway_id": gateway, **msgspec.structs.asdict(s)}
        for gateway, state in latest.items()
        for s in state.slots
    }
    upsert(session, table_of(t.GatewaySlot), rows.values(), key=["gateway_id", "slot"])


_POINT_KEY = ("gateway_id", "machine_id", "point")
_POINT_VALUES = ("slot", "verdict", "score", "windows", "warmup_left", "last_window_s", "current")


def _replace_points(session: Session, latest: dict[str, AgentState]) -> None:
    rows = {}
    for gateway, state in latest.items():
        for p in state.points:
            values = msgspec.structs.asdict(p)
            machine = values.pop("machine")
            rows[gateway, machine, p.point] = {"gateway_id": gateway, "machine_id": machine, **values, "current": True}
    if latest:
        session.execute(update(t.Point).where(t.Point.gateway_id.in_(latest)).values(current=False))
    upsert(session, table_of(t.Point), rows.values(), key=_POINT_KEY, update=_POINT_VALUES)


def _store_points(session: Session, new: _Places) -> None:
    """Points that are named before any state has listed them: what is said about them must have a place."""
    rows = [
        {
            **dict(zip(_POINT_KEY, key, strict=True)),
            "slot": slot,
            "verdict": "warming_up",
            "windows": 0,
            "warmup_left": 0,
            "current": True,
        }
        for key, slot in sorted(new.points.items())
    ]
    upsert(session, table_of(t.Point), rows, key=_POINT_KEY)


def _store_acks(session: Session, acks: list[Ack], now_s: float, outcome: Outcome) -> None:
    rows = [
        {
            "gateway_id": a.gateway,
            "seq": a.seq,
            "slot": a.slot or "",
            "phase": a.phase,
            "time_s": a.time_s,
            "received_s": now_s,
            "sha256": a.sha256,
            "reason": a.reason,
            "detail": a.detail,
        }
        for a in acks
    ]
    key = ["gateway_id", "seq", "slot", "phase", "time_s"]
    new = insert_new(session, table_of(t.Ack), rows, key=key, returning=["id"])
    outcome.stored["ack"] += len(new)
    outcome.duplicates["ack"] += len(acks) - len(new)


def _store_trends(session: Session, batches: list[TrendBatch], now_s: float, outcome: Outcome, careful: bool) -> None:
    first: dict[SeqKey, TrendBatch] = {}
    for b in batches:
        first.setdefault((b.gateway, b.boot_id, b.seq), b)
        outcome.receipts[b.gateway].events.append((b.boot_id, b.seq))

    def columns(some: Sequence[TrendBatch]) -> Columns:
        return {
            "gateway_id": [b.gateway for b in some],
            "boot_id": [b.boot_id for b in some],
            "seq": [b.seq for b in some],
            "received_s": [now_s] * len(some),
        }

    new = [first[key] for key in insert_once(session, table_of(t.TrendBatch), first, columns, careful=careful)]
    outcome.stored["trend"] += len(new)
    outcome.duplicates["trend"] += len(batches) - len(new)
    rows = [row for b in new for row in b.rows]
    insert_columns(
        session,
        table_of(t.Trend),
        {
            "gateway_id": [b.gateway for b in new for _ in b.rows],
            "machine_id": [row.machine for row in rows],
            "point": [row.point for row in rows],
            "time_s": [row.time_s for row in rows],
            "span_s": [row.span_s for row in rows],
            "windows": [row.windows for row in rows],
            "flagged": [row.flagged for row in rows],
            "score_mean": [row.score_mean for row in rows],
            "score_max": [row.score_max for row in rows],
            "rms": [row.rms for row in rows],
            "verdict": [row.verdict for row in rows],
        },
    )
    health = [
        {"gateway_id": b.gateway, "boot_id": b.boot_id, **msgspec.structs.asdict(b.health)}
        for b in new
        if b.health is not None
    ]
    insert_all(session, table_of(t.Health), health)
    outcome.stored["trend_row"] += len(rows)


def _store_captures(session: Session, chunks: list[CaptureChunk], now_s: float, outcome: Outcome) -> None:
    by_capture: defaultdict[str, list[CaptureChunk]] = defaultdict(list)
    for chunk in chunks:
        by_capture[chunk.capture].append(chunk)
    for group in by_capture.values():
        result = store_chunks(session, group, now_s)
        outcome.stored["chunk"] += result.stored
        outcome.duplicates["chunk"] += len(result.receipted) - result.stored
        outcome.refused.extend(result.refused)
        for chunk in result.receipted:
            outcome.receipts[chunk.gateway].chunks.append((chunk.capture, chunk.index))
        if result.complete:
            outcome.complete_captures.append(group[0].capture)

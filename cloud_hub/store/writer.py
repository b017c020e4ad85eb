"""Stores batches of messages: all of a batch in one transaction, each message once however often it comes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import msgspec
from sqlalchemy import Row, Table, bindparam, delete, update
from sqlalchemy.orm import Session

from cloud_hub.store import alarm_places, alarm_standing
from cloud_hub.store import tables as t
from cloud_hub.store.capture_writer import Refused, store_chunks
from cloud_hub.store.database import Database, insert_all, insert_new, rows_with, upsert
from cloud_hub.store.episodes import Episode, advance, summary_of
from models.contract.messages import Ack, AgentState, AlarmEvent, CaptureChunk, Diagnosis, TrendBatch

Message = AgentState | Ack | AlarmEvent | TrendBatch | CaptureChunk
_M = TypeVar("_M")
_Key = tuple[str, str, int]


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
    """Stores batches. `now_s` gives the hub's UTC time."""

    def __init__(self, database: Database, now_s: Callable[[], float]) -> None:
        self._database = database
        self._now_s = now_s

    def store(self, batch: Sequence[Received]) -> Outcome:
        """Store a batch, in the order given. When this returns it is committed; when it raises, nothing is stored.

        Raises: StoreUnavailableError: the same batch may be stored later. StoreError: something in it cannot be stored.
        """
        outcome = Outcome()
        messages = [received.message for received in batch]
        with self._database.write(shared=True) as session:
            now_s = self._now_s()  # not before it is our turn to write
            _store_gateways(session, batch, now_s)
            _store_machines(session, messages, now_s)
            _store_states(session, _of(messages, AgentState), outcome)
            _store_points(session, messages)
            _store_acks(session, _of(messages, Ack), now_s, outcome)
            _store_events(session, _of(messages, AlarmEvent), now_s, outcome)
            _store_trends(session, _of(messages, TrendBatch), now_s, outcome)
            _store_captures(session, _of(messages, CaptureChunk), now_s, outcome)
        return outcome


def _of(messages: Sequence[Message], kind: type[_M]) -> list[_M]:
    return [m for m in messages if isinstance(m, kind)]


def _table(row: type[t.Base]) -> Table:
    return cast(Table, row.__table__)


def _store_gateways(session: Session, batch: Sequence[Received], now_s: float) -> None:
    names = {r.message.gateway for r in batch}
    rows = [
        {"id": g, "first_seen_s": now_s, "last_seen_s": now_s, "counters": {}, **_NEW_GATEWAY} for g in sorted(names)
    ]
    upsert(session, _table(t.Gateway), rows, key=["id"])
    alive = {r.message.gateway for r in batch if not r.retained and not _is_will(r.message)}
    if alive:
        session.execute(update(t.Gateway).where(t.Gateway.id.in_(alive)).values(last_seen_s=now_s))


_NEW_GATEWAY = {"online": False, "agent_version": "", "runtime": "", "want_seq": 0, "rss_mb": 0.0, "outbox_bytes": 0}


def _is_will(message: Message) -> bool:
    """The last will is sent by the broker, long after the gateway had written it."""
    return isinstance(message, AgentState) and not message.online


def _store_machines(session: Session, messages: Sequence[Message], now_s: float) -> None:
    """All at once and sorted: they are the only rows that several workers insert, and so none waits in a circle."""
    names: set[str] = set()
    for m in messages:
        if isinstance(m, AgentState):
            names.update(p.machine for p in m.points)
        elif isinstance(m, (AlarmEvent, CaptureChunk)):
            names.add(m.machine)
        elif isinstance(m, TrendBatch):
            names.update(row.machine for row in m.rows)
    rows = [{"id": name, "first_seen_s": now_s} for name in sorted(names)]
    upsert(session, _table(t.Machine), rows, key=["id"])


def _store_states(session: Session, states: list[AgentState], outcome: Outcome) -> None:
    """Only the last state of each gateway counts; a last will says no more than that the gateway is away."""
    latest = {s.gateway: s for s in states if s.online}
    online = {s.gateway: s.online for s in states}
    if latest:
        table = _table(t.Gateway)
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
    }


def _replace_slots(session: Session, latest: Mapping[str, AgentState]) -> None:
    session.execute(delete(t.GatewaySlot).where(t.GatewaySlot.gateway_id.in_(latest)))
    rows = {
        (gateway, s.slot): {"gateway_id": gateway, **msgspec.structs.asdict(s)}
        for gateway, state in latest.items()
        for s in state.slots
    }
    upsert(session, _table(t.GatewaySlot), rows.values(), key=["gateway_id", "slot"])


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
    upsert(session, _table(t.Point), rows.values(), key=_POINT_KEY, update=_POINT_VALUES)


def _store_points(session: Session, messages: Sequence[Message]) -> None:
    """Points that are named before any state has listed them: what is said about them must have a place."""
    named: dict[tuple[str, str, str], str | None] = {}
    for m in messages:
        if isinstance(m, AlarmEvent):
            named[m.gateway, m.machine, m.point] = m.slot
        elif isinstance(m, CaptureChunk):
            named.setdefault((m.gateway, m.machine, m.point), None)
        elif isinstance(m, TrendBatch):
            for row in m.rows:
                named.setdefault((m.gateway, row.machine, row.point), None)
    rows = [
        {
            **dict(zip(_POINT_KEY, key, strict=True)),
            "slot": slot,
            "verdict": "warming_up",
            "windows": 0,
            "warmup_left": 0,
            "current": True,
        }
        for key, slot in sorted(named.items())
    ]
    upsert(session, _table(t.Point), rows, key=_POINT_KEY)


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
    new = insert_new(session, _table(t.Ack), rows, key=key, returning=["id"])
    outcome.stored["ack"] += len(new)
    outcome.duplicates["ack"] += len(acks) - len(new)


def _store_events(session: Session, events: list[AlarmEvent], now_s: float, outcome: Outcome) -> None:
    rows = [_event_row(e, now_s) for e in events]
    inserted = insert_new(session, _table(t.AlarmEvent), rows, key=_SEQ_KEY, returning=[*_SEQ_KEY, "id"])
    ids = {(gateway, boot, seq): row_id for gateway, boot, seq, row_id in inserted}
    new: dict[_Key, AlarmEvent] = {}
    for e in events:
        key = (e.gateway, e.boot_id, e.seq)
        if key in ids:
            new.setdefault(key, e)
        outcome.receipts[e.gateway].events.append((e.boot_id, e.seq))
    _advance_alarms(session, list(new.values()), now_s)
    evidence = [_evidence_row(ids[key], e) for key, e in new.items() if e.evidence is not None]
    insert_all(session, _table(t.AlarmEvidence), evidence)
    outcome.evidence += len(evidence)
    outcome.stored["event"] += len(new)
    outcome.duplicates["event"] += len(events) - len(new)


_SEQ_KEY = ("gateway_id", "boot_id", "seq")


def _event_row(event: AlarmEvent, now_s: float) -> dict[str, object]:
    return {
        "gateway_id": event.gateway,
        "boot_id": event.boot_id,
        "seq": event.seq,
        "alarm": event.alarm,
        "kind": event.kind,
        "verdict": event.verdict,
        "time_s": event.time_s,
        "received_s": now_s,
        "score": event.score,
        "peak": event.peak,
        "diagnosis": event.diagnosis,
    }


def _evidence_row(event_id: int, event: AlarmEvent) -> dict[str, object]:
    evidence = event.evidence
    assert evidence is not None  # noqa: S101 - the caller has looked
    return {"event_id": event_id, "bundle_sha256": event.bundle_sha256, **msgspec.structs.asdict(evidence)}


def _advance_alarms(session: Session, events: list[AlarmEvent], now_s: float) -> None:
    """Fold new events into their alarms, and let them stand where that puts them."""
    if not events:
        return
    rows: dict[tuple[str, str], Row[Any]] = {}
    keys = {(e.gateway, e.alarm) for e in events}
    columns = (*_EPISODE_COLUMNS, *alarm_standing.COLUMNS)
    for row in rows_with(session, _table(t.Alarm), columns, ("gateway_id", "alarm"), keys):
        rows[row.gateway_id, row.alarm] = row
    episodes = {key: _episode_of(row) for key, row in rows.items()}
    for e in events:
        episodes[e.gateway, e.alarm] = advance(episodes.get((e.gateway, e.alarm)), e)
    silenced = alarm_places.places(session, now_s, {e.machine for key, e in episodes.items() if key not in rows})
    followed = {
        key: alarm_standing.follow(rows.get(key), episode, silenced, key[0], now_s) for key, episode in episodes.items()
    }
    values = [
        {"gateway_id": g, "alarm": a, **_alarm_values(e), **followed[g, a].values, "changed_s": now_s}
        for (g, a), e in episodes.items()
    ]
    changed = values[0].keys() - {"gateway_id", "alarm"}
    upsert(session, _table(t.Alarm), values, key=["gateway_id", "alarm"], update=sorted(changed))
    moved = {key: of_alarm.steps for key, of_alarm in followed.items() if of_alarm.steps}
    for key, alarm in alarm_standing.find(session, moved).items():
        alarm_standing.note(session, alarm.id, moved[key], alarm_standing.HUB, now_s)


_EPISODE_COLUMNS = ("gateway_id", "alarm", "machine_id", *(n for n in Episode.__struct_fields__ if n != "machine"))


def _episode_of(row: Any) -> Episode:  # noqa: ANN401 - a row of `_EPISODE_COLUMNS`
    return Episode(
        machine=row.machine_id,
        point=row.point,
        slot=row.slot,
        bundle_sha256=row.bundle_sha256,
        bundle_version=row.bundle_version,
        verdict=row.verdict,
        status=row.status,
        raised_s=row.raised_s,
        cleared_s=row.cleared_s,
        updated_s=row.updated_s,
        score=row.score,
        peak=row.peak,
        diagnosis=msgspec.convert(row.diagnosis, Diagnosis | None),
        newest_key=row.newest_key,
        diagnosis_key=row.diagnosis_key,
    )


def _alarm_values(episode: Episode) -> dict[str, object]:
    values: dict[str, object] = msgspec.structs.asdict(episode)  # not deep: the diagnosis stays what it is
    values["machine_id"] = values.pop("machine")
    values["summary"] = summary_of(episode)
    return values


def _store_trends(session: Session, batches: list[TrendBatch], now_s: float, outcome: Outcome) -> None:
    keys = [{"gateway_id": b.gateway, "boot_id": b.boot_id, "seq": b.seq, "received_s": now_s} for b in batches]
    new: set[_Key] = set(insert_new(session, _table(t.TrendBatch), keys, key=_SEQ_KEY, returning=_SEQ_KEY))
    outcome.stored["trend"] += len(new)
    outcome.duplicates["trend"] += len(batches) - len(new)
    trends, health = [], []
    for b in batches:
        outcome.receipts[b.gateway].events.append((b.boot_id, b.seq))
        if (b.gateway, b.boot_id, b.seq) not in new:
            continue
        new.discard((b.gateway, b.boot_id, b.seq))
        for row in b.rows:
            values = msgspec.structs.asdict(row)
            trends.append({"gateway_id": b.gateway, "machine_id": values.pop("machine"), **values})
        if b.health is not None:
            health.append({"gateway_id": b.gateway, "boot_id": b.boot_id, **msgspec.structs.asdict(b.health)})
    insert_all(session, _table(t.Trend), trends)
    insert_all(session, _table(t.Health), health)
    outcome.stored["trend_row"] += len(trends)


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

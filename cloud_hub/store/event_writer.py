"""Events and the alarms that they make: the part of a batch that is looked through and folded, not only appended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Row
from sqlalchemy.orm import Session

from cloud_hub.store import alarm_places, alarm_standing
from cloud_hub.store import tables as t
from cloud_hub.store.database import insert_all, rows_with, upsert
from cloud_hub.store.episodes import Episode, advance, summary_of
from cloud_hub.store.once import SEQ_KEY, SeqKey, insert_once
from cloud_hub.store.tables import table_of
from models.contract.messages import AlarmEvent, Diagnosis


def store_events(session: Session, events: Sequence[AlarmEvent], now_s: float, *, careful: bool) -> tuple[int, int]:
    """Store what is not there yet, and bring its alarms up to it; `careful`: see `insert_once`.

    Returns: how many were new, and how many of those have evidence.
    """
    first: dict[SeqKey, AlarmEvent] = {}
    for event in events:
        first.setdefault((event.gateway, event.boot_id, event.seq), event)
    table = table_of(t.AlarmEvent)
    new = insert_once(session, table, first, lambda some: _event_columns(some, now_s), careful=careful)
    _advance_alarms(session, [first[key] for key in new], now_s)
    with_evidence = [key for key in new if first[key].evidence is not None]
    found = rows_with(session, table, [*SEQ_KEY, "id"], SEQ_KEY, with_evidence)
    evidence = [_evidence_row(row.id, first[row.gateway_id, row.boot_id, row.seq]) for row in found]
    insert_all(session, table_of(t.AlarmEvidence), evidence)
    return len(new), len(with_evidence)


def _event_columns(events: Sequence[AlarmEvent], now_s: float) -> dict[str, Sequence[Any]]:
    return {
        "gateway_id": [e.gateway for e in events],
        "boot_id": [e.boot_id for e in events],
        "seq": [e.seq for e in events],
        "alarm": [e.alarm for e in events],
        "kind": [e.kind for e in events],
        "verdict": [e.verdict for e in events],
        "time_s": [e.time_s for e in events],
        "received_s": [now_s] * len(events),
        "score": [e.score for e in events],
        "peak": [e.peak for e in events],
        "diagnosis": [e.diagnosis for e in events],
    }


def _evidence_row(event_id: int, event: AlarmEvent) -> dict[str, object]:
    evidence = event.evidence
    assert evidence is not None  # noqa: S101 - the caller has looked
    return {"event_id": event_id, "bundle_sha256": event.bundle_sha256, **msgspec.structs.asdict(evidence)}


def _advance_alarms(session: Session, events: Sequence[AlarmEvent], now_s: float) -> None:
    """Fold new events into their alarms, and let them stand where that puts them."""
    if not events:
        return
    rows: dict[tuple[str, str], Row[Any]] = {}
    keys = {(e.gateway, e.alarm) for e in events}
    columns = (*_EPISODE_COLUMNS, *alarm_standing.COLUMNS)
    for row in rows_with(session, table_of(t.Alarm), columns, ("gateway_id", "alarm"), keys):
        rows[row.gateway_id, row.alarm] = row
    episodes = {key: _episode_of(row) for key, row in rows.items()}
    for e in events:
        episodes[e.gateway, e.alarm] = advance(episodes.get((e.gateway, e.alarm)), e)
    silenced = alarm_places.places(session, now_s, {e.machine for key, e in episodes.items() if key not in rows})
    followed = {
        key: alarm_standing.follow(rows.get(key), episode, silenced, key[0], now_s) for key, episode in episodes.items()
    }
    values: list[dict[str, Any]] = [
        {"gateway_id": g, "alarm": a, **_alarm_values(e), **followed[g, a].values, "changed_s": now_s}
        for (g, a), e in episodes.items()
    ]
    changed = values[0].keys() - {"gateway_id", "alarm"}
    known = [row for row in values if (row["gateway_id"], row["alarm"]) in rows]
    upsert(session, table_of(t.Alarm), known, key=["gateway_id", "alarm"], update=sorted(changed))
    insert_all(session, table_of(t.Alarm), [row for row in values if (row["gateway_id"], row["alarm"]) not in rows])
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

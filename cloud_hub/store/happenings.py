"""Finds what has happened since the last look, and puts it into the outbox of every hook that wants it.

Looked for in what is stored anyway, so whoever stores it need not know that somebody wants to be told, and nothing is
told that is not stored. The place of the last look moves in the same transaction that fills the outbox: happenings are
neither missed nor told twice. Rows whose number is smaller may become visible later (transactions overlap), so each
look goes back `_OVERLAP` rows; what is there already is recognised by its key. When nothing new is there, that look
back happens only every `_LOOK_BACK_S`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from cloud_hub.notify.happenings import Happening, Kind, alarm_data, body_of
from cloud_hub.store import tables as t
from cloud_hub.store.database import Database, insert_new, upsert

OFFLINE_S = 120.0
_OVERLAP = 200
_LOOK_BACK_S = 30.0
_AT_ONCE = 1000
_KINDS: Mapping[str, Kind] = {"raised": "alarm.raised", "updated": "alarm.updated", "cleared": "alarm.cleared"}
Link = Callable[[str], str]


class HappeningsReader:
    """Fills the outbox. `link` makes an address that people can open of a path. Call `collect` every second or so."""

    def __init__(self, database: Database, link: Link) -> None:
        self._database = database
        self._link = link
        self._newest: tuple[int, int] | None = None
        self._looked_s = 0.0

    def collect(self, now_s: float) -> int:
        """How many deliveries were added. Raises: StoreError."""
        with self._database.read() as session:
            hooks = list(session.scalars(select(t.Hook).where(t.Hook.enabled.is_(True))))
            newest = (_newest(session, t.AlarmEvent.id), _newest(session, t.RolloutNote.id))
            changed = session.execute(_changed_gateways().limit(1)).first() is not None
        if not changed and newest == self._newest and 0 <= now_s - self._looked_s < _LOOK_BACK_S:
            return 0
        self._newest, self._looked_s = newest, now_s
        with self._database.write() as session:
            if not hooks:  # what happened before somebody wanted to know is not news
                _move_to_the_end(session)
                return 0
            found = [*self._alarms(session), *self._rollouts(session), *self._gateways(session, now_s)]
            return enqueue(session, hooks, found, now_s)

    def _alarms(self, session: Session) -> list[Happening]:
        rows = _since(session, "alarm_events", t.AlarmEvent.id, select(t.AlarmEvent))
        keys = {(r.gateway_id, r.alarm) for r in rows}
        alarms = {
            (a.gateway_id, a.alarm): a
            for gateway in {g for g, _ in keys}
            for a in session.scalars(
                select(t.Alarm).where(
                    t.Alarm.gateway_id == gateway, t.Alarm.alarm.in_([name for g, name in keys if g == gateway])
                )
            )
        }
        return [self._alarm(row, alarms[row.gateway_id, row.alarm]) for row in rows]

    def _alarm(self, row: t.AlarmEvent, alarm: t.Alarm) -> Happening:
        data = {
            "gateway": alarm.gateway_id,
            "machine": alarm.machine_id,
            "point": alarm.point,
            "alarm": alarm.alarm,
            "verdict": row.verdict,
            "score": row.score,
            "peak": row.peak,
            "summary": alarm.summary,
            "diagnosis": row.diagnosis or alarm.diagnosis,
            "bundle": alarm.bundle_version,
            "raised_s": alarm.raised_s,
            "cleared_s": alarm.cleared_s,
        }
        key = f"event:{row.gateway_id}:{row.boot_id}:{row.seq}"
        link = self._link(f"/alarms/{alarm.gateway_id}.{alarm.alarm}")
        return Happening(_KINDS[row.kind], key, row.time_s, alarm.machine_id, alarm_data(data, link))

    def _rollouts(self, session: Session) -> list[Happening]:
        rows = _since(session, "rollout_notes", t.RolloutNote.id, select(t.RolloutNote))
        return [
            Happening(
                "rollout.changed",
                f"rollout-note:{row.id}",
                row.time_s,
                None,
                {
                    "rollout": row.rollout_id,
                    "event": row.event,
                    "text": row.text,
                    "by": row.by,
                    "link": self._link(f"/rollouts/{row.rollout_id}"),
                },
            )
            for row in rows
        ]

    def _gateways(self, session: Session, now_s: float) -> list[Happening]:
        """A gateway that was there is told as gone once it has been away for `OFFLINE_S`; new ones are not news."""
        changed = session.execute(_changed_gateways().limit(_AT_ONCE)).all()
        found: list[Happening] = []
        told = []
        for gateway, online, seen_s, before in changed:
            if before is not None and not online and now_s - seen_s < OFFLINE_S:
                continue
            told.append({"gateway": gateway, "online": online})
            if before is not None:
                kind: Kind = "gateway.online" if online else "gateway.offline"
                data = {"gateway": gateway, "last_seen_s": seen_s, "link": self._link(f"/gateways/{gateway}")}
                found.append(Happening(kind, f"{kind}:{gateway}:{int(now_s)}", now_s, None, data))
        upsert(session, t.HookGateway.__table__, told, key=["gateway"], update=["online"])  # type: ignore[arg-type]
        return found


def enqueue(session: Session, hooks: Iterable[t.Hook], happenings: Iterable[Happening], now_s: float) -> int:
    """Put happenings into the outboxes of the hooks that want them; how many were new."""
    rows = [
        {"hook_id": hook.id, "lease_s": 0.0, **_row(happening, now_s)}
        for happening in happenings
        for hook in hooks
        if wants(hook, happening)
    ]
    added = insert_new(session, t.HookDelivery.__table__, rows, key=["hook_id", "key"], returning=["id"])  # type: ignore[arg-type]
    return len(added)


def enqueue_to(session: Session, hook: str, happening: Happening, now_s: float) -> None:
    """Put a happening into one outbox, whatever the hook wants."""
    session.add(t.HookDelivery(hook_id=hook, lease_s=0.0, **_row(happening, now_s)))
    session.flush()


def _row(happening: Happening, now_s: float) -> dict[str, Any]:
    return {
        "key": happening.key,
        "kind": happening.kind,
        "body": body_of(happening),
        "created_s": now_s,
        "state": "waiting",
        "attempts": 0,
        "next_s": now_s,
    }


def wants(hook: t.Hook, happening: Happening) -> bool:
    """Whether a hook is to be told."""
    if hook.kinds and happening.kind not in hook.kinds:
        return False
    return not hook.machines or happening.machine is None or happening.machine in hook.machines


def _since(session: Session, source: str, column: InstrumentedAttribute[int], query: Select[Any]) -> list[Any]:
    """Rows of a source since the last look, and the overlap before it."""
    cursor = session.get(t.HookCursor, source)
    if cursor is None:
        _move_to_the_end(session)
        return []
    rows = list(
        session.scalars(query.where(column > cursor.position - _OVERLAP).order_by(column).limit(_OVERLAP + _AT_ONCE))
    )
    if rows:
        cursor.position = max(cursor.position, rows[-1].id)
    return rows


def _changed_gateways() -> Select[str, bool, float, bool]:
    return (
        select(t.Gateway.id, t.Gateway.online, t.Gateway.last_seen_s, t.HookGateway.online)
        .outerjoin(t.HookGateway, t.HookGateway.gateway == t.Gateway.id)
        .where(t.HookGateway.online.is_distinct_from(t.Gateway.online), t.Gateway.retired_s.is_(None))
    )


def _newest(session: Session, column: InstrumentedAttribute[int]) -> int:
    return session.scalar(select(func.max(column))) or 0


def _move_to_the_end(session: Session) -> None:
    """What is there already will not be told: the next look begins after it, its overlap included."""
    for source, column in (("alarm_events", t.AlarmEvent.id), ("rollout_notes", t.RolloutNote.id)):
        end = _newest(session, column) + _OVERLAP
        cursor = session.get(t.HookCursor, source)
        if cursor is None:
            session.add(t.HookCursor(source=source, position=end))
        else:
            cursor.position = max(cursor.position, end)

"""Rollouts in the database. Three short transactions carry a want out, and a crash between any two of them loses or
doubles nothing:

1. `commit` stores a step: stages, and which wants are due.
2. `issue` gives due wants their numbers and writes them down, together with the member that got them.
3. the caller publishes them, and `mark_sent` writes down that the broker has them. Until then the same wants
   are published again, byte for byte, and a gateway that gets a want twice does nothing the second time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import bindparam, func, or_, select, update
from sqlalchemy.orm import Session

from cloud_hub.delivery.registry import BundleRecord, WantRecord
from cloud_hub.errors import ConflictError, NotFoundError, StaleError, StoreError
from cloud_hub.rollout.cohorts import Site
from cloud_hub.rollout.evidence import Check
from cloud_hub.rollout.state import Member, Note, Outcome, Rollout, State
from cloud_hub.rollout.states import OVER, RUNNING, Event, RolloutError, Stage, Status
from cloud_hub.store import tables as t
from cloud_hub.store.database import Database
from cloud_hub.store.registry import insert_wants, newest_wants
from models.contract.messages import Behaviour

_OVER = [s.value for s in OVER]
_MEMBER_FIELDS = tuple(f for f in Member.__struct_fields__ if f != "gateway")
_ROLLOUT_FIELDS = tuple(f for f in Rollout.__struct_fields__ if f != "id")

Build = Callable[[Member, WantRecord | None, bool], tuple[Member, WantRecord | None]]
"""From a member, the newest want of its gateway and whether that is there: the member once its due want has a number,
and that want; None: nothing is to be said (any more).
"""


@dataclass(frozen=True, slots=True)
class Stored:
    """A rollout as it stands in the database. `revision` grows with every change."""

    state: State
    revision: int
    plan_json: str
    slot: str
    sha256: str


class RolloutStore:
    """Rollouts of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        state: State,
        plan_json: str,
        slot: str,
        sha256: str,
        now_s: float,
        by: str,
        note: Callable[[Session], None] = lambda _session: None,
    ) -> None:
        """Store a new rollout. `note`: more to write in the same transaction.

        Raises: ConflictError: another one that is not over has one of the gateways' slot.
        """
        rollout = state.rollout
        with self._database.write() as session:
            if session.get(t.Rollout, rollout.id) is not None:
                raise ConflictError(f"rollout {rollout.id}: there is one of this name already")
            busy = session.execute(
                select(t.RolloutMember.gateway, t.Rollout.id)
                .join(t.Rollout, t.Rollout.id == t.RolloutMember.rollout_id)
                .where(t.Rollout.slot == slot, t.Rollout.status.not_in(_OVER))
            )
            for gateway, other in busy:
                if gateway in state.members:
                    raise ConflictError(f"rollout {rollout.id}: {other} is changing the slot {slot} of {gateway}")
            fixed = {"slot": slot, "sha256": sha256, "plan_json": plan_json, "created_s": now_s, "created_by": by}
            session.add(t.Rollout(id=rollout.id, revision=1, **fixed, **_rollout_values(rollout)))
            session.flush()
            rows = [{"rollout_id": rollout.id, "gateway": g, **_member_values(m)} for g, m in state.members.items()]
            session.execute(t.table_of(t.RolloutMember).insert(), rows)
            session.add(t.RolloutNote(rollout_id=rollout.id, time_s=now_s, event="created", text="", by=by))
            note(session)

    def unfinished(self) -> list[str]:
        """Rollouts that may still have something to do, oldest first."""
        query = select(t.Rollout.id).where(t.Rollout.status.not_in(_OVER)).order_by(t.Rollout.created_s, t.Rollout.id)
        late = (
            select(t.RolloutMember.rollout_id)
            .join(t.Rollout, t.Rollout.id == t.RolloutMember.rollout_id)
            .where(t.Rollout.status.in_(_OVER), or_(t.RolloutMember.due.is_not(None), t.RolloutMember.sent.is_(False)))
            .distinct()
        )
        with self._database.read() as session:
            open_ones = list(session.scalars(query))
            return open_ones + [r for r in session.scalars(late) if r not in open_ones]

    def load(self, rollout: str) -> Stored:
        """One rollout. Raises: NotFoundError."""
        with self._database.read() as session:
            return load(session, rollout)

    def revision(self, rollout: str) -> int:
        """Its revision alone. Raises: NotFoundError."""
        with self._database.read() as session:
            found = session.scalar(select(t.Rollout.revision).where(t.Rollout.id == rollout))
        if found is None:
            raise NotFoundError(f"rollout {rollout!r}: there is none")
        return found

    def pause_unreadable(self, rollout: str, text: str, now_s: float) -> None:
        """Pause a rollout that cannot be loaded, by its columns alone. It can go on once they are mended."""
        running = [status.value for status in RUNNING]
        with self._database.write() as session:
            session.execute(
                update(t.Rollout)
                .where(t.Rollout.id == rollout, t.Rollout.status.in_(running))
                .values(
                    resumes=t.Rollout.status,
                    status=Status.PAUSED.value,
                    paused_s=now_s,
                    cause="unreadable",
                    detail=text[:2000],
                    revision=t.Rollout.revision + 1,
                )
            )

    def force_unreadable(
        self,
        rollout: str,
        text: str,
        now_s: float,
        by: str,
        revision: int | None,
        note: Callable[[Session, str], None],
    ) -> None:
        """End a rollout that cannot be loaded, by its columns alone: nothing more is sent.

        Args:   text: for its log. revision: what the caller has seen; None: whatever it is. note: more to write in the
                same transaction, given the status before.
        Raises: NotFoundError; StaleError; RolloutError: it is over.
        """
        with self._database.write() as session:
            row = session.get(t.Rollout, rollout)
            if row is None:
                raise NotFoundError(f"rollout {rollout!r}: there is none")
            if revision is not None and revision != row.revision:
                raise StaleError(f"rollout {rollout}: expected revision {revision}, it is at {row.revision}")
            before = row.status
            if before in _OVER:
                raise RolloutError(f"rollout {rollout}: expected one that is not over, it is {before}")
            row.status, row.resumes, row.paused_s, row.waits = Status.ABORTED.value, None, None, ""
            row.revision += 1
            pending = or_(t.RolloutMember.due.is_not(None), t.RolloutMember.sent.is_(False))
            session.execute(
                update(t.RolloutMember)
                .where(t.RolloutMember.rollout_id == rollout, pending)
                .values(due=None, sent=True, detail="ended by force: it keeps what it was told last")
            )
            session.add(_note(rollout, Note(time_s=now_s, event=Event.FORCED, text=text, by=by)))
            note(session, before)

    def commit(self, stored: Stored, outcome: Outcome) -> Stored:
        """Store what a step or a command gave. Raises: ConflictError: somebody else was faster; nothing is stored."""
        if outcome.state.rollout == stored.state.rollout and not outcome.changed and not outcome.notes:
            return stored
        with self._database.write() as session:
            return save(session, stored, outcome)

    def act(
        self,
        rollout: str,
        command: Callable[[Stored], Outcome],
        note: Callable[[Session, State, State], None] = lambda _session, _before, _after: None,
    ) -> State:
        """Do what somebody asks, on the state as it is now.

        Args:   note: more to write in the same transaction, given the states before and after.
        Raises: NotFoundError, and what `command` raises.
        """
        with self._database.write() as session:
            stored = load(session, rollout)
            after = save(session, stored, command(stored)).state
            note(session, stored.state, after)
            return after

    def issue(self, stored: Stored, gateways: Sequence[str], build: Build) -> Stored:
        """Number the due wants of these members and write them down.

        Raises: ConflictError: the rollout was changed meanwhile. What `build` raises.
        """
        with self._database.write() as session:
            newest = newest_wants(session, gateways)
            there = select(t.Gateway.id, t.Gateway.online).where(t.Gateway.id.in_(gateways))
            online = {g: is_there for g, is_there in session.execute(there)}  # noqa: C416 - typed
            records: list[WantRecord] = []
            changed: dict[str, Member] = {}
            for gateway in gateways:
                member = stored.state.members[gateway]
                changed[gateway], record = build(member, newest.get(gateway), online.get(gateway, False))
                if record is not None:
                    records.append(record)
            insert_wants(session, records)
            members = {**stored.state.members, **changed}
            state = State(rollout=stored.state.rollout, members=members)
            return save(session, stored, Outcome(state=state, changed=changed, actions=(), notes=()))

    def newest(self, gateways: Sequence[str]) -> list[WantRecord]:
        """The newest wants of these gateways, to be published."""
        with self._database.read() as session:
            newest = newest_wants(session, gateways)
        return [newest[g] for g in gateways if g in newest]

    def mark_sent(self, stored: Stored, published: Mapping[str, int]) -> tuple[Stored, list[str]]:
        """The broker has these wants (gateway to number). Also gives the gateways that somebody has meanwhile issued a
        newer want: ours may have taken its place at the broker, so it is to be published again.
        """
        with self._database.write() as session:
            highest = (
                select(t.Want.gateway, func.max(t.Want.seq))
                .where(t.Want.gateway.in_(list(published)))
                .group_by(t.Want.gateway)
            )
            newest = {g: seq for g, seq in session.execute(highest)}  # noqa: C416 - typed
            overtaken = [g for g, seq in published.items() if newest.get(g, 0) > seq]
            changed = {
                g: msgspec.structs.replace(stored.state.members[g], sent=True) for g in published if g not in overtaken
            }
            members = {**stored.state.members, **changed}
            state = State(rollout=stored.state.rollout, members=members)
            return save(session, stored, Outcome(state=state, changed=changed, actions=(), notes=())), overtaken

    def bundles(self, digests: Iterable[str]) -> dict[str, BundleRecord]:
        """Bundles by digest; those that are not known are left out."""
        rows: dict[str, BundleRecord] = {}
        with self._database.read() as session:
            for b in session.scalars(select(t.Bundle).where(t.Bundle.sha256.in_(set(digests)))):
                rows[b.sha256] = BundleRecord(
                    b.sha256, b.slot, b.version, b.family, b.target, b.length, b.created_s, b.manifest_json
                )
        return rows

    def sites(self, slot: str) -> list[Site]:
        """Every gateway that reports the slot."""
        query = (
            select(t.GatewaySlot.gateway_id, t.GatewaySite.labels, t.GatewaySite.time_zone)
            .outerjoin(t.GatewaySite, t.GatewaySite.gateway == t.GatewaySlot.gateway_id)
            .where(t.GatewaySlot.slot == slot)
            .order_by(t.GatewaySlot.gateway_id)
        )
        with self._database.read() as session:
            return [Site(gateway, labels or {}, zone) for gateway, labels, zone in session.execute(query)]


# ------------------------------------------------------------------------------------------------ rows and structs


def load(session: Session, rollout: str) -> Stored:
    """One rollout, all of it. Raises: NotFoundError; StoreError: what is stored of it cannot be read."""
    try:
        return _load(session, rollout)
    except (ValueError, TypeError, msgspec.ValidationError) as error:
        raise StoreError(f"rollout {rollout}: what is stored of it cannot be read: {error}") from error


def _load(session: Session, rollout: str) -> Stored:
    row = session.get(t.Rollout, rollout)
    if row is None:
        raise NotFoundError(f"rollout {rollout!r}: there is none")
    columns = [getattr(t.RolloutMember, name) for name in ("gateway", *_MEMBER_FIELDS)]
    members = {
        values[0]: _member(values)
        for values in session.execute(
            select(*columns)
            .where(t.RolloutMember.rollout_id == rollout)
            .order_by(t.RolloutMember.cohort, t.RolloutMember.gateway)
        )
    }
    fields: dict[str, Any] = {name: getattr(row, name) for name in _ROLLOUT_FIELDS}
    fields |= {
        "status": Status(row.status),
        "resumes": Status(row.resumes) if row.resumes is not None else None,
        "accepted": tuple(row.accepted),
        "checks": tuple(msgspec.convert(row.checks, list[Check])),
    }
    state = State(rollout=Rollout(id=rollout, **fields), members=members)
    return Stored(state, row.revision, row.plan_json, row.slot, row.sha256)


def save(session: Session, stored: Stored, outcome: Outcome) -> Stored:
    """Store what has changed. Raises: ConflictError: somebody else was faster."""
    rollout = outcome.state.rollout
    won = session.scalars(
        update(t.Rollout)
        .where(t.Rollout.id == rollout.id, t.Rollout.revision == stored.revision)
        .values(revision=stored.revision + 1, **_rollout_values(rollout))
        .returning(t.Rollout.revision)
    ).all()
    if not won:
        raise ConflictError(f"rollout {rollout.id}: changed by somebody else meanwhile")
    if outcome.changed:
        table = t.table_of(t.RolloutMember)
        statement = (
            table.update()
            .where(table.c.rollout_id == rollout.id, table.c.gateway == bindparam("this"))
            .values({name: bindparam(f"new_{name}") for name in _MEMBER_FIELDS})
        )
        rows = [
            {"this": g, **{f"new_{name}": value for name, value in _member_values(m).items()}}
            for g, m in outcome.changed.items()
        ]
        session.execute(statement, rows)
    session.add_all(_note(rollout.id, note) for note in outcome.notes)
    return Stored(outcome.state, stored.revision + 1, stored.plan_json, stored.slot, stored.sha256)


def _note(rollout: str, note: Note) -> t.RolloutNote:
    return t.RolloutNote(rollout_id=rollout, time_s=note.time_s, event=note.event.value, text=note.text, by=note.by)


def _rollout_values(rollout: Rollout) -> dict[str, Any]:
    values = {name: getattr(rollout, name) for name in _ROLLOUT_FIELDS}
    return values | {
        "status": rollout.status.value,
        "resumes": rollout.resumes.value if rollout.resumes is not None else None,
        "accepted": list(rollout.accepted),
        "checks": msgspec.to_builtins(rollout.checks),
    }


def _member_values(member: Member) -> dict[str, Any]:
    values = {name: getattr(member, name) for name in _MEMBER_FIELDS}
    values["stage"] = member.stage.value
    return values


def _member(values: tuple[Any, ...]) -> Member:
    fields = dict(zip(("gateway", *_MEMBER_FIELDS), values, strict=True))
    fields["stage"] = Stage(fields["stage"])
    for name in ("baseline", "origin"):
        if fields[name] is not None:
            fields[name] = msgspec.convert(fields[name], Behaviour)
    return Member(**fields)

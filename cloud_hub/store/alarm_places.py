"""What is shelved and what is out of service: places whose alarms do not ask for attention."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from sqlalchemy import ColumnElement, and_, or_, select, update
from sqlalchemy.orm import Session

from cloud_hub.errors import NotFoundError
from cloud_hub.store import tables as t

SHELF = "shelf"
OUT = "out_of_service"


class Places:
    """What is shelved or out of service now, by place."""

    def __init__(self, rows: Iterable[t.AlarmSuppression] = ()) -> None:
        self._of_machine: defaultdict[str, list[t.AlarmSuppression]] = defaultdict(list)
        for row in rows:
            self._of_machine[row.machine_id].append(row)

    def __len__(self) -> int:
        return len(self._of_machine)

    @property
    def machines(self) -> list[str]:
        """Machines that have something shelved or out of service."""
        return sorted(self._of_machine)

    def at(self, gateway: str, machine: str, point: str, slot: str) -> tuple[bool, float | None]:
        """Whether a place is out of service, and the end of the shelf that it is on."""
        out, until_s = False, None
        for row in self._of_machine.get(machine, ()):
            if row.gateway in ("", gateway) and row.point in ("", point) and row.slot in ("", slot):
                if row.kind == OUT:
                    out = True
                elif row.until_s is not None:
                    until_s = max(until_s or 0.0, row.until_s)
        return out, until_s


def active(now_s: float) -> ColumnElement[bool]:
    """Suppressions that have not ended."""
    s = t.AlarmSuppression
    return and_(s.ended_s.is_(None), or_(s.until_s.is_(None), s.until_s > now_s))


def places(session: Session, now_s: float, machines: Iterable[str] | None = None) -> Places:
    """What is shelved or out of service now, of some machines or of all."""
    query = select(t.AlarmSuppression).where(active(now_s))
    if machines is not None:
        query = query.where(t.AlarmSuppression.machine_id.in_(sorted(machines)))
    return Places(session.scalars(query))


def shelve(session: Session, row: t.Alarm, until_s: float, reason: str, who: str, now_s: float) -> None:
    """Put the place of an alarm on a shelf, in place of the one that it is on."""
    end_shelf(session, row, who, now_s)
    session.add(
        t.AlarmSuppression(
            kind=SHELF,
            machine_id=row.machine_id,
            gateway=row.gateway_id,
            point=row.point,
            slot=row.slot,
            reason=reason,
            who=who,
            since_s=now_s,
            until_s=until_s,
        )
    )
    session.flush()


def end_shelf(session: Session, row: t.Alarm, who: str, now_s: float) -> None:
    """Take the place of an alarm from its shelf, if it is on one."""
    s = t.AlarmSuppression
    session.execute(
        update(s)
        .where(
            s.kind == SHELF,
            s.ended_s.is_(None),
            s.machine_id == row.machine_id,
            s.gateway == row.gateway_id,
            s.point == row.point,
            s.slot == row.slot,
        )
        .values(ended_s=now_s, ended_by=who)
    )


def shelves_over(session: Session, now_s: float) -> bool:
    """Whether the time of a shelf is up that has not been ended yet."""
    s = t.AlarmSuppression
    return session.scalar(select(s.id).where(s.ended_s.is_(None), s.until_s <= now_s).limit(1)) is not None


def expire_shelves(session: Session, who: str, now_s: float) -> None:
    """End the shelves whose time is up."""
    s = t.AlarmSuppression
    over = update(s).where(s.ended_s.is_(None), s.until_s <= now_s)
    session.execute(over.values(ended_s=s.until_s, ended_by=who))


def out_of_service(session: Session, machine: str, point: str | None, now_s: float) -> Sequence[t.AlarmSuppression]:
    """What says that exactly this, a machine or one point of it, is out of service."""
    s = t.AlarmSuppression
    query = select(s).where(active(now_s), s.kind == OUT, s.machine_id == machine, s.point == (point or ""))
    return session.scalars(query).all()


def take_out(session: Session, machine: str, point: str | None, reason: str, who: str, now_s: float) -> None:
    """Say that it is out of service from now on."""
    session.add(
        t.AlarmSuppression(
            kind=OUT, machine_id=machine, point=point or "", reason=reason, who=who, since_s=now_s
        )
    )  # fmt: skip
    session.flush()


def check_place(session: Session, machine: str, point: str | None) -> None:
    """Raises: NotFoundError: no gateway has named this machine, or this point of it."""
    if session.get(t.Machine, machine) is None:
        raise NotFoundError(f"machine {machine!r}: no gateway has named it")
    if point is not None:
        known = select(t.Point.point).where(t.Point.machine_id == machine, t.Point.point == point).limit(1)
        if session.scalar(known) is None:
            raise NotFoundError(f"point {machine}/{point}: no gateway has named it")
